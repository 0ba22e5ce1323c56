"""An agent as a container runs it: it tells whether it is well, and ends in order when told to."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from deploy.nats.ports import free_ports
from deploy.nats.servers import Servers
from deploy.topology import load
from tests.deploy.test_supervisor import MINI

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]
WAIT_S = 90.0
WHO = '{service_instance_id="grid.hes.main",service_name="hes"}'


def ask(port: int, path: str = "/healthz") -> tuple[int, str]:
    """(status, body); (0, "") where nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read().decode()
    except OSError:
        return 0, ""


async def until(port: int, status: int) -> str:
    with anyio.fail_after(WAIT_S):
        while True:
            found, body = await anyio.to_thread.run_sync(ask, port)
            if found == status:
                return body
            await anyio.sleep(0.05)


def started(here: Path, servers: Servers, port: int, **environment: str) -> "subprocess.Popen[str]":
    options = {"topology": here / "mini.toml", "nats": servers.url_of("hub"), "keys": servers.folder}
    options |= {"data": here / "data", "health": port}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "agent", "grid.hes.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **environment},
    )


async def test_an_agent_is_well_while_it_is_connected_and_says_what_ails_it_else(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    (port,) = free_ports(1)
    async with Servers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers:
        agent = started(tmp_path, servers, port)
        try:
            assert await until(port, 200) == "well\n"
            status, text = await anyio.to_thread.run_sync(ask, port, "/else")
            assert status == 404
            assert "ask for GET /healthz" in text
            status, figures = await anyio.to_thread.run_sync(ask, port, "/metrics")
            assert status == 200
            assert f"gridparley_connection_up{WHO} 1.0\n" in figures
            assert "gridparley_words_said_total" + WHO.replace("}", ',topic="system"}') in figures
            assert (tmp_path / "data" / "grid.hes.main.sqlite").exists()
            await servers.kill("hub")
            assert "not connected to" in await until(port, 503)
            await servers.start("hub")
            await until(port, 200)
            agent.terminate()
            assert await anyio.to_thread.run_sync(agent.wait, WAIT_S) == 0
        finally:
            agent.kill()
            agent.communicate()


async def test_an_agent_that_finds_no_server_is_not_ready_and_still_ends_when_told_to(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    (port,) = free_ports(1)
    async with Servers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers:
        await servers.kill("hub")
        agent = started(tmp_path, servers, port)
        try:
            assert "not connected to" in await until(port, 503)
            agent.terminate()
            assert await anyio.to_thread.run_sync(agent.wait, WAIT_S) == 0
        finally:
            agent.kill()
            agent.communicate()


async def test_an_agent_that_is_told_to_export_in_an_unknown_way_says_so_and_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "mini.toml").write_text(MINI)
    async with Servers(load(tmp_path / "mini.toml"), tmp_path / "nats") as servers:
        collector = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"}
        agent = started(tmp_path, servers, 0, **collector)
        try:
            said, _ = await anyio.to_thread.run_sync(agent.communicate)
        finally:
            agent.kill()
            agent.wait()
    assert agent.returncode == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL='pigeon' is not understood: it may be http/protobuf or grpc" in said
    assert "Traceback" not in said
