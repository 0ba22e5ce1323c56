"""A device as its agent uses it: ages, confirmation of writes, changed maps, both event loops."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import uvloop

from agents.drivers.device import Device
from agents.drivers.errors import (
    MapChangedError,
    NotThisProductError,
    RefusedError,
    UnknownPointError,
    WriteNotConfirmedError,
)
from agents.drivers.plan import Plan
from contracts.device_file import DeviceFile, load
from contracts.registers import RangeError
from world.modbus import Gateway, SimulatedUnit


class RunClock:
    """The run's clock, stepped by the test."""

    def __init__(self) -> None:
        self.time = 1_463_738_400.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


@asynccontextmanager
async def device(file: str | DeviceFile) -> AsyncIterator[tuple[Device, SimulatedUnit, RunClock]]:
    form = load(file) if isinstance(file, str) else file
    unit, clock = SimulatedUnit(form, form.line.unit), RunClock()
    gateway = Gateway([unit])
    await gateway.start()
    driver = await Device.open(form, "127.0.0.1", gateway.port, clock=clock, timeout_s=10.0)
    try:
        yield driver, unit, clock
    finally:
        await driver.close()
        await gateway.stop()


def run(scenario: Callable[[], Awaitable[None]], runner: Callable[..., None] = asyncio.run) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 100)

    runner(bounded())


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_works_on_both_event_loops(runner: Callable[..., None]) -> None:
    async def scenario() -> None:
        async with device("abb_terra_ac") as (driver, unit, _):
            unit.put({"power_w": 11040, "state": "charging"})
            readings = await driver.read(["power_w", "state"])
            assert (readings["power_w"].value, readings["state"].value) == (11040, "charging")
            await driver.write("current_limit_a", 9.5)
            assert unit.get("current_limit_a") == 9.5

    run(scenario, runner)


def test_readings_age_on_the_runs_clock() -> None:
    async def scenario() -> None:
        async with device("eastron_sdm630") as (driver, unit, clock):
            unit.put({"power_w": 500.0})
            start = clock.time
            assert (await driver.read())["power_w"].at == start
            clock.time += 90.0
            await driver.read(["frequency_hz"])
            last = driver.last()
            assert last["power_w"].value == 500.0
            assert (last["power_w"].at, last["power_w"].age) == (start, 90.0)
            assert last["frequency_hz"].age == 0.0

    run(scenario)


def test_nothing_is_sent_before_the_first_read_and_a_dead_device_does_not_stop_opening() -> None:
    async def scenario() -> None:
        driver = await Device.open("sunspec_inverter", "127.0.0.1", 1, clock=RunClock())
        assert driver.health.ok_at is None
        assert not driver.health.ok
        assert driver.has("power_w")
        assert driver.last() == {}
        await driver.close()

    run(scenario)


def test_unknown_and_absurd_orders_never_reach_the_device() -> None:
    async def scenario() -> None:
        async with device("abb_terra_ac") as (driver, unit, _):
            with pytest.raises(UnknownPointError, match="current_limit_a"):
                await driver.write("speed", 5)
            for absurd in (-1, 33, float("nan"), "fast", True):
                with pytest.raises(RangeError):
                    await driver.write("current_limit_a", absurd)
            with pytest.raises(UnknownPointError):
                await driver.read(["speed"])
            assert unit.requests == 0
            assert driver.health.failures == 0

    run(scenario)


@pytest.mark.parametrize("file", ["abb_terra_ac", "sunspec_inverter"])
def test_a_write_that_the_device_does_not_show_is_not_in_force(file: str) -> None:
    async def scenario() -> None:
        form = load(file)
        if not form.sunspec:
            points = {n: msgspec.structs.replace(p, settle_ms=0.0) for n, p in form.points.items()}
            form = msgspec.structs.replace(form, points=points)
        async with device(form) as (driver, unit, _):
            name = "current_limit_a" if file == "abb_terra_ac" else "power_limit_percent"
            await driver.write(name, 10)
            unit.faults.deaf_to_writes = True
            with pytest.raises(WriteNotConfirmedError, match="reads back as 10") as caught:
                await driver.write(name, 20)
            assert (caught.value.name, caught.value.written, caught.value.read) == (name, 20, 10)

    run(scenario)


def test_a_device_that_settles_late_is_given_its_documented_time() -> None:
    async def scenario() -> None:
        async with device("abb_terra_ac") as (driver, unit, _):
            await driver.read()
            unit.faults.deaf_to_writes = True
            writing = asyncio.create_task(driver.write("current_limit_a", 16))
            while unit.requests < 5:  # it looks again and again # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not writing.done()
            unit.put({"current_limit_a": 16})
            await writing

    run(scenario)


def test_a_refused_write_changes_nothing() -> None:
    async def scenario() -> None:
        async with device("abb_terra_ac") as (driver, unit, _):
            await driver.write("current_limit_a", 10)
            narrow = msgspec.structs.replace(driver.points["current_limit_a"], max=1000.0)
            driver.points["current_limit_a"] = narrow
            with pytest.raises(RefusedError) as caught:
                await driver.write("current_limit_a", 500)
            assert caught.value.code == 3
            assert unit.get("current_limit_a") == 10

    run(scenario)


def test_not_implemented_and_garbled_points_have_no_value_and_say_why() -> None:
    async def scenario() -> None:
        async with device("sunspec_inverter") as (driver, unit, _):
            unit.put({"power_w": -5000, "voltage_l2_v": None})
            readings = await driver.read()
            assert readings["power_w"].value == -5000
            assert readings["voltage_l2_v"].value is None
            assert driver.health.bad_points == {}
            state = unit.points["state"]
            unit._spaces["holding"].write(state.address, b"\x00\x63")
            readings = await driver.read()
            assert readings["state"].value is None
            assert readings["power_w"].value == -5000
            assert "code 99" in driver.health.bad_points["state"]

    run(scenario)


def test_a_changed_sunspec_chain_is_noticed_before_anything_is_believed_or_written() -> None:
    async def scenario() -> None:
        async with device("sunspec_inverter") as (driver, unit, _):
            unit.put({"power_w": -5000})
            await driver.read()
            await driver.write("power_limit_percent", 60)
            unit.remap((1, 120, 103, 123, 121))
            unit.put({"power_w": -7000})
            with pytest.raises(MapChangedError, match="no longer where it was") as caught:
                await driver.write("power_limit_percent", 30)
            assert "scans it again" in caught.value.remedy
            assert unit.get("power_limit_percent") == 100
            assert driver.last()["power_w"].value == -5000
            assert (await driver.read())["power_w"].value == -7000
            await driver.write("power_limit_percent", 30)
            assert unit.get("power_limit_percent") == 30

    run(scenario)


@pytest.mark.parametrize("models", [(1, 113, 120, 123), (1, 101, 123), (1, 111, 103, 123)])
def test_another_makers_models_give_the_same_points(models: tuple[int, ...]) -> None:
    async def scenario() -> None:
        async with device("sunspec_inverter") as (driver, unit, _):
            unit.remap(models)
            unit.put({"power_w": -4000, "voltage_l1_v": 231.0, "state": "throttled"})
            readings = await driver.read(["power_w", "voltage_l1_v", "state"])
            assert readings["power_w"].value == pytest.approx(-4000)
            assert readings["voltage_l1_v"].value == pytest.approx(231.0)
            assert readings["state"].value == "throttled"

    run(scenario)


def test_a_device_without_sunspec_or_without_the_model_is_not_this_product() -> None:
    async def scenario() -> None:
        async with device("sunspec_inverter") as (driver, unit, _):
            unit.remap((1, 203))
            with pytest.raises(NotThisProductError, match="inverter_three_phase"):
                await driver.read()
            assert "none of" in driver.health.last_error
        meter = load("eastron_sdm630")
        gateway = Gateway([SimulatedUnit(meter, 1)])
        await gateway.start()
        driver = await Device.open("sunspec_inverter", "127.0.0.1", gateway.port, 1, clock=RunClock())
        with pytest.raises(NotThisProductError, match="no SunSpec marker at 40000, 50000, 0"):
            await driver.read()
        await driver.close()
        await gateway.stop()

    run(scenario)


def test_a_chain_without_end_is_given_up() -> None:
    async def scenario() -> None:
        async with device("sunspec_inverter") as (driver, unit, _):
            space = unit._spaces["holding"]
            space.write(40002, b"\x00\x01\x00\x00" * ((len(space.data) - 4) // 4))
            space.exists[:] = b"\1" * len(space.exists)
            with pytest.raises(Exception, match=r"no end|no such register"):
                await driver.read()

    run(scenario)


def test_points_are_read_in_few_requests_and_never_over_undocumented_holes() -> None:
    meter = load("eastron_sdm630")
    whole = Plan(1, meter.points.values(), meter.line, meter.ranges)
    assert [(r.address, r.count) for r in whole.requests] == [(0, 76)]
    careful = Plan(1, meter.points.values(), meter.line, ())
    assert [(r.address, r.count) for r in careful.requests] == [(0, 18), (52, 2), (60, 2), (70, 6)]
    keba = load("keba_p30")
    assert all(r.count <= 2 for r in Plan(255, keba.points.values(), keba.line, keba.ranges).requests)


def test_a_point_without_echo_is_written_and_never_taken_for_what_was_written() -> None:
    async def scene() -> None:
        async with device("mypv_ac_elwa_2") as (heater, unit, _clock):
            seen: list[tuple[str, object]] = []
            unit.on_write = lambda name, value: seen.append((name, value))
            unit.put({"power_w": 120})
            await heater.write("power_setpoint_w", 2_000)
            assert seen == [("power_setpoint_w", 2_000)]
            unit.put({"power_w": 1_870, "power_setpoint_w": 5})
            assert "power_setpoint_w" not in await heater.read()
            assert (await heater.read(("power_w",)))["power_w"].value == 1_870
            assert "power_setpoint_w" not in heater.last()
            with pytest.raises(RangeError):
                await heater.write("power_setpoint_w", 3_501)

    run(scene)
