"""One command per interval from a price and a threshold. Pure; IEC-JWG1111, 112x, 13, 16, decision 0032.

A generator's power is negative; ``more`` and ``less`` are steps of the power that it has now.
"""

from datetime import time
from typing import Literal

import msgspec

from contracts.reasons import Reason

Action = Literal["on", "increase", "off", "decrease", "feed_in", "hold"]


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Of the device, as it says itself. ``most_w`` is signed: a generator's is negative."""

    power_w: float
    on: bool
    most_w: float
    least_w: float = 0.0
    ready: bool = True
    level_percent: float | None = None
    conflict: str = ""
    """What speaks against feeding in, in words."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What its user has set. Prices in EUR/kWh, ``window`` in local time."""

    above: float | None = None
    below: float | None = None
    step_w: float | None = None
    reserve_percent: float | None = None
    window: tuple[time, time] | None = None
    starts_at: bool = False
    """A price that equals the threshold starts it (a generator, IEC-JWG16); a fuel cell's is not exceeded then."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """``setpoint_w`` None with ``off`` False: leave it to itself."""

    action: Action
    setpoint_w: float | None = None
    off: bool = False
    reason: Reason


def _because(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="price_threshold", inputs=inputs)


def for_generator(limits: Limits, state: State, price: float | None, at: time) -> Command | None:
    """A fuel cell or another generator. None: nothing is set, or there is no price to compare."""
    wanted: bool
    if limits.window is not None:
        start, end = limits.window
        wanted = start <= at < end if start <= end else at >= start or at < end
        reason = _because("peak_window", f"its window is {start:%H:%M} to {end:%H:%M}")
    elif limits.above is not None and price is not None:
        wanted = price >= limits.above if limits.starts_at else price > limits.above
        word = "reaches" if wanted else "is below"
        figures = {"price_eur_per_kwh": price, "threshold_eur_per_kwh": limits.above}
        reason = _because(
            "price_above" if wanted else "price_below", f"{price:.3f} EUR/kWh {word} {limits.above:.3f}", **figures
        )
    else:
        return None
    if not wanted:
        return _less(limits, state, reason)
    if not state.ready and not state.on:
        text = f"{reason.text}, but it is not ready"
        return Command(action="off", off=True, reason=_because("not_ready", text, **reason.inputs))
    return _more(limits, state, reason)


def for_heat(limits: Limits, state: State, price: float | None) -> Command | None:
    """Cheap means on; a price at the threshold is cheap enough."""
    threshold = limits.below if limits.below is not None else limits.above
    if threshold is None or price is None:
        return None
    cheap = price <= threshold
    figures = {"price_eur_per_kwh": price, "threshold_eur_per_kwh": threshold}
    if cheap:
        return _more(limits, state, _because("price_below", f"{price:.3f} EUR/kWh: at most {threshold:.3f}", **figures))
    return _less(limits, state, _because("price_above", f"{price:.3f} EUR/kWh: above {threshold:.3f}", **figures))


def for_storage(limits: Limits, state: State, price: float | None) -> Command | None:
    """Feeds in above the price, with enough in it and nothing against it; else it is left to itself."""
    if limits.above is None or price is None:
        return None
    figures = {"price_eur_per_kwh": price, "threshold_eur_per_kwh": limits.above}
    reserve = limits.reserve_percent or 0.0
    if price <= limits.above:
        return Command(action="hold", reason=_because("price_below", "the price does not exceed it", **figures))
    if state.level_percent is None or state.level_percent <= reserve:
        text = f"it would sell, but {reserve:g} % are to stay in it"
        return Command(action="hold", reason=_because("level_too_low", text, **figures))
    if state.conflict:
        return Command(action="hold", reason=_because("conflict", f"it would sell, but {state.conflict}", **figures))
    text = f"{price:.3f} EUR/kWh: above {limits.above:.3f}"
    return Command(action="feed_in", setpoint_w=state.most_w, reason=_because("price_above", text, **figures))


def _more(limits: Limits, state: State, reason: Reason) -> Command:
    if limits.step_w is None or not state.on:
        if limits.step_w is None:
            return Command(action="on", setpoint_w=state.most_w, reason=reason)
        least = min(max(state.least_w, limits.step_w), abs(state.most_w))
        return Command(action="on", setpoint_w=_signed(least, state.most_w), reason=reason)
    watts = min(abs(state.power_w) + limits.step_w, abs(state.most_w))
    return Command(action="increase", setpoint_w=_signed(watts, state.most_w), reason=reason)


def _less(limits: Limits, state: State, reason: Reason) -> Command:
    watts = abs(state.power_w) - (limits.step_w or 0.0)
    if limits.step_w is None or not state.on or watts < max(state.least_w, 1.0):
        return Command(action="off", off=True, reason=reason)
    return Command(action="decrease", setpoint_w=_signed(watts, state.most_w), reason=reason)


def _signed(watts: float, like: float) -> float:
    return -watts if like < 0 else watts
