"""A battery buys off-peak and supplies at peak: the plan on the bus, the power at the meter. IEC-JWG15."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tests.support.grid import START
from tests.support.open_home import STORE, open_home
from tests.support.plan_home import PLANS, RETAILER, announce, at_connection, course, energy_wh, plans

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.battery-plan")]
MIDNIGHT = START.replace(hour=0)


async def test_it_charges_in_the_cheap_night_and_supplies_the_house_at_the_dear_noon() -> None:
    async with open_home(STORE, others=(RETAILER,), cem={**PLANS, "plan_horizon_s": 36 * 3600.0}) as home:
        retailer = await home.run.bus(RETAILER)
        prices = [(0, 0.30), (23, 0.12), (29, 0.30), (34, 0.55), (38, 0.30)]  # hours: 23:00-05:00 and 10:00-14:00
        day = [(MIDNIGHT + timedelta(hours=h), p) for h, p in prices]
        await announce(retailer, day, MIDNIGHT + timedelta(hours=48))
        night = MIDNIGHT + timedelta(hours=23), MIDNIGHT + timedelta(hours=29)
        noon = MIDNIGHT + timedelta(hours=34), MIDNIGHT + timedelta(hours=38)

        def charging() -> list[dict[str, Any]]:
            return [p for p in plans(home) if energy_wh(course(p, "battery.1"), *night) > 500.0]

        plan = (await home.until(charging))[-1]
        battery = course(plan, "battery.1")
        assert energy_wh(battery, START, night[0]) <= 50.0, "nothing is bought before it is cheap"
        assert energy_wh(battery, *noon) < -500.0, "what was bought is supplied when it is dear"
        assert abs(energy_wh(at_connection(plan), *noon)) < 50.0, "so that the house buys nothing then"
        assert plan["cost_eur"] < plan["unplanned_cost_eur"]


async def test_the_battery_follows_the_plan_as_prices_change() -> None:
    half_full = msgspec.structs.replace(STORE, soc_percent=50.0)
    async with open_home(half_full, others=(RETAILER,), cem=PLANS) as home:
        retailer = await home.run.bus(RETAILER)
        later = START + timedelta(minutes=30)
        await announce(retailer, [(START, 0.10), (later, 0.60)], START + timedelta(hours=26))
        await home.metered(above_w=3_500.0)
        assert home.told("battery.1")[-1]["reason"]["code"] not in ("free", "")
        told = len(home.told("battery.1"))
        await announce(retailer, [(START, 0.60), (later, 0.10)], START + timedelta(hours=26))
        await home.until(
            lambda: [o for o in home.told("battery.1")[told:] if o["upper_w"] == 0.0 or (o["setpoint_w"] or 0) < 0]
        )
        await home.metered(below_w=150.0)
