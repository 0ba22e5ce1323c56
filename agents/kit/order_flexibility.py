"""Giving an order under a contract for flexibility, for every role that may: aggregators and service providers."""

from dataclasses import dataclass

from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.site_power import OrderAccepted, OrderFlexibility, OrderRefused, flexibility_order


@skill(opens=(flexibility_order,), use_cases=("home.precedence",))
@dataclass
class OrderFlexibly:
    """The orders that stand are the deals of ``flexibility_order``."""

    bus: Bus
    deals: Deals

    async def order(self, cem: Address, word: OrderFlexibility) -> Reason | None:
        """None once it is accepted, else why it is not."""
        async with self.bus.talk(flexibility_order, cem) as talk:
            try:
                await self.deals.open(talk, word, until=word.until.timestamp())
                await talk.say(word)
            except (NotStored, TooManyDeals) as problem:
                return Reason(code="not_said", text=f"{problem}: order it again.")
            match await talk.hear(OrderAccepted, OrderRefused, Lapsed):
                case OrderAccepted():
                    return None
                case OrderRefused(reason=reason):
                    await self.deals.end(talk)
                    return reason
                case Lapsed():
                    return Reason(code="no_answer", text=f"{cem} does not answer; if it accepted, that comes later.")

    def ordered(self, cem: Address) -> list[OrderFlexibility]:
        """What this home has accepted and is not over."""
        standing = self.deals.standing(flexibility_order)
        return [deal.read(OrderFlexibility) for deal in standing if deal.peer == cem]

    def offered(self, cem: Address) -> list[OrderFlexibility]:
        """What this home may still accept: the answer to an order of ours, maybe of a former life, is not here yet."""
        return [deal.read(OrderFlexibility) for deal in self.deals.offered(flexibility_order) if deal.peer == cem]

    @settles(flexibility_order)
    async def on_accepted(self, word: OrderAccepted, heard: Heard) -> None:
        await self.deals.honour(word, heard)
