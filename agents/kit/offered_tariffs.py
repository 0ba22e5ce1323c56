"""Tariffs between being announced and being stored as in use: written down before they are taken, dealt in between."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agents.kit.deals import Deal, Deals, TooManyDeals
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, TariffTaken, tariff_notice

KEPT_S = 7 * 86_400.0
"""As long as anybody may be away and still hear what was said."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """``issuer``: whose prices they are."""

    issuer: str
    word: AnnounceTariff


def issuer_of(word: AnnounceTariff, sender: Address, site: str) -> str:
    """Who relays a tariff at home may name whose it is."""
    return word.issuer if sender.site == site and word.issuer is not None else str(sender)


@dataclass
class OfferedTariffs:
    """A tariff may be as large as a message can be: its slots are written down here once, its deal only names it."""

    state: State
    deals: Deals
    clock: Clock
    _offers: dict[str, Offer] = field(default_factory=dict)
    _ways_back: dict[str, Callable[[], None]] = field(default_factory=dict)
    _used: list[Deal] = field(default_factory=list)

    async def take(
        self, talk: Talk, word: AnnounceTariff, issuer: str, back: Callable[[], None] = lambda: None
    ) -> Deal | Reason:
        """Say that it is taken; a Reason when it could not even be written down and nothing was said.

        ``back`` is run when there is no deal: who is asked right behind that word uses the prices, so use comes first.
        """
        self._ways_back[talk.id] = back
        self._offers[talk.id] = Offer(issuer=issuer, word=word)
        try:
            await self.state.put("tariff_offers", self._offers)
            return await self.deals.close(talk, TariffTaken(tariff=word.tariff), until=self.clock.now() + KEPT_S)
        except (NotStored, TooManyDeals) as problem:
            del self._offers[talk.id]
            self._ways_back.pop(talk.id)()
            return Reason(code="not_stored", text=f"It could not be kept: {problem}. Announce it again.")

    def settled(self, deal: Deal) -> Offer | None:
        """What is to be used from now on; None when there is no deal (yet), and the second time."""
        if deal.phase == "closing":
            return None
        offer, back = self._offers.pop(deal.id, None), self._ways_back.pop(deal.id, None)
        if deal.phase == "off" and back is not None:
            back()
        if deal.phase == "off" or offer is None:
            return None
        self._used.append(deal)
        return offer

    async def forget(self) -> None:
        """What was given out is stored where it is used. Raises NotStored."""
        while self._used:
            await self.deals.end(self._used[0])
            self._used.pop(0)

    async def restore(self) -> list[Offer]:
        """What a former life took and may not have stored as in use, oldest first. Raises NotStored."""
        self._offers = await self.state.get("tariff_offers", dict[str, Offer]) or {}
        known = {deal.id: deal for deal in self.deals.standing(tariff_notice)}
        found = [self.settled(known[talk]) for talk in list(self._offers) if talk in known]
        closing = {deal.id for deal in self.deals.unsettled(tariff_notice)}
        self._offers = {talk: offer for talk, offer in self._offers.items() if talk in closing}
        return [offer for offer in found if offer is not None]
