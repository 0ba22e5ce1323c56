"""The command that a container runs: patient with what comes later, quick with what is wrong; it makes no secret."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from bus.clock import ClockFile
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable
from deploy import condition as conditions
from deploy.condition import Condition, patiently
from deploy.nats.ports import free_ports
from deploy.nats.servers import Servers
from deploy.topology import load
from tests.deploy.test_health import until
from tests.deploy.test_stage import MINI
from tests.support.containers import BareServers, Containers

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
CEM = "h07.cem.main"


async def test_an_agent_waits_for_its_server_as_long_as_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "FIRST_CONNECT_S", 0.2)
    monkeypatch.setattr(conditions, "AGAIN_WALL_S", 0.01)
    (tmp_path / "mini.toml").write_text(MINI)
    async with Servers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers:
        await servers.kill("hub")
        condition = Condition()
        tries = 0

        async def life() -> None:
            nonlocal tries
            tries += 1
            connection = servers.connection("hub", "grid.dso.north", "_R.grid.dso.north")
            try:
                await connection.open(0.2)
            finally:
                await connection.close()
            condition.ready()

        with anyio.fail_after(90):
            async with anyio.create_task_group() as group:
                group.start_soon(patiently, condition, life)
                while tries < 3:  # noqa: ASYNC110  nobody sets an event for it
                    await anyio.sleep(0.01)
                assert "no NATS at tls://127.0.0.1" in str(condition.ailment())
                await servers.start("hub")
        assert condition.ailment() is None


async def test_what_ends_an_agent_that_was_ready_and_a_refused_key_are_not_waited_out() -> None:
    condition = Condition()

    async def refused() -> None:
        raise BusUnavailable("tls://nats-hub:4222", "authorization violation")

    async def broken() -> None:
        condition.ready()
        raise LookupError("a fault of its own")

    with anyio.fail_after(60):
        with pytest.raises(BusUnavailable, match="authorization"):
            await patiently(condition, refused)
        with pytest.raises(LookupError):
            await patiently(condition, broken)


async def test_an_agent_says_why_it_cannot_run_and_makes_no_key(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    empty = tmp_path / "empty"
    empty.mkdir()
    async with BareServers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers:
        (servers.folder / "keys" / f"{CEM}.nk").write_text(KeyPair.new().seed)  # of nobody that the server knows
        async with Containers(tmp_path, tmp_path / "mini.toml", servers) as run:
            ClockFile(tmp_path / "clock", start=0.0, speed=0.0, slots=5)
            there = {"identity": CEM, "server": "h07", "clock": tmp_path / "clock"}
            run.start("stranger", "agent", CEM, **there)  # type: ignore[arg-type]
            run.start("keyless", "agent", CEM, keys=empty)
            run.start("nobody", "agent", "h07.cem.other", keys=empty)
            run.start("nowhere", "agent", CEM, keys=empty, gateway="5020")
            run.start("timeless", "agent", CEM, **{**there, "clock": tmp_path / "mini.toml"})  # type: ignore[arg-type]
            for name, code, said in (
                ("stranger", 1, "authorization violation"),
                ("keyless", 2, f"there is no key {empty}/keys/{CEM}.nk: make it with `gridparley keys`"),
                ("nobody", 2, "h07.cem.other is not in"),
                ("nowhere", 2, "--gateway '5020' is not host:port: write it as 192.0.2.7:502"),
                ("timeless", 2, "mini.toml is no clock of a run"),
            ):
                assert await run.code(name) == code, run.says(name)
                assert said.lower() in run.says(name).lower()
                assert "Traceback" not in run.says(name)
    assert list(empty.iterdir()) == []


async def test_its_gateway_is_where_it_is_told_and_real_time_is_its_clock_without_a_file(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    with socket.create_server(("127.0.0.1", 0)) as gateway:
        gateway.settimeout(90)
        async with (
            Servers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers,
            Containers(tmp_path, tmp_path / "mini.toml", servers) as run,
        ):
            place = f"127.0.0.1:{gateway.getsockname()[1]}"
            told = {"identity": "h07.meter.main", "server": "h07", "gateway": place, "clock": ""}
            run.start("meter", "agent", "h07.meter.main", **told)  # type: ignore[arg-type]
            accepted, _ = await anyio.to_thread.run_sync(gateway.accept)
            accepted.close()
            await until(run.health["meter"], 200)
            assert await run.stop("meter") == {"meter": 0}


def test_an_agent_needs_nothing_that_only_the_world_or_the_forecaster_needs(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    program = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("power_grid_model", "matplotlib", "pyarrow", "pvlib", "pandas"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from deploy.cli import main
main()
"""
    (port,) = free_ports(1)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / f"{CEM}.nk").write_text(KeyPair.new().seed)
    done = subprocess.Popen(
        [sys.executable, "-c", program, "agent", CEM, "--nats", f"nats://127.0.0.1:{port}", "--keys", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "GRIDPARLEY_TOPOLOGY": "mini.toml"},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert done.stderr is not None
    try:
        said = done.stderr.readline()  # once in ten seconds, and nothing before
    finally:
        done.terminate()
        done.communicate()
    assert f"waiting: not connected to nats://127.0.0.1:{port}" in said
    assert done.returncode == 0
