"""Processes of a run: a nursery that has imported everything once forks each agent, and tells how they fare.

``python -m deploy.processes <fd> <run folder>`` is the nursery. It has one thread and no connection, so that forking it
is safe; what it forks connects by itself. It ends when its launcher ends, and everything it forked ends with it.
"""

import asyncio
import gc
import importlib
import json
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NoReturn

import anyio
import msgspec
import uvloop
from opentelemetry.sdk.resources import Resource

from agents.kit.run import run_agent
from bus import tracing
from bus.address import Address
from bus.clock import SharedClock
from bus.envelope import decoder
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, NotStored
from contracts.kit import vocabulary
from deploy.doors import Doors, die_with_parent
from deploy.health import serve_health
from deploy.lines import LINES, run_lines
from deploy.log_lines import configure_logging
from deploy.roster import UnknownRole
from deploy.settings import settings_of
from deploy.topology import Topology

WORLD = "world"
STOP_WALL_S = 5.0
PACKET = 65536
log = logging.getLogger("gridparley.process")


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


# -------------------------------------------------------------------- in the child


def live(name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a process's main in its own loop; its exit code. 0 in order, 2 cannot run as configured, 1 anything else."""
    try:
        uvloop.run(main())
        return 0
    except BaseExceptionGroup as problem:
        causes, rest = problem.split((BusUnavailable, NotStored))
        if rest is None and causes is not None:
            log.error("%s: %s", name, causes.exceptions[0])
            return 1
        log.exception("%s ended", name)
        return 1
    except (BusUnavailable, NotStored) as problem:
        log.error("%s: %s", name, problem)
        return 1
    except (ValueError, LookupError, TypeError):
        log.exception("%s cannot run as configured", name)
        return 2
    except Exception:
        log.exception("%s ended", name)
        return 1


def stop_event() -> asyncio.Event:
    """Set by SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


async def run_one(
    doors: Doors,
    address: Address,
    clock: Any,
    gateways: dict[str, tuple[str, int]],
    ready: Callable[[], None],
    *,
    spans: Path | None = None,
    data: Path | None = None,
    health: tuple[str, int] | None = None,
) -> None:
    """One agent's life in this process, until SIGTERM.

    spans    folder for its spans, where no collector is named
    data     folder for what it keeps in files of its own; None: such agents remember nothing
    health   host and port where it tells whether it is well
    """
    agent = doors.agent_of(address.role)
    if agent is None:
        raise UnknownRole(address.role)
    settings = settings_of(doors.topology, address, agent, gateways, data)
    tracing.start(address.role, str(address), folder=spans)
    stop = anyio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    bus = doors.bus(address, clock)
    is_ready = False

    def now_ready() -> None:
        nonlocal is_ready
        is_ready = True
        ready()

    def ailment() -> str | None:
        if stop.is_set():
            return "stopping"
        if not bus.connection.connected:
            return f"not connected to {bus.connection.url}"
        return None if is_ready else "not ready: it does not hear everything yet"

    async def give_up() -> None:
        await stop.wait()
        await anyio.sleep(STOP_WALL_S - 1 if is_ready else 0)
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            if health is not None:
                group.start_soon(serve_health, *health, ailment)
            group.start_soon(give_up)
            await run_agent(agent, bus, settings, doors.permissions.peers(address), ready=now_ready, stop=stop)
            group.cancel_scope.cancel()
    except BaseExceptionGroup as several:
        if len(several.exceptions) == 1:
            raise several.exceptions[0] from None  # what ended the agent, as it was raised
        raise
    finally:
        tracing.stop()


async def run_street(plan: Plan, files: Files, clock: SharedClock, ready: Callable[[], None]) -> None:
    """The world's life in this process, until SIGTERM. Commands of the launcher come over a socket."""
    from deploy.world_spec import world_spec
    from world.run import run_world
    from world.spec import EventSpec, WorldError
    from world.world import World

    stop = stop_event()

    async def obey(world: World, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            world.inject(msgspec.json.decode(await reader.readline(), type=EventSpec))
            answer = ""
        except (WorldError, msgspec.MsgspecError, LookupError, ValueError) as problem:
            answer = str(problem)
        writer.write(json.dumps({"error": answer}).encode() + b"\n")
        writer.close()

    opening: list[asyncio.Task[object]] = []

    def on_ready(world: World) -> None:
        Path(plan.commands).unlink(missing_ok=True)
        server = asyncio.start_unix_server(lambda r, w: obey(world, r, w), plan.commands)
        opening.append(asyncio.ensure_future(server))
        ready()

    spec = world_spec(plan.topology, plan.ports)
    running = asyncio.ensure_future(run_world(spec, clock, on_ready, files.folder / "truth.csv"))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if running.done():
        running.result()
        raise RuntimeError("the world ended by itself")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


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

            if name == WORLD:
                code = live(name, lambda: run_street(self._plan, self._files, clock, ready))
            elif name == LINES:
                plan = self._plan
                code = live(name, lambda: run_lines(plan.topology, plan.lines, plan.gateways, ready, stop_event))
            else:
                address = Address.parse(name)
                code = live(
                    name,
                    lambda: run_one(
                        self._doors,
                        address,
                        clock,
                        self._plan.gateways,
                        ready,
                        spans=self._files.spans,
                        data=self._files.data,
                    ),
                )
        finally:
            logging.shutdown()
            os._exit(code)  # never back into the nursery's own loop

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
