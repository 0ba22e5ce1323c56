"""The loop through registers, feeder and meters; events; restarts. Modbus on real sockets, the run's clock stepped."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from agents.drivers.device import Device
from agents.drivers.errors import DriverError
from bus.clock import SteppedClock
from world.live import FAULTS
from world.run import run_world, simulate
from world.spec import EventSpec, WorldError, WorldSpec
from world.street import DAY_START, day, evening
from world.truth import Truth, read_truth
from world.world import Snapshot, World

NOON = DAY_START + timedelta(hours=3)


def street(*homes: str, **changes: object) -> WorldSpec:
    spec = day()
    sites = tuple(one for one in spec.sites if one.name in homes)
    return msgspec.structs.replace(spec, start=NOON, sites=sites, **changes)


def run(world: World, seconds: int) -> None:
    for _ in range(seconds):
        world.step(1.0)


def test_a_seed_makes_a_world_and_another_seed_another() -> None:
    until = DAY_START + timedelta(minutes=20)
    one, two = simulate(day(seed=5), until), simulate(day(seed=5), until)
    assert one == two
    assert one.rows != simulate(day(seed=6), until).rows


def test_the_noon_hour_overloads_the_transformer_as_simbench_says() -> None:
    spec = msgspec.structs.replace(day(), start=NOON)
    truth = simulate(spec, NOON + timedelta(minutes=15))
    fed = [-value for value in truth.column("transformer_w") if value is not None]
    # The quarter hour's mean of SimBench's own profiles, less the cables' losses.
    assert sum(fed) / len(fed) == pytest.approx(236_600 - 1_900 - 2_000, rel=0.02)
    assert 140 < max(value for value in truth.column("transformer_loading_percent") if value is not None) < 165


def test_the_evening_overloads_it_the_other_way_round_at_seven() -> None:
    seven = evening().start + timedelta(hours=2)
    truth = simulate(evening(), seven + timedelta(minutes=1))
    at_seven = truth.rows[-6]
    assert at_seven[truth.columns.index("transformer_loading_percent")] == pytest.approx(116, abs=5)
    assert (at_seven[truth.columns.index("transformer_w")] or 0) > 160_000


def test_energy_is_conserved_between_sites_and_transformer() -> None:
    world = World(day(), served=False)
    run(world, 120)
    sites_w = sum(site.total_w for site in world.sites)
    through_w = float(world.solution.transformer_power_w.sum())
    assert 0 < through_w - sites_w < 0.03 * abs(sites_w)  # the rest is lost in the cables


@asynccontextmanager
async def served(world: World) -> AsyncIterator[Callable[[str, str], Awaitable[Device]]]:
    """The world behind its sockets; what is yielded opens a device as an agent does."""
    clock, opened = SteppedClock(), []

    async def open_(site: str, device: str) -> Device:
        unit = world.units[f"{site}.{device}"]
        one = await Device.open(unit.device, "127.0.0.1", world.ports[site], unit.unit, clock=clock, timeout_s=2.0)
        opened.append(one)
        return one

    await world.start()
    try:
        yield open_
    finally:
        for one in opened:
            await one.close()
        await world.stop()


def test_a_limit_in_the_inverter_is_seen_by_the_meter_and_the_transformer() -> None:
    async def scene() -> None:
        world = World(street("h05", "h09"))
        async with served(world) as open_:
            inverter = await open_("h05", "pv1")
            meter = await open_("h05", "meter")
            transformer = await open_("substation", "meter")
            run(world, 5)
            before, high = (await meter.read())["power_w"].value, (await meter.read())["voltage_l1_v"].value
            assert before == pytest.approx(world.sites[0].total_w, abs=10)
            assert before < -50_000
            await inverter.write("power_limit_percent", 10.0)
            await inverter.write("power_limit_enabled", True)
            run(world, 10)
            rating_w = world.spec.sites[0].devices[-1].rating_w
            assert (await inverter.read())["power_w"].value == pytest.approx(-0.1 * rating_w, abs=10)
            shown = await meter.read()
            assert shown["power_w"].value == pytest.approx(world.sites[0].total_w, abs=10)
            assert shown["power_w"].value > before + 45_000
            assert shown["voltage_l1_v"].value < high - 4
            street_w = (await transformer.read())["power_w"].value
            assert street_w == pytest.approx(float(world.solution.transformer_power_w.sum()), abs=1)
            assert street_w == pytest.approx(world.sites[0].total_w + world.sites[1].total_w, rel=0.05)

    asyncio.run(scene())


def test_an_order_to_charge_fills_the_battery_until_its_master_is_gone() -> None:
    async def scene() -> None:
        world = World(street("h06", "h09"))
        async with served(world) as open_:
            sunspec, kostal = await open_("h09", "battery1"), await open_("h06", "battery1")
            await sunspec.write("setpoint_timeout_s", 60)
            await sunspec.write("power_setpoint_w", 20_000.0)
            run(world, 2)
            assert world.sites[1].device("battery1").power_w == 0.0  # not yet enabled, and no surplus of its own
            await sunspec.write("enabled", True)
            await kostal.write("power_setpoint_w", 10_000.0)
            run(world, 50)
            assert world.sites[1].device("battery1").power_w == 20_000
            assert world.sites[0].device("battery1").power_w == 10_000
            assert (await sunspec.read())["soc_percent"].value > 5.0
            run(world, 20)
            assert world.sites[1].device("battery1").power_w <= 0.0
            run(world, 60)
            assert world.sites[0].device("battery1").power_w <= 0.0

    asyncio.run(scene())


def test_a_charging_point_obeys_and_stops_when_nobody_reads_it() -> None:
    event = EventSpec(at=NOON, action="plug_in", site="h14", device="evse1", energy_wh=20_000)

    async def scene() -> None:
        world = World(street("h14"))
        point = world.sites[0].device("evse1")
        world.sites[0].happen(EventSpec(at=NOON, action="unplug", site="h14", device="evse1"), world.instant)
        world.inject(event)
        async with served(world) as open_:
            box = await open_("h14", "evse1")
            run(world, 10)
            free_w = (await box.read())["power_w"].value
            assert free_w == pytest.approx(11_000, rel=0.05)
            await box.write("current_limit_a", 8.0)
            run(world, 10)
            assert (await box.read())["power_w"].value == pytest.approx(8 / 16 * free_w, rel=0.02)
            assert (await box.read())["state"].value == "charging"
            await box.write("current_limit_a", 0.0)
            run(world, 10)
            assert (await box.read())["state"].value == "connected"
            await box.write("current_limit_a", 16.0)
            run(world, 10)
            assert point.power_w > 10_000
            run(world, 130)
            assert point.power_w == 0.0
            await box.read()
            run(world, 10)
            assert point.power_w > 10_000

    asyncio.run(scene())


def test_heat_pumps_take_contacts_and_setpoints() -> None:
    async def scene() -> None:
        world = World(street("h02", "h03"))
        async with served(world) as open_:
            lambda_, relay = await open_("h02", "heatpump1"), await open_("h03", "heatpump1")
            await lambda_.write("power_setpoint_w", 3_000)
            await relay.write("sg_ready_1", True)
            await relay.write("sg_ready_2", True)
            run(world, 5)
            assert (await lambda_.read())["power_w"].value == 3_000
            assert world.sites[1].device("heatpump1").power_w == 3_000
            await relay.write("sg_ready_2", False)
            run(world, 1)
            assert world.sites[1].device("heatpump1").power_w == 0.0

    asyncio.run(scene())


@pytest.mark.parametrize("fault", ["silent", "garbage", "hang_up", "exception"])
def test_an_unplugged_or_broken_meter_does_not_answer_until_it_is_mended(fault: str) -> None:
    async def scene() -> None:
        world = World(street("h09"))
        async with served(world) as open_:
            meter = await open_("h09", "meter")
            world.inject(EventSpec(at=NOON, action="fault", site="h09", device="meter", fault=fault))
            with pytest.raises(DriverError):
                await meter.read()
            world.inject(EventSpec(at=NOON, action="clear_fault", site="h09", device="meter"))
            meter.retry_now()
            assert (await meter.read())["power_w"].value is not None

    asyncio.run(scene())


def test_every_fault_has_a_name_and_an_unknown_one_is_refused() -> None:
    world = World(street("h09"))
    for fault in FAULTS:
        world.inject(EventSpec(at=NOON, action="fault", site="h09", fault=fault))
    with pytest.raises(WorldError, match="garbage"):
        world.inject(EventSpec(at=NOON, action="fault", site="h09", fault="tired"))
    with pytest.raises(WorldError, match="is no site"):
        world.inject(EventSpec(at=NOON, action="plug_in", site="h99", device="evse1", energy_wh=1))


@pytest.mark.parametrize("spec", [day(), evening()], ids=["day", "evening"])
def test_every_product_can_show_what_its_device_does(spec: WorldSpec) -> None:
    world = World(spec)
    orders = {"power_setpoint_w": -1e6, "enabled": True}
    for extreme in (1e6, -1e6):
        orders["power_setpoint_w"] = extreme
        for site in world.sites:
            for one in site.devices:
                for name, value in orders.items():
                    one.orders.take(name, value, world.instant)
        run(world, 30)
        for unit in world.units.values():
            unit.refresh()  # raises RangeError where a register is too small
    for key, unit in world.units.items():
        if unit.device.class_ == "meter":
            assert unit.get("power_w") is not None, key


def test_without_voltage_nothing_flows_and_afterwards_it_does_again() -> None:
    start = NOON
    events = (
        EventSpec(at=start + timedelta(seconds=10), action="blackout"),
        EventSpec(at=start + timedelta(seconds=20), action="restore"),
    )
    world = World(street("h05", "h06", "h08", events=events), served=False)
    run(world, 9)
    fed = world.sites[0].total_w
    assert fed < -50_000
    run(world, 5)
    assert {site.total_w for site in world.sites} == {0.0}
    assert not world.solution.voltage_v.any()
    counted = world.sites[0].counter.export_wh
    run(world, 4)
    assert world.sites[0].counter.export_wh == counted
    run(world, 60)
    assert world.sites[0].total_w == pytest.approx(fed, rel=0.1)


def test_an_overload_that_no_voltage_satisfies_trips_the_street() -> None:
    world = World(street("h05"), served=False)
    world.inject(EventSpec(at=NOON, action="load", site="h05", power_w=5e6, stays_s=5))
    run(world, 2)
    assert not world.solution.voltage_v.any()
    run(world, 10)
    world.inject(EventSpec(at=NOON, action="restore"))
    run(world, 60)
    assert world.solution.voltage_v.min() > 200


def test_a_load_on_one_phase_is_on_that_phase_for_its_time() -> None:
    world = World(street("h09"), served=False)
    run(world, 1)
    before = list(world.sites[0].power_w)
    world.inject(EventSpec(at=NOON, action="load", site="h09", power_w=9_000, phase=2, stays_s=30))
    run(world, 1)
    change = [now - then for now, then in zip(world.sites[0].power_w, before, strict=True)]
    assert change == pytest.approx([0, 9_000, 0], abs=100)
    run(world, 31)
    assert world.sites[0].power_w[1] < before[1] + 500


def test_a_programme_runs_and_ends() -> None:
    world = World(street("h13"), served=False)
    world.inject(EventSpec(at=NOON, action="start_programme", site="h13", programme="washing_machine"))
    run(world, 600)
    running = world.sites[0].total_w - world.sites[0].device("pv1").power_w
    assert running > 2_000
    run(world, 4_200)
    assert world.sites[0].total_w - world.sites[0].device("pv1").power_w < running - 1_000


def test_meters_only_count_up() -> None:
    world = World(street("h05", "h09"), served=False)
    seen = []
    for _ in range(30):
        run(world, 10)
        seen.append([(site.counter.import_wh, site.counter.export_wh) for site in world.sites])
    assert seen == sorted(seen)
    assert seen[-1][0][1] - seen[0][0][1] == pytest.approx(290 / 3600 * -world.sites[0].total_w, rel=0.1)


def test_a_killed_world_goes_on_where_it_was() -> None:
    spec = street("h06", "h09", "h14")
    world = World(spec)
    world.inject(EventSpec(at=NOON, action="load", site="h09", power_w=500, stays_s=1e4))
    for site in world.sites[:2]:
        site.device("battery1").orders.take("power_setpoint_w", 5_000.0, world.instant)
        site.device("battery1").orders.take("enabled", True, world.instant)
    run(world, 60)
    heir = World(spec)
    heir.resume(msgspec.json.decode(msgspec.json.encode(world.dump()), type=Snapshot))
    run(world, 30)
    run(heir, 30)
    assert heir.row() == pytest.approx(world.row(), nan_ok=True)
    assert heir.units["h09.battery1"].get("power_setpoint_w") == 5_000
    assert heir.sites[0].device("battery1").power_w == 5_000


def test_a_served_world_keeps_to_the_clock_and_leaves_the_truth(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    spec = street("h09")
    seen: list[World] = []

    async def life(clock: SteppedClock, seconds: float) -> None:
        up = asyncio.Event()

        def ready(world: World) -> None:
            seen.append(world)
            up.set()

        task = asyncio.create_task(run_world(spec, clock, ready, path))
        await up.wait()
        await clock.advance(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(life(SteppedClock(NOON.timestamp()), 61.0))
    assert seen[0].instant == pytest.approx(NOON.timestamp() + 61)
    first = read_truth(path)
    assert len(first.rows) == 7
    with path.open("a") as file:
        file.write("146374")  # killed in the middle of a row
    asyncio.run(life(SteppedClock(NOON.timestamp() + 61), 60.0))
    both = read_truth(path)
    assert both.rows[: len(first.rows)] == first.rows
    assert both.columns[0] == "instant"
    instants = both.column("instant")
    assert instants == sorted(set(instants), key=lambda value: value or 0)
    assert instants[-1] == pytest.approx(NOON.timestamp() + 120, abs=10)


def test_what_another_run_left_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    later = World(street("h09"))
    run(later, 500)
    path.with_suffix(".state").write_bytes(msgspec.json.encode(later.dump()))
    path.write_text("instant\n1.0\n")

    async def life() -> None:
        clock, up = SteppedClock(NOON.timestamp()), asyncio.Event()
        task = asyncio.create_task(run_world(street("h09"), clock, lambda _: up.set(), path))
        await up.wait()
        await clock.advance(15.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(life())
    assert len(read_truth(path).rows) == 2
    assert read_truth(path).rows[0][0] == pytest.approx(NOON.timestamp() + 1)


def test_a_late_world_catches_up_and_says_how_late_it_was(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"

    async def life() -> World:
        found: list[World] = []
        up = asyncio.Event()
        clock = SteppedClock(NOON.timestamp() + 1_000)
        task = asyncio.create_task(run_world(street("h09"), clock, lambda world: (found.append(world), up.set()), path))
        await up.wait()
        for _ in range(40):
            await clock.advance(0.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return found[0]

    assert asyncio.run(life()).instant == pytest.approx(NOON.timestamp() + 1_000, abs=1.0)
    lags = [value or 0.0 for value in read_truth(path).column("lag_s")]
    assert max(lags) > 900
    assert lags[-1] < 10


def test_events_that_could_never_happen_are_refused_at_the_start() -> None:
    for event in (
        EventSpec(at=NOON, action="plug_in", site="h09", device="evse1", energy_wh=1),
        EventSpec(at=NOON, action="load", site="h99", power_w=1),
        EventSpec(at=NOON, action="fault", site="h09", fault="tired"),
    ):
        with pytest.raises(WorldError):
            World(street("h09", events=(event,)), served=False)


def test_a_planned_event_that_the_run_has_overtaken_does_not_stop_the_street() -> None:
    plug = EventSpec(at=NOON, action="plug_in", site="h11", device="evse1", energy_wh=5_000)
    world = World(street("h11", events=(plug, plug)), served=False)
    run(world, 10)
    assert world.sites[0].device("evse1").power_w > 3_000


def test_a_truth_says_which_column_it_lacks() -> None:
    with pytest.raises(KeyError, match="h77"):
        Truth(("instant",), ()).column("h77.power_w")


def test_an_inverter_forgets_a_limit_that_is_not_renewed() -> None:
    async def scene() -> None:
        world = World(street("h03"))
        plant = world.sites[0].device("pv1")
        async with served(world) as open_:
            inverter = await open_("h03", "pv1")
            assert inverter.file.key == "sunspec_inverter"
            await inverter.write("limit_timeout_s", 60)
            await inverter.write("power_limit_percent", 0.0)
            await inverter.write("power_limit_enabled", True)
            run(world, 50)
            assert plant.power_w == 0.0
            assert (await inverter.read())["state"].value == "throttled"
            await inverter.write("power_limit_percent", 0.0)
            run(world, 50)
            assert plant.power_w == 0.0
            run(world, 60)
            assert plant.power_w < -20_000

    asyncio.run(scene())


def test_a_single_phase_car_shows_on_one_phase_of_the_meter() -> None:
    async def scene() -> None:
        world = World(street("h10"))
        async with served(world) as open_:
            meter, box = await open_("h10", "meter"), await open_("h10", "evse1")
            run(world, 2)
            before = await meter.read()
            world.inject(EventSpec(at=NOON, action="plug_in", site="h10", device="evse1", energy_wh=5_000))
            run(world, 10)
            after, charge = await meter.read(), await box.read()
            grown = [after[f"power_l{n}_w"].value - before[f"power_l{n}_w"].value for n in (1, 2, 3)]
            assert sorted(grown)[2] == pytest.approx(3_700, rel=0.1)
            assert abs(sorted(grown)[1]) < 500
            phase = grown.index(max(grown)) + 1
            assert charge[f"current_l{phase}_a"].value == pytest.approx(16, abs=0.1)
            assert after[f"voltage_l{phase}_v"].value < before[f"voltage_l{phase}_v"].value

    asyncio.run(scene())
