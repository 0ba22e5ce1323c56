"""Keeps the clock of a run in containers: waits for everybody, holds a speed that all can follow, ends it."""

import asyncio
import logging
from datetime import UTC, datetime
from pathlib import Path

import anyio
import msgspec

from bus import metrics
from bus.clock import ClockFile, NoClock, SharedClock
from deploy.condition import CannotRun, Condition
from deploy.run.governor import Governor
from deploy.stage import clock_names
from deploy.telemetry.figures import kept
from deploy.topology import Topology

log = logging.getLogger("gridparley.clock")
LOOK_WALL_S = 1.0
STATUS_WALL_S = 10.0
SHOWN = 6
SILENT_WALL_S = 60.0
"""Who has not reported for so long is named: an agent's longest usual period, in real time."""


class Lags(msgspec.Struct, frozen=True, kw_only=True):
    """What a clock's keeper leaves beside it for the run's record: as in ``RunEnd``."""

    lags_s: dict[str, float] = {}
    held_back: int = 0

    @classmethod
    def read(cls, clock: Path) -> "Lags":
        """Empty where there are none."""
        try:
            return msgspec.json.decode(_lags(clock).read_bytes(), type=cls)
        except (OSError, msgspec.MsgspecError):
            return cls()


class ClockKeeper:
    """Owner of a clock file until ``condition.stop``; then file and speed stay as they are: others live on.

    wait_s   wall seconds that a run's start waits for processes that are not there yet

    Raises CannotRun.
    """

    def __init__(self, path: Path, topology: Topology, condition: Condition, *, wait_s: float) -> None:
        self.path, self.topology, self.condition, self.wait_s = path, topology, condition, wait_s
        self.names = clock_names(topology)
        try:
            self.file = self._take()
        except OSError as problem:
            raise CannotRun(f"the clock {path} cannot be made ({problem}): is its folder there and writable?") from None
        except NoClock as problem:
            raise CannotRun(str(problem)) from None
        self.clock = SharedClock(path)
        wanted = topology.run.speed
        self.governor = Governor(wanted, min(self.clock.speed, wanted))
        self._silent: list[str] = []

    def _take(self) -> ClockFile:
        start = self.topology.run.start.timestamp()
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return ClockFile(self.path, start=start, speed=0.0, slots=len(self.names))
        there = ClockFile.going_on(self.path, slots=len(self.names))
        now = SharedClock(self.path).now()
        if now < start:
            raise NoClock(self.path, f"is at {_text(now)}, before this run's start", "remove it to begin this run")
        log.info("%s goes on at %s", self.path, _text(now))
        return there

    async def keep(self) -> None:
        """Until it is told to stop. Raises CannotRun."""
        with kept("clock", "clock", scraped=self.condition.scraped):
            metrics.observe(metrics.CLOCK_SPEED, lambda: [(self.clock.speed, {})])
            metrics.observe(metrics.CLOCK_BEHIND, lambda: [(self.governor.p99_s, {})])
            metrics.observe(metrics.CLOCK_HELD_BACK, lambda: [(self.governor.held_back, {})])
            metrics.observe(metrics.CLOCK_SILENT, lambda: [(len(self._silent), {})])
            await self._keep()

    async def _keep(self) -> None:
        self.condition.ready()  # who waits for the clock to be healthy can find it now
        if not self._over() and self.clock.speed == 0.0 and not await self._all_here():
            return
        loop = asyncio.get_running_loop()
        heard, next_word = dict.fromkeys(self.names, loop.time()), loop.time() + STATUS_WALL_S
        while not self.condition.stop.is_set():
            if self._over():
                await self._hold()
                return
            now = loop.time()
            heard |= {name: now for name, here in zip(self.names, self.file.here(), strict=True) if here}
            # Also where nothing changes: should the machine stop, time goes on from the last look.
            self.file.set_speed(self.governor.look(self.file.lags()))
            self._silent = [name for name, at in heard.items() if now - at > SILENT_WALL_S]
            if now >= next_word:
                next_word = now + STATUS_WALL_S
                self._tell()
            left = max(0.0, self.topology.run.until.timestamp() - self.clock.now()) / self.clock.speed
            await self._nap(min(LOOK_WALL_S, left))
        self._leave()

    async def _all_here(self) -> bool:
        """Wait for all, as long as that may take; False when it is to stop."""
        loop = asyncio.get_running_loop()
        until, next_word = loop.time() + self.wait_s, loop.time() + STATUS_WALL_S
        while missing := [name for name, here in zip(self.names, self.file.here(), strict=True) if not here]:
            if loop.time() >= until:
                log.warning("not there after %g s: %s; the run starts without them", self.wait_s, ", ".join(missing))
                break
            if loop.time() >= next_word:
                next_word += STATUS_WALL_S
                log.info("waiting for %s", _some(missing))
            await self._nap(LOOK_WALL_S / 5)
            if self.condition.stop.is_set():
                return False
        else:
            log.info("all %d are there", len(self.names))
        log.info("the run starts at %s, at %gx", _text(self.clock.now()), self.governor.speed)
        return True

    def _over(self) -> bool:
        return self.clock.now() >= self.topology.run.until.timestamp()

    async def _hold(self) -> None:
        if self.clock.speed:
            self.file.set_speed(0.0)
            self._leave()
        log.info("the run is over: time is held at %s; remove %s to begin anew", _text(self.clock.now()), self.path)
        await self.condition.stop.wait()

    def _tell(self) -> None:
        log.info(
            "%s at %.3gx of %gx, p99 lag %.1f s, held back %d times%s",
            _text(self.clock.now()),
            self.clock.speed,
            self.governor.wanted,
            self.governor.p99_s,
            self.governor.held_back,
            f"; silent for a minute: {_some(self._silent)}" if self._silent else "",
        )
        self._leave()

    def _leave(self) -> None:
        """The record's share of what only the keeper knows."""
        content = msgspec.json.encode(Lags(lags_s=self.governor.summary(), held_back=self.governor.held_back))
        fresh = _lags(self.path).with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(_lags(self.path))

    async def _nap(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.condition.stop.wait()


def _lags(clock: Path) -> Path:
    return clock.with_name(clock.name + ".lags.json")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _text(instant: float) -> str:
    return datetime.fromtimestamp(instant, UTC).isoformat(timespec="seconds")
