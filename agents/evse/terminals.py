"""A charging station's registers: the current per phase that it lets the car take."""

import math
from datetime import time
from typing import Literal

import msgspec

from agents.kit.hardware import (
    NOMINAL_V,
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
from contracts.device import Announce, DeviceReading, Function, Operating
from contracts.device_form import Value
from contracts.registers import Codec

MIN_A = 6.0
"""The lowest current that the pilot signal can announce. IEC 61851-1, Annex A."""
STEP_A = 0.1
"""Finer steps only make writes: a car follows the pilot signal no better."""


class EvseSettings(HardwareSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Without order it falls back to the least that a car charges with on three phases, 6 A (4.14 kW, below 4.2 kW).

    switches_phases  where the product can, charge on one phase when three would take more than is allowed; cars and
                     contactors are spared when it stays false
    """

    device: str = "abb_terra_ac"
    safe_upper_w: float | None = 4140.0
    switches_phases: bool = False

    # negotiation: the car that usually stands here, where nothing tells
    car_capacity_wh: float = 50_000.0
    car_arrives_percent: float = 40.0
    car_target_percent: float = 80.0
    leaves_at: time | None = None
    starts_once: bool = False
    """The charge is a job that waits for its start and then runs through, in place of a store that is filled."""
    time_zone: str = "Europe/Berlin"
    incentive: Literal["cheapest", "greenest"] | None = None


class EvseTerminals(Terminals):
    """An envelope becomes a current: floored to the station's step, nothing below 6 A."""

    settings: EvseSettings
    classes = ("evse",)
    wanted = (
        "state",
        "power_w",
        *(f"current_l{n}_a" for n in (1, 2, 3)),
        *(f"voltage_l{n}_v" for n in (1, 2, 3)),
        "energy_wh",
        "session_wh",
        "soc_percent",
        "phases_used",
        "hardware_limit_a",
    )
    control = ("current_limit_a", "enabled", "phase_mode")

    @property
    def _phases(self) -> tuple[Literal[1, 2, 3], ...]:
        """The wired phases; what is rated below 6 A on each of them is a point on the first one alone."""
        phases, rating = self.settings.phases, self.settings.rating_w
        return phases if rating is None or rating >= MIN_A * NOMINAL_V * len(phases) else phases[:1]

    @property
    def _pauses(self) -> bool:
        """Whether the product can be told to stop: by a current below 6 A, or by a switch."""
        limit = self.file.points["current_limit_a"]
        return limit.min is None or limit.min < MIN_A or "enabled" in self.file.points

    @property
    def _switches(self) -> bool:
        return self.settings.switches_phases and "phase_mode" in self.file.points and len(self._phases) == 3

    def _most_a(self, values: Values) -> float:
        known = [number(values, "hardware_limit_a"), self.file.rating.get("current_a")]
        if self.settings.rating_w is not None:
            known.append(self.settings.rating_w / (NOMINAL_V * len(self._phases)))
        figures = [amps for amps in known if amps]
        if not figures:
            raise Impossible("no_rating", f"{self.file.device} does not say its rating: set rating_w for this agent")
        return min(figures)

    def _volts(self, values: Values) -> float:
        """Sum over the wired phases; never below nominal, so that a limit in W is kept in A."""
        return sum(self._phase_v(values, n) for n in self._phases)

    @staticmethod
    def _phase_v(values: Values, phase: int) -> float:
        return max(NOMINAL_V, math.ceil(number(values, f"voltage_l{phase}_v") or 0.0))

    def capabilities(self, values: Values) -> Announce:
        phases = self._phases
        functions: tuple[Function, ...] = ("measure", "limit_upper", "setpoint")
        return Announce(
            device_class="evse",
            maker=self.file.maker,
            model=self.file.model,
            functions=(*functions, "standby") if self._pauses else functions,
            use_cases=("limits.lpc", "limits.fuse", "limits.emergency", "limits.congestion-direct"),
            nominal_lower_w=0.0,
            nominal_upper_w=self._most_a(values) * NOMINAL_V * len(phases),
            minimum_run_w=MIN_A * NOMINAL_V * (1 if self._switches else len(phases)),
            phases=phases,
            minimum_on_s=self.settings.minimum_on_s,
            minimum_off_s=self.settings.minimum_off_s,
            steerable=self.settings.steerable,
            essential=self.settings.essential,
        )

    def reading(self, values: Values, at: float) -> DeviceReading:
        power = needed(values, "power_w")
        word = values.get("state")
        if word is None:
            raise Impossible("no_value", f"{self.file.device} says no state")
        connected = word in ("connected", "charging")
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=by_phase(values, power, self._used(values)),
            operating=self._operating(str(word), values, power),
            lower_w=0.0,
            upper_w=self._most_a(values) * NOMINAL_V * len(self._phases) if connected else 0.0,
            energy_wh=number(values, "energy_wh"),
            session_wh=number(values, "session_wh") if connected else None,
            soc_percent=number(values, "soc_percent") if connected else None,
        )

    def _used(self, values: Values) -> tuple[Literal[1, 2, 3], ...]:
        one = "one" in (values.get("phases_used"), values.get("phase_mode"))
        return self._phases[:1] if one else self._phases

    def _operating(self, word: str, values: Values, power: float) -> Operating:
        match word:
            case "error":
                return "fault"
            case "charging":
                return "running" if power > RUNNING_W else "waiting"
            case "connected":
                limit = number(values, "current_limit_a")
                stopped = values.get("enabled") is False or (limit is not None and limit < MIN_A)
                return "paused" if stopped else "waiting"
            case _:
                return "idle"

    def plan(self, envelope: Envelope, values: Values) -> Plan:
        volts = self._volts(values)
        most_a = self._most_a(values)
        wanted = most_a * volts
        if envelope.setpoint_w is not None:
            wanted = envelope.setpoint_w
        wanted = 0.0 if envelope.standby else envelope.clip(wanted)
        step = max(STEP_A, Codec(self.file.points["current_limit_a"], self.file.line).step())
        amps = _floored(min(wanted / volts, most_a), step)
        if not self._switches:
            return self._stop(volts) if amps < MIN_A else self._charge(envelope, amps, volts)
        if amps >= MIN_A:
            plan = self._charge(envelope, amps, volts)
            # The lower current first: in between it would draw what one phase was allowed, three times.
            return msgspec.structs.replace(plan, writes={**plan.writes, "phase_mode": "three"})
        one_v = self._phase_v(values, self._phases[0])
        amps = _floored(min(wanted / one_v, most_a), step)
        if amps < MIN_A:
            return self._stop(volts)
        plan = self._charge(envelope, amps, one_v)
        return msgspec.structs.replace(plan, writes={"phase_mode": "one", **plan.writes})

    def _charge(self, envelope: Envelope, amps: float, volts: float) -> Plan:
        writes: dict[str, Value] = {"current_limit_a": amps}
        if "enabled" in self.file.points:
            writes["enabled"] = True
        return Plan(writes=writes, lower_w=0.0, upper_w=amps * volts, setpoint_w=envelope.setpoint_w and amps * volts)

    def _stop(self, volts: float) -> Plan:
        limit = self.file.points["current_limit_a"]
        if limit.min is None or limit.min < MIN_A:
            return Plan(writes={"current_limit_a": 0.0}, lower_w=0.0, upper_w=0.0)
        if "enabled" in self.file.points:
            return Plan(writes={"enabled": False}, lower_w=0.0, upper_w=0.0)
        # This product cannot stop: the least that it can do, and the truth about it.
        return Plan(writes={"current_limit_a": MIN_A}, lower_w=0.0, upper_w=MIN_A * volts)


def _floored(amps: float, step: float) -> float:
    return round(math.floor(amps / step + 1e-9) * step, 3)
