"""Limitation of power consumption and production: one pure state machine, once per (guard, direction).

``step(control, event, rules)`` gives the next state and what follows from it. Instants are run seconds. Rule ids are
those of the EEBUS LPC/LPP test specification as field-notes quote them; the choices are in decision 0010.
"""

from typing import Literal

import msgspec

from agents.kit.instants import AHEAD_S
from contracts.power_limit import FAILSAFE_DURATION_S, HEARTBEAT_MISSING_S, Direction, State
from contracts.reasons import Reason

Silence = Literal["failsafe", "autonomous"]
Return = Literal["stay", "autonomous"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What sources leave open, and the site's figures that writes are held to."""

    init_silence: Silence = "failsafe"
    heartbeat_without_limit: Return = "stay"
    duration_over: Return = "stay"
    heartbeat_missing_s: float = HEARTBEAT_MISSING_S
    minimum_w: float = 0.0
    """Guaranteed power of the controllable devices (BK6-22-300, 4.5.2); consumption only."""
    refuse_below_minimum: bool = True
    nominal_w: float = 1e9
    """Nominal power of the direction, >= 0; beyond ten times of it a limit is absurd."""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of a limit; ``end`` None: until changed."""

    start: float
    end: float | None
    limit_w: float


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """The last valid active limit, as a setpoint (one slot) or a profile (several), and the trace of its write."""

    slots: tuple[Slot, ...]
    trace: str | None = None

    def at(self, now: float) -> Slot | None:
        return next((s for s in self.slots if s.start <= now and (s.end is None or now < s.end)), None)

    def over(self, now: float) -> bool:
        end = self.slots[-1].end
        return end is not None and now >= end


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """One contract: one guard, one direction. Stored durably as it is."""

    direction: Direction
    guard: str
    failsafe_w: float
    since: float
    mode: State = "init"
    failsafe_duration_s: float = FAILSAFE_DURATION_S[0]
    failsafe_stated: bool = False
    """The guard has written the failsafe values; until then they are the site's own."""
    held: Held | None = None
    heartbeat_at: float | None = None
    """When this guard was last heard; None while it never was."""
    grace_from: float = 0.0
    """Silence counts from here when no heartbeat is younger: start and restart give the guard the full time."""
    soft_until: float = 0.0
    """Soft start after a blackout ends then."""
    revision: int = 0
    """Writes that this one follows: of two stored states the higher is the newer."""
    talk: str = ""
    """The deal that the last write was."""
    said_at: float = 0.0
    """When the guard said the last limit that was taken, by its own clock."""
    failsafe_said_at: float = 0.0
    """The same of the failsafe values."""

    def quiet_since(self) -> float:
        return max(self.grace_from, self.heartbeat_at or 0.0)

    def in_force_w(self, now: float) -> float | None:
        """The bound that holds right now, None if there is none."""
        slot = self.held.at(now) if self.held is not None and self.mode == "limited" else None
        bounds = [slot.limit_w] if slot is not None else []
        if self.mode in ("init", "failsafe") or now < self.soft_until:  # LPC-901/1, LPC-911, LPC-912, NG-01
            bounds.append(self.failsafe_w)
        if not bounds:
            return None
        return min(bounds) if self.direction == "consumption" else max(bounds)


class HeartbeatHeard(msgspec.Struct, frozen=True):
    at: float
    sender: str


class LimitWritten(msgspec.Struct, frozen=True):
    """``held`` None lifts the limit; it has passed ``limit_rules.read_limit``. ``said_at``: by the guard's clock."""

    at: float
    sender: str
    held: Held | None
    said_at: float = 0.0


class FailsafeWritten(msgspec.Struct, frozen=True):
    """``said_at``: by the guard's clock."""

    at: float
    sender: str
    limit_w: float
    duration_s: float
    said_at: float = 0.0


class Tick(msgspec.Struct, frozen=True):
    at: float


class Restarted(msgspec.Struct, frozen=True):
    """The agent took this state up again after a crash or an outage."""

    at: float


class TakenBack(msgspec.Struct, frozen=True):
    """A write did not bind after all: its acceptance never got to the guard, nor ever will."""

    at: float
    after: Control
    before: Control


class SoftStart(msgspec.Struct, frozen=True):
    """The grid is back after a local blackout."""

    at: float
    until: float


Event = HeartbeatHeard | LimitWritten | FailsafeWritten | Tick | Restarted | TakenBack | SoftStart


class Refused(msgspec.Struct, frozen=True):
    """The write changed nothing."""

    reason: Reason


class Entered(msgspec.Struct, frozen=True):
    """The mode or the bound in force changed, and why."""

    mode: State
    reason: Reason


class GuardBack(msgspec.Struct, frozen=True):
    """The guard is heard (again) after it was not: it is owed our constraints (NG-01)."""

    guard: str


Effect = Refused | Entered | GuardBack


def step(control: Control, event: Event, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    """Pure. Every change of mode or bound gives an ``Entered``."""
    match event:
        case HeartbeatHeard():
            return _heartbeat(control, event, rules)
        case LimitWritten():
            return _written(control, event, rules)
        case FailsafeWritten():
            return _failsafe(control, event)
        case Tick(at=at):
            return _tick(control, at, rules)
        case Restarted(at=at):
            # The last valid limit goes on, its remaining time too; the guard gets the full time to be heard again.
            fresh = msgspec.structs.replace(control, heartbeat_at=None, grace_from=at)
            if fresh.mode == "init":
                fresh = msgspec.structs.replace(fresh, since=at)
            return _tick(fresh, at, rules)
        case TakenBack():
            return _take_back(control, event, rules)
        case SoftStart(at=at, until=until):
            soft = msgspec.structs.replace(control, soft_until=max(control.soft_until, until))
            text = "The grid is back after a blackout: the failsafe limit holds during the soft start."
            return soft, (Entered(soft.mode, Reason(code="soft_start", text=text, inputs={"left_s": until - at})),)


def _heartbeat(control: Control, event: HeartbeatHeard, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    if event.sender != control.guard:  # own or foreign heartbeats stand for nobody
        return control, ()
    late = control.heartbeat_at is None or event.at - control.heartbeat_at > rules.heartbeat_missing_s
    if late and control.mode != "failsafe":
        control, effects = _tick(control, event.at, rules)  # the silence counts although nobody ticked in time
    else:
        effects = ()
    grace = event.at if late else control.grace_from  # from its return it has the full time to state a limit
    control = msgspec.structs.replace(control, heartbeat_at=event.at, grace_from=grace)
    return control, (*effects, GuardBack(control.guard)) if late else ()


def _alive(control: Control, now: float, rules: Rules) -> bool:
    return now - control.quiet_since() <= rules.heartbeat_missing_s  # LPC-031


def _written(control: Control, event: LimitWritten, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    now = event.at
    if event.sender != control.guard:
        return control, (Refused(_not_guard(event.sender, control.guard)),)
    heard = control.heartbeat_at is not None and now - control.heartbeat_at <= rules.heartbeat_missing_s
    needs_heartbeat = control.mode in ("failsafe", "unlimited_autonomous")
    if (needs_heartbeat and not heard) or not _alive(control, now, rules):  # LPC-916, LPC-918
        text = f"No heartbeat of {control.guard} is younger than {rules.heartbeat_missing_s:g} s: send it, then write."
        return control, (Refused(Reason(code="heartbeat_first", text=text)),)
    if _overtaken(event.said_at, control.said_at, now):
        text = "A limit that was said later has been taken: say what holds now."
        return control, (Refused(Reason(code="overtaken", text=text)),)
    held = event.held
    if held is not None and held.over(now):
        return control, (Refused(Reason(code="already_over", text="The limit ends before now: write a later one.")),)
    mode: State = "limited" if held is not None and held.at(now) is not None else "unlimited_controlled"  # LPC-913
    control = msgspec.structs.replace(control, mode=mode, held=held, since=now, said_at=event.said_at)
    text = "The guard lifted the limit." if held is None else "The guard set a limit."
    return control, (Entered(mode, Reason(code="lifted" if held is None else "grid_limit", text=text)),)


def _overtaken(said_at: float, taken: float, now: float) -> bool:
    """Whether a write waited while we could not answer, and what the guard said later was taken meanwhile.

    A clock that was far ahead and has been put right is no reason to refuse.
    """
    return said_at < taken <= now + AHEAD_S


def _not_guard(sender: str, guard: str) -> Reason:
    text = f"{sender} is not the energy guard of this site: {guard} is, see the site's settings."
    return Reason(code="not_the_guard", text=text)


def _failsafe(control: Control, event: FailsafeWritten) -> tuple[Control, tuple[Effect, ...]]:
    if event.sender != control.guard:
        return control, (Refused(_not_guard(event.sender, control.guard)),)
    shortest, longest = FAILSAFE_DURATION_S
    if not shortest <= event.duration_s <= longest:  # LPC-022
        text = f"A failsafe duration of {event.duration_s:g} s is outside {shortest:g} s to {longest:g} s."
        return control, (Refused(Reason(code="failsafe_duration", text=text, binding="LPC-022")),)
    if _overtaken(event.said_at, control.failsafe_said_at, event.at):
        text = "Failsafe values that were said later have been taken: say what holds now."
        return control, (Refused(Reason(code="overtaken", text=text)),)
    before = control.in_force_w(event.at)
    control = msgspec.structs.replace(
        control,
        failsafe_w=event.limit_w,
        failsafe_duration_s=event.duration_s,
        failsafe_stated=True,
        failsafe_said_at=event.said_at,
    )
    if control.in_force_w(event.at) == before:
        return control, ()
    text = "The guard wrote a new failsafe limit while it is in force."
    return control, (Entered(control.mode, Reason(code="failsafe_written", text=text)),)


def _take_back(control: Control, event: TakenBack, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    if (control.guard, control.revision) != (event.after.guard, event.after.revision):
        return control, ()  # it never was in force, or something newer is
    since_then = {name: getattr(control, name) for name in ("heartbeat_at", "grace_from", "soft_until")}
    control, effects = _tick(msgspec.structs.replace(event.before, **since_then), event.at, rules)
    text = "The guard could not be told that its last write is accepted: what held before holds again."
    return control, (Entered(control.mode, Reason(code="not_bound", text=text)), *effects)


def _enter(control: Control, mode: State, now: float, code: str, text: str) -> tuple[Control, tuple[Effect, ...]]:
    held = control.held if mode in ("limited", "unlimited_controlled") else None  # LPC-918, LPC-919, LPC-920
    control = msgspec.structs.replace(control, mode=mode, since=now, held=held)
    return control, (Entered(mode, Reason(code=code, text=text)),)


def _tick(control: Control, now: float, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    soft: tuple[Effect, ...] = ()
    if 0.0 < control.soft_until <= now:
        text = "The soft start after the blackout is over."
        control = msgspec.structs.replace(control, soft_until=0.0)
        soft = (Entered(control.mode, Reason(code="soft_start_over", text=text)),)
    control, effects = _advance(control, now, rules)
    return control, (*soft, *effects)


def _advance(control: Control, now: float, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    alive = _alive(control, now, rules)
    match control.mode:
        case "init" if now - max(control.since, control.grace_from) > rules.heartbeat_missing_s:
            if alive or rules.init_silence == "autonomous":  # LPC-906
                return _enter(control, "unlimited_autonomous", now, "no_statement", "The guard has stated no limit.")
            return _enter(control, "failsafe", now, "no_heartbeat", "No guard has been heard since the start.")
        case "limited" | "unlimited_controlled" if not alive:
            text = f"No heartbeat of {control.guard} for more than {rules.heartbeat_missing_s:g} s."
            return _enter(control, "failsafe", now, "no_heartbeat", text)  # LPC-911, LPC-912
        case "limited" | "unlimited_controlled" if control.held is not None:
            return _follow(control, control.held, now)
        case "failsafe":
            return _leave_failsafe(control, now, alive, rules)
        case _:
            return control, ()


def _follow(control: Control, held: Held, now: float) -> tuple[Control, tuple[Effect, ...]]:
    """Periods of a profile start and limits end by themselves."""
    if held.over(now):
        control = msgspec.structs.replace(control, held=None)
        return _enter(control, "unlimited_controlled", now, "limit_over", "The limit's duration has passed.")
    slot = held.at(now)
    if slot is None or (control.mode == "limited" and control.since >= slot.start):
        return control, ()
    return _enter(control, "limited", now, "next_period", "A period of the limit profile has started.")


def _leave_failsafe(control: Control, now: float, alive: bool, rules: Rules) -> tuple[Control, tuple[Effect, ...]]:
    heard = control.heartbeat_at is not None and alive
    if heard:
        waited = now - max(control.grace_from, control.since)
        if rules.heartbeat_without_limit == "autonomous" and waited > rules.heartbeat_missing_s:  # LPC-921
            text = "The guard is back but has stated no limit in time."
            return _enter(control, "unlimited_autonomous", now, "no_statement", text)
        return control, ()
    if (
        rules.duration_over == "autonomous" and now - control.since >= control.failsafe_duration_s
    ):  # LPC-922, LPC-TS-012
        text = "The failsafe duration has passed and the guard stays away."
        return _enter(control, "unlimited_autonomous", now, "failsafe_over", text)
    return control, ()
