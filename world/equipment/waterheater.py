"""A water heater with its tank and the household that draws from it."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, single
from world.physics import waterheater
from world.spec import DeviceSpec

POWER_TIMEOUT_S = 60.0
"""How long a power order holds, where nobody has set the product otherwise; our choice."""
BACKUP_C = 40.0
"""A heater that is steered by power and told nothing keeps no more than this, by its own backup; our choice."""


class WaterHeaterUnit(Equipment):
    """Power by register, or a contactor before its own thermostat."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str) -> None:
        self.spec, self.orders = spec, orders
        self.shares = single(spec, seed, site)
        self._heater = waterheater.WaterHeater(rating_w=spec.rating_w)
        self._household = waterheater.Household(seed, f"{site}.{spec.name}")
        self._state = waterheater.HeaterState()

    def advance(self, moment: Moment) -> None:
        draw_w = self._household.draw_w(moment.instant)
        wish = self._wish(moment.instant) if moment.live else waterheater.Wish(supplied=False)
        self._state = waterheater.step(self._heater, self._state, moment.dt_s, wish, draw_w)
        self.power_w = self._state.power_w

    def _wish(self, instant: float) -> waterheater.Wish:
        orders = self.orders
        target = orders.number("target_temperature_c") or waterheater.TARGET_C
        if orders.number("enabled") == 0:
            return waterheater.Wish(supplied=False, target_c=target)
        if not orders.has("power_setpoint_w"):
            return waterheater.Wish(target_c=target)
        setpoint = orders.number("power_setpoint_w")
        if setpoint is None or orders.age_s(instant, "power_setpoint_w") > self._timeout_s:
            return waterheater.Wish(target_c=min(BACKUP_C, target))
        return waterheater.Wish(setpoint_w=setpoint, target_c=target)

    @property
    def _timeout_s(self) -> float:
        return self.spec.silence_s or POWER_TIMEOUT_S

    def defaults(self) -> Readings:
        return {"enabled": True, "target_temperature_c": waterheater.TARGET_C}

    def readings(self, moment: Moment) -> Readings:
        return {
            "power_w": self.power_w,
            "tank_temperature_c": self._state.tank.temperature_c,
            "energy_wh": self._state.energy_wh,
            "rating_w": self.spec.rating_w,
            "setpoint_timeout_s": self._timeout_s,
            "state": self._word(moment),
            "error": 0,
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        if self.power_w > 0:
            return "heating"
        return "full" if self._state.reached and self._state.tank.temperature_c > BACKUP_C else "standby"

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, waterheater.HeaterState)
