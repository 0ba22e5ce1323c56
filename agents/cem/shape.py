"""When an envelope is worth an order: less is told at once, more slowly, and nothing that does not matter. Pure."""

from dataclasses import dataclass, replace
from math import inf

from agents.cem.allocate import Envelope
from agents.cem.settings import CemSettings
from contracts.reasons import Reason


@dataclass(frozen=True, slots=True)
class Order:
    """What a device was told. Instants are run seconds."""

    lower_w: float | None
    upper_w: float | None
    setpoint_w: float | None
    standby: bool
    urgent: bool
    reason: Reason
    at: float
    held: bool
    since: float = -inf
    """When it was first told so; ``at`` is when it was last repeated."""
    raised_at: float = -inf
    off_since: float | None = None

    @property
    def free(self) -> bool:
        return self.lower_w is None and self.upper_w is None and self.setpoint_w is None and not self.standby

    def says_the_same(self, other: "Order") -> bool:
        return (self.lower_w, self.upper_w, self.setpoint_w, self.standby) == (
            other.lower_w,
            other.upper_w,
            other.setpoint_w,
            other.standby,
        )


def next_order(
    told: Order | None,
    wish: Envelope,
    now: float,
    settings: CemSettings,
    *,
    standby: bool,
    urgent: bool,
    load: bool,
    least_w: float = 0.0,
    unsure: bool = False,
) -> Order | None:
    """The order that is due, None when what was told still serves.

    ``load``: it is switched off by an upper bound of 0; ``least_w`` is what it takes at least while it is on;
    ``unsure``: something that nobody remembers may hold it, so it is told also that it is free.
    """
    if told is None and not standby and not unsure and wish.lower_w is wish.upper_w is wish.setpoint_w is None:
        return None
    new = _shaped(told, wish, now, settings, load, least_w) if not standby else None
    if new is None:
        new = Order(
            lower_w=None,
            upper_w=None,
            setpoint_w=None,
            standby=standby,
            urgent=urgent,
            reason=wish.reason,
            at=now,
            held=standby,
            raised_at=now,
            off_since=now if standby else None,
        )
    if told is not None and standby and told.standby:
        new = replace(new, off_since=told.off_since)
    new = replace(new, urgent=urgent, held=not new.free, since=now)
    if told is None or not new.says_the_same(told):
        return new
    if told.held and now - told.at >= settings.hold_s / 2:
        return replace(new, since=told.since)
    return None


def _shaped(
    told: Order | None, wish: Envelope, now: float, settings: CemSettings, load: bool, least_w: float
) -> Order | None:
    if wish.lower_w is wish.upper_w is wish.setpoint_w is None and wish.reason.code == "free":
        if told is None or not (load and _resting(told, now, settings)):
            return None
        return replace(told, at=now)
    old_upper = inf if told is None or told.upper_w is None else told.upper_w
    old_lower = -inf if told is None or told.lower_w is None else told.lower_w
    raised_at = -inf if told is None else told.raised_at
    off_since = None if told is None else told.off_since
    upper = inf if wish.upper_w is None else wish.upper_w
    lower = -inf if wish.lower_w is None else wish.lower_w
    may_raise = now - raised_at >= settings.raise_after_s and not (load and told and _resting(told, now, settings))
    new_upper, up = _bound(old_upper, upper, may_raise, settings, least_w)
    negative_lower, down = _bound(-old_lower, -lower, may_raise, settings, 0.0)
    new_lower = -negative_lower
    if new_lower > new_upper:  # one was tightened at once; what that needs of the other cannot wait for its step
        if new_lower > lower:
            new_lower = new_upper
        else:
            new_upper = new_lower
    if up or down:
        raised_at = now
    if load:
        off_since = (off_since or now) if new_upper <= 0 else None
    setpoint = wish.setpoint_w
    if setpoint is not None:
        setpoint = max(min(setpoint, new_upper), new_lower)
        old = told.setpoint_w if told is not None else None
        if old is not None and abs(setpoint - old) < settings.deadband_w and new_lower <= old <= new_upper:
            setpoint = old
    return Order(
        lower_w=None if new_lower == -inf else new_lower,
        upper_w=None if new_upper == inf else new_upper,
        setpoint_w=setpoint,
        standby=False,
        urgent=False,
        reason=wish.reason,
        at=now,
        held=True,
        raised_at=raised_at,
        off_since=off_since,
    )


def _resting(told: Order, now: float, settings: CemSettings) -> bool:
    return told.off_since is not None and now - told.off_since < settings.restart_after_s


def _bound(old: float, new: float, may_raise: bool, settings: CemSettings, least_w: float) -> tuple[float, bool]:
    """The next upper bound, and whether it was raised."""
    if new < old - settings.deadband_w or (new < old and (new == 0 or old == inf)):
        return new, False
    if new <= old + settings.deadband_w and new != inf:
        return old, False
    if not may_raise or new == old:
        return old, False
    if new == inf:
        return inf, True
    return min(new, max(old + settings.raise_step_w, least_w)), True
