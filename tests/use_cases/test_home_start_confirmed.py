"""A machine whose user wants the last word about its start is told nothing before it, also where plans act alone.

IEC-JWG1100: the device may ask for a final confirmation of the schedule.
"""

from datetime import timedelta

import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    ProfileFlexibility,
    flexibility_offer,
)
from contracts.home_plan import ConfirmPlan
from contracts.kit import Lapsed
from contracts.profiles import PowerSequence, PowerSlot
from tests.cem.home import CEM, WHY, Home, Puppet, home
from tests.support.people import phone
from tests.use_cases.test_home_propose_confirm import Washer, starts, tariff, waiting

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.flexible-start")]


async def armed(h: Home, device: Puppet, *, confirm: bool) -> None:
    now = h.run.clock.now()
    job = ProfileFlexibility(
        job="wash",
        alternatives=(PowerSequence(name="cotton", slots=(PowerSlot(duration_s=3600.0, power_w=2_000.0),)),),
        earliest_start=instant(now),
        done_by=instant(now + 6 * 3600.0),
        confirm=confirm,
    )
    async with device.bus.talk(flexibility_offer, Address.parse(CEM)) as talk:
        await talk.say(OfferFlexibility(offer=1, flexibility=job, reason=WHY))
        answer = await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed)
    assert isinstance(answer, FlexibilityTaken), answer


async def test_it_is_proposed_and_told_its_start_only_when_its_user_has_agreed() -> None:
    names = ("whitegoods.1", "whitegoods.2", "app.phone", "grid.retailer.main")
    async with home(*names, speed=60.0, plan_at_least_s=5.0, failsafe_consumption_w=30_000.0) as h:
        asks = Washer(await h.device("whitegoods.1", 0.0, minimum_run_w=0.0))
        plain = Washer(await h.device("whitegoods.2", 0.0, minimum_run_w=0.0))
        retailer = await h.run.bus("grid.retailer.main")
        await h.lift()
        await h.metered()
        await tariff(h, retailer, instant(h.run.clock.now() // 3600 * 3600) + timedelta(hours=3))
        async with phone(h.run) as ada:
            await armed(h, asks.puppet, confirm=True)
            await armed(h, plain.puppet, confirm=False)
            await h.until(lambda: plain.instructed)
            proposal = await waiting(h, ada)
            assert "whitegoods.1" in starts(proposal)
            assert asks.instructed == [], "its user has not agreed yet"
            await ada.proposals.answer(lambda _proposal: ConfirmPlan(user="ada"))
            await h.until(lambda: asks.instructed)
            assert asks.instructed[0].start == starts(proposal)["whitegoods.1"]


async def test_a_machine_that_is_filled_after_an_agreement_asks_for_its_own() -> None:
    names = ("whitegoods.1", "whitegoods.2", "app.phone", "grid.retailer.main")
    async with home(*names, speed=60.0, plan_at_least_s=5.0, failsafe_consumption_w=30_000.0) as h:
        first = Washer(await h.device("whitegoods.1", 0.0, minimum_run_w=0.0))
        later = Washer(await h.device("whitegoods.2", 0.0, minimum_run_w=0.0))
        retailer = await h.run.bus("grid.retailer.main")
        await h.lift()
        await h.metered()
        await tariff(h, retailer, instant(h.run.clock.now() // 3600 * 3600) + timedelta(hours=3))
        async with phone(h.run) as ada:
            await armed(h, first.puppet, confirm=True)
            await waiting(h, ada)
            await ada.proposals.answer(lambda _proposal: ConfirmPlan(user="ada"))
            await h.until(lambda: first.instructed)
            await armed(h, later.puppet, confirm=True)
            proposal = await waiting(h, ada)
            assert "whitegoods.2" in starts(proposal)
            assert later.instructed == [], "what was agreed to was the other one"
            await ada.proposals.answer(lambda _proposal: ConfirmPlan(user="ada"))
            await h.until(lambda: later.instructed)
