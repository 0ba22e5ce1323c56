"""The price of now, as long as it lasts. IEC-JWG30xx-RTP, IEC-JWG2112."""

import logging
from dataclasses import dataclass, field

from agents.kit.agent import Peers
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.kit.skill import every, skill, started
from agents.retailer.announce_day_ahead import word_of
from agents.retailer.compute_prices import ComputePrices
from agents.retailer.customers import of_tariff
from agents.retailer.settings import RetailerSettings
from bus.clock import Clock
from bus.transport import NotStored
from contracts.profiles import PriceSlot

log = logging.getLogger("gridparley.retailer")


@skill(use_cases=("tariffs.price-info",))
@dataclass
class AnnounceRealTime:
    """Said when it changes, and again as its time runs out."""

    clock: Clock
    settings: RetailerSettings
    peers: Peers
    prices: ComputePrices
    tariffs: AnnounceTariffs
    _said: dict[str, list[PriceSlot]] = field(default_factory=dict)

    @started
    async def begin(self) -> None:
        await self.look()

    @every("real_time_every_s")
    async def look(self) -> None:
        now = self.clock.now()
        for tariff in self.settings.tariffs:
            if tariff.form != "real_time":
                continue
            slots = await self.prices.at(tariff, now, self.settings.real_time_every_s)
            if not slots:
                log.warning("tariff %s has no price now", tariff.name)
            elif slots != self._said.get(tariff.name):
                word = word_of(tariff, tariff.name, slots, now, f"Price of now, {tariff.name}.", "real_time")
                try:
                    await self.tariffs.announce(word, of_tariff(self.settings, self.peers, tariff.name))
                    self._said[tariff.name] = slots
                except NotStored as problem:
                    log.warning("tariff %s: %s", tariff.name, problem)
