"""A world run by the clock, or as fast as it goes."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from world.spec import WorldSpec
from world.truth import Truth, TruthLog
from world.world import Snapshot, World

_LONGEST_STEP_S = 10.0
_FAR_BEHIND_STEPS = 120


class Clock(Protocol):
    """The run's clock: unix seconds of run time."""

    def now(self) -> float: ...
    async def sleep_until(self, instant: float) -> None: ...
    def late(self, seconds: float) -> None: ...


def simulate(spec: WorldSpec, until: datetime, *, step_s: float = 10.0) -> Truth:
    """The same physics from the same seed without bus, registers or control, as fast as it goes.

    A row per ``spec.log_every_s``, as in a run's own truth. Faults among the events have no meaning here.
    """
    world = World(spec, served=False)
    rows, end = [], until.timestamp()
    next_row = world.instant
    while world.instant < end:
        world.step(min(step_s, end - world.instant))
        if world.instant >= next_row:
            rows.append(tuple(world.row()))
            next_row += max(spec.log_every_s, step_s)
    return Truth(tuple(world.columns()), tuple(rows))


async def run_world(
    spec: WorldSpec, clock: Clock, ready: Callable[[World], object], truth_path: Path | None = None
) -> None:
    """Serve the street until cancelled.

    ready       called once with the world when all gateways listen
    truth_path  CSV of the truth; beside it, with suffix ``.state``, what a restarted world goes on from

    A step that comes late is made up for; a world that is far behind takes longer steps until it has caught up, so it
    never drifts. The lag is in the truth.
    """
    world = World(spec)
    state_path = truth_path.with_suffix(".state") if truth_path else None
    resumed = _resume(world, state_path, clock)
    log = TruthLog(truth_path, world.columns(), continued=resumed) if truth_path else None
    if not resumed:
        world.step(spec.step_s)  # registers hold physics, not zeros, from the first look on
    try:
        await world.start()
        ready(world)
        next_row = world.instant
        while True:
            await clock.sleep_until(world.instant + spec.step_s)
            lag = clock.now() - world.instant - spec.step_s
            behind = lag / spec.step_s
            world.step(min(max(lag, spec.step_s), _LONGEST_STEP_S) if behind > _FAR_BEHIND_STEPS else spec.step_s)
            clock.late(max(lag, 0.0))
            if log is not None and world.instant >= next_row:
                log.write(world.row(max(lag, 0.0)))
                _replace(state_path, msgspec.json.encode(world.dump()))
                next_row = world.instant - world.instant % spec.log_every_s + spec.log_every_s
            # A sleep that is over at once does not let the sockets in.
            await asyncio.sleep(0)
    finally:
        if log is not None:
            log.close()
        await world.stop()


def _resume(world: World, path: Path | None, clock: Clock) -> bool:
    if path is None or not path.exists():
        return False
    state = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    if state.instant > clock.now() + world.spec.step_s:
        return False  # left by another run, whose clock was further
    world.resume(state)
    return True


def _replace(path: Path | None, content: bytes) -> None:
    if path is None:
        return
    fresh = path.with_suffix(".state.new")
    fresh.write_bytes(content)
    fresh.replace(path)
