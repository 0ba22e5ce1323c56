"""A light's and a plug's agent between CEM and registers: on, off, dimmed, read back."""

import pytest

from contracts.device import PowerApplied, PowerRefused
from tests.support.grid import eventually, grid
from tests.support.home import SCRIPTED_CEM, home_cem, products
from tests.support.simulated_home import simulated
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
LIGHT, PLUG = "h07.switch.1", "h07.switch.2"


async def test_a_light_is_dimmed_switched_and_given_back_and_the_world_follows() -> None:
    lamp = DeviceSpec(name="switch1", kind="switch", product="wirenboard_mdm3", unit=41, rating_w=200, phases=1)
    async with grid("h07.cem.main", LIGHT, agents=SCRIPTED_CEM) as run, simulated(run, lamp) as home:
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(LIGHT, {**home.line("switch1"), "rating_w": 200.0})
        await words.until(lambda w: w.of("device_reading"))
        dimmed = await cem.order(LIGHT, upper_w=100.0)
        assert isinstance(dimmed, PowerApplied)
        assert (dimmed.upper_w, dimmed.readback) == (100.0, {"dim_percent": 50.0})
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["power_w"] == 100.0)
        assert home.world.sites[0].device("switch1").power_w == pytest.approx(100.0)
        assert isinstance(await cem.order(LIGHT, standby=True), PowerApplied)
        assert home.shows("switch1", "enabled") is False
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "off")
        assert isinstance(await cem.order(LIGHT), PowerApplied)
        assert (home.shows("switch1", "enabled"), home.shows("switch1", "dim_percent")) == (True, 100)
        assert (await cem.newcomer())[0] == LIGHT


async def test_a_plug_that_somebody_switches_by_hand_under_an_order_is_told_again_and_without_one_left_alone() -> None:
    async with (
        products(plug=("netio_powercable_101", 42, {"enabled": True, "power_w": 190})) as hardware,
        grid("h07.cem.main", PLUG, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(PLUG, {**hardware.line("plug"), "rating_w": 200.0})
        await words.until(lambda w: w.of("device_reading"))
        assert isinstance(await cem.order(PLUG, standby=True), PowerApplied)
        hardware["plug"].put({"enabled": True})
        await words.until(lambda w: [e for _, e in w.of("device_event") if e["body"]["reason"]["code"] == "order_lost"])
        await eventually(lambda: hardware["plug"].get("enabled") is False)
        assert isinstance(await cem.order(PLUG), PowerApplied)
        assert hardware["plug"].get("enabled") is True
        hardware["plug"].put({"enabled": False, "power_w": 0})
        seen = len(words.of("device_reading"))
        await words.until(lambda w: len(w.of("device_reading")) > seen + 2)
        assert hardware["plug"].get("enabled") is False


async def test_a_plug_that_does_not_obey_says_so() -> None:
    async with (
        products(plug=("netio_powercable_101", 42, {"enabled": True, "power_w": 190})) as hardware,
        grid("h07.cem.main", PLUG, agents=SCRIPTED_CEM, speed=1.0) as run,
    ):
        cem = await home_cem(run)
        await run.start(PLUG, {**hardware.line("plug"), "rating_w": 200.0})
        hardware["plug"].faults.deaf_to_writes = True
        refused = await cem.order(PLUG, setpoint_w=0.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "not_read_back"


async def test_what_a_bound_took_off_comes_back_also_after_a_restart() -> None:
    lamp = DeviceSpec(name="switch1", kind="switch", product="wirenboard_mdm3", unit=41, rating_w=200, phases=1)
    async with grid("h07.cem.main", LIGHT, agents=SCRIPTED_CEM) as run, simulated(run, lamp) as home:
        words = await run.words("h07")
        cem = await home_cem(run)
        settings = {**home.line("switch1"), "rating_w": 200.0}
        await run.start(LIGHT, settings)
        assert isinstance(await cem.order(LIGHT, standby=True), PowerApplied)
        seen = len(words.of("device_reading"))
        await words.until(lambda w: len(w.of("device_reading")) > seen + 2)
        await run.stop(LIGHT)
        await run.start(LIGHT, settings)
        assert home.shows("switch1", "enabled") is False
        assert isinstance(await cem.order(LIGHT), PowerApplied)
        assert home.shows("switch1", "enabled") is True
