"""A micro-CHP or another generator with its tank."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings
from world.physics import fuelcell
from world.spec import DeviceSpec

HANDSHAKE_S = 30.0
"""How long its orders hold without an answered handshake; our choice."""
_COUNTS_TO = 10_000


class GeneratorUnit(Equipment):
    """Led by heat when left alone, by power when ordered; three phases."""

    def __init__(self, spec: DeviceSpec, orders: Orders) -> None:
        self.spec, self.orders = spec, orders
        self._generator = fuelcell.Generator(rating_w=spec.rating_w)
        self._state = fuelcell.GeneratorState()

    def advance(self, moment: Moment) -> None:
        wanted = self._wanted_w(moment.instant) if moment.live else 0.0
        state = fuelcell.step(self._generator, self._state, moment.dt_s, wanted, moment.outdoor_c)
        if not moment.live:
            state = msgspec.structs.replace(state, made_w=0.0, phase="off")
        self._state = state
        self.power_w = state.power_w if moment.live else 0.0

    def _wanted_w(self, instant: float) -> float | None:
        orders = self.orders
        mode = orders.word("control_mode")
        if mode is None and orders.number("enabled") is not None:
            mode = "follow" if orders.number("enabled") else "stop"
        if mode is None or mode == "own":
            return None
        silence = self.spec.silence_s or HANDSHAKE_S
        if orders.has("heartbeat_answer") and orders.age_s(instant, "heartbeat_answer") > silence:
            return None
        if mode == "stop":
            return 0.0
        percent, watts = orders.number("power_setpoint_percent"), orders.number("power_setpoint_w")
        if percent is not None:
            return self.spec.rating_w * percent / 100
        return self.spec.rating_w if watts is None else -watts

    def defaults(self) -> Readings:
        return {"control_mode": "own", "enabled": True}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        return {
            "power_w": -state.made_w,
            "state": self._word(moment),
            "tank_temperature_c": state.tank.temperature_c,
            "return_temperature_c": state.tank.temperature_c,
            "flow_temperature_c": state.tank.temperature_c + (15.0 if state.made_w else 0.0),
            "energy_wh": state.energy_wh,
            "heat_wh": state.heat_wh,
            "heartbeat": int(moment.instant) % _COUNTS_TO,
            "error": False,
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        # An engine that runs out still turns, and not every product tells that apart.
        return "running" if self._state.phase == "stopping" else self._state.phase

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, fuelcell.GeneratorState)
