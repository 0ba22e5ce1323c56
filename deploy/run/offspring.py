"""The launcher's end of the nursery: start, watch, start again with a growing pause, stop in order."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from deploy.condition import STOP_WALL_S
from deploy.run.processes import PACKET, Exited, Files, Loaded, News, Order, Ready, Signal, Start, Started

PAUSES_WALL_S = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Before the first, second, ... restart of a process that does not stay up."""
STEADY_WALL_S = 30.0
"""Who lived for so long starts again with the shortest pause."""


class NurseryGone(Exception):
    """The process that forks all others ended by itself."""

    def __init__(self, code: int | None, log: Path) -> None:
        super().__init__(f"the process that starts the agents ended with code {code}: see {log}")
        self.code, self.log = code, log


class NotReady(Exception):
    """Processes that did not become ready in time. ``waiting`` is their names."""

    def __init__(self, waiting: Iterable[str], within_s: float, logs: Path) -> None:
        self.waiting = tuple(waiting)
        names = ", ".join(self.waiting)
        super().__init__(f"not ready after {within_s:g} s: {names}. Their logs are in {logs}")


class Offspring:
    """The processes of a run by name: agents' addresses, ``world`` and ``lines``."""

    def __init__(self, files: Files, slots: dict[str, int]) -> None:
        self._files, self._slots = files, slots
        self._line: socket.socket | None = None
        self._nursery: subprocess.Popen[bytes] | None = None
        self._loaded = asyncio.Event()
        self._changed = asyncio.Event()
        self._stopping = False
        self._wanted: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._since: dict[str, float] = {}
        self._later: set[asyncio.TimerHandle] = set()
        self.pids: dict[str, int] = {}
        self.ready: set[str] = set()
        self.restarts: Counter[str] = Counter()
        self.on_exit: Callable[[Exited], object] = lambda _news: None
        """Called when one ended that was to run, and is started again."""

    async def open(self) -> None:
        """Start the nursery; returns when it has imported everything. Raises NurseryGone."""
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with self._files.log("nursery").open("ab") as out:
            self._nursery = subprocess.Popen(  # noqa: ASYNC220, S603  it returns at once; the program is ourselves
                [sys.executable, "-m", "deploy.run.processes", str(its.fileno()), str(self._files.folder)],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a signal to the launcher's group, as `timeout` sends, is for the launcher
                # A numeric library that starts threads on import would make forking unsafe.
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        its.close()
        mine.setblocking(False)
        self._line = mine
        asyncio.get_running_loop().add_reader(mine, self._read)
        await self._loaded.wait()
        self._check()

    def _check(self) -> None:
        if self._line is None:
            code = self._nursery.poll() if self._nursery else None
            raise NurseryGone(code, self._files.log("nursery"))

    def _read(self) -> None:
        assert self._line is not None
        try:
            packet = self._line.recv(PACKET)
        except ConnectionError:
            packet = b""
        if not packet:
            self._hang_up()
            return
        news: News = msgspec.json.decode(packet, type=News)
        now = asyncio.get_running_loop().time()
        match news:
            case Loaded():
                self._loaded.set()
            case Started(name=name, pid=pid):
                self.pids[name] = pid
                self._since[name] = now
            case Ready(name=name, pid=pid):
                if self.pids.get(name) == pid:
                    self.ready.add(name)
            case Exited(name=name, pid=pid):
                if self.pids.get(name) == pid:
                    del self.pids[name]
                    self.ready.discard(name)
                    if name in self._wanted and not self._stopping:
                        self._again(name, now)
                        self.on_exit(news)
        self._announce()

    def _again(self, name: str, now: float) -> None:
        if now - self._since.get(name, now) > STEADY_WALL_S:
            self._failures[name] = 0
        pause = PAUSES_WALL_S[min(self._failures[name], len(PAUSES_WALL_S) - 1)]
        self._failures[name] += 1
        self.restarts[name] += 1
        handle = asyncio.get_running_loop().call_later(pause, lambda: self._restart(name))
        self._later = {one for one in self._later if not one.cancelled()} | {handle}

    def _restart(self, name: str) -> None:
        if not self._stopping and self._line is not None:
            self._order(Start(name=name, slot=self._slots[name]))

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _order(self, order: Order) -> None:
        self._check()
        assert self._line is not None
        try:
            self._line.send(msgspec.json.encode(order))
        except ConnectionError:
            self._hang_up()
            self._check()

    def _hang_up(self) -> None:
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line)
            self._line.close()
            self._line = None
        self.pids.clear()
        self.ready.clear()
        self._loaded.set()
        self._announce()

    # ---------------------------------------------------------------- what the launcher asks for

    def start(self, names: Iterable[str]) -> None:
        """Start them and keep them running."""
        for name in names:
            self._wanted.add(name)
            self._order(Start(name=name, slot=self._slots[name]))

    async def until(self, there: Callable[[], bool]) -> None:
        """Wait for a fact about the processes. Raises NurseryGone."""
        while not there():
            self._check()
            await self._changed.wait()

    async def until_ready(self, names: Iterable[str], within_s: float) -> None:
        """Wait for all of them. Raises NotReady, NurseryGone."""
        wanted = list(names)
        try:
            async with asyncio.timeout(within_s):
                await self.until(lambda: self.ready.issuperset(wanted))
        except TimeoutError:
            raise NotReady((name for name in wanted if name not in self.ready), within_s, self._files.logs) from None

    def kill(self, name: str) -> bool:
        """kill -9; it is started again like after any death. False when it is not running now."""
        if name not in self.pids:
            return False
        self._order(Signal(name=name, number=signal.SIGKILL))
        return True

    async def stop(self, names: Iterable[str]) -> list[str]:
        """SIGTERM, and SIGKILL for who has not stopped in time; those are returned."""
        going = list(names)
        self._wanted -= set(going)
        try:
            return await self._stop(going)
        except NurseryGone:
            return []  # what it forked has ended with it

    async def _stop(self, going: list[str]) -> list[str]:
        for name in going:
            if name in self.pids:
                self._order(Signal(name=name, number=signal.SIGTERM))
        late: list[str] = []
        try:
            async with asyncio.timeout(STOP_WALL_S):
                await self.until(lambda: not any(name in self.pids for name in going))
        except TimeoutError:
            late = [name for name in going if name in self.pids]
            for name in late:
                self._order(Signal(name=name, number=signal.SIGKILL))
            await self.until(lambda: not any(name in self.pids for name in going))
        return late

    async def close(self) -> None:
        """End the nursery, and with it whatever still runs."""
        self._stopping = True
        for handle in self._later:
            handle.cancel()
        self._hang_up()
        if self._nursery is not None:
            await asyncio.to_thread(self._nursery.wait, STOP_WALL_S + 5)
