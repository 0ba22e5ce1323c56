"""A heat pump with its tank and its house."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings
from world.physics import heatpump
from world.profiles import Profile
from world.spec import DeviceSpec


class HeatPumpUnit(Equipment):
    """A heat pump that follows its profile, or what contacts and registers say."""

    def __init__(self, spec: DeviceSpec, orders: Orders) -> None:
        self.spec, self.orders = spec, orders
        self._profile = Profile(spec.profile)
        self._pump = heatpump.HeatPump(rating_w=spec.rating_w)
        self._state = heatpump.HeatPumpState()

    def advance(self, moment: Moment) -> None:
        profile_w = self.spec.rating_w * self._profile.active_share(moment.instant)
        wish = self._wish(moment.instant) if moment.live else heatpump.Wish(limit_w=0.0)
        self._state = heatpump.step(self._pump, self._state, moment.dt_s, profile_w, moment.outdoor_c, wish)
        self.power_w = self._state.power_w
        self.reactive_power_var = self.power_w * self.spec.rating_var / self.spec.rating_w

    def _wish(self, instant: float) -> heatpump.Wish:
        orders = self.orders
        contacts = heatpump.sg_ready(bool(orders.number("sg_ready_1")), bool(orders.number("sg_ready_2")))
        setpoint = orders.number("power_setpoint_w")
        if self.spec.silence_s and orders.age_s(instant, "power_setpoint_w") > self.spec.silence_s:
            setpoint = None
        tank = orders.number("hot_water_target_c")
        if setpoint is None and tank is None and contacts is heatpump.SgReady.NORMAL:
            return heatpump.FREE
        return heatpump.Wish(contacts=contacts, setpoint_w=setpoint, tank_c=tank)

    def defaults(self) -> Readings:
        return {"hot_water_target_c": heatpump.SET_C}

    def readings(self, moment: Moment) -> Readings:
        tank_c = self._state.tank.temperature_c
        lift = 5.0 if self.power_w > 0 else 0.0
        return {
            "power_w": self.power_w,
            "state": self._word(moment),
            "flow_temperature_c": tank_c + lift,
            "return_temperature_c": tank_c - 2.0,
            "tank_temperature_c": tank_c,
            "outdoor_temperature_c": moment.outdoor_c,
            "energy_wh": self._state.energy_wh,
            "heat_wh": self._state.heat_wh,
            "error": 0,
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        return "heating" if self.power_w > 0 else "standby"

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, heatpump.HeatPumpState)
