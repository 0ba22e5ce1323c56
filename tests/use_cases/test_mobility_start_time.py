"""A car that has to be charged by eight: the CEM finds the start in the cheapest hours that still do."""

from datetime import UTC, datetime
from typing import Any

import anyio
import pytest

from agents.cem.agreed import Agreed
from bus.envelope import instant
from contracts.preferences import DevicePreferences, SetPreferences
from contracts.reasons import Reason
from tests.support.grid import eventually
from tests.support.negotiating import METER, RETAILER, negotiating
from tests.support.people import phone
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
        agreed = await eventually(lambda: h.cem.agreed(EVSE))
        begins = datetime.fromtimestamp(agreed.start, instant(0).tzinfo)
        assert begins >= offer.earliest_start
        assert agreed.start + lasts <= offer.done_by.timestamp()
        assert (begins.hour, (begins.minute * 60 + lasts) <= 3600) == (15, True)
        # it waits without power although the car would take it
        await eventually(lambda: power(h) < 50)
        # the day changes: now the present hour is the cheapest, so a new start replaces the one before
        await h.prices(0.05, *[0.40] * 23)
        sooner = await eventually(lambda: _earlier(h, agreed))
        assert sooner.instruct.replaces == agreed.talk
        assert sooner.start < agreed.start - 3600
        assert await h.cem.tells(EVSE, "started") == "started"
        await eventually(lambda: power(h) > 9_000)
        # it charges: no start is sent any more, whatever is announced
        sent = len(h.said("instruct"))
        await h.prices(0.40, 0.40, 0.01, *[0.40] * 21)
        late = await h.cem.instruct(EVSE, start=instant(h.run.clock.now() + 7200))
        assert isinstance(late, Reason)
        assert late.code == "already_started"
        assert len(h.said("instruct")) == sent
        tasks.cancel_scope.cancel()


async def test_without_an_incentive_of_its_own_the_stored_one_decides_greenest_or_cheapest() -> None:
    names = (METER, RETAILER, "h07.app.phone")
    async with (
        negotiating(STATION, speed=60.0, whole=True, others=names, cem={"plan": True}, evse1=WISH) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        # the cheapest hour is the one from 13:00 UTC, the greenest the one from 15:00
        hours = [0.30] * 24
        hours[3] = 0.25
        green = [20.0] * 24
        green[5] = 95.0
        await h.prices(*hours, green=tuple(green))
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0, stays_s=36_000.0)
        cheapest = await eventually(lambda: h.cem.agreed(EVSE))
        assert datetime.fromtimestamp(cheapest.start, UTC).hour == 13
        assert h.cem.offered(EVSE).incentive is None
        async with phone(h.run) as voice:
            greenest = DevicePreferences(incentive="greenest")
            assert (await voice.home.prefer(SetPreferences(user="ada", devices={"evse.1": greenest}))).saved
        moved = await eventually(lambda: _earlier(h, cheapest))
        assert datetime.fromtimestamp(moved.start, UTC).hour == 15
        assert moved.start + 1800 <= h.cem.offered(EVSE).done_by.timestamp()
        tasks.cancel_scope.cancel()


def _earlier(h: Any, before: Agreed) -> Agreed | None:
    now = h.cem.agreed(EVSE)
    return now if now is not None and now.talk != before.talk else None


async def test_what_begins_while_its_acceptance_is_still_written_down_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A start at once: the car's word that it charges overtakes the energy manager's disk."""
    async with negotiating(STATION, speed=60.0, evse1=WISH) as h:
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0, stays_s=36_000.0)
        await h.cem.offer(EVSE)
        known = h.cem.known
        honour = known.deals.honour

        async def slow(word: Any, heard: Any) -> Any:
            deal = await honour(word, heard)
            await eventually(lambda: h.said("progress_noted"))
            return deal

        monkeypatch.setattr(known.deals, "honour", slow)
        agreed = await h.cem.instruct(EVSE, start=instant(h.run.clock.now()))
        assert isinstance(agreed, Agreed), agreed
        assert agreed.state == "started"
        late = await h.cem.instruct(EVSE, start=instant(h.run.clock.now() + 3600))
        assert isinstance(late, Reason)
        assert late.code == "already_started"
