"""Extra hot water where there is no heat pump, and what the battery does not do for it. IEC-JWG1121, IEC-JWG1122."""

import pytest

from tests.cem.home import home
from tests.support.people import phone, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.hot-water")]


async def test_without_a_heat_pump_the_water_heater_makes_it_and_the_schedule_is_back_when_it_is_over() -> None:
    async with home("waterheater.1", "app.phone", plan=False, restart_after_s=0.0, hot_water_s=120.0) as h:
        boiler = await h.device("waterheater.1", 0.0)
        await h.lift()
        await h.metered(below_w=1_000.0)
        async with phone(h.run) as ada:
            warm = await taken(ada, None, "hot_water")
            assert warm.state == "extra hot water, takes 2000 W"
            assert boiler.orders[-1].setpoint_w == 2_000.0
            await h.until(lambda: boiler.power_w == 0.0)
            await h.until(lambda: [n for n in h.said("display_notice") if "extra hot water is over" in n["text"]])


async def test_a_battery_that_its_user_holds_does_not_help_and_help_ends_with_the_pumps_broadcasts() -> None:
    async with home(
        "heatpump.1", "battery.1", "battery.2", "app.phone", plan=False, use_surplus=False, hot_water_s=600.0
    ) as h:
        pump = await h.device("heatpump.1", 0.0)
        mine, other = await h.device("battery.1", 0.0), await h.device("battery.2", 0.0)
        await h.lift()
        await h.metered()
        async with phone(h.run) as ada:
            await taken(ada, "battery.1", "power", power_w=1_000.0)
            await taken(ada, None, "hot_water")
            await h.until(lambda: other.power_w < -1_000.0)
            assert mine.power_w == 1_000.0
            assert all((order.setpoint_w or 0.0) >= 0.0 for order in mine.orders)
            # The heat pump stops by itself: nobody goes on helping it.
            pump.mute = True
            await h.until(lambda: other.power_w == 0.0)
            assert mine.power_w == 1_000.0, "what the user holds is not touched by the end of it"
