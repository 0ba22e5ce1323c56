"""Commands as containers run them: a process each, told by its environment, with nothing but its own key."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio

from deploy.nats.ports import free_ports
from deploy.nats.servers import Servers
from deploy.world_spec import modbus_port
from tests.deploy.test_health import ask

ROOT = Path(__file__).parents[2]
WAIT_WALL_S = 100.0


class BareServers(Servers):
    """Servers as containers are: nobody has made a stream there yet."""

    async def _provision(self, server: str) -> None:
        return None


class Containers:
    """Processes by name. ``hardware`` is an address of this machine that nobody else's world listens at."""

    def __init__(self, here: Path, topology: Path, servers: Servers) -> None:
        self.here, self.topology, self.servers = here, topology, servers
        self.clock = here / "shared" / "clock"
        self.data = here / "data"
        self.hardware = "127." + ".".join(str(random.randint(2, 250)) for _ in range(3))
        self.health: dict[str, int] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    async def __aenter__(self) -> "Containers":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        if kind is not None:
            for log in sorted(self.here.glob("*.out")):
                sys.stdout.write(f"--- {log.name}\n{log.read_text()[-1500:]}\n")

    def secrets(self, identity: str) -> Path:
        """A folder with one seed and the authority's certificate, that cannot be written."""
        folder = self.here / "secrets" / identity
        if not folder.exists():
            (folder / "keys").mkdir(parents=True)
            (folder / "tls").mkdir()
            shutil.copy(self.servers.folder / "keys" / f"{identity}.nk", folder / "keys")
            shutil.copy(self.servers.authority, folder / "tls")
            for path in (folder / "keys", folder / "tls", folder):
                path.chmod(0o500)
        return folder

    def start(self, name: str, *command: str, identity: str = "", server: str = "", **env: object) -> None:
        """``env``: further environment, without the prefix."""
        (port,) = free_ports(1)
        self.health[name] = port
        told = {"TOPOLOGY": self.topology, "CLOCK": self.clock, "HEALTH": port, **env}
        if identity:
            told |= {"KEYS": self.secrets(identity), "NATS": self.servers.url_of(server)}
        with (self.here / f"{name}.out").open("ab") as out:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "deploy.cli", *command],
                cwd=self.here,
                stdout=out,
                stderr=out,
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    **{f"GRIDPARLEY_{key.upper()}": str(value) for key, value in told.items()},
                },
            )

    def agent(self, address: str) -> None:
        site = address.partition(".")[0]
        place = f"{self.hardware}:{modbus_port(self.servers.topology, site)}"
        server = "hub" if site == "grid" else site
        self.start(address, "agent", address, identity=address, server=server, gateway=place)

    def says(self, name: str) -> str:
        return (self.here / f"{name}.out").read_text()

    def ailment(self, name: str) -> str:
        """What GET /healthz answers; "well" for nothing."""
        return ask(self.health[name])[1].strip()

    async def until(self, there: Callable[[], Any]) -> Any:
        """Wait for a fact; who has ended by itself meanwhile is an error."""
        with anyio.fail_after(WAIT_WALL_S):
            while not (found := await asyncio.to_thread(there)):
                for name, process in self._running.items():
                    assert process.poll() is None, f"{name} ended with {process.returncode}: {self.says(name)[-1500:]}"
                await anyio.sleep(0.1)
            return found

    async def code(self, name: str) -> int:
        """The exit code of one that ends by itself."""
        return await asyncio.to_thread(self._running.pop(name).wait, WAIT_WALL_S)

    async def stop(self, *names: str, number: signal.Signals = signal.SIGTERM) -> dict[str, int]:
        """Signal them and wait until they have ended; their exit codes."""
        for name in names:
            self._running[name].send_signal(number)
        return {name: await self.code(name) for name in names}

    @property
    def running(self) -> list[str]:
        return list(self._running)
