"""Six set points a day at a real thermostat; an override leaves the rest as it was. IEC-ROLE-SMART-THERMOSTAT.

And the simple commands of an air conditioner: mode, wind and temperature by hand (IEC-DM-SIMPLE-COMMANDS).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial

import pytest

from bus.envelope import instant
from contracts.device_form import Value
from contracts.preferences import DevicePreferences, SetPoint, SetPreferences
from tests.cem.home import CEM, Home, eventually, home
from tests.support.home import products
from tests.support.people import phone, taken
from world.modbus import SimulatedUnit

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.price-plan", partial=True)]
SPLIT = "hvac.1"
COOLING: dict[str, Value] = {
    "enabled": True,
    "mode": "cool",
    "fan": "auto",
    "target_temperature_c": 26.0,
    "room_temperature_c": 29.0,
    "error": False,
}


@asynccontextmanager
async def cooled() -> AsyncIterator[tuple[Home, SimulatedUnit]]:
    """A room's air conditioner on its registers, under the real energy manager, in a home without a plan."""
    async with (
        products(split=("intesis_daikin_inmbsdai", 40, COOLING)) as hardware,
        home(SPLIT, "app.phone", speed=60.0, plan=False, time_zone="UTC", watch_every_s=10.0) as h,
    ):
        line = {**hardware.line("split"), "rating_w": 1_000.0, "minimum_off_s": 0.0}
        await h.run.start(f"h07.{SPLIT}", line)
        await h.lift()
        await h.until(lambda: [i for i in h.said("inventory") if any("hvac.1" in d for d in i["devices"])])
        await h.until(lambda: h.said("device_reading"))
        yield h, hardware["split"]


def at(start: datetime, minutes: float, celsius: float) -> SetPoint:
    return SetPoint(at=(start + timedelta(minutes=minutes)).time(), target_c=celsius)


def asked(h: Home) -> list[float]:
    """Every temperature that the device was asked for, in order."""
    words = [e["body"] for s, e in h.words.of("take_control") if ".hvac." in s.partition("home.to.")[2]]
    return [word["target_c"] for word in words]


def was_asked(h: Home, celsius: float) -> bool:
    return celsius in asked(h)


async def test_each_set_point_is_set_when_it_begins_and_an_override_leaves_the_rest() -> None:
    async with cooled() as (h, split), phone(h.run) as ada:
        now = instant(h.run.clock.now() // 60 * 60)
        day = (at(now, -60, 25), at(now, 20, 24), at(now, 35, 23), at(now, 50, 22), at(now, 65, 21), at(now, 600, 27))
        saved = await ada.home.prefer(SetPreferences(user="ada", devices={SPLIT: DevicePreferences(set_points=day)}))
        assert saved.saved, saved
        await h.until(lambda: 24.0 in asked(h))
        done = await taken(ada, SPLIT, "on", target_c=28.0, mode="dry", fan="low")
        assert done.reason.code == "hand"
        assert (split.get("mode"), split.get("fan")) == ("dry", "low")
        for celsius in (23.0, 22.0, 21.0):
            await h.until(partial(was_asked, h, celsius))
        await eventually(lambda: split.get("target_temperature_c") == 21.0)
        assert [c for c in asked(h) if c != 28.0] == [25.0, 24.0, 23.0, 22.0, 21.0], "each once"
        assert 28.0 in asked(h)[:-1], "the override was in between, and left the rest"


async def test_a_set_point_does_not_start_what_its_user_has_switched_off_and_a_target_by_hand_does() -> None:
    async with cooled() as (h, split), phone(h.run) as ada:
        split.put({"enabled": False})
        now = instant(h.run.clock.now() // 60 * 60)
        day = (at(now, -60, 23.0),)
        await ada.home.prefer(SetPreferences(user="ada", devices={"hvac": DevicePreferences(set_points=day)}))
        await eventually(lambda: split.get("target_temperature_c") == 23.0)
        assert split.get("enabled") is False
        await taken(ada, SPLIT, "on", target_c=22.0)
        assert (split.get("enabled"), split.get("target_temperature_c")) == (True, 22.0)
        seen = len(h.said("device_reading"))
        await h.until(lambda: len(h.said("device_reading")) > seen + 3)
        assert split.get("target_temperature_c") == 22.0, "nobody cools beyond what was asked for"


async def test_what_the_thermostat_cannot_keep_is_told_and_what_was_told_is_known_after_a_restart() -> None:
    async with cooled() as (h, split), phone(h.run) as ada:
        now = instant(h.run.clock.now() // 60 * 60)
        hot = DevicePreferences(set_points=(at(now, -60, 45.0),))
        await ada.home.prefer(SetPreferences(user="ada", devices={SPLIT: hot}))
        await h.until(lambda: [n for n in h.said("display_notice") if "does not take its set point of 45" in n["text"]])
        assert split.get("target_temperature_c") == 26.0
        fine = DevicePreferences(set_points=(at(now, -60, 24.0),))
        await ada.home.prefer(SetPreferences(user="ada", devices={SPLIT: fine}))
        await eventually(lambda: split.get("target_temperature_c") == 24.0)
        await h.until(lambda: [n for n in h.said("display_notice") if "keeps 24 degC" in n["text"]])
        split.put({"target_temperature_c": 25.0})  # at its own remote control
        told, inventories = len(asked(h)), len(h.said("inventory"))
        await h.run.stop(CEM)
        await h.run.start(CEM, {"plan": False, "time_zone": "UTC", "watch_every_s": 10.0})
        await h.until(lambda: len(h.said("inventory")) > inventories)
        seen = len(h.said("device_reading"))
        await h.until(lambda: len(h.said("device_reading")) > seen + 5)
        assert len(asked(h)) == told, "what was set since is left alone"
        assert split.get("target_temperature_c") == 25.0
