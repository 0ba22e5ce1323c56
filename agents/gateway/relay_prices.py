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
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.roles import CEM, GATEWAY, METER
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice

log = logging.getLogger("gridparley.gateway")


@skill(opens=(tariff_notice,), use_cases=("tariffs.price-info",))
@dataclass
class RelayPrices:
    """The gateway that the words enter tells the meter too; one further on only the CEM."""

    bus: Bus
    address: Address
    peers: Peers
    settings: GatewaySettings
    adapter: AdviseDevices

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
            if answer is not None:  # silence behind us is silence before us: the issuer says it again
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
                await talk.say(word)
                match await talk.hear(TariffTaken, TariffRefused, Lapsed):
                    case TariffTaken() | TariffRefused() as answer:
                        return answer
                    case Lapsed():
                        log.info("%s says nothing to tariff %s", receiver, word.tariff)
        except NotStored as problem:
            log.info("tariff %s does not reach %s: %s", word.tariff, receiver, problem)
        return None
