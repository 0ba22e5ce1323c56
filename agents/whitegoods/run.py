"""How far a machine is, told from what its socket shows: supply or none, and how much it draws. Pure."""

from itertools import pairwise
from typing import Literal

import msgspec

from contracts.profiles import PowerSlot

Phase = Literal["idle", "caught", "waiting", "running", "paused", "finished"]
"""``caught``: somebody pressed start and its supply is still on; ``waiting``: it has been taken away until its time."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Of one filling of the machine.

    since      instant at which the phase began
    elapsed_s  how long it has been at work, pauses left out
    quiet_s    for how long it has drawn as good as nothing
    at         instant of the last look
    halted     a bound has paused it, so that its end gives it free again
    """

    phase: Phase = "idle"
    since: float = 0.0
    elapsed_s: float = 0.0
    quiet_s: float = 0.0
    at: float = 0.0
    halted: bool = False


class Signs(msgspec.Struct, frozen=True, kw_only=True):
    """What draws ``starts_at_w`` has been started; what draws less than ``ended_below_w`` for ``ended_after_s`` is
    through, or its door was opened: a socket cannot tell these apart. ``holds``: a start has to wait for its time.
    """

    starts_at_w: float
    ended_below_w: float
    ended_after_s: float
    holds: bool = True


def follow(run: Run, signs: Signs, *, supply: bool, power_w: float, at: float) -> Run:
    """The run after one more look."""
    past = max(at - run.at, 0.0) if run.at else 0.0
    match run.phase:
        case "idle" | "finished" if supply and power_w >= signs.starts_at_w:
            return Run(phase="caught" if signs.holds else "running", since=at, at=at)
        case "caught" if not supply:
            return _now("waiting", run, at)
        case "waiting" | "paused" if supply:
            return _now("running", msgspec.structs.replace(run, halted=False), at)
        case "running" if not supply:
            return _now("paused", run, at)
        case "running":
            quiet = run.quiet_s + past if power_w < signs.ended_below_w else 0.0
            if quiet >= signs.ended_after_s:
                return _now("finished", run, at)
            return msgspec.structs.replace(run, elapsed_s=run.elapsed_s + past, quiet_s=quiet, at=at)
        case "caught":
            return msgspec.structs.replace(run, elapsed_s=run.elapsed_s + past, at=at)
        case _:
            return msgspec.structs.replace(run, at=at)


def _now(phase: Phase, run: Run, at: float) -> Run:
    return msgspec.structs.replace(run, phase=phase, since=at, quiet_s=0.0, at=at)


def aligned(slots: tuple[PowerSlot, ...], elapsed_s: float, power_w: float) -> float:
    """Where in its programme a machine is that draws ``power_w``, if the time alone says ``elapsed_s``.

    Only heating is plain to see. What heats although its step does not is in the next one that does; what no longer
    heats in the second half of a heating step is through with it.
    """
    heats_from_w = max((slot.power_w for slot in slots), default=0.0) / 2
    heats, begins = power_w >= heats_from_w, 0.0
    for slot, after in pairwise(slots):
        ends = begins + slot.duration_s
        if elapsed_s < ends:
            here, there = slot.power_w >= heats_from_w, after.power_w >= heats_from_w
            far_enough = not here or elapsed_s - begins >= slot.duration_s / 2
            return ends if heats == there != here and far_enough else elapsed_s
        begins = ends
    return elapsed_s
