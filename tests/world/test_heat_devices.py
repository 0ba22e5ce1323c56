"""Driver, registers, physics and back: water heater, air conditioner and generator on real sockets."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import pytest

from agents.drivers.device import Device
from agents.fuelcell.terminals import FuelCellSettings, FuelCellTerminals
from agents.heatpump.terminals import HeatPumpSettings, HeatPumpTerminals
from agents.hvac.terminals import HvacSettings, HvacTerminals
from agents.kit.hardware import Envelope, Hardware, Impossible, Terminals
from agents.waterheater.terminals import WaterHeaterSettings, WaterHeaterTerminals
from bus.clock import SteppedClock
from contracts import device_file
from world.spec import DeviceSpec, WorldError, WorldSpec
from world.street import DAY_START, day
from world.world import Snapshot, World

HEATER = DeviceSpec(
    name="waterheater1", kind="waterheater", product="mypv_ac_elwa_2", unit=50, rating_w=3_500, phases=1
)
BOILER = DeviceSpec(
    name="waterheater2", kind="waterheater", product="water_heater_waveshare_relay", unit=51, rating_w=2_000, phases=1
)
SPLIT = DeviceSpec(name="hvac1", kind="hvac", product="intesis_daikin_inmbsdai", unit=52, rating_w=1_000, phases=1)
CHP = DeviceSpec(name="fuelcell1", kind="fuelcell", product="kwenergie_smartblock", unit=53, rating_w=4_000)
PUMP = DeviceSpec(
    name="heatpump9", kind="heatpump", product="lambda_eu_l", unit=54, rating_w=3_000, profile="Air_Parallel_2"
)
KINDS: dict[str, Terminals] = {
    "waterheater1": WaterHeaterTerminals(WaterHeaterSettings(), device_file.load(HEATER.product)),
    "waterheater2": WaterHeaterTerminals(WaterHeaterSettings(rating_w=2_000), device_file.load(BOILER.product)),
    "hvac1": HvacTerminals(HvacSettings(rating_w=1_000), device_file.load(SPLIT.product)),
    "fuelcell1": FuelCellTerminals(FuelCellSettings(rating_w=4_000), device_file.load(CHP.product)),
    "heatpump9": HeatPumpTerminals(HeatPumpSettings(rating_w=3_000), device_file.load(PUMP.product)),
}


def spec(*devices: DeviceSpec) -> WorldSpec:
    whole = day()
    (site,) = (one for one in whole.sites if one.name == "h09")
    site = msgspec.structs.replace(site, devices=devices)
    return msgspec.structs.replace(whole, start=DAY_START + timedelta(hours=3), sites=(site,))


def run(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.step(1.0)


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Callable[[str], Awaitable[Hardware]]]:
    opened: list[Device] = []

    async def open_(name: str) -> Hardware:
        unit = world.units[f"h09.{name}"]
        clock = SteppedClock()
        one = await Device.open(unit.device, "127.0.0.1", world.ports["h09"], unit.unit, clock=clock, timeout_s=10.0)
        opened.append(one)
        return Hardware(one, KINDS[name])

    await world.start()
    try:
        yield open_
    finally:
        for one in opened:
            await one.close()
        await world.stop()


async def order(hardware: Hardware, **envelope: float) -> dict[str, float]:
    values = await hardware.look()
    plan = hardware.terminals.plan(Envelope(**envelope), values)  # type: ignore[arg-type]
    return await hardware.put(plan, values, renew=plan.renew_every_s is not None)


def test_a_heater_takes_the_power_that_its_register_gets_until_nobody_renews_it() -> None:
    async def scene() -> None:
        world = World(spec(HEATER))
        async with served(world) as open_:
            heater = await open_("waterheater1")
            run(world, 2)
            before = heater.terminals.reading(await heater.look(), 0.0)
            assert before.power_w == 0.0
            assert before.temperature_c == pytest.approx(50.0, abs=0.1)
            assert await order(heater, setpoint_w=2_000.0) == {}  # the register shows what flows, not what was asked
            run(world, 30)
            reading = heater.terminals.reading(await heater.look(), 0.0)
            assert (reading.power_w, reading.operating) == (2_000.0, "running")
            assert sum(watts > 0 for watts in world.sites[0].devices[0].shares) == 1
            await order(heater, setpoint_w=2_000.0, upper_w=800.0)
            run(world, 1_000)
            assert world.sites[0].devices[0].power_w == 0.0

    asyncio.run(scene())


def test_a_contactor_takes_the_supply_away_and_gives_it_back() -> None:
    async def scene() -> None:
        world = World(spec(BOILER))
        async with served(world) as open_:
            boiler = await open_("waterheater2")
            run(world, 2)
            assert world.sites[0].devices[0].power_w == 2_000
            assert await order(boiler, upper_w=1_000.0) == {"enabled": 0.0}
            run(world, 2)
            assert world.sites[0].devices[0].power_w == 0.0
            await order(boiler)
            run(world, 2)
            assert world.sites[0].devices[0].power_w == 2_000

    asyncio.run(scene())


def test_an_air_conditioner_is_stopped_resumed_and_set() -> None:
    async def scene() -> None:
        world = World(spec(SPLIT))
        async with served(world) as open_:
            split, unit = await open_("hvac1"), world.sites[0].devices[0]
            terminals = split.terminals
            assert isinstance(terminals, HvacTerminals)
            values = await split.look()
            await split.put(terminals.set_target(20.0, "cool", values=values), values)
            run(world, 300)
            assert unit.power_w > 900
            warm = terminals.reading(await split.look(), 0.0).temperature_c
            run(world, 1_800)
            cool = terminals.reading(await split.look(), 0.0).temperature_c
            assert warm is not None
            assert cool is not None
            assert cool < warm
            await order(split, upper_w=500.0)
            run(world, 2)
            assert unit.power_w == 0.0
            await order(split)
            run(world, 300)
            assert unit.power_w > 100

    asyncio.run(scene())


def test_a_generator_runs_on_order_and_refuses_when_its_tank_is_hot() -> None:
    async def scene() -> None:
        world = World(spec(CHP))
        async with served(world) as open_:
            chp, unit = await open_("fuelcell1"), world.sites[0].devices[0]
            for _ in range(40):
                await order(chp, setpoint_w=-3_000.0)
                run(world, 10)
            assert unit.power_w == -3_000
            reading = chp.terminals.reading(await chp.look(), 0.0)
            assert (reading.power_w, reading.operating) == (-3_000, "running")
            refused: Impossible | None = None
            for _ in range(1_000):
                try:
                    await order(chp, setpoint_w=-4_000.0)
                except Impossible as problem:
                    refused = problem
                    break
                run(world, 20)
            assert refused is not None
            assert refused.reason.code == "too_hot"
            assert unit.power_w == 0.0
            assert chp.terminals.reading(await chp.look(), 0.0).lower_w == 0.0

    asyncio.run(scene())


def test_a_generator_whose_handshake_is_not_answered_goes_back_to_its_own_mode() -> None:
    async def scene() -> None:
        world = World(spec(CHP))
        async with served(world) as open_:
            chp, unit = await open_("fuelcell1"), world.sites[0].devices[0]
            for _ in range(40):
                await order(chp, setpoint_w=-3_000.0)
                run(world, 10)
            assert unit.power_w == -3_000
            run(world, 300)
            assert unit.power_w == 0.0  # the tank is warm, so it has nothing to do

    asyncio.run(scene())


def test_a_heat_pump_makes_extra_hot_water_on_demand() -> None:
    async def scene() -> None:
        world = World(spec(PUMP))
        async with served(world) as open_:
            pump = await open_("heatpump9")
            terminals = pump.terminals
            assert isinstance(terminals, HeatPumpTerminals)
            values = await pump.look()
            before = terminals.storage(values).temperature_c
            await pump.put(terminals.hot_water(values), values)
            run(world, 5_400)
            after = terminals.reading(await pump.look(), 0.0)
            assert after.temperature_c is not None
            assert after.outdoor_temperature_c is not None
            assert after.temperature_c > before + 3

    asyncio.run(scene())


def test_a_world_that_is_killed_goes_on_with_its_heat() -> None:
    whole = spec(HEATER, BOILER, SPLIT, CHP)
    world = World(whole, served=False)
    run(world, 1_200)
    kept = msgspec.json.decode(msgspec.json.encode(world.dump()), type=Snapshot)
    again = World(whole, served=False)
    again.resume(kept)
    run(world, 60)
    run(again, 60)
    assert [one.power_w for one in again.sites[0].devices] == [one.power_w for one in world.sites[0].devices]
    assert [one.dump() for one in again.sites[0].devices] == [one.dump() for one in world.sites[0].devices]


def test_a_kind_without_a_rating_is_refused() -> None:
    with pytest.raises(WorldError):
        World(spec(msgspec.structs.replace(HEATER, rating_w=0.0)), served=False)
