"""A machine armed with an end time and a tariff with a cheaper period: the energy manager finds the start. JWG1."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.grid import START
from tests.support.open_home import OpenHome, open_home
from tests.support.plan_home import PLANS, RETAILER, announce, plans
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.flexible-start")]
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)
ARMED: dict[str, Any] = {"ended_after_s": 60.0, "programme": "easy_care_40", "ready_by": "20:00:00"}
DONE_BY = START.replace(hour=18)
"""20:00 in Berlin."""
TOMORROW = START + timedelta(hours=26)


def starts(home: OpenHome) -> list[datetime]:
    """What the energy manager told the machine, in order."""
    return [datetime.fromisoformat(word["start"]) for word in home.said("instruct")]


def begun(home: OpenHome) -> list[dict[str, Any]]:
    return home.said("show_schedule", state="started")


def why(plan: dict[str, Any]) -> str:
    return str(next(item["reason"]["code"] for item in plan["items"] if item["device"] == "whitegoods.1"))


async def test_the_cheapest_start_that_ends_in_time_moves_with_the_tariff_until_the_machine_runs() -> None:
    async with open_home(SOCKET, others=(RETAILER,), cem=PLANS, whitegoods1=ARMED) as home:
        retailer = await home.run.bus(RETAILER)
        cheap, end = START + timedelta(hours=3), START + timedelta(hours=5)
        # the cheapest hours of all are too late for the end time
        prices = [(START, 0.40), (cheap, 0.10), (end, 0.40), (DONE_BY, 0.01)]
        await announce(retailer, prices, TOMORROW)
        home.world.happens("start_programme", "whitegoods1", programme="easy_care_40")
        start = (await home.until(lambda: starts(home)))[-1]
        offer = home.said("offer_flexibility")[-1]["flexibility"]
        lasts = timedelta(seconds=sum(slot["duration_s"] for slot in offer["alternatives"][0]["slots"]))
        assert datetime.fromisoformat(offer["done_by"]) == DONE_BY
        assert cheap <= start, start
        assert start + lasts <= min(end, DONE_BY)
        await home.until(lambda: home.said("instruction_accepted"))
        await home.metered(below_w=1_900.0, times=1)
        # the tariff moves before the start: a new start replaces the one before
        sooner = START + timedelta(minutes=20)
        await announce(retailer, [(START, 0.40), (sooner, 0.05), (cheap, 0.40)], TOMORROW)
        moved = (await home.until(lambda: [at for at in starts(home) if at < cheap]))[-1]
        assert sooner <= moved
        assert home.said("instruct")[-1]["replaces"] is not None
        home.run.clock_file.set_speed(300.0)
        ran = (await home.until(lambda: begun(home)))[0]
        home.run.clock_file.set_speed(60.0)
        moved = starts(home)[-1]
        assert sooner <= moved < cheap
        assert timedelta(0) <= datetime.fromisoformat(ran["start"]) - moved < timedelta(minutes=5)
        await home.metered(above_w=2_000.0)
        await home.until(lambda: why(plans(home)[-1]) == "runs")
        # it runs: whatever is announced now moves nothing
        sent, before = len(starts(home)), len(plans(home))
        await announce(retailer, [(START, 0.60), (cheap, 0.02)], TOMORROW)
        after = (await home.until(lambda: plans(home)[before:]))[-1]
        assert why(after) == "runs", after
        assert len(starts(home)) == sent
        assert len(begun(home)) == 1
