"""A battery inverter's registers: the power that it charges (+) or discharges (-) with."""

from agents.kit.hardware import (
    RUNNING_W,
    Envelope,
    HardwareSettings,
    Impossible,
    Plan,
    Terminals,
    Values,
    by_phase,
    needed,
    number,
)
from bus.envelope import instant
from contracts.device import Announce, DeviceReading, Operating
from contracts.device_form import Value

DARK_V = 50.0
"""Without the grid and with less than this at its terminals it forms no island: it is dark."""
_CONNECTED = {"connected": True, "disconnected": False}
_OPERATING: dict[str, Operating] = {"off": "off", "standby": "idle", "running": "running", "error": "fault"}


class BatterySettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it goes back to its own mode.

    reserve_percent, full_percent  state of charge below which it is not discharged, above which it is not charged
    hardware_hold_s                how long the hardware itself keeps a setpoint when this agent is gone
    capacity_wh                    usable, where the product does not say it
    """

    device: str = "sunspec_battery"
    reserve_percent: float = 5.0
    full_percent: float = 100.0
    hardware_hold_s: float = 60.0

    # negotiation
    capacity_wh: float = 10_000.0
    round_trip_share: float = 0.9
    from_grid: bool = True
    to_grid: bool = False


class BatteryTerminals(Terminals):
    """Its products know setpoints only: bounds without one hold the present power inside them."""

    settings: BatterySettings
    classes = ("battery",)
    wanted = ("power_w", *(f"power_l{n}_w" for n in (1, 2, 3)), *(f"current_l{n}_a" for n in (1, 2, 3)))
    wanted = (*wanted, "soc_percent", "rating_w", "charge_limit_w", "discharge_limit_w", "state", "control_mode")
    wanted = (*wanted, "capacity_wh", "grid_state", "voltage_l1_v")
    control = ("setpoint_mode", "setpoint_timeout_s", "power_setpoint_w", "enabled")

    def capabilities(self, values: Values) -> Announce:
        lower, upper = self._nominal(values)
        return Announce(
            device_class="battery",
            maker=self.file.maker,
            model=self.file.model,
            functions=("measure", "limit_upper", "limit_lower", "setpoint", "standby", "absorb"),
            use_cases=("limits.lpc", "limits.fuse", "limits.emergency"),
            nominal_lower_w=lower,
            nominal_upper_w=upper,
            phases=self.settings.phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def _nominal(self, values: Values) -> tuple[float, float]:
        discharge, charge = number(values, "discharge_limit_w"), number(values, "charge_limit_w")
        if self.settings.rating_w is not None or discharge is None or charge is None:
            rating = self.rating_w(values)
            discharge, charge = min(discharge or rating, rating), min(charge or rating, rating)
        return -discharge, charge

    def _now(self, values: Values) -> tuple[float, float]:
        """What it can do with the charge that it has."""
        lower, upper = self._nominal(values)
        soc = needed(values, "soc_percent")
        return (
            0.0 if soc <= self.settings.reserve_percent else lower,
            0.0 if soc >= self.settings.full_percent else upper,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        lower, upper = self._now(values)
        word = values.get("state")
        volts, connected = number(values, "voltage_l1_v"), _CONNECTED.get(str(values.get("grid_state")))
        guess: Operating = "running" if abs(power) > RUNNING_W else "idle"
        if connected is False and volts is not None and volts < DARK_V:
            guess = "off"
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating=_OPERATING.get(word, guess) if isinstance(word, str) else guess,
            lower_w=lower,
            upper_w=upper,
            soc_percent=needed(values, "soc_percent"),
            grid_connected=connected,
        )

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        lower, upper = self._nominal(values)
        bounds = Envelope(lower_w=lower, upper_w=upper)
        setpoint: float | None = None
        if envelope.standby:
            setpoint = 0.0
        elif envelope.setpoint_w is not None:
            least, most = self._now(values)
            setpoint = envelope.clip(Envelope(lower_w=least, upper_w=most).clip(envelope.setpoint_w))
        elif not _inside(bounds, envelope):
            setpoint = envelope.clip(needed(values, "power_w"))
        if setpoint is None:
            return self._release(values, bounds)
        return self._hold(round(bounds.clip(setpoint)), values)

    @staticmethod
    def _release(values: Values, bounds: Envelope) -> Plan:
        # A product without a switch goes back by itself when it is not told again.
        writes: dict[str, Value] = {"enabled": False} if "enabled" in values else {}
        return Plan(writes=writes, lower_w=bounds.lower_w, upper_w=bounds.upper_w)

    def _hold(self, setpoint: int, values: Values) -> Plan:
        mode = values.get("control_mode")
        if mode is not None and mode != "external_modbus":
            text = f"{self.file.device} is in mode {mode}: set its battery management to external by Modbus"
            raise Impossible("not_in_control", text)
        writes: dict[str, Value] = {}
        if "setpoint_mode" in values:
            writes["setpoint_mode"] = "watts"
        if "setpoint_timeout_s" in values:
            writes["setpoint_timeout_s"] = round(self.settings.hardware_hold_s)
        writes["power_setpoint_w"] = setpoint
        if "enabled" in values:
            writes["enabled"] = True
        return Plan(
            writes=writes,
            lower_w=setpoint,
            upper_w=setpoint,
            setpoint_w=setpoint,
            renew_every_s=self.settings.hardware_hold_s / 4,
        )


def _inside(inner: Envelope, outer: Envelope) -> bool:
    """Whether the outer envelope lets the inner one do all that it can."""
    lower = outer.lower_w is None or (inner.lower_w is not None and inner.lower_w >= outer.lower_w)
    upper = outer.upper_w is None or (inner.upper_w is not None and inner.upper_w <= outer.upper_w)
    return lower and upper
