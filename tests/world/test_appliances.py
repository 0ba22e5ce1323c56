"""Appliances, switched loads and submeters of the world: by their own physics, and through their registers."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from agents.drivers.device import Device
from bus.clock import SteppedClock
from world.physics import appliance
from world.spec import DeviceSpec, EventSpec, WorldError, WorldSpec
from world.street import DAY_START, day
from world.world import Snapshot, World

SOCKET = DeviceSpec(
    name="whitegoods1",
    kind="whitegoods",
    product="netio_powercable_appliance",
    unit=40,
    rating_w=2200,
    phases=1,
    phase=2,
)
LIGHT = DeviceSpec(name="switch1", kind="switch", product="wirenboard_mdm3", unit=41, rating_w=200, phases=1, phase=1)
SUBMETER = DeviceSpec(
    name="submeter1", kind="submeter", product="eastron_sdm72d", unit=42, rating_w=1, measures="whitegoods1"
)


def home(*devices: DeviceSpec, seed: int = 1) -> WorldSpec:
    spec = day(seed=seed)
    site = msgspec.structs.replace(next(one for one in spec.sites if one.name == "h09"), devices=devices)
    return msgspec.structs.replace(spec, sites=(site,))


def run(world: World, seconds: int) -> None:
    step_s = 1.0 if seconds < 1000 else 10.0
    for _ in range(int(seconds / step_s)):
        world.step(step_s)


def arm(world: World, programme: str = "cotton_60") -> None:
    world.inject(
        EventSpec(at=DAY_START, action="start_programme", site="h09", device="whitegoods1", programme=programme)
    )


def steps(programme: str, share: float = 1.0) -> appliance.ApplianceState:
    return appliance.arm(appliance.ApplianceState(), programme, 0.0, share)


@pytest.mark.parametrize("programme", list(appliance.PROGRAMMES))
def test_a_programme_takes_the_time_and_energy_of_its_steps(programme: str) -> None:
    table = appliance.PROGRAMMES[programme]
    state, seconds = steps(programme), 0
    while state.phase != "finished":
        state, seconds = appliance.step(state, 10.0, supply=True, go=True), seconds + 10
    assert seconds == pytest.approx(sum(step.duration_s for step in table))
    assert state.energy_wh == pytest.approx(sum(step.duration_s * step.power_w for step in table) / 3600, rel=1e-6)
    assert 500 < state.energy_wh < 3200
    assert appliance.step(state, 10.0, supply=True, go=True).power_w == appliance.STANDBY_W


def test_asked_to_wait_it_goes_on_to_the_next_step_that_can() -> None:
    state = steps("cotton_60")
    for _ in range(8):
        state = appliance.step(state, 60.0, supply=True, go=True)
    assert state.power_w == 2000
    waited = 0
    while not state.holding:
        state, waited = appliance.step(state, 60.0, supply=True, go=True, hold=True), waited + 1
    assert waited == 21  # the rest of the heating, and the look that finds the next step
    assert state.power_w == appliance.STANDBY_W
    before = state.elapsed_s
    state = appliance.step(state, 600.0, supply=True, go=True, hold=True)
    assert state.elapsed_s == before
    assert appliance.step(state, 60.0, supply=True, go=True).power_w == 180


def test_without_supply_it_stands_still_anywhere_and_goes_on_there() -> None:
    state = steps("cotton_60")
    for _ in range(8):
        state = appliance.step(state, 60.0, supply=True, go=True)
    dark = appliance.step(state, 3600.0, supply=False, go=True)
    assert (dark.power_w, dark.elapsed_s) == (0.0, state.elapsed_s)
    assert appliance.step(dark, 1.0, supply=True, go=True).power_w == 2000


def test_an_armed_machine_waits_until_it_may_go() -> None:
    state = appliance.step(steps("eco_50"), 60.0, supply=True, go=False)
    assert (state.phase, state.power_w) == ("armed", appliance.STANDBY_W)


def test_some_programmes_end_early_and_the_seed_says_which() -> None:
    def lengths(seed: int) -> list[float]:
        world = World(home(SOCKET, seed=seed), served=False)
        found: list[float] = []
        for _ in range(12):
            arm(world)
            machine = world.sites[0].device("whitegoods1")
            found.append(round(float(machine.readings(world._moments["h09"])["remaining_s"] or 0)))
            world.inject(EventSpec(at=DAY_START, action="open_door", site="h09", device="whitegoods1"))
        return found

    whole = sum(step.duration_s for step in appliance.PROGRAMMES["cotton_60"])
    one = lengths(1)
    assert one == lengths(1)
    assert one != lengths(2)
    assert whole in one
    assert any(0.69 * whole <= length < 0.96 * whole for length in one)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        ({"action": "start_programme", "device": "switch1", "programme": "cotton_60"}, "no appliance"),
        ({"action": "start_programme", "device": "whitegoods1", "programme": "boil"}, "cotton_60"),
        ({"action": "open_door", "device": "switch1"}, "no appliance"),
    ],
)
def test_an_event_that_cannot_be_says_why(event: dict[str, str], why: str) -> None:
    world = World(home(SOCKET, LIGHT), served=False)
    with pytest.raises(WorldError, match=why):
        world.inject(msgspec.convert({"at": DAY_START, "site": "h09", **event}, EventSpec))


def test_a_busy_machine_is_not_started_again() -> None:
    world = World(home(SOCKET), served=False)
    arm(world)
    with pytest.raises(WorldError, match="busy"):
        arm(world)


def through_registers(world: World, scene: Callable[..., object]) -> None:
    async def play() -> None:
        opened: dict[str, Device] = {}
        await world.start()
        try:
            for name, unit in world.units.items():
                if name.startswith("h09."):
                    opened[name.removeprefix("h09.")] = await Device.open(
                        unit.device, "127.0.0.1", world.ports["h09"], unit.unit, clock=SteppedClock(), timeout_s=10.0
                    )
            await scene(**opened)  # type: ignore[misc]
        finally:
            for one in opened.values():
                await one.close()
            await world.stop()

    asyncio.run(play())


def test_a_socket_holds_starts_and_pauses_a_machine_and_the_meter_sees_it() -> None:
    world = World(home(SOCKET, SUBMETER))

    async def scene(whitegoods1: Device, submeter1: Device, meter: Device) -> None:
        run(world, 5)
        assert (await whitegoods1.read())["enabled"].value is True
        arm(world)
        run(world, 5)
        assert (await whitegoods1.read())["power_w"].value == 120
        await whitegoods1.write("enabled", False)
        run(world, 3600)
        assert (await whitegoods1.read())["power_w"].value == 0
        await whitegoods1.write("enabled", True)
        run(world, 400)
        shown = await whitegoods1.read()
        assert shown["power_w"].value == 2000
        assert (await submeter1.read())["power_w"].value == pytest.approx(2000)
        household = world.sites[0].household.power_w(world.instant)
        assert (await meter.read())["power_w"].value == pytest.approx(household + 2000, abs=1)  # nothing counts twice
        assert world.sites[0].power_w[1] - world.sites[0].power_w[0] > 1500
        run(world, 2 * 3600)
        assert (await whitegoods1.read())["power_w"].value == 1
        counted = (await whitegoods1.read())["energy_wh"].value
        assert 900 < float(str(counted)) < 1300
        assert (await submeter1.read())["import_wh"].value == pytest.approx(counted, abs=2)

    through_registers(world, scene)


def test_a_door_that_is_opened_ends_it() -> None:
    world = World(home(SOCKET), served=False)
    arm(world)
    run(world, 500)
    assert world.sites[0].device("whitegoods1").power_w == 2000
    world.inject(EventSpec(at=DAY_START, action="open_door", site="h09", device="whitegoods1"))
    run(world, 1)
    assert world.sites[0].device("whitegoods1").power_w == appliance.STANDBY_W


def test_a_light_follows_switch_and_dimmer() -> None:
    world = World(home(LIGHT))

    async def scene(switch1: Device, meter: Device) -> None:
        run(world, 1)
        lamp = world.sites[0].device("switch1")
        assert lamp.power_w == 200
        await switch1.write("dim_percent", 40)
        run(world, 1)
        assert lamp.power_w == pytest.approx(80)
        await switch1.write("enabled", False)
        run(world, 1)
        assert lamp.power_w == 0
        await switch1.write("enabled", True)
        run(world, 1)
        assert lamp.power_w == pytest.approx(80)

    through_registers(world, scene)


def test_a_submeter_measures_a_circuit_of_its_own_too() -> None:
    own = msgspec.structs.replace(SUBMETER, measures="", rating_w=750)
    world = World(home(own))

    async def scene(submeter1: Device, meter: Device) -> None:
        run(world, 3600)
        shown = await submeter1.read()
        assert shown["power_w"].value == pytest.approx(750)
        assert shown["import_wh"].value == pytest.approx(750, rel=0.01)
        assert world.sites[0].device("submeter1").power_w == 750

    through_registers(world, scene)


def test_a_submeter_of_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(WorldError, match="whitegoods1"):
        World(home(SUBMETER), served=False)


def test_a_killed_world_goes_on_in_the_middle_of_a_programme() -> None:
    spec = home(SOCKET, LIGHT, SUBMETER)
    one = World(spec, served=False)
    arm(one)
    run(one, 500)
    other = World(spec, served=False)
    other.resume(msgspec.json.decode(msgspec.json.encode(one.dump()), type=Snapshot))
    assert msgspec.json.encode(other.dump()) == msgspec.json.encode(one.dump())
    run(one, 100)
    run(other, 100)
    assert other.sites[0].device("whitegoods1").power_w == one.sites[0].device("whitegoods1").power_w == 2000
    assert msgspec.json.encode(other.dump()) == msgspec.json.encode(one.dump())


def test_a_station_charges_on_one_phase_when_it_is_told_to_and_knows_the_car() -> None:
    goe = DeviceSpec(name="evse1", kind="evse", product="goe_charger", unit=10, rating_w=11_000)
    bender = DeviceSpec(name="evse2", kind="evse", product="bender_cc613", unit=11, rating_w=11_000)
    world = World(home(goe, bender))

    async def scene(evse1: Device, evse2: Device, meter: Device) -> None:
        run(world, 1)
        assert (await evse2.read())["soc_percent"].value is None
        for name in ("evse1", "evse2"):
            world.inject(
                EventSpec(at=DAY_START, action="plug_in", site="h09", device=name, energy_wh=30_000, capacity_wh=60_000)
            )
        run(world, 10)
        assert (await evse1.read())["power_w"].value == pytest.approx(11_000, rel=0.06)
        shown = await evse2.read()
        assert (shown["soc_percent"].value, shown["phases_used"].value) == (50, "three")
        await evse1.write("phase_mode", "one")
        run(world, 10)
        shown = await evse1.read()
        assert shown["power_w"].value == pytest.approx(3_680, rel=0.06)
        assert (shown["current_l1_a"].value, shown["current_l2_a"].value) == (16.0, 0.0)
        assert world.sites[0].device("evse1").shares == (1.0, 0.0, 0.0)
        run(world, 3600)
        shown = await evse2.read()
        assert shown["soc_percent"].value == pytest.approx(68, abs=1)
        assert shown["session_wh"].value == pytest.approx(11_040, rel=0.06)
        assert (await evse1.read())["session_wh"].value == pytest.approx(3_680, rel=0.06)

    through_registers(world, scene)
