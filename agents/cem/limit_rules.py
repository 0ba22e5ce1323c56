"""What a write must be before it may bind: every refusal names its reason. Pure."""

from math import isfinite

from agents.cem.limit_state import Held, Rules, Slot
from contracts.power_limit import Direction, SetFailsafe, SetLimit
from contracts.reasons import Reason

ABSURD = 10.0
"""A limit beyond this multiple of the nominal power is a fault of the writer, not a limit (ours)."""
CLOSE_S = 0.001
"""Instants travel with microseconds; slots that meet within this have no gap."""


def check_value(limit_w: float, direction: Direction, rules: Rules) -> Reason | None:
    """Why this value may not bind, None if it may."""
    inputs = {"limit_w": limit_w} if isfinite(limit_w) else {}
    if not isfinite(limit_w):
        return Reason(code="not_a_number", text="The limit is no finite number of watts.")
    if direction == "consumption" and limit_w < 0:  # LPC-001
        text = "A consumption limit is not negative: to bound feed-in write a production limit."
        return Reason(code="wrong_sign", text=text, binding="LPC-001", inputs=inputs)
    if direction == "production" and limit_w > 0:  # LPC-001, LPP
        text = "A production limit is not positive: to bound consumption write a consumption limit."
        return Reason(code="wrong_sign", text=text, binding="LPC-001", inputs=inputs)
    if abs(limit_w) > ABSURD * rules.nominal_w:
        text = f"The limit is beyond {ABSURD:g} times the nominal {rules.nominal_w:g} W: lift the limit instead."
        return Reason(code="absurd", text=text, inputs={**inputs, "nominal_w": rules.nominal_w})
    if direction == "consumption" and rules.refuse_below_minimum and limit_w < rules.minimum_w:
        text = f"The controllable devices are entitled to {rules.minimum_w:g} W: no limit goes below it."
        inputs["minimum_w"] = rules.minimum_w
        return Reason(code="below_minimum", text=text, binding="BK6-22-300 4.5", inputs=inputs)
    return None


def read_limit(write: SetLimit, now: float, rules: Rules, trace: str | None = None) -> Held | Reason | None:
    """The limit that a write states, None when it lifts, a Reason when it may not bind."""
    if not write.active:
        return None
    if (write.limit_w is None) == (not write.profile):
        text = "State exactly one of a setpoint and a profile."
        return Reason(code="setpoint_or_profile", text=text)
    if write.limit_w is not None:
        wrong = check_value(write.limit_w, write.direction, rules)
        if wrong is None and write.duration_s is not None and not 0 < write.duration_s < float("inf"):
            text = "A duration is positive; leave it out for a limit that holds until it is changed."
            wrong = Reason(code="bad_duration", text=text, inputs={"duration_s": write.duration_s})
        if wrong is not None:
            return wrong
        end = None if write.duration_s is None else now + write.duration_s
        return Held(slots=(Slot(start=now, end=end, limit_w=write.limit_w),), trace=trace)
    return _read_profile(write, now, rules, trace)


def _read_profile(write: SetLimit, now: float, rules: Rules, trace: str | None) -> Held | Reason:
    if write.duration_s is not None:
        return Reason(code="bad_duration", text="A profile ends with its last slot: leave the duration out.")
    slots: list[Slot] = []
    for n, given in enumerate(write.profile):
        wrong = check_value(given.limit_w, write.direction, rules)
        if wrong is not None:
            return wrong
        start = given.start.timestamp()
        if not 0 < given.duration_s < float("inf"):
            return Reason(code="bad_duration", text=f"Slot {n} of the profile has no positive duration.")
        if slots and abs(start - (slots[-1].end or 0.0)) > CLOSE_S:
            kind = "gap" if start > (slots[-1].end or 0.0) else "overlap or a wrong order"
            return Reason(code="bad_profile", text=f"The profile has a {kind} before slot {n}.")
        # Joined exactly, so that rounding leaves no instant without a limit.
        start = (slots[-1].end or start) if slots else start
        slots.append(Slot(start=start, end=given.start.timestamp() + given.duration_s, limit_w=given.limit_w))
    held = Held(slots=tuple(slots), trace=trace)
    if held.over(now):
        return Reason(code="already_over", text="The profile ends before now: write a later one.")
    return held


def check_failsafe(write: SetFailsafe, consumption: Rules, production: Rules) -> Reason | None:
    """Why these failsafe values may not be stored; the duration is the state machine's (LPC-022)."""
    return check_value(write.consumption_w, "consumption", consumption) or check_value(
        write.production_w, "production", production
    )
