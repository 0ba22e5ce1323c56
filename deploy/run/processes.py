"""Processes of a run: a nursery that has imported everything once forks each agent, and tells how they fare.

``python -m deploy.run.processes <fd> <run folder>`` is the nursery. It has one thread and no connection, so that
forking it is safe; what it forks connects by itself. It ends when its launcher ends, and everything it forked ends
with it.
"""

import gc
import importlib
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import anyio
import msgspec
import uvloop
from opentelemetry.sdk.resources import Resource

from bus.address import Address
from bus.clock import SharedClock
from bus.envelope import decoder
from bus.nkeys import KeyPair
from contracts.kit import vocabulary
from deploy.condition import STOP_WALL_S, Condition, attended, live, stop_event
from deploy.doors import Doors, die_with_parent
from deploy.records.run_facts import TRUTH
from deploy.run.agent_process import run_one
from deploy.run.lines import LINES, run_lines
from deploy.run.world_process import run_street
from deploy.settings import settings_of
from deploy.telemetry.log_lines import configure_logging
from deploy.topology import Topology
from deploy.world_spec import WORLD, world_spec

PACKET = 65536


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start"):
    """Fork ``name``: an agent's address, ``world`` or ``lines``. ``slot`` is where it reports its lag in the clock."""

    name: str
    slot: int


class Signal(msgspec.Struct, frozen=True, kw_only=True, tag="signal"):
    """Send a signal to a living child; to a dead one nothing happens, so no stranger is ever hit."""

    name: str
    number: int


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """The nursery can fork."""


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    name: str
    pid: int


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """Said by the child itself."""

    name: str
    pid: int


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag="exited"):
    """``code`` is negative for a signal."""

    name: str
    pid: int
    code: int


Order = Start | Signal
News = Loaded | Started | Ready | Exited


class Files:
    """Where things are in a run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.topology = folder / "topology.toml"
        self.nats = folder / "nats"
        self.clock = folder / "clock"
        self.logs = folder / "logs"
        self.spans = folder / "spans"
        self.data = folder / "data"
        self.plan = folder / "nats" / "plan.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the launcher settled for the processes of a run: the topology as it runs, and where the hardware is.

    gateways   place -> where its agents find the hardware
    lines      place -> where its front finds it, and then ``gateways`` is where that listens; empty without fronts
    ports      place -> of the simulated world's gateway
    """

    topology: Topology
    gateways: dict[str, tuple[str, int]]
    lines: dict[str, tuple[str, int]] = {}
    ports: dict[str, int]
    commands: str
    """Path of the world's command socket."""

    def write(self, files: Files) -> None:
        files.plan.parent.mkdir(parents=True, exist_ok=True)
        files.plan.write_bytes(msgspec.json.encode(self))

    @classmethod
    def read(cls, files: Files) -> "Plan":
        return msgspec.json.decode(files.plan.read_bytes(), type=cls)


# -------------------------------------------------------------------- the nursery


async def _nothing() -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)


class Nursery:
    """Forks on request, reaps, reports. Blocking on purpose: no loop and no thread to be copied into a child."""

    def __init__(self, line: socket.socket, files: Files) -> None:
        self._line, self._files = line, files
        self._children: dict[int, str] = {}
        self._plan = Plan.read(files)
        self._doors = Doors(self._plan.topology, files.nats)
        self._warm()

    def _warm(self) -> None:
        """Fill here the caches that each child would fill for itself: a fifth of its private memory."""
        for address in self._doors.permissions.agents():
            agent = self._doors.agent_of(address.role)
            assert agent is not None
            self._doors.keys(address)
            self._doors.permissions.peers(address)
            settings_of(self._doors.topology, address, agent, self._plan.gateways, self._files.data)
        for kind in vocabulary().values():
            decoder(kind)
        KeyPair.new().sign("")  # the cryptographic library loads its parts when first used: over a megabyte
        Resource.create({})
        importlib.import_module("agents.cem.planner.warm").warm()  # each energy manager would do it for itself
        uvloop.run(_nothing())  # imports what a first loop imports; it is closed again before anything is forked

    def serve(self) -> None:
        """Until the launcher closes the line."""
        wake, woken = socket.socketpair()
        wake.setblocking(False)
        woken.setblocking(False)
        signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        gc.collect()
        gc.freeze()  # what is loaded stays out of the collector, so children do not copy those pages
        self._say(Loaded())
        while True:
            readable, _, _ = select.select([self._line, wake], [], [])
            if wake in readable:
                wake.recv(PACKET)
                self._reap()
            if self._line in readable:
                packet = self._line.recv(PACKET)
                if not packet:
                    self._end()
                    return
                match msgspec.json.decode(packet, type=Order):
                    case Start(name=name, slot=slot):
                        self._fork(name, slot)
                    case Signal(name=name, number=number):
                        self._signal(name, number)

    def _say(self, news: News) -> None:
        try:
            self._line.send(msgspec.json.encode(news))
        except OSError:
            return  # the launcher is gone; the next read says so

    def _fork(self, name: str, slot: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become(name, slot)
        self._children[pid] = name
        self._say(Started(name=name, pid=pid))

    def _become(self, name: str, slot: int) -> NoReturn:
        code = 1
        try:
            die_with_parent()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            out = os.open(self._files.log(name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(out, 1)
            os.dup2(out, 2)
            configure_logging()
            clock = SharedClock(self._files.clock, slot)

            def ready() -> None:
                self._say(Ready(name=name, pid=os.getpid()))

            if name == LINES:
                plan = self._plan
                code = live(name, lambda: run_lines(plan.topology, plan.lines, plan.gateways, ready, stop_event))
            else:
                code = live(name, lambda: attended(lambda condition: self._main(name, clock, condition, ready)))
        finally:
            logging.shutdown()
            os._exit(code)  # never back into the nursery's own loop

    async def _main(self, name: str, clock: SharedClock, condition: Condition, ready: Callable[[], None]) -> None:
        plan, files = self._plan, self._files
        if name == WORLD:
            spec, truth = world_spec(plan.topology, plan.ports), files.folder / TRUTH
            await run_street(spec, clock, condition, ready, truth=truth, commands=plan.commands)
        else:
            who = Address.parse(name)
            await run_one(self._doors, who, clock, plan.gateways, condition, ready, spans=files.spans, data=files.data)

    def _signal(self, name: str, number: int) -> None:
        for pid, known in self._children.items():
            if known == name:
                os.kill(pid, number)  # not reaped yet, so the pid is still ours

    def _reap(self) -> None:
        while self._children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._children.pop(pid, "")
            self._say(Exited(name=name, pid=pid, code=os.waitstatus_to_exitcode(status)))

    def _end(self) -> None:
        for pid in self._children:
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + STOP_WALL_S
        while self._children and time.monotonic() < until:
            self._reap()
            time.sleep(0.02)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)


def main() -> None:
    line = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the launcher, which stops everything in order
    die_with_parent()
    configure_logging()
    Nursery(line, Files(Path(sys.argv[2]))).serve()


if __name__ == "__main__":
    main()
