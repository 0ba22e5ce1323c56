"""Extra hot water on demand, and the battery helps. IEC-JWG1121, IEC-JWG1122 (IEC-JWG1123 is its copy)."""

import pytest

from bus.address import Address
from contracts.emergency import BeginEmergency, EmergencyConfirmed, EmergencyRefused, emergency_begin
from contracts.kit import Lapsed
from tests.cem.home import CEM, WHY, Home, home
from tests.support.people import phone, refused, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.hot-water")]


async def emergency(h: Home) -> None:
    async with h.dso.talk(emergency_begin, Address.parse(CEM)) as talk:
        await talk.say(BeginEmergency(reason=WHY))
        answer = await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed)
        assert isinstance(answer, EmergencyConfirmed)


async def test_the_request_overrules_the_schedule_and_the_heat_pump_confirms() -> None:
    async with home("heatpump.1", "app.phone", plan=False, restart_after_s=0.0) as h:
        pump = await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=5800)
        async with phone(h.run) as ada:
            await taken(ada, "heatpump.1", "off")
            warm = await taken(ada, None, "hot_water")
            assert warm.state == "extra hot water, takes 6000 W"
            assert [hand.action for hand in pump.hands] == ["hot_water"]
            pump.want_w = 0.0
            assert warm.until is not None


async def test_in_an_emergency_it_overrules_nothing() -> None:
    async with home("heatpump.1", "app.phone", plan=False) as h:
        pump = await h.device("heatpump.1", 5000.0)
        await h.lift()
        await h.metered(above_w=5800)
        await emergency(h)
        await h.until(lambda: pump.power_w == 0)
        async with phone(h.run) as ada:
            no = await refused(ada, None, "hot_water")
            assert no.reason.code == "emergency"
            assert pump.hands == []
            assert pump.power_w == 0


async def test_on_the_heat_pumps_broadcast_status_the_battery_discharges_until_it_is_over() -> None:
    async with home("heatpump.1", "battery.1", "app.phone", plan=False, use_surplus=False, hot_water_s=90.0) as h:
        await h.device("heatpump.1", 0.0)
        battery = await h.device("battery.1", 0.0)
        await h.lift()
        await h.metered()
        assert battery.power_w == 0
        async with phone(h.run) as ada:
            await taken(ada, None, "hot_water")
            await h.until(lambda: battery.power_w == -5000)
            assert battery.orders[-1].reason.code == "hot_water"
            words = [subject.rpartition(".")[2] for subject, _ in h.words.all]
            asked = words.index("take_control")
            assert "device_reading" in words[asked:], "it waits for the status"
            await h.until(lambda: battery.power_w == 0)
            await h.until(lambda: [n for n in h.said("display_notice") if "extra hot water is over" in n["text"]])
