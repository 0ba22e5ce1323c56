"""What a person is answered, from what the device then does. Pure."""

from datetime import datetime

from agents.cem.hand import Goal, Hand, in_words
from agents.cem.premises import Device
from bus.envelope import instant
from contracts.hand import ControlTaken
from contracts.reasons import Reason


def resting(device: Device, rest_s: float, goal: Goal, now: float, until: datetime | None) -> ControlTaken:
    """Its minimum times go first; it is done after ``rest_s``."""
    at = instant(now + rest_s)
    what = "run" if goal.kind == "off" else "rest"
    text = f"{device.name} has to {what} another {rest_s:.0f} s, then it is done: its minimum times protect it."
    reason = Reason(code="minimum_times", text=text, binding="minimum_times", inputs={"remaining_s": rest_s})
    return ControlTaken(state=doing(device), at=at, until=until, reason=reason)


def held_back(device: Device, bound: Reason, until: datetime | None) -> ControlTaken | Reason:
    """A limit goes first: as far as it allows, or not at all."""
    told = device.told
    upper = told.upper_w if told is not None else None
    if told is None or told.standby or (upper is not None and upper <= 0 and device.announce.nominal_upper_w > 0):
        text = f"{bound.text} That goes before the hand."
        return Reason(code=bound.code, text=text, binding=bound.binding or bound.code, inputs=bound.inputs)
    state = f"held to {upper:.0f} W" if upper is not None else doing(device)
    text = f"As far as possible: {bound.text}"
    reason = Reason(code=bound.code, text=text, binding=bound.binding or bound.code, inputs=bound.inputs)
    return ControlTaken(state=state, until=until, reason=reason)


def done(device: Device, hand: Hand | None, until: datetime | None) -> ControlTaken:
    """It does so, or is given back."""
    state = doing(device)
    if hand is None:
        reason = Reason(code="released", text=f"{device.name} is given back: it runs by plan and limits.")
    else:
        text = f"{device.name} does as {hand.user} wants: {in_words(hand)}."
        reason = Reason(code="hand", text=text, binding="hand")
        if hand.action in ("business_as_usual", "hot_water"):
            state = f"{in_words(hand)}, {state}"
    return ControlTaken(state=state, until=until, reason=reason)


def later(device: Device, hand: Hand, starts: datetime, local: datetime, until: datetime | None) -> ControlTaken:
    """Its time is still to come; ``local`` is the same instant by the clock on the wall."""
    text = f"{device.name} starts {local:%H:%M}, as {hand.user} wants it."
    reason = Reason(code="hand", text=text, binding="hand")
    return ControlTaken(state="waits for its time", at=starts, until=until, reason=reason)


def not_yet(device: Device, until: datetime | None) -> ControlTaken:
    """It was told, and its readings do not show it."""
    text = f"{device.name} was told so, and does not show it yet: {doing(device)}. What is told holds on."
    return ControlTaken(state=doing(device), until=until, reason=Reason(code="not_yet", text=text))


def doing(device: Device) -> str:
    """``off``, ``takes 2000 W``, ``silent``."""
    reading = device.reading
    if reading is None:
        return "silent"
    if abs(reading.power_w) <= 50.0:
        return "off" if reading.operating in ("off", "paused", "idle") else reading.operating
    return f"{'generates' if reading.power_w < 0 else 'takes'} {abs(reading.power_w):.0f} W"
