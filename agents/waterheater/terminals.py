"""A water heater's registers: the power that its element takes, or the contactor before it."""

from agents.kit.hardware import RUNNING_W, Envelope, Impossible, Plan, Values, number
from agents.kit.thermal import ThermalSettings, ThermalTerminals
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.registers import Codec, RangeError

HOTTEST_C = 90.0
"""No target above this, whatever a product would take: it boils not far from there."""
HYSTERESIS_K = 5.0
_OPERATING: dict[str, Operating] = {
    "off": "off",
    "standby": "idle",
    "heating": "running",
    "full": "idle",
    "error": "fault",
}


class WaterHeaterSettings(ThermalSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """200 l. Under an order without a setpoint it heats by itself only below ``comfort_low_c``.

    renew_every_s  how often a power register is written again
    """

    device: str = "mypv_ac_elwa_2"
    demand_w: float = 240.0
    renew_every_s: float = 15.0


class WaterHeaterTerminals(ThermalTerminals):
    """Whichever of the two ways the product has."""

    settings: WaterHeaterSettings
    classes = ("waterheater",)
    wanted = ("power_w", "tank_temperature_c", "energy_wh", "state", "rating_w", "setpoint_timeout_s", "error")
    control = ("power_setpoint_w", "enabled", "target_temperature_c")
    temperatures = ("tank_temperature_c",)

    def capabilities(self, values: Values) -> Announce:
        functions: tuple[Function, ...] = ("measure", "standby") if self.measures else ("standby",)
        if self.modulates:
            functions = (*functions, "limit_upper", "setpoint", "absorb")
        return self.announced("waterheater", functions, self.least_w(values), values)

    def reading(self, values: Values, at: float) -> DeviceReading:
        rating = self.rating_w(values)
        power = self.power_w(values, 0.0 if values.get("enabled") is False else rating)
        operating = self._operating(values, power)
        takes = operating not in ("fault", "off") and values.get("state") != "full"
        return self.read(values, at, power, operating, rating if takes else 0.0)

    @staticmethod
    def _operating(values: Values, power: float) -> Operating:
        word = values.get("state")
        if isinstance(word, str):
            return _OPERATING.get(word, "idle")
        if values.get("enabled") is False:
            return "paused"
        return "running" if power > RUNNING_W else "idle"

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        upper = rating if envelope.upper_w is None else min(envelope.upper_w, rating)
        upper = 0.0 if envelope.standby else upper
        if upper < 0:
            text = "a water heater feeds nothing: give an upper bound of 0 or more"
            raise Impossible("cannot_feed", text, upper_w=upper)
        return self._register(envelope, upper, rating, values) if self.modulates else self._switch(envelope, upper)

    def _register(self, envelope: Envelope, upper: float, rating: float, values: Values) -> Plan:
        lower = max(envelope.lower_w or 0.0, 0.0)
        if envelope.setpoint_w is None and upper >= rating and lower <= 0:
            return Plan(writes={}, lower_w=0.0, upper_w=rating)  # told nothing, it goes back to its own mode
        setpoint = envelope.setpoint_w
        asked = self._own_w(values, rating) if setpoint is None else max(setpoint, 0.0)
        watts = int(min(max(asked, lower), upper))
        return Plan(
            writes={"power_setpoint_w": watts},
            lower_w=0.0,
            # Without a setpoint the power follows the tank's need from renewal to renewal, up to the bound.
            upper_w=float(int(upper)) if setpoint is None else float(watts),
            setpoint_w=None if setpoint is None else float(watts),
            renew_every_s=self._renew_s(values),
        )

    def _own_w(self, values: Values, rating: float) -> float:
        """What it would take for comfort alone."""
        temperature, low = self.temperature_c(values), self.settings.comfort_low_c
        if temperature is None:
            return 0.0
        heating = (number(values, "power_w") or 0.0) > RUNNING_W
        return rating if temperature < (low + HYSTERESIS_K if heating else low) else 0.0

    def _renew_s(self, values: Values) -> float:
        """Three times within the product's own timeout, where it tells that."""
        timeout = number(values, "setpoint_timeout_s")
        return min(self.settings.renew_every_s, timeout / 3) if timeout else self.settings.renew_every_s

    def _switch(self, envelope: Envelope, upper: float) -> Plan:
        rating = self.rating_w({})
        on = upper >= rating and envelope.setpoint_w != 0
        return Plan(writes={"enabled": on}, lower_w=0.0, upper_w=rating if on else 0.0)

    def set_target(
        self,
        temperature_c: float,
        values: Values,  # noqa: ARG002  as every class's
        mode: str | None = None,
        fan: str | None = None,
        on: bool = False,  # noqa: ARG002  that comes as an envelope
    ) -> Plan:
        """Another target for the product's own thermostat. Raises Impossible, RangeError."""
        if mode is not None or fan is not None:
            raise Impossible("no_such_setting", f"{self.file.device} has neither mode nor fan: give a temperature only")
        point = self.file.points.get("target_temperature_c")
        if point is None or point.access != "rw":
            raise Impossible("no_thermostat", f"{self.file.device} has no thermostat that can be set from here")
        if temperature_c > HOTTEST_C:
            raise RangeError("target_temperature_c", temperature_c, point.min, HOTTEST_C)
        Codec(point, self.file.line).check(temperature_c)
        return Plan(writes={"target_temperature_c": temperature_c})
