"""A home as an island: own generation and storage carry the load, reconnection is synchronised. IEC-JWG4."""

from typing import Any

import msgspec
import pytest

from tests.support.open_home import CAR, STORE, OpenHome, open_home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.own-production")]
BACKUP = msgspec.structs.replace(STORE, rating_w=7_000, soc_percent=80.0, backup=True)
DISPLAY = "h07.app.display"


def car_w(home: OpenHome) -> float:
    return float(home.world.world.sites[0].device("evse1").power_w)


def volts(home: OpenHome) -> float:
    reading = home.said("gcp_reading")[-1]
    return float(max(reading["voltage_by_phase_v"]))


def battery(home: OpenHome) -> dict[str, Any]:
    readings: list[dict[str, Any]] = [e["body"] for s, e in home.words.of("device_reading") if ".battery." in s]
    return readings[-1]


async def test_the_island_carries_what_it_can_and_loads_come_back_after_it_is_synchronised() -> None:
    async with open_home(CAR, BACKUP, cem={"use_surplus": True}, battery1={"reading_every_s": 2.0}) as home:
        home.world.happens("plug_in", "evse1", energy_wh=40_000.0, capacity_wh=60_000.0, stays_s=36_000.0)
        await home.until(lambda: car_w(home) > 10_500)
        await home.until(lambda: home.said("device_reading", grid_connected=True))
        home.run.clock_file.set_speed(3.0)
        home.world.happens("blackout", "")
        # more than the battery can give for long: the car is held before the inverter trips
        await home.until(lambda: car_w(home) < 5_500)
        home.run.clock_file.set_speed(60.0)
        await home.until(lambda: 4_000 < car_w(home) < 5_500)
        await home.until(lambda: -7_000 <= battery(home)["power_w"] < -4_000)
        assert battery(home)["grid_connected"] is False
        assert home.told("evse.1")[-1]["reason"]["code"] == "island"
        assert any("The grid is gone" in notice["text"] for notice in home.said("display_notice"))
        await home.metered(below_w=0.0, above_w=0.0)
        assert volts(home) == 0.0
        await home.run.clock.sleep(120.0)
        assert 4_000 < car_w(home) < 5_500, "it holds"
        # the grid is back: nothing flows until its voltage has been watched for a minute
        home.run.clock_file.set_speed(20.0)
        home.world.happens("restore", "")
        await home.until(lambda: volts(home) > 200.0)
        back = home.run.clock.now()
        await home.metered(below_w=0.0, above_w=0.0, times=2)
        assert battery(home)["grid_connected"] is False
        home.run.clock_file.set_speed(60.0)
        await home.until(lambda: battery(home)["grid_connected"] is True)
        assert home.run.clock.now() - back > 40.0
        await home.until(lambda: car_w(home) > 10_500)
        assert any("connected to the grid again" in notice["text"] for notice in home.said("display_notice"))
