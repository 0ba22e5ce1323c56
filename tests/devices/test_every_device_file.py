"""Walks every file in `devices/`: form, lint, proof frames, simulator, and the driver over a real socket."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from agents.drivers.device import Device
from agents.drivers.errors import (
    BadAnswerError,
    ConnectError,
    DriverError,
    MapChangedError,
    NoAnswerError,
    ReadOnlyError,
    RefusedError,
)
from contracts.device_file import DeviceFile, all_files, faults, load
from contracts.device_form import Point, Value
from contracts.registers import Codec
from contracts.sunspec_models import Placed, resolve
from world.modbus import Faults, Gateway, SimulatedUnit

FILES = all_files()
pytestmark = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


FAULTS: list[tuple[str, object, type[DriverError]]] = [
    ("silent", True, NoAnswerError),
    ("delay_s", 0.3, NoAnswerError),
    ("garbage", b"\xff" * 40, BadAnswerError),
    ("garbage", b"HTTP/1.1 400 Bad Request\r\n\r\n", BadAnswerError),
    ("exception", 4, RefusedError),
    ("cut", 1, BadAnswerError),
    ("cut", -2, BadAnswerError),
    ("wrong_unit", 99, BadAnswerError),
    ("wrong_tid", True, NoAnswerError),
    ("hang_up", True, ConnectError),
    ("moved", 3000, MapChangedError),
]


async def until_ok(driver: Device) -> None:
    """Reads until the device answers, as its agent would."""
    async with asyncio.timeout(60):
        while not driver.health.ok:
            driver.retry_now()
            with suppress(DriverError):
                await driver.read()


def examples(point: Point) -> list[Value]:
    """Values that a point can hold, both ends of a writable range included."""
    if point.type == "bool":
        return [True, False]
    if point.values:
        return sorted(set(point.values.values()))
    if point.min is not None and point.max is not None:
        middle = round((point.min + point.max) / 2)
        return [point.min, point.max, middle]
    small = 7 * point.scale
    return [-small if point.positive == "fed" else small, 0]


def test_the_file_is_sound(path: Path) -> None:
    device = load(path)
    assert faults(device) == []
    assert device.key == path.stem
    for point in device.points.values():
        assert point.clause


def test_its_proof_frames_say_what_they_say(path: Path) -> None:
    device = load(path)
    assert device.proof
    for proof in device.proof:
        points = device.points
        if device.sunspec:
            points = resolve(device.sunspec, [Placed(id=proof.words[0], address=proof.read, length=proof.words[1])])
        for name, said in proof.says.items():
            point = points[name]
            data = b"".join(word.to_bytes(2, "big") for word in proof.words)
            exponent = 0
            if point.scale_register is not None:
                exponent = proof.words[point.scale_register - proof.read]
                exponent -= 65536 if exponent > 32767 else 0
            value = Codec(point, device.line).at(data, 2 * (point.address - proof.read), exponent)
            assert value == pytest.approx(said), name


def test_the_simulator_shows_what_was_put_and_the_driver_reads_it(path: Path) -> None:
    device = load(path)

    async def scenario() -> None:
        unit = SimulatedUnit(device, device.line.unit)
        gateway = Gateway([unit])
        await gateway.start()
        driver = await Device.open(device, "127.0.0.1", gateway.port, clock=WallClock())
        try:
            for index in range(3):
                shown = {name: point for name, point in unit.points.items() if point.echo}
                put = {n: e[index % len(e)] for n, p in shown.items() if (e := examples(p))}
                unit.put(dict(put))
                before = unit.requests
                readings = await driver.read()
                assert set(readings) == set(shown)
                for name, value in put.items():
                    step = Codec(unit.points[name], device.line).step(2)
                    assert unit.get(name) == (
                        value if isinstance(value, str | bool) else pytest.approx(value, abs=step / 2)
                    )
                    assert readings[name].value == unit.get(name)
                if index:
                    assert unit.requests - before <= len(unit.points)
            assert driver.health.ok
            assert not driver.health.bad_points
        finally:
            await driver.close()
            await gateway.stop()

    asyncio.run(scenario())


def test_each_writable_is_written_read_back_and_seen_by_the_world(path: Path) -> None:
    device = load(path)

    async def scenario() -> None:
        seen: list[tuple[str, Value]] = []
        unit = SimulatedUnit(device, device.line.unit, on_write=lambda name, value: seen.append((name, value)))
        gateway = Gateway([unit])
        await gateway.start()
        driver = await Device.open(device, "127.0.0.1", gateway.port, clock=WallClock())
        try:
            await driver.read()
            for name, point in unit.points.items():
                if point.access == "r":
                    with pytest.raises(ReadOnlyError):
                        await driver.write(name, examples(point)[0])
                    continue
                for value in examples(point):
                    await driver.write(name, value)
                    assert seen[-1][0] == name
                    shown = unit.get(name)
                    assert shown == (
                        value if isinstance(value, str | bool) else pytest.approx(value, rel=1e-4, abs=0.01)
                    )
            assert {name for name, _ in seen} == {name for name, point in unit.points.items() if point.access == "rw"}
        finally:
            await driver.close()
            await gateway.stop()

    asyncio.run(scenario())


def test_unplugged_slow_garbled_and_moved_are_named_and_survived(path: Path) -> None:
    """The silver rule: every fault is a typed error, the values stay with their age, and mending is enough."""
    device = load(path)

    async def scenario(device: DeviceFile) -> None:
        unit = SimulatedUnit(device, device.line.unit)
        gateway = Gateway([unit])
        await gateway.start()
        for field, value, expected in FAULTS:
            # Only what ends in silence is waited for; everything else has time, however busy the machine is.
            driver = await Device.open(
                device,
                "127.0.0.1",
                gateway.port,
                clock=WallClock(),
                timeout_s=0.1 if expected is NoAnswerError else 5.0,
            )
            await until_ok(driver)
            at = driver.health.ok_at
            setattr(unit.faults, field, value)
            with pytest.raises(expected):
                await driver.read()
            assert driver.health.failures
            assert driver.last()
            assert all(reading.at == at for reading in driver.last().values())
            unit.faults = Faults()
            await until_ok(driver)
            await driver.close()
        await gateway.stop()

    asyncio.run(scenario(device))
