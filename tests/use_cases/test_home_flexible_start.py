"""A washing machine that may start later: it offers, the CEM gives a start, it keeps to it and tells how it went."""

from datetime import timedelta

import pytest

from agents.cem.know_flexibility import Agreed
from bus.envelope import instant
from tests.support.negotiating import negotiating
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.flexible-start")]
MACHINE = "h07.whitegoods.1"
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)


async def test_it_offers_agrees_a_start_and_tells_success() -> None:
    how = {"ended_after_s": 60.0, "programme": "easy_care_40"}
    async with negotiating(SOCKET, speed=300.0, whitegoods1=how) as h:
        h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
        offer = await h.cem.offer(MACHINE)
        assert offer.latest_start <= offer.done_by
        start = instant(h.run.clock.now()) + timedelta(minutes=30)
        agreed = await h.cem.instruct(MACHINE, start=start)
        assert isinstance(agreed, Agreed), agreed
        assert agreed.power[0].start == start
        assert await h.cem.tells(MACHINE, "started") == "started"
        assert abs(h.run.clock.now() - start.timestamp()) < 120.0
        assert await h.cem.tells(MACHINE, "succeeded", 40) in ("done", "finished_early")
        assert [s["state"] for s in h.said("show_schedule")] == ["accepted", "started", "succeeded"]
