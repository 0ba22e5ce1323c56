"""Grid emergency: all devices to standby but the exempt, for its time or until its end is told."""

from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.emergency import (
    BeginEmergency,
    EmergencyConfirmed,
    EmergencyRefused,
    EndEmergency,
    emergency_begin,
    emergency_end,
)
from contracts.kit import Lapsed
from tests.cem.home import CEM, WHY, Home, home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.emergency")]


async def begin(h: Home, **fields: Any) -> EmergencyConfirmed | EmergencyRefused | Lapsed:
    async with h.dso.talk(emergency_begin, Address.parse(CEM)) as talk:
        await talk.say(BeginEmergency(reason=WHY, **fields))
        return await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed)


async def end(h: Home) -> EmergencyConfirmed | EmergencyRefused | Lapsed:
    async with h.dso.talk(emergency_end, Address.parse(CEM)) as talk:
        await talk.say(EndEmergency())
        return await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed)


def shown(h: Home) -> list[str]:
    return [n["kind"] for n in h.said("display_notice")]


async def test_all_devices_stand_by_but_the_exempt_until_the_end_is_told() -> None:
    async with home("evse.1", "heatpump.1", "pv.1") as h:
        await h.device("evse.1", 11_040.0)
        boiler = await h.device("heatpump.1", 2000.0, essential=True)
        await h.device("pv.1", -3000.0)
        await h.lift()
        await h.metered(above_w=10_800)
        answer = await begin(h, confirm=True)
        assert isinstance(answer, EmergencyConfirmed)
        assert answer.exempt == ("heatpump.1",)
        assert answer.change_w == pytest.approx(-8040, abs=1)
        await h.metered(below_w=2901, above_w=2899)
        orders = [e["body"] for s, e in h.words.of("set_power") if e["body"].get("standby")]
        assert orders
        assert all(o["urgent"] for o in orders)
        seen = len(h.said("gcp_reading"))
        await h.pass_time(600)
        assert max(h.readings_since(seen)) < 2901, "without a duration only the end message ends it"
        assert boiler.power_w == 2000
        assert isinstance(await end(h), EmergencyConfirmed)
        await h.metered(above_w=10_800)
        assert shown(h)[-2:] == ["emergency", "clearance"]


async def test_an_announced_duration_ends_it_without_a_message() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        await begin(h, duration_s=240.0)
        await h.metered(below_w=901)
        await h.metered(above_w=11_900)


async def test_a_scheduled_blackout_is_known_beforehand_and_severe_charges_the_battery_first() -> None:
    async with home("evse.1", "battery.1") as h:
        await h.device("evse.1", 11_040.0)
        battery = await h.device("battery.1", 0.0)
        await h.lift()
        await h.metered(above_w=6000)
        starts = h.run.clock.now() + 400.0
        await begin(h, level="severe", starts=instant(starts), duration_s=120.0)
        await h.until(lambda: battery.power_w == 5000.0)
        assert h.devices["evse.1"].power_w > 11_000, "it has not begun yet"
        await h.until(lambda: h.devices["evse.1"].power_w == 0.0)
        assert h.run.clock.now() >= starts
        await h.until(lambda: h.devices["evse.1"].power_w > 4000.0)


async def test_it_holds_over_a_restart() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        await begin(h)
        await h.metered(below_w=901)
        await h.run.stop(CEM)
        car.order = None
        await h.run.start(CEM)
        await h.metered(below_w=901)
        await end(h)


async def test_a_duration_of_nothing_is_refused() -> None:
    async with home("evse.1") as h:
        answer = await begin(h, duration_s=0.0)
        assert isinstance(answer, EmergencyRefused)
        assert answer.reason.code == "bad_duration"
