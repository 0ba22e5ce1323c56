"""Water heater, air conditioner and generator in a simulated home, under the real CEM: physics, registers, talks."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio
import msgspec
import pytest

from bus.address import Address
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from tests.support.grid import Grid, eventually, grid
from tests.support.home import BECAUSE
from world.spec import DeviceSpec, WorldSpec
from world.street import DAY_START, day
from world.world import World

pytestmark = pytest.mark.anyio
DEVICES = (
    DeviceSpec(name="waterheater1", kind="waterheater", product="mypv_ac_elwa_2", unit=50, rating_w=3_500),
    DeviceSpec(
        name="waterheater2", kind="waterheater", product="water_heater_waveshare_relay", unit=51, rating_w=2_000
    ),
    DeviceSpec(name="hvac1", kind="hvac", product="intesis_daikin_inmbsdai", unit=52, rating_w=1_000),
    DeviceSpec(name="fuelcell1", kind="fuelcell", product="kwenergie_smartblock", unit=53, rating_w=4_000),
)
NAMES = ("h09.waterheater.1", "h09.waterheater.2", "h09.hvac.1", "h09.fuelcell.1")
CEM = "h09.cem.main"


def home() -> WorldSpec:
    whole = day()
    (site,) = (one for one in whole.sites if one.name == "h09")
    site = msgspec.structs.replace(site, devices=DEVICES)
    return msgspec.structs.replace(whole, start=DAY_START + timedelta(hours=2), sites=(site,))


@asynccontextmanager
async def living(run: Grid) -> AsyncIterator[World]:
    """The home's physics, a step each run second."""
    world = World(home())
    await world.start()

    async def pass_time() -> None:
        before = run.clock.now()
        while True:
            await anyio.sleep(0.05)
            now = run.clock.now()
            for _ in range(int(now - before)):
                world.step(1.0)
                before += 1.0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_time)
        try:
            yield world
        finally:
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await world.stop()


def draws(world: World, name: str) -> Callable[[], float]:
    return lambda: world.sites[0].device(name).power_w


@pytest.mark.use_case("ops.connect-device", "limits.lpc")
async def test_they_join_the_real_cem_and_a_grid_limit_stops_what_heats() -> None:
    async with grid("grid.dso.north", CEM, "h09.meter.main", *NAMES, speed=20.0) as run, living(run) as world:
        line = {"host": "127.0.0.1", "port": world.ports["h09"]}
        words = await run.words("h09")
        await run.start(CEM, {"contract_consumption_w": 14_500.0, "fuse_a": 63.0})
        await run.start("h09.meter.main", {**line, "unit": 1, "device": world.units["h09.meter"].device.key})
        for name, spec in zip(NAMES, DEVICES, strict=True):
            settings = {**line, "unit": spec.unit, "device": spec.product, "rating_w": spec.rating_w}
            await run.start(name, settings)
        joined = await words.until(lambda w: [e for _, e in w.of("inventory") if set(e["body"]["devices"]) == {*NAMES}])
        classes = {name: one["device_class"] for name, one in joined[-1]["body"]["devices"].items()}
        assert classes == dict(zip(NAMES, ("waterheater", "waterheater", "hvac", "fuelcell"), strict=True))
        boiler = draws(world, "waterheater2")
        await eventually(lambda: boiler() == 2_000)
        dso, cem = await run.bus("grid.dso.north"), Address.parse(CEM)

        async def limit(limit_w: float | None) -> None:
            dso.tell(cem, Heartbeat(every_s=60.0))
            async with dso.talk(limit_write, cem) as talk:
                active = limit_w is not None
                await talk.say(SetLimit(direction="consumption", active=active, limit_w=limit_w, reason=BECAUSE))
                assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)

        await limit(1_000.0)
        await eventually(lambda: boiler() == 0.0)
        applied = await words.until(lambda w: [e for _, e in w.of("power_applied") if e["body"]["upper_w"] == 0.0])
        assert applied
        temperatures = [e["body"].get("temperature_c") for s, e in words.of("device_reading") if "waterheater.1" in s]
        assert temperatures
        assert all(40 < value < 60 for value in temperatures)
        await limit(None)
        await eventually(lambda: boiler() == 2_000)
