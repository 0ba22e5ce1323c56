"""A battery with its inverter."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, electric
from world.physics import battery
from world.spec import DeviceSpec, WorldError


class BatteryUnit(Equipment):
    """A battery that follows a setpoint while a master keeps setting it, and its site's surplus otherwise."""

    def __init__(self, spec: DeviceSpec, orders: Orders) -> None:
        self.spec, self.orders = spec, orders
        if spec.capacity_wh <= 0:
            raise WorldError(spec.name, "a battery needs capacity_wh > 0")
        self._battery = battery.Battery(
            rating_w=spec.rating_w,
            capacity_wh=spec.capacity_wh,
            efficiency_share=spec.efficiency_share,
            self_discharge_percent_per_day=spec.self_discharge_percent_per_day,
        )
        self._state = battery.BatteryState(energy_wh=spec.capacity_wh * spec.soc_percent / 100)

    @property
    def soc_percent(self) -> float:
        return battery.soc_percent(self._battery, self._state)

    def advance(self, moment: Moment) -> None:
        wanted = self._ordered_w(moment) if moment.live else 0.0
        if moment.alone and moment.live:
            wanted = None  # who forms the voltage gives what is drawn, whatever it is told
        if wanted is None:
            wanted = battery.self_consumption_w(self.residual_w)
        self._state = battery.step(self._battery, self._state, moment.dt_s, wanted)
        self.power_w = self._state.power_w

    def _ordered_w(self, moment: Moment) -> float | None:
        orders = self.orders
        setpoint = orders.number("power_setpoint_w")
        if setpoint is None or orders.word("setpoint_mode") == "percent":
            return None
        if orders.has("enabled") and not orders.number("enabled"):
            return None
        timeout = orders.number("setpoint_timeout_s") or self.spec.silence_s
        if timeout and orders.age_s(moment.instant, "power_setpoint_w", "enabled") > timeout:
            return None
        return setpoint

    def readings(self, moment: Moment) -> Readings:
        return {
            "power_w": self.power_w,
            **electric(moment, self.power_w, self.shares),
            "soc_percent": self.soc_percent,
            "capacity_wh": self.spec.capacity_wh,
            "rating_w": self.spec.rating_w,
            "charge_limit_w": self.spec.rating_w,
            "discharge_limit_w": self.spec.rating_w,
            "import_wh": self._state.import_wh,
            "export_wh": self._state.export_wh,
            "grid_state": "disconnected" if moment.alone or not moment.live else "connected",
            "control_mode": "external_modbus",  # the installer has set it so, where the product has such a switch
            "state": "off" if not moment.live else "running" if self.power_w else "standby",
        }

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, battery.BatteryState)
