"""Tariffs that are sent to who only shows them: a meter, an app. Taken, kept, summed up. IEC-JWG2112 steps 1c, 1d."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agents.kit.check_tariff import fault
from agents.kit.deals import Deal, Deals
from agents.kit.offered_tariffs import OfferedTariffs, issuer_of
from agents.kit.price_stack import Layer, Stack, merged, shown, slotted
from agents.kit.skill import answers, restores, skill
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.profiles import SLOT_S, PriceSlot
from contracts.tariff import AnnounceTariff, TariffRefused, tariff_notice

log = logging.getLogger("gridparley.tariff")
SHOWN_S = 48 * 3600.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up."""

    layers: tuple[Layer, ...] = ()


@skill(use_cases=("tariffs.price-info", "tariffs.day-ahead-alert"))
@dataclass
class HoldTariffs:
    """Written down before it is acknowledged; nothing is made up where there is no price."""

    clock: Clock
    address: Address
    state: State
    deals: Deals
    on_change: list[Callable[[AnnounceTariff], None]] = field(default_factory=list)
    stack: Stack = field(default_factory=lambda: Stack(zone="UTC", fallback=None))

    def __post_init__(self) -> None:
        self._offered = OfferedTariffs(self.state, self.deals, self.clock)
        self.deals.on_settled(tariff_notice, self._settled)

    @answers(tariff_notice)
    async def on_tariff(self, talk: Talk, word: AnnounceTariff) -> None:
        assert talk.peer is not None  # the bus carries it
        reason = fault(word, self.clock.now())
        if reason is None:
            issuer = issuer_of(word, talk.peer, self.address.site)
            back = self.stack.way_back(issuer, word.component)
            self.stack.take(issuer, word, "", self.clock.now())
            made = await self._offered.take(talk, word, issuer, back)
            if isinstance(made, Deal):
                await self._settled(made)
                return
            reason = made
        await talk.say(TariffRefused(tariff=word.tariff, reason=reason))

    async def _settled(self, deal: Deal) -> None:
        offer = self._offered.settled(deal)
        if offer is not None:
            self.stack.take(offer.issuer, offer.word, "", self.clock.now())
            for act in self.on_change:
                act(offer.word)
            await self._keep()

    async def _keep(self) -> None:
        try:
            await self.state.put("prices", Kept(layers=tuple(self.stack.layers.values())))
            await self._offered.forget()
        except NotStored as problem:
            log.warning("%s: prices are stored with the next ones: %s", self.address, problem)

    def ahead(self, *, sold: bool = False) -> list[PriceSlot]:
        """What is known from this quarter hour on, energy and all that comes with it; empty where there is none."""
        until = self.stack.until()
        now = self.clock.now()
        first = now - now % SLOT_S
        if until is None or until <= now:
            return []
        n = max(1, round((min(until, first + SHOWN_S) - first) / SLOT_S))
        pieces = slotted(list(self.stack.pieces(first, first + n * SLOT_S, sold=sold)), first, n)
        return merged([slot for slot in map(shown, pieces) if slot is not None])

    @restores
    async def take_up(self) -> None:
        kept = await self.state.get("prices", Kept) or Kept()
        self.stack.layers = {(layer.issuer, layer.component): layer for layer in kept.layers}
        late = await self._offered.restore()
        for offer in late:
            self.stack.take(offer.issuer, offer.word, "", self.clock.now())
        if late:
            await self._keep()
