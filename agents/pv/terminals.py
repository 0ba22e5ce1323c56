"""A PV inverter's registers: the share of its rating that it may feed."""

import math

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

STEP_PERCENT = 0.1
_OPERATING: dict[str, Operating] = {
    "off": "off",
    "sleeping": "idle",
    "starting": "waiting",
    "running": "running",
    "throttled": "running",
    "stopping": "idle",
    "error": "fault",
    "standby": "paused",
}


class PvSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it generates freely; set ``safe_lower_w`` (<= 0) where the grid wants a bound then."""

    device: str = "sunspec_inverter"


class PvTerminals(Terminals):
    """A lower bound (negative: what it may generate at most) becomes a percentage of the rating, floored."""

    settings: PvSettings
    classes = ("pv",)
    wanted = ("power_w", *(f"power_l{n}_w" for n in (1, 2, 3)), *(f"current_l{n}_a" for n in (1, 2, 3)))
    wanted = (*wanted, "energy_wh", "rating_w", "state")
    control = ("power_limit_percent", "power_limit_enabled", "limit_timeout_s")

    def capabilities(self, values: Values) -> Announce:
        return Announce(
            device_class="pv",
            maker=self.file.maker,
            model=self.file.model,
            functions=("measure", "limit_lower", "standby"),
            use_cases=("limits.lpc", "limits.emergency"),
            nominal_lower_w=-self.rating_w(values),
            nominal_upper_w=0.0,
            phases=self.settings.phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        word = values.get("state")
        guess: Operating = "running" if power < -RUNNING_W else "idle"
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self.settings.phases),
            operating=_OPERATING.get(word, guess) if isinstance(word, str) else guess,
            lower_w=min(power, 0.0),
            upper_w=0.0,
            energy_wh=number(values, "energy_wh"),
            limit_percent=self._limit_percent(values),
        )

    @staticmethod
    def _limit_percent(values: Values) -> float | None:
        percent = number(values, "power_limit_percent")
        return 100.0 if percent is not None and values.get("power_limit_enabled") is False else percent

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        rating = self.rating_w(values)
        if envelope.upper_w is not None and envelope.upper_w < 0 and not envelope.standby:
            text = "the sun cannot be ordered: give an upper bound of 0 or more"
            raise Impossible("cannot_force", text, upper_w=envelope.upper_w)
        if "power_limit_percent" not in values:
            raise Impossible("no_control", f"{self.file.device} has no power limit: it can only be measured")
        least = -rating
        if envelope.lower_w is not None:
            least = max(least, envelope.lower_w)
        if envelope.setpoint_w is not None:
            least = max(least, envelope.setpoint_w)
        least = 0.0 if envelope.standby else min(least, 0.0)
        percent = round(math.floor(-least / rating * 100 / STEP_PERCENT + 1e-9) * STEP_PERCENT, 3)
        limited = percent < 100
        writes: dict[str, Value] = {}
        if limited and "limit_timeout_s" in values:
            writes["limit_timeout_s"] = 0  # a limit that lifts itself is none
        writes["power_limit_percent"] = percent
        if "power_limit_enabled" in values:
            writes["power_limit_enabled"] = limited
        return Plan(
            writes=writes, lower_w=-rating * percent / 100, upper_w=0.0, setpoint_w=envelope.setpoint_w and least
        )
