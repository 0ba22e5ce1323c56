"""Prices on the way to the CEM, and by the metering channel to the meter. IEC-JWG2112 steps 1a to 3.

They go through as they are; who relays names whose they are, so that one tariff by two ways stays one. What the CEM
says to it goes back; without a CEM, what the meter says; without both the adapter of this gateway keeps them.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass

import anyio
import msgspec

from agents.gateway.advise_devices import AdviseDevices
from agents.gateway.relay_emergency import GatewaySettings
from agents.kit.agent import Peers
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import answers, settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.roles import CEM, GATEWAY, METER
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice

log = logging.getLogger("gridparley.gateway")
RELAYED_S = 90_000.0
"""The announcement lives a day; who answers it later has not heard it in time."""


@skill(opens=(tariff_notice,), use_cases=("tariffs.price-info",))
@dataclass
class RelayPrices:
    """The gateway that the words enter tells the meter too; one further on only the CEM."""

    bus: Bus
    address: Address
    peers: Peers
    settings: GatewaySettings
    adapter: AdviseDevices
    deals: Deals
    clock: Clock

    @answers(tariff_notice)
    async def on_tariff(self, talk: Talk, word: AnnounceTariff) -> None:
        assert talk.peer is not None  # the bus carries it
        entered = talk.peer.site != self.address.site
        onward = word if word.issuer is not None and not entered else self._named(word, talk.peer)
        receivers = self._receivers(entered)
        if not receivers:
            await self.adapter.on_tariff(talk, word)
            return
        async with anyio.create_task_group() as tasks:
            for other in receivers[1:]:
                tasks.start_soon(self._relay, other, onward)
            answer = await self._relay(receivers[0], onward)
            if isinstance(answer, TariffTaken):
                with suppress(NotStored):  # the home has it; the adapter gets the next one
                    await self.adapter.keep_prices(onward, onward.issuer or str(talk.peer))
        if isinstance(answer, TariffTaken):
            with suppress(NotStored, TooManyDeals):  # the issuer hears nothing and says it again
                await self.deals.close(talk, answer, until=self.clock.now() + RELAYED_S)
        elif answer is not None:  # silence behind us is silence before us
            await talk.say(answer)

    def _named(self, word: AnnounceTariff, issuer: Address) -> AnnounceTariff:
        return msgspec.structs.replace(word, issuer=str(issuer))

    def _receivers(self, entered: bool) -> list[Address]:
        """Whose answer counts goes first."""
        mine = [peer for peer in self.peers.of(CEM, GATEWAY, METER) if peer.site == self.address.site]
        wanted = self.settings.next_gateway
        on = [p for p in mine if p.role == (CEM.name if wanted is None else GATEWAY.name) and wanted in (None, p.name)]
        return on[:1] + ([p for p in mine if p.role == METER.name] if entered else [])

    async def _relay(self, receiver: Address, word: AnnounceTariff) -> TariffTaken | TariffRefused | None:
        try:
            async with self.bus.talk(tariff_notice, receiver) as talk:
                terms = TariffTaken(tariff=word.tariff)
                await self.deals.open(talk, terms, until=self.clock.now() + RELAYED_S)
                await talk.say(word)
                match await talk.hear(TariffTaken, TariffRefused, Lapsed):
                    case TariffTaken() as answer:
                        return answer
                    case TariffRefused() as answer:
                        await self.deals.end(talk)
                        return answer
                    case Lapsed():
                        log.info("%s says nothing to tariff %s", receiver, word.tariff)
        except (NotStored, TooManyDeals) as problem:
            log.info("tariff %s does not reach %s: %s", word.tariff, receiver, problem)
        return None

    @settles(tariff_notice)
    async def taken(self, word: TariffTaken, heard: Heard) -> None:
        """A receiver's word counts for itself; the issuer's own deal is made by what we say to it."""
        await self.deals.honour(word, heard)
