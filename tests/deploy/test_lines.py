"""The command that owns one line alone, and what a front takes from a topology."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.device_file import load as load_device
from deploy.nats.ports import free_ports
from deploy.run.lines import front_settings, line_places
from deploy.run.lines_cli import command
from deploy.topology import Topology, load
from tests.deploy.test_health import ask, until
from world.modbus import Gateway, SimulatedUnit

TOPOLOGY = """
name = "one"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
[grid]
agents = [{ role = "dso", name = "north" }]
[[site]]
name = "h07"
gateway = "127.0.0.1:{port}"
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1 },
  { role = "evse", name = "1", device = "keba_p30", unit = 255 },
]
"""
READ = bytes.fromhex("0009 0000 0006 01 04 0034 0002")


def topology(here: Path, port: int) -> Topology:
    (here / "one.toml").write_text(TOPOLOGY.replace("{port}", str(port)))
    return load(here / "one.toml")


def test_a_front_gives_up_before_a_master_does(tmp_path: Path) -> None:
    made = topology(tmp_path, 502)
    assert line_places(made) == ["h07"]  # nothing of the grid side has hardware here
    settings = front_settings(made, "h07")
    for unit, product in ((1, "eastron_sdm630"), (255, "keba_p30")):
        assert 2 * settings.unit_timeout_s[unit] < load_device(product).line.timeout_s


@pytest.mark.parametrize("by", ["upstream", "site"])
def test_one_line_alone_serves_what_is_behind_it_and_ends_in_order(tmp_path: Path, by: str) -> None:
    async def scenario() -> None:
        meter = SimulatedUnit(load_device("eastron_sdm630"), 1)
        meter.put({"power_w": 1234.5})
        gateway = Gateway([meter])
        await gateway.start()
        topology(tmp_path, gateway.port)
        port, health = free_ports(2)
        named = {"upstream": ["--upstream", f"127.0.0.1:{gateway.port}"], "site": ["--site", "h07"]}
        told = {"GRIDPARLEY_TOPOLOGY": "one.toml", "GRIDPARLEY_HEALTH": str(health)}
        line = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.cli",
            "line",
            *named[by],
            "--listen",
            str(port),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **told},
            stderr=subprocess.PIPE,
        )
        try:
            assert line.stderr is not None
            said = await line.stderr.readline()
            assert f"127.0.0.1:{gateway.port} is served at 127.0.0.1:{port}" in said.decode()
            assert await until(health, 200) == "well\n"
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(READ)
                answer = await reader.readexactly(13)
                assert (answer[:2], struct.unpack(">f", answer[9:])) == (READ[:2], (1234.5,))
                assert gateway.connections == 1
                writer.close()
                await writer.wait_closed()
            _, figures = await asyncio.to_thread(ask, health, "/metrics")
            name = f"127.0.0.1:{gateway.port}"
            (answered,) = (one for one in figures.splitlines() if one.startswith("gridparley_line_requests_total{"))
            assert f'line="{name}",outcome="answered"' in answered
            assert 'service_name="line"' in answered
            assert float(answered.split()[-1]) == 2
            assert f'gridparley_line_answer_age_seconds{{line="{name}"' in figures
            line.send_signal(signal.SIGTERM)
            assert await line.wait() == 0
        finally:
            if line.returncode is None:
                line.kill()
            await line.communicate()
            await gateway.stop()

    asyncio.run(asyncio.wait_for(scenario(), 110))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "give --upstream HOST:PORT, or --site"),
        (["--upstream", "here"], "'here' is not HOST:PORT"),
        (["--upstream", "127.0.0.1:502", "--listen", "x"], "'x' is not HOST:PORT"),
        (["--site", "h99"], "there is no site 'h99'"),
    ],
)
def test_mistakes_are_said_with_their_remedy(options: list[str], said: str) -> None:
    import typer

    app = typer.Typer()
    app.command()(command)
    answer = CliRunner().invoke(app, options)
    assert answer.exit_code == 2
    assert said in answer.output
