"""`gridparley devices` against files with mistakes, real sockets and nobody at all."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contracts.device_file import all_files, directory, load
from deploy.commands.devices_cli import app
from world.modbus import Gateway, SimulatedUnit

runner = CliRunner()


@contextmanager
def served(*units: SimulatedUnit) -> Iterator[int]:
    """The units behind a port, in a thread with a loop of its own: the command runs its own loop."""
    ready, stop = threading.Event(), asyncio.Event()
    box: dict[str, object] = {}

    async def main() -> None:
        gateway = Gateway(units)
        await gateway.start()
        box["port"], box["loop"] = gateway.port, asyncio.get_running_loop()
        ready.set()
        await stop.wait()
        await gateway.stop()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    try:
        assert ready.wait(10)
        port, loop = box["port"], box["loop"]
        assert isinstance(port, int)
        yield port
    finally:
        assert isinstance(loop, asyncio.AbstractEventLoop)
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def test_list_names_every_product_with_class_grade_and_source() -> None:
    result = runner.invoke(app, ["list"], env={"COLUMNS": "300"})
    assert result.exit_code == 0
    for path in all_files():
        device = load(path)
        assert path.stem in result.output
        assert device.device in result.output
        assert next(iter(device.documents.values())).title in result.output


@pytest.mark.parametrize("path", all_files(), ids=lambda path: path.stem)
def test_check_says_ok_for_every_product(path: Path) -> None:
    result = runner.invoke(app, ["check", str(path)])
    assert (result.exit_code, "ok" in result.output) == (0, True)


def test_check_names_line_and_point_of_each_fault(tmp_path: Path) -> None:
    text = (directory() / "eastron_sdm72d.toml").read_text()
    path = tmp_path / "wrong.toml"
    path.write_text(text.replace("scale = 1000", "scale = 100", 1))
    result = runner.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    assert "proof[1]: import_wh decodes to 1250" in result.output
    path.write_text(text.replace('type = "f32"', 'type = "f23"', 1))
    result = runner.invoke(app, ["check", str(path)])
    assert result.exit_code == 1
    line = next(i for i, one in enumerate(text.splitlines(), 1) if one.startswith("power_w"))
    assert f"wrong.toml:{line}: points.power_w.type" in result.output


def test_an_unknown_file_gets_close_names() -> None:
    result = runner.invoke(app, ["check", "abb_tera"])
    assert result.exit_code == 1
    assert "Did you mean abb_terra_ac" in result.output


def test_read_shows_a_sunspec_device_without_being_told_what_it_is() -> None:
    meter = SimulatedUnit(load("sunspec_meter"), 3)
    meter.put({"power_w": -1200, "frequency_hz": 49.99})
    with served(meter) as port:
        result = runner.invoke(app, ["read", "--host", "127.0.0.1", "--port", str(port), "--unit", "3"])
    assert result.exit_code == 0, result.output
    assert "SunSpec models: 1 at 40002, 203 at 40070" in result.output
    assert "-1200" in result.output
    assert "49.99" in result.output
    assert "not implemented" in result.output


def test_read_shows_a_named_product() -> None:
    evse = SimulatedUnit(load("keba_p30"), 255)
    evse.put({"state": "charging", "power_w": 7400, "current_limit_a": 10.5})
    with served(evse) as port:
        result = runner.invoke(app, ["read", "--host", "127.0.0.1", "--port", str(port), "--device", "keba_p30"])
    assert result.exit_code == 0, result.output
    assert all(word in result.output for word in ("charging", "7400", "10.5"))


def test_read_says_what_to_check_when_nobody_answers() -> None:
    with served(SimulatedUnit(load("eastron_sdm630"), 1)) as port:
        base = ["read", "--host", "127.0.0.1", "--port", str(port)]
        wrong_unit = runner.invoke(app, [*base, "--unit", "9", "--device", "eastron_sdm630"])
        no_sunspec = runner.invoke(app, [*base, "--unit", "1"])
    refused = runner.invoke(app, [*base, "--unit", "1", "--device", "eastron_sdm630"])
    assert (wrong_unit.exit_code, no_sunspec.exit_code, refused.exit_code) == (1, 1, 1)
    assert "the gateway got no answer from it" in wrong_unit.output
    assert "there is no SunSpec marker" in no_sunspec.output
    assert "--device" in no_sunspec.output
    assert "Check address and port" in refused.output
