"""A car that has to be charged by eight: the CEM finds the start in the cheapest hours that still do."""

from datetime import datetime
from typing import Any

import anyio
import pytest

from agents.cem.know_flexibility import Agreed
from bus.envelope import instant
from contracts.reasons import Reason
from tests.support.grid import eventually
from tests.support.negotiating import METER, RETAILER, negotiating
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("mobility.start-time")]
STATION = DeviceSpec(name="evse1", kind="evse", product="abb_terra_ac", unit=10, rating_w=11_040)
EVSE = "h07.evse.1"
WISH: dict[str, Any] = {
    "rating_w": 11_040.0,
    "starts_once": True,
    "leaves_at": "20:00:00",  # in Berlin: eight hours from the start
    "car_capacity_wh": 50_000.0,
    "car_arrives_percent": 50.0,
    "car_target_percent": 60.0,
}


def power(h: Any) -> float:
    return float(h.said("device_reading")[-1]["power_w"])


async def test_it_starts_in_the_cheapest_hours_and_a_new_start_comes_only_until_it_charges() -> None:
    names = (METER, RETAILER)
    async with (
        negotiating(STATION, speed=60.0, whole=True, others=names, cem={"plan": True}, evse1=WISH) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        # a horizon of 24 hours; after this one the cheapest is the hour from 15:00 UTC
        await h.prices(*[0.40] * 5, 0.10, *[0.40] * 18)
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0, stays_s=36_000.0)
        offer = await h.cem.offer(EVSE, lambda o: o is not None)
        assert f"{offer.done_by:%H:%M}" == "18:00"
        lasts = offer.alternatives[0].slots[0].duration_s
        assert lasts == 1800.0  # 5 kWh at 11 kW, in quarter hours
        agreed = await eventually(lambda: h.cem.agreed(EVSE), 30)
        begins = datetime.fromtimestamp(agreed.start, instant(0).tzinfo)
        assert begins >= offer.earliest_start
        assert agreed.start + lasts <= offer.done_by.timestamp()
        assert (begins.hour, (begins.minute * 60 + lasts) <= 3600) == (15, True)
        # it waits without power although the car would take it
        await eventually(lambda: power(h) < 50)
        # the day changes: now the present hour is the cheapest, so a new start replaces the one before
        await h.prices(0.05, *[0.40] * 23)
        sooner = await eventually(lambda: _earlier(h, agreed), 30)
        assert sooner.instruct.replaces == agreed.talk
        assert sooner.start < agreed.start - 3600
        assert await h.cem.tells(EVSE, "started", 40) == "started"
        await eventually(lambda: power(h) > 9_000)
        # it charges: no start is sent any more, whatever is announced
        sent = len(h.said("instruct"))
        await h.prices(0.40, 0.40, 0.01, *[0.40] * 21)
        late = await h.cem.instruct(EVSE, start=instant(h.run.clock.now() + 7200))
        assert isinstance(late, Reason)
        assert late.code == "already_started"
        assert len(h.said("instruct")) == sent
        tasks.cancel_scope.cancel()


def _earlier(h: Any, before: Agreed) -> Agreed | None:
    now = h.cem.agreed(EVSE)
    return now if now is not None and now.talk != before.talk else None
