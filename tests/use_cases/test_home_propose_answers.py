"""Every answer to a proposal: what forbids a change is named, what is left out stays out, a no stands for the day."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from bus.envelope import instant
from contracts.home_plan import ChangePlan, ConfirmPlan, Move, ProposePlan, RejectPlan
from tests.cem.home import Home, home
from tests.support.people import phone
from tests.use_cases.test_home_propose_confirm import Washer, scene, starts, tariff, waiting

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.propose-confirm")]


def refusals(h: Home) -> list[str]:
    return [word["reason"]["code"] for word in h.said("change_refused")]


def more_refusals(h: Home, before: int) -> bool:
    return len(refusals(h)) > before


def changed(move: Move, _proposal: ProposePlan) -> ChangePlan:
    return ChangePlan(user="ada", moves=(move,))


async def test_a_change_is_refused_with_what_forbids_it_and_the_plan_is_proposed_again() -> None:
    async with scene() as (h, machine, ada, _cheap_from):
        first = instant(h.run.clock.now() // 900 * 900) - timedelta(hours=2)
        for code, move in (
            ("unknown_device", Move(device="whitegoods.9", start=first)),
            ("earliest_start", Move(device="whitegoods.1", start=first)),
        ):
            await waiting(h, ada)
            before = len(refusals(h))
            await ada.proposals.answer(partial(changed, move))
            await h.until(partial(more_refusals, h, before))
            assert refusals(h)[-1] == code
        await waiting(h, ada)
        assert (machine.instructed, machine.puppet.planned) == ([], []), "nothing was agreed to"


async def test_a_device_that_is_left_out_is_told_nothing_while_the_rest_is_agreed_to() -> None:
    async with scene() as (h, machine, ada, _cheap_from):
        await waiting(h, ada)
        without = ChangePlan(user="ada", moves=(Move(device="whitegoods.1", start=None),))
        await ada.proposals.answer(lambda _proposal: without)
        committed = (await h.until(lambda: h.said("plan_committed")))[-1]
        assert all(item["device"] != "whitegoods.1" or item["start"] is None for item in committed["items"])
        plans = len(h.said("plan_shown"))
        await h.until(lambda: len(h.said("plan_shown")) > plans)
        assert machine.instructed == []


async def test_a_no_stands_until_there_are_new_prices_then_it_is_proposed_anew() -> None:
    how: dict[str, Any] = {"plans": "confirm", "plan_at_least_s": 5.0, "failsafe_consumption_w": 30_000.0}
    async with home("whitegoods.1", "app.phone", "grid.retailer.main", speed=60.0, **how) as h:
        machine = Washer(await h.device("whitegoods.1", 0.0, minimum_run_w=0.0))
        retailer = await h.run.bus("grid.retailer.main")
        await h.lift()
        await h.metered()
        now = h.run.clock.now()
        hour = instant(now // 3600 * 3600)
        await tariff(h, retailer, hour + timedelta(hours=2))
        await machine.offer(now)
        async with phone(h.run) as ada:
            await waiting(h, ada)
            await ada.proposals.answer(lambda _proposal: RejectPlan(user="ada"))
            await h.until(lambda: h.said("reject_plan"))
            proposed, plans = len(h.said("propose_plan")), len(h.said("plan_shown"))
            await h.until(lambda: len(h.said("plan_shown")) > plans)
            await h.pass_time(300.0)
            assert len(h.said("propose_plan")) == proposed, "who has said no is not asked again for the same"
            await tariff(h, retailer, hour + timedelta(hours=4))
            again = await waiting(h, ada)
            assert starts(again)["whitegoods.1"] >= hour + timedelta(hours=4)
            assert machine.instructed == []
            await ada.proposals.answer(lambda _proposal: ConfirmPlan(user="ada"))
            await h.until(lambda: machine.instructed)
