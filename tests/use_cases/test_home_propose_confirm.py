"""A schedule is proposed, confirmed or changed, offered to the provider, and only then commanded. IC-PT-HLUC1-PUC2."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from bus.talk import Talk
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    ProfileFlexibility,
    flexibility_offer,
)
from contracts.home_plan import ChangePlan, ConfirmPlan, Move, ProposePlan, RejectPlan
from contracts.instructions import Instruct, InstructionAccepted, instruction
from contracts.kit import Lapsed
from contracts.profiles import PowerSequence, PowerSlot, PriceSlot
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice
from deploy.commands.app_voice import Voice
from tests.cem.home import CEM, WHY, Home, Puppet, home
from tests.support.people import phone

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.propose-confirm")]
DEAR, CHEAP = 0.42, 0.12
RUNS_S = 3600.0


class Washer:
    """A machine that waits to be told when to run, and does as it is told."""

    def __init__(self, puppet: Puppet) -> None:
        self.puppet, self.instructed = puppet, list[Instruct]()
        puppet.bus.answer(instruction, self.take)

    async def take(self, talk: Talk, word: Instruct) -> None:
        self.instructed.append(word)
        await talk.say(InstructionAccepted(power=word.power))

    async def offer(self, now: float, ready_s: float = 6 * 3600.0) -> None:
        slots = tuple(PowerSlot(duration_s=900.0, power_w=2000.0) for _ in range(4))
        job = ProfileFlexibility(
            job="wash",
            alternatives=(PowerSequence(name="cotton", slots=slots),),
            earliest_start=instant(now),
            done_by=instant(now + ready_s),
        )
        async with self.puppet.bus.talk(flexibility_offer, Address.parse(CEM)) as talk:
            await talk.say(OfferFlexibility(offer=1, flexibility=job, reason=WHY))
            answer = await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed)
            assert isinstance(answer, FlexibilityTaken), answer


async def tariff(h: Home, retailer: Any, cheap_from: datetime) -> None:
    start = instant(h.run.clock.now() // 3600 * 3600)
    slots = tuple(
        PriceSlot(
            start=start + timedelta(hours=n),
            duration_s=3600.0,
            price_eur_per_kwh=CHEAP if start + timedelta(hours=n) >= cheap_from else DEAR,
        )
        for n in range(24)
    )
    async with retailer.talk(tariff_notice, Address.parse(CEM)) as talk:
        await talk.say(AnnounceTariff(tariff="day", component="energy", slots=slots, reason=WHY))
        answer = await talk.hear(TariffTaken, TariffRefused, Lapsed)
        assert isinstance(answer, TariffTaken), answer


@asynccontextmanager
async def scene() -> AsyncIterator[tuple[Home, Washer, Voice, datetime]]:
    """A washing machine is filled, prices are known, and the household wants to be asked."""
    settings: dict[str, Any] = {"plans": "confirm", "plan_at_least_s": 5.0, "failsafe_consumption_w": 30_000.0}
    async with home("whitegoods.1", "app.phone", "grid.retailer.main", speed=60.0, **settings) as h:
        machine = Washer(await h.device("whitegoods.1", 0.0, minimum_run_w=0.0))
        retailer = await h.run.bus("grid.retailer.main")
        await h.lift()
        await h.metered()
        now = h.run.clock.now()
        cheap_from = instant(now // 3600 * 3600) + timedelta(hours=3)
        await tariff(h, retailer, cheap_from)
        await machine.offer(now)
        async with phone(h.run) as ada:
            yield h, machine, ada, cheap_from


def starts(proposal: ProposePlan) -> dict[str, datetime]:
    return {item.device: item.start for item in proposal.items if item.start is not None}


async def waiting(h: Home, ada: Voice) -> ProposePlan:
    def there() -> ProposePlan | None:
        kept = ada.proposals.waiting
        return kept.word if kept is not None and starts(kept.word) else None

    found = await h.until(there)
    assert isinstance(found, ProposePlan)
    return found


@pytest.mark.use_case("home.price-plan", partial=True)
async def test_nothing_is_commanded_before_the_user_confirms_and_then_it_runs_in_the_cheap_hours() -> None:
    async with scene() as (h, machine, ada, cheap_from):
        proposal = await waiting(h, ada)
        assert starts(proposal)["whitegoods.1"] >= cheap_from
        assert proposal.saves_eur is not None
        assert proposal.saves_eur > 0
        assert (machine.instructed, machine.puppet.planned) == ([], [])
        await ada.proposals.answer(lambda _proposal: ConfirmPlan(user="ada"))
        await h.until(lambda: machine.instructed)
        assert machine.instructed[0].start == starts(proposal)["whitegoods.1"]
        await h.until(lambda: [n for n in h.said("display_notice") if "whitegoods.1 will do as planned" in n["text"]])
        assert h.sent("offer_to_provider") or await h.beyond.until(lambda w: w.of("offer_to_provider"))
        order = [s.rpartition(".")[2] for s, _ in h.words.all if s.endswith((".confirm_plan", ".instruct"))]
        assert order[0] == "confirm_plan"


async def test_a_device_that_the_user_moves_runs_at_the_users_time() -> None:
    async with scene() as (h, machine, ada, _cheap_from):
        await waiting(h, ada)
        mine = instant(h.run.clock.now() // 900 * 900) + timedelta(hours=1)
        moved = ChangePlan(user="ada", moves=(Move(device="whitegoods.1", start=mine),))
        await ada.proposals.answer(lambda _proposal: moved)
        await h.until(lambda: machine.instructed)
        assert machine.instructed[-1].start == mine


async def test_a_change_that_cannot_be_kept_names_what_forbids_it_and_a_rejected_plan_is_not_done() -> None:
    async with scene() as (h, machine, ada, _cheap_from):
        await waiting(h, ada)
        late = instant(h.run.clock.now() // 900 * 900) + timedelta(hours=6)
        too_late = ChangePlan(user="ada", moves=(Move(device="whitegoods.1", start=late),))
        await ada.proposals.answer(lambda _proposal: too_late)
        no = (await h.until(lambda: h.said("change_refused")))[-1]
        assert no["reason"]["code"] == "done_by"
        assert "has to be ready by" in no["reason"]["text"]
        await waiting(h, ada)
        await ada.proposals.answer(lambda _proposal: RejectPlan(user="ada"))
        await h.pass_time(120.0)
        assert machine.instructed == []
