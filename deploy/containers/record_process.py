"""The recorder of a run in containers: it makes the run's folder, or goes on with the one that is there."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import anyio

from bus.address import Address
from bus.clock import Clock
from deploy.condition import CannotRun, Condition
from deploy.containers.clock_keeper import Lags
from deploy.doors import Doors
from deploy.records.home_recorder import HomeRecorder
from deploy.records.recorder import Recorder
from deploy.records.run_facts import END, RECORDS, RUN, NoRun, RunEnd, RunFacts
from deploy.records.talks import HOMES
from deploy.topology import GRID

log = logging.getLogger("gridparley.recorder")


async def record_run(
    doors: Doors, who: Address, clock: Clock, folder: Path, condition: Condition, clock_file: Path | None = None
) -> None:
    """Record until ``condition.stop`` what this recorder may hear: the grid side, or the inside of its home.

    clock_file   beside which the clock's keeper leaves how late the run was

    The run's end is written when its time is over, and when the recorder is stopped. Raises CannotRun, BusUnavailable.
    """
    facts = RunFacts.of(doors.topology)
    try:
        begin(folder, facts, goes_on=who.site == GRID)
    except OSError as problem:
        raise CannotRun(f"the folder {folder} cannot be used ({problem}): this user must be able to write it") from None
    bus = doors.bus(who, clock)

    def look() -> str | None:
        return None if bus.connection.connected else f"not connected to {bus.connection.url}"

    condition.look = look
    at_home = who.site != GRID
    listener: Recorder | HomeRecorder = (
        HomeRecorder(bus, folder / RECORDS / HOMES / who.site) if at_home else Recorder(bus, folder / RECORDS, facts)
    )

    async def say_ready() -> None:
        await listener.records.wait()
        condition.ready()
        log.info("%s records into %s", who, folder)

    async def end_with_the_run() -> None:
        await clock.sleep_until(doors.topology.run.until.timestamp())
        _end(folder, facts, clock, clock_file)
        log.info("the run is over: `gridparley report %s`", folder)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(say_ready)
            if not at_home:
                group.start_soon(end_with_the_run)
            await listener.run(condition.stop)
            group.cancel_scope.cancel()
    finally:
        if not at_home and condition.is_ready:
            _end(folder, facts, clock, clock_file)
        with anyio.CancelScope(shield=True):
            await bus.connection.close()


def begin(folder: Path, facts: RunFacts, *, goes_on: bool) -> None:
    """Raises CannotRun: another run's folder.

    goes_on   an end that is written there is none: who records one home of the run cannot know
    """
    try:
        known = RunFacts.read(folder)
    except NoRun:
        if (folder / RUN).exists():
            raise CannotRun(f"{folder / RUN} does not decode: remove the folder, or choose another") from None
        facts.write(folder)
        return
    if (known.topology, known.start) != (facts.topology, facts.start):
        cause = f"{known.topology}, from {known.start.isoformat()} on"
        raise CannotRun(f"{folder} holds another run ({cause}): choose another folder, or remove it")
    if goes_on:
        (folder / END).unlink(missing_ok=True)


def _end(folder: Path, facts: RunFacts, clock: Clock, clock_file: Path | None) -> None:
    ended = datetime.fromtimestamp(clock.now(), UTC)
    lags = Lags.read(clock_file) if clock_file is not None else Lags()
    ended = min(ended, facts.until) if facts.until is not None else ended
    RunEnd(ended=ended, lags_s=lags.lags_s, held_back=lags.held_back).write(folder)
