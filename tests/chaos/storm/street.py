"""The street under test: `gridparley up` as a user runs it, in a process of its own, and what a user can see of it."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bus.clock import SharedClock
from deploy.control import Command, NoRunHere, send
from deploy.doors import die_with_parent
from deploy.topology import HUB, Topology

LOOK_WALL_S = 0.25
START_WALL_S = 120.0
STOP_WALL_S = 90.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
"""The street is of the same tree as the storm, wherever it is run from."""


class StreetFailed(Exception):
    """The run did not start, or ended by itself."""

    def __init__(self, cause: str, log: Path) -> None:
        super().__init__(f"{cause}: see {log}")
        self.cause, self.log = cause, log


class Street:
    """``folder`` is the storm's own; the run is in ``folder/run``, and commands are given as from within ``folder``."""

    def __init__(self, topology: Topology, file: Path, folder: Path) -> None:
        self.topology, self.file, self.folder, self.run = topology, file.resolve(), folder, folder / "run"
        self.status: dict[str, Any] = {}
        self.instants: list[tuple[float, float]] = []
        """(wall, run) pairs, as often as it was looked: what JetStream's wall times are in run time."""
        self._process: asyncio.subprocess.Process | None = None
        self._news = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None
        self._here = folder / ".gridparley" / "current"

    # ---------------------------------------------------------------- from start to end

    async def start(self, speed: float, for_run_s: float) -> None:
        """Returns when everybody is ready and the clock runs. Raises StreetFailed."""
        log = self.folder / "up.log"
        options = ["--headless", "--speed", f"{speed:g}", "--for", f"{for_run_s:.0f}s", "--out", str(self.run)]
        with log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deploy.cli", "up", str(self.file), *options),
                cwd=self.folder,
                env=ENVIRONMENT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C is for the storm, which stops the street in order
                preexec_fn=die_with_parent,
            )
        self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(START_WALL_S):
                await self.until(lambda: bool(self.status) and self.status["speed"] > 0)
        except TimeoutError:
            raise StreetFailed(f"the street was not up within {START_WALL_S:g} s", log) from None
        self.clock = SharedClock(self.run / "clock")

    async def stop(self) -> int:
        """As Ctrl-C does; its exit code. -9 for one that did not stop."""
        assert self._process is not None
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_WALL_S)
        except TimeoutError:
            self._process.kill()
            return await self._process.wait()

    async def _look(self) -> None:
        while True:
            try:
                status = (await asyncio.to_thread(send, Command(action="status"), self._here)).status
            except (NoRunHere, OSError, ValueError):
                status = {}
            async with self._news:
                if status:
                    self.status = status
                    if hasattr(self, "clock"):
                        self.instants.append((time.time(), self.clock.now()))
                self._news.notify_all()
            await asyncio.sleep(LOOK_WALL_S)

    async def until(self, there: Any) -> None:
        """Wait for a fact that the status tells. Raises StreetFailed when the street ended."""
        async with self._news:
            while not there():
                if self._process is not None and self._process.returncode is not None:
                    cause = f"the street ended with code {self._process.returncode}"
                    raise StreetFailed(cause, self.folder / "up.log")
                await self._news.wait()

    # ---------------------------------------------------------------- commands and signals

    async def tell(self, command: Command) -> str:
        """What a user's command does; the error, empty when it was done."""
        try:
            return (await asyncio.to_thread(send, command, self._here)).error
        except (NoRunHere, OSError, ValueError) as problem:
            return str(problem)

    def pid(self, target: str) -> int | None:
        """Of an agent, ``world``, ``lines`` or a server; None while it has none."""
        if target in self.topology.servers:
            return self._server_pid(target)
        found: int | None = self.status.get("processes", {}).get(target)
        return found

    def _server_pid(self, server: str) -> int | None:
        assert self._process is not None
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            configs = [word.decode() for word in words if word.endswith(b".conf")]
            if parent == self._process.pid and configs and Path(configs[0]).stem == server:
                return int(folder.name)
        return None

    # ---------------------------------------------------------------- health

    def ails(self, target: str) -> str:
        """What is wrong with a target as the street's own status tells it; empty when it is well."""
        status, topology = self.status, self.topology
        if target not in topology.servers:
            if target in status["waiting_for"]:
                return "not ready"
            return "not connected" if target in status["not_connected"] else ""
        if self._server_pid(target) is None:
            return "no process"
        if target in status["sick_servers"]:
            return str(status["sick_servers"][target])
        place = "grid" if target == HUB else target
        away = [name for name in status["not_connected"] if name.startswith(f"{place}.")]
        links = topology.sites if target == HUB else [target]
        down = [site for site in links if status["links"].get(site) != "up"]
        found = [f"away: {', '.join(away)}"] if away else []
        return "; ".join(found + ([f"link down: {', '.join(down)}"] if down else []))

    def ailing(self) -> list[str]:
        """Everybody and everything that is not well."""
        everybody = [*self.status["processes"], *self.status["waiting_for"], *self.topology.servers]
        return [f"{one}: {why}" for one in dict.fromkeys(everybody) if (why := self.ails(one))]
