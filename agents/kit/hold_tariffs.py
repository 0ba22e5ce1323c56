"""Tariffs that are sent to who only shows them: a meter, an app. Taken, kept, summed up. IEC-JWG2112 steps 1c, 1d."""

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agents.kit.check_tariff import fault
from agents.kit.price_stack import Layer, Stack, merged, shown, slotted
from agents.kit.skill import answers, restores, skill
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.profiles import SLOT_S, PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice

SHOWN_S = 48 * 3600.0


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up."""

    layers: tuple[Layer, ...] = ()


@skill(use_cases=("tariffs.price-info", "tariffs.day-ahead-alert"))
@dataclass
class HoldTariffs:
    """Stored before it is acknowledged; nothing is made up where there is no price."""

    clock: Clock
    address: Address
    state: State
    on_change: list[Callable[[AnnounceTariff], None]] = field(default_factory=list)
    stack: Stack = field(default_factory=lambda: Stack(zone="UTC", fallback=None))

    @answers(tariff_notice)
    async def on_tariff(self, talk: Talk, word: AnnounceTariff) -> None:
        assert talk.peer is not None  # the bus carries it
        now = self.clock.now()
        reason = fault(word, now)
        if reason is None:
            relayed = talk.peer.site == self.address.site and word.issuer is not None
            issuer = word.issuer if relayed and word.issuer is not None else str(talk.peer)
            before = msgspec.json.encode(self._kept())
            self.stack.take(issuer, word, "", now)
            try:
                await self.state.put("prices", self._kept())
            except NotStored as problem:
                self._take_up(msgspec.json.decode(before, type=Kept))
                reason = Reason(code="not_stored", text=f"It could not be kept: {problem}. Announce it again.")
        if reason is not None:
            await talk.say(TariffRefused(tariff=word.tariff, reason=reason))
            return
        for act in self.on_change:
            act(word)
        await talk.say(TariffTaken(tariff=word.tariff))

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
        self._take_up(await self.state.get("prices", Kept) or Kept())

    def _take_up(self, kept: Kept) -> None:
        self.stack.layers = {(layer.issuer, layer.component): layer for layer in kept.layers}

    def _kept(self) -> Kept:
        return Kept(layers=tuple(self.stack.layers.values()))
