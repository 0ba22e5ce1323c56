"""A topology as containers, rendered and brought up as a user does it, and hands to hit them with.

    with Stack("pair", images, here) as stack:
        stack.until(lambda: stack.said("limit_accepted"), "a limit is accepted")

Project names are unique, and containers, networks and volumes are gone in the end, whatever happens. On a failure the
logs of all containers are in ``<here>/logs``. One stack at a time on a machine: others wait.
"""

import asyncio
import fcntl
import io
import signal
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from uuid import uuid4

import docker
import yaml
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from testcontainers.compose import DockerCompose

from bus.clock import SharedClock
from deploy.doors import Doors
from deploy.nats.places import CLIENT
from deploy.records.rows import Event, events
from deploy.records.run_facts import RECORDS, TRUTH
from deploy.render.compose import Compose, Images
from deploy.render.deployment import prepare
from deploy.topology import Topology
from tests.chaos.storm.log import Exit
from world.truth import Truth, read_truth

WITHIN_WALL_S = 300.0
"""For a fact to come true on a machine that does much else; nothing is measured by it."""
LOOK_WALL_S = 0.3
TAKES_WALL_S = 3.0
"""What a server that is there takes for a connection at most; one that is not may answer nothing at all."""
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
_MISSING = Truth((), ())
T = TypeVar("T")


class StackFailed(AssertionError):
    """A fact did not come true."""


class ContainerDoors(Doors):
    """The servers of a stack, through forwarders on this machine."""

    def __init__(self, topology: Topology, folder: Path, ports: dict[str, int]) -> None:
        super().__init__(topology, folder)
        self._forwarded = ports

    def url_of(self, server: str) -> str:
        return f"tls://127.0.0.1:{self._forwarded[server]}"


class Stack:
    """Of the containers of one topology.

    here     a folder of its own: the deployment, what was copied out of containers, logs
    images   target -> tag, as ``deploy.image.build`` has them
    only     services that are started, with those that they wait for; all when none is named
    how      hubs, websocket, start, until, speed as for ``deploy.render.deployment.prepare``
    """

    def __init__(
        self, name: str, images: dict[str, str], here: Path, *, only: tuple[str, ...] = (), **how: Any
    ) -> None:
        here.mkdir(parents=True, exist_ok=True)
        self.here, self.project = here, f"gp-tc-{uuid4().hex[:8]}"
        self.deployment = prepare(name, here / "deployment", **how)
        self.topology = self.deployment.topology
        made = Images(actor=images["gridparley"], world=images["gridparley-world"], nats=images["gridparley-nats"])
        self.rendered: dict[str, Any] = yaml.safe_load(Compose(self.deployment, made, here / "deployment").text())
        self.rendered["name"] = self.project
        (here / "compose.yaml").write_text(yaml.safe_dump(self.rendered, sort_keys=False))
        self.only = only
        self.compose = DockerCompose(here, "compose.yaml", wait=False, services=list(only) or None)
        self.engine = docker.from_env()
        self.exits: list[Exit] = []
        """Who has ended since the stack is up, in order; a signal is negative, as for processes."""
        self._events: Any = None
        self.instants: list[tuple[float, float]] = []
        """(wall, run) pairs: what JetStream's wall times are in run time."""
        self._lock = (Path(tempfile.gettempdir()) / "gridparley-stack.lock").open("a")
        self._old: dict[int, Any] = {}

    # ---------------------------------------------------------------- life

    def __enter__(self) -> "Stack":
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        if threading.current_thread() is threading.main_thread():  # SIGTERM leaves no container behind either
            self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, _interrupt)
        try:
            self._events = self.engine.api.events(
                filters={"type": "container", "event": "die", "label": f"{PROJECT}={self.project}"}, decode=True
            )
            threading.Thread(target=self._watch, daemon=True).start()
            self.compose.start()
        except BaseException:
            self._end(failed=True)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self._end(failed=kind is not None)

    def _end(self, *, failed: bool) -> None:
        try:
            if failed:
                self.dump()
        finally:
            try:
                for one in self._containers():
                    with suppress(APIError):
                        one.remove(force=True)
                self.compose.services = None  # also networks and volumes
                self.compose.stop()
            finally:
                self._lock.close()
                if self._events is not None:
                    self._events.close()
                self.engine.close()
                for number, handler in self._old.items():
                    signal.signal(number, handler)

    def dump(self) -> Path:
        """All that the containers have said, a file each; the folder."""
        folder = self.here / "logs"
        folder.mkdir(exist_ok=True)
        for one in self._containers():
            with suppress(APIError):
                (folder / f"{one.labels[SERVICE]}.log").write_bytes(one.logs(timestamps=True))
        return folder

    # ---------------------------------------------------------------- containers

    def _containers(self) -> list[Container]:
        found: list[Container] = self.engine.containers.list(
            all=True, filters={"label": f"{PROJECT}={self.project}"}, ignore_removed=True
        )
        return found

    @property
    def services(self) -> list[str]:
        """All that run; not who has only something to prepare."""
        return [
            name
            for name, one in self.rendered["services"].items()
            if not one.get("profiles") and not name.startswith("provision-") and (not self.only or name in self.only)
        ]

    def container(self, service: str) -> Container:
        """As it is now. Raises StackFailed when there is none."""
        labels = [f"{PROJECT}={self.project}", f"{SERVICE}={service}"]
        found: list[Container] = self.engine.containers.list(all=True, filters={"label": labels})
        if not found:
            raise StackFailed(f"there is no container {service}")
        return found[0]

    def running(self) -> set[str]:
        return {one.labels[SERVICE] for one in self._containers() if one.status == "running"}

    def ails(self, service: str) -> str:
        """What is wrong with it: it is asked now, as its own health check does. Empty for nothing."""
        try:
            one = self.container(service)
            if one.status != "running":
                return f"{one.status}, code {one.attrs['State']['ExitCode']}"
            told = dict(line.split("=", 1) for line in one.attrs["Config"]["Env"])
            if service.startswith("nats-"):  # tells itself alone
                code, out = one.exec_run(one.attrs["Config"]["Healthcheck"]["Test"][1:])
                return "" if code == 0 else bytes(out).decode(errors="replace").strip()
            return _asked(f"http://{_address(one)}:{told['GRIDPARLEY_HEALTH']}/healthz")
        except (APIError, StackFailed) as problem:
            return str(problem)

    def ailing(self) -> list[str]:
        """Everybody who is not well, and why."""
        return [f"{one}: {why}" for one in self.services if (why := self.ails(one))]

    def kill(self, service: str) -> None:
        """``docker kill``, and it is dead."""
        self.container(service).kill()
        self.until(lambda: service not in self.running(), f"{service} is dead")

    def start(self, service: str) -> None:
        """``docker start``, as an operator does after a kill."""
        self.container(service).start()

    def well(self, *services: str) -> None:
        """Wait until they are; all when none is named."""
        asked = services or tuple(self.services)
        self.until(lambda: not any(map(self.ails, asked)), f"well: {', '.join(services) or 'all'}", self.ailing)

    @contextmanager
    def paused(self, service: str) -> Iterator[None]:
        """``docker pause``: it is there, takes what comes, and does nothing."""
        one = self.container(service)
        one.pause()
        try:
            yield
        finally:
            with suppress(NotFound):
                one.unpause()

    @contextmanager
    def apart(self, service: str, network: str) -> Iterator[None]:
        """Disconnected from one of its networks."""
        one = self.container(service)
        name = f"{self.project}_{network}"
        aliases = one.attrs["NetworkSettings"]["Networks"][name]["Aliases"] or []
        [net] = self.engine.networks.list(names=[f"^{name}$"])
        net.disconnect(one)
        try:
            yield
        finally:
            net.connect(one, aliases=[each for each in aliases if each != one.short_id])

    def python(self, service: str, code: str) -> str:
        """What a program prints that runs inside of a container. Raises StackFailed when it fails."""
        status, out = self.container(service).exec_run(["python3", "-I", "-c", code])
        text = bytes(out).decode(errors="replace").strip()
        if status:
            raise StackFailed(f"in {service}: {text}")
        return text

    def _watch(self) -> None:
        """Until the stream of events is closed. The engine remembers but a few, so they are taken as they come."""
        for one in self._events:
            told = one["Actor"]["Attributes"]
            code = int(told["exitCode"])
            self.exits.append(
                Exit(
                    name=told[SERVICE],
                    code=128 - code if code > 128 else code,
                    wall=datetime.fromtimestamp(one["time"]).isoformat(),
                    wanted=code in (0, 137),
                )
            )

    # ---------------------------------------------------------------- facts

    def until(
        self, there: Callable[[], T], what: str, else_: Callable[[], object] | None = None, *, within_s: float = 0.0
    ) -> T:
        """Wait for a fact, and return it. Raises StackFailed with what ``else_`` then says."""
        last = time.monotonic() + (within_s or WITHIN_WALL_S)
        while not (found := there()):
            if time.monotonic() > last:
                more = f": {else_()}" if else_ is not None else ""
                raise StackFailed(f"did not come true: {what}{more}; logs are in {self.dump()}")
            time.sleep(LOOK_WALL_S)
        return found

    def copy(self, service: str, path: str, to: Path) -> Path:
        """A file or folder out of a container, also of one that has ended; what was there is written over."""
        pieces, _ = self.container(service).get_archive(path)
        to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
            tar.extractall(to, filter="data")
        return to / Path(path).name

    def now(self) -> float:
        """Run time."""
        wall, run = time.time(), SharedClock(self.copy("clock", "/clock/clock", self.here / "out")).now()
        self.instants.append((wall, run))
        return run

    def run_folder(self) -> Path:
        """What the recorder has written, as ``gridparley report`` reads it."""
        return self.copy("record", "/records", self.here / "out")

    def events(self) -> list[Event]:
        """Every word that passed the hub, as the recorder has heard it."""
        try:
            return list(events(self.run_folder() / RECORDS))
        except NotFound:
            return []

    def said(self, word: str, by: str = "", to: str = "", after: float = 0.0) -> list[Event]:
        return [
            one
            for one in self.events()
            if one.word == word and by in ("", one.sender) and to in ("", one.receiver) and one.at > after
        ]

    def truth(self) -> Truth:
        """What really happened in the world."""
        try:
            return read_truth(self.run_folder() / TRUTH)
        except (FileNotFoundError, NotFound):
            return _MISSING

    # ---------------------------------------------------------------- the servers

    def servers(self, server: str) -> list[str]:
        """The services of a server: several of a hub of several."""
        return [f"nats-{one.name}" for one in self.deployment.places if one.server == server]

    @asynccontextmanager
    async def doors(self, **services: str) -> AsyncIterator[ContainerDoors]:
        """Ways in from this machine. ``services``: server -> which service that is to be, for a hub of several; else
        every connection, also a new one in the place of one that was lost, goes to one that takes it."""
        carriers, ports = [], {}
        for server in self.topology.servers:
            asked = services.get(server)
            carrier = _Carrier(self, [asked] if asked else self.servers(server))
            ports[server] = await carrier.listen()
            carriers.append(carrier)
        try:
            yield ContainerDoors(self.topology, self.deployment.folder, ports)
        finally:
            for carrier in carriers:
                await carrier.close()

    def address(self, service: str) -> str:
        """Where this machine reaches a container, over one of its bridges."""
        return _address(self.container(service))


class _Carrier:
    """Carries connections to wherever one of these services is at that moment."""

    def __init__(self, stack: Stack, services: list[str]) -> None:
        self._stack, self._services = stack, services
        self._carried: set[asyncio.Task[None]] = set()

    async def listen(self) -> int:
        """The port on this machine."""
        self._listening = await asyncio.start_server(self._take, "127.0.0.1", 0)
        port: int = self._listening.sockets[0].getsockname()[1]
        return port

    async def close(self) -> None:
        self._listening.close()
        for task in self._carried:
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not as a coroutine function: asyncio calls it an error when the task that it makes of one is cancelled.
        task = asyncio.get_running_loop().create_task(self._carry(reader, writer))
        self._carried.add(task)
        task.add_done_callback(self._carried.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        try:
            if (far := await self._far()) is not None:
                ends.append(far[1])
                await asyncio.gather(_pump(reader, far[1]), _pump(far[0], writer))
        finally:
            for end in ends:
                end.close()

    async def _far(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A connection to the first that takes one."""
        for service in self._services:
            with suppress(OSError, TimeoutError, APIError, StackFailed, KeyError):
                host = await asyncio.to_thread(self._stack.address, service)
                async with asyncio.timeout(TAKES_WALL_S):
                    return await asyncio.open_connection(host, CLIENT)
        return None


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()


def _address(one: Container) -> str:
    """Raises StackFailed when it has none: it does not run."""
    networks = one.attrs["NetworkSettings"]["Networks"]
    own = min(networks, key=lambda name: name.endswith(("_links", "_field")))  # its own side, where it has one
    if not (found := str(networks[own]["IPAddress"])):
        raise StackFailed(f"{one.name} has no address: it is {one.status}")
    return found


def _asked(url: str) -> str:
    """What it says against being well; empty for nothing."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return ""
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.read().decode(errors="replace").strip()
    except OSError as problem:
        return str(problem)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(f"signal {number}")
