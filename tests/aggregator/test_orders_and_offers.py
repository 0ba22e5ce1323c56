"""The aggregator orders by its schedule, takes no for an answer, and keeps what homes offer."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.talk import Talk
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.site_power import (
    OfferDeclined,
    OfferNoted,
    OfferToProvider,
    OrderAccepted,
    OrderFlexibility,
    OrderRefused,
    flexibility_order,
    provider_offer,
)
from tests.support.grid import START, grid

pytestmark = pytest.mark.anyio
AGGREGATOR = "grid.aggregator.main"


class ShySettings(Settings, frozen=True, kw_only=True):
    """Whether it refuses."""

    shy: bool = False


@skill(opens=(provider_offer,))
@dataclass
class Follow:
    settings: ShySettings

    @answers(flexibility_order)
    async def take(self, talk: Talk, _order: OrderFlexibility) -> None:
        if self.settings.shy:
            await talk.say(OrderRefused(reason=Reason(code="users_hand", text="Anna holds it.")))
        else:
            await talk.say(OrderAccepted())


HOME = Agent(role=CEM, settings=ShySettings, skills=(Follow,))


def orders(*sites: str) -> dict[str, object]:
    times = {"at": START + timedelta(seconds=30), "start": START + timedelta(minutes=5)}
    return {"orders": [{"site": s, "upper_w": 3_000.0, "until": START + timedelta(hours=2), **times} for s in sites]}


@pytest.mark.use_case("home.precedence")
async def test_an_accepted_order_is_not_given_again_after_a_restart_nor_a_refused_one_pressed() -> None:
    async with grid(AGGREGATOR, "h01.cem.main", "h02.cem.main", agents={"cem": HOME}, speed=60.0) as run:
        words = await run.words()
        await run.start("h01.cem.main")
        await run.start("h02.cem.main", {"shy": True})
        await run.start(AGGREGATOR, orders("h01", "h02"))
        await words.until(lambda w: w.of("order_accepted") and w.of("order_refused"))
        await run.stop(AGGREGATOR)
        await run.start(AGGREGATOR, orders("h01"))
        await run.clock.sleep(120.0)
        assert len(words.of("order_flexibility")) == 2


@pytest.mark.use_case("home.propose-confirm")
async def test_an_offer_is_noted_unless_it_is_too_dear() -> None:
    async with grid(AGGREGATOR, "h01.cem.main", agents={"cem": HOME}, speed=60.0) as run:
        await run.start(AGGREGATOR, {"buys_up_to_eur_per_kwh": 0.3})
        cem = await run.bus("h01.cem.main")

        async def offered(price: float) -> OfferNoted | OfferDeclined | Lapsed:
            slot = PlannedPower(start=START, duration_s=900.0, power_w=1_000.0)
            word = OfferToProvider(plan="p1", planned=(slot,), less=(slot,), price_eur_per_kwh=price)
            async with cem.talk(provider_offer, Address.parse(AGGREGATOR)) as talk:
                await talk.say(word)
                return await talk.hear(OfferNoted, OfferDeclined, Lapsed)

        assert isinstance(await offered(0.2), OfferNoted)
        declined = await offered(0.5)
        assert isinstance(declined, OfferDeclined)
        assert declined.reason.code == "too_dear"
