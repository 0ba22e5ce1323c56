"""The run's time. Agents never ask the operating system; they ask this.

A run has one clock: real time, or real time multiplied. All processes of a run share it through a small file that they
map into memory, so its owner can slow the run down for all at once, and each process can report how late it is.
"""

import asyncio
import mmap
import time
from collections.abc import Awaitable, Callable
from heapq import heapify, heappop, heappush
from itertools import count
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

import anyio
from anyio.lowlevel import checkpoint

_MAGIC = b"gpclock3"
_SLOTS_AT = 64
_WORD = 8
_SLOT = 2 * _WORD
# Native 8-byte words after the magic: version, then twice monotonic, run, speed; from byte 64 one lag per process, then
# as many skews. They are written as single items of a memoryview: struct.pack_into would zero the whole field list
# first, for all to see.
# An owner writes the bank that nobody reads, so one that is killed meanwhile leaves the other whole for its successor.
_VERSION, _BANKS, _BANK = 1, 2, 3
_MONOTONIC, _RUN, _SPEED = 0, 1, 2
_HERE = 1e-9  # a lag that slows nobody and still is not 0
_LONGEST_NAP_S = 0.5  # wall seconds: a change of speed is noticed at least this soon
_GIVEN_UP = 64  # sleepers that were cancelled and are still in the list: tidied up when they are most of it
WIRE_WALL_S = 0.75
"""Wall seconds that any answer is given: wires, disks and processes do not go faster when the run does."""


class Clock(Protocol):
    """Run time in Unix seconds."""

    @property
    def speed(self) -> float:
        """Run seconds per wall second; 0 while time stands or only moves when told to."""
        ...

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...

    async def sleep_until(self, instant: float) -> None: ...

    def late(self, seconds: float) -> None:
        """Report how late something due was done."""
        ...


def patience(clock: Clock, seconds: float) -> float:
    """Run seconds to wait for somebody else: as asked, but never less wall time than an answer takes."""
    return max(seconds, WIRE_WALL_S * clock.speed)


class WallClock:
    """Real time: what agents in containers use."""

    speed = 1.0

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    async def sleep_until(self, instant: float) -> None:
        await anyio.sleep(max(0.0, instant - time.time()))

    def late(self, seconds: float) -> None:
        """Nobody slows real time down, so nobody has to know."""

    def here(self) -> None:
        """Real time waits for nobody."""


class NoClock(ValueError):
    """A file that is no clock of a run, or of another one."""

    def __init__(self, path: Path, cause: str, remedy: str) -> None:
        super().__init__(f"{path} {cause}: {remedy}")
        self.path = path


class ClockFile:
    """The shared clock, seen from its owner.

    ``slots`` is the number of processes that report their lag, one number each.
    """

    def __init__(self, path: Path, *, start: float, speed: float, slots: int) -> None:
        fresh = path.with_name(path.name + ".new")  # who waits for the file finds it whole
        fresh.write_bytes(bytes(_SLOTS_AT + _SLOT * slots))
        self._take(_map(fresh))
        self.path = path
        self._write(0, time.monotonic(), start, speed)
        self._view[:8] = _MAGIC
        fresh.replace(path)

    @classmethod
    def going_on(cls, path: Path, *, slots: int) -> "ClockFile":
        """Own a clock that is there; its time, speed and lags stay as they are, whatever ended its last owner.

        After a restart of the machine, whose monotonic clock began anew, time goes on from the last ``set_speed``.
        Raises NoClock, also for one with other slots.
        """
        self = cls.__new__(cls)
        self.path = path
        self._take(_clock(path))
        if self._slots != slots:
            cause = f"has slots for {self._slots} processes, this topology has {slots}"
            raise NoClock(path, cause, "it is another run's; remove it to begin a new run")
        self._words[_VERSION] &= ~1  # a predecessor that was killed while it wrote: what it began never was
        version, now_wall = self._words[_VERSION], time.monotonic()
        at = _bank(version)
        if self._floats[at + _MONOTONIC] > now_wall:
            self._write(version, now_wall, self._floats[at + _RUN], self._floats[at + _SPEED])
        return self

    def _take(self, view: memoryview) -> None:
        self._view, self._words, self._floats = view, view.cast("Q"), view.cast("d")
        self._slots = (len(view) - _SLOTS_AT) // _SLOT

    def _write(self, version: int, monotonic: float, run: float, speed: float) -> None:
        at = _bank(version + 2)
        self._floats[at + _MONOTONIC], self._floats[at + _RUN], self._floats[at + _SPEED] = monotonic, run, speed
        self._words[_VERSION] = version + 2

    def set_speed(self, speed: float) -> None:
        """Go on from now at another speed; 0 holds the run. Run time never jumps."""
        version = self._words[_VERSION]
        self._words[_VERSION] = version + 1  # odd while being written: who sees that, or a change, reads again
        now_wall = time.monotonic()
        at = _bank(version)
        run = self._floats[at + _RUN] + (now_wall - self._floats[at + _MONOTONIC]) * self._floats[at + _SPEED]
        self._write(version, now_wall, run, speed)

    def lags(self) -> list[float]:
        """The worst lag of each process since the last call, run seconds."""
        first = _SLOTS_AT // _WORD
        out = list(self._floats[first : first + self._slots])
        for slot in range(first, first + self._slots):
            self._floats[slot] = 0.0
        return out

    def skew(self, slot: int, ahead_s: float) -> None:
        """Let one process see run time so much ahead (< 0: behind) from now on: clocks of machines of their own are
        never quite the same."""
        self._floats[_SLOTS_AT // _WORD + self._slots + slot] = ahead_s

    def here(self) -> list[bool]:
        """Which processes have reported since the last call of ``lags``."""
        first = _SLOTS_AT // _WORD
        return [lag > 0 for lag in self._floats[first : first + self._slots]]


class SharedClock:
    """The shared clock, seen from a process of the run. ``slot`` is where it reports its lag."""

    def __init__(self, path: Path, slot: int | None = None) -> None:
        view = _clock(path)
        self._words, self._floats = view.cast("Q"), view.cast("d")
        slots = (len(view) - _SLOTS_AT) // _SLOT
        known = slot is not None and slot < slots
        self._slot = _SLOTS_AT // _WORD + slot if slot is not None and known else None
        self._skew = self._slot + slots if self._slot is not None else None
        self._alarms: WeakKeyDictionary[asyncio.AbstractEventLoop, _Alarms] = WeakKeyDictionary()

    def _read(self) -> tuple[float, float]:
        """(run time now, speed), both of one version: the wall is read inside, so time runs back by a skew alone."""
        words, floats = self._words, self._floats
        while True:
            version = words[_VERSION]
            at = _BANKS + _BANK * (version >> 1 & 1)
            speed = floats[at + _SPEED]
            now = floats[at + _RUN] + (time.monotonic() - floats[at + _MONOTONIC]) * speed
            if self._skew is not None:
                now += floats[self._skew]
            if words[_VERSION] == version and not version & 1:
                return now, speed

    @property
    def speed(self) -> float:
        return self._read()[1]

    def now(self) -> float:
        return self._read()[0]

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self.now() + seconds)

    async def sleep_until(self, instant: float) -> None:
        if instant <= self._read()[0]:
            await checkpoint()
            return
        loop = asyncio.get_running_loop()
        alarms = self._alarms.get(loop)
        if alarms is None:
            alarms = self._alarms[loop] = _Alarms(self._read)
        await alarms.wait(instant)

    def late(self, seconds: float) -> None:
        if self._slot is not None and seconds > self._floats[self._slot]:
            self._floats[self._slot] = seconds

    def here(self) -> None:
        """Report that this process is ready, which is not a lag."""
        self.late(_HERE)


class _Alarms:
    """All sleepers of one event loop behind one timer.

    Run time may change its speed, so whoever sleeps long has to look at the clock now and then: here one looks for all.
    """

    def __init__(self, read: Callable[[], tuple[float, float]]) -> None:
        self._read = read
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._given_up = 0
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, instant: float) -> None:
        """Until the run's time is ``instant``, never less."""
        loop = asyncio.get_running_loop()
        sleeper = loop.create_future()
        heappush(self._sleepers, (instant, next(self._numbers), sleeper))
        if self._sleepers[0][2] is sleeper:
            self._set(loop)
        try:
            await sleeper
        except asyncio.CancelledError:
            self._given_up += 1
            if self._given_up >= min(len(self._sleepers), max(_GIVEN_UP, len(self._sleepers) // 2)):
                self._sleepers[:] = [one for one in self._sleepers if not one[2].done()]
                heapify(self._sleepers)
                self._given_up = 0
            raise

    def _set(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        now, speed = self._read()
        left = max(0.0, self._sleepers[0][0] - now)
        nap = min(left / speed, _LONGEST_NAP_S) if speed > 0 else _LONGEST_NAP_S / 10
        self._timer = loop.call_later(nap, self._ring, loop)

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        now, _ = self._read()
        while self._sleepers and (self._sleepers[0][0] <= now or self._sleepers[0][2].done()):
            _, _, sleeper = heappop(self._sleepers)
            if sleeper.done():
                self._given_up = max(0, self._given_up - 1)
            else:
                sleeper.set_result(None)
        self._timer = None
        if self._sleepers:
            self._set(loop)


def _bank(version: int) -> int:
    """Where the numbers of a version begin."""
    return _BANKS + _BANK * (version >> 1 & 1)


def _clock(path: Path) -> memoryview:
    """Raises NoClock, OSError."""
    view = _map(path) if path.stat().st_size else memoryview(b"")
    if len(view) < _SLOTS_AT or view[:8] != _MAGIC:
        raise NoClock(path, "is no clock of a run", "`gridparley up` and `gridparley clock` make one")
    return view


def _map(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 0))


class SteppedClock:
    """A clock for tests: it moves when it is told to, and wakes sleepers in order."""

    speed = 0.0

    def __init__(self, start: float = 1_463_745_600.0, idle: Callable[[], Awaitable[None]] | None = None) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._count = 0
        self._idle = idle or _let_others_run

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now + seconds)

    async def sleep_until(self, instant: float) -> None:
        if instant <= self._now:
            await checkpoint()
            return
        event = anyio.Event()
        self._count += 1
        heappush(self._sleepers, (instant, self._count, event))
        await event.wait()

    def late(self, seconds: float) -> None:
        """A stepped clock waits for everybody."""

    async def advance(self, seconds: float) -> None:
        """Move on, stopping at every sleeper on the way and letting it run until all wait again."""
        end = self._now + seconds
        await self._idle()
        while self._sleepers and self._sleepers[0][0] <= end:
            instant, _, event = heappop(self._sleepers)
            self._now = max(self._now, instant)
            event.set()
            await self._idle()
        self._now = end
        await self._idle()


async def _let_others_run() -> None:
    for _ in range(20):
        await checkpoint()
