"""Prices that reach the meter go on to the display: those announced to it, else those of its bands. IEC-JWG2112 1d."""

from dataclasses import dataclass

from agents.kit.agent import Peers
from agents.kit.hold_tariffs import HoldTariffs
from agents.kit.skill import every, skill, started
from agents.meter.keep_bands import KeepBands
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from contracts.profiles import PriceSlot
from contracts.roles import APP
from contracts.tariff import AnnounceTariff, PriceInfo


@skill(tells=((PriceInfo, (APP,)),), use_cases=("tariffs.price-info", "tariffs.tou-registers"))
@dataclass
class ShowPrices:
    """To the displays of this site alone."""

    bus: Bus
    clock: Clock
    address: Address
    peers: Peers
    tariffs: HoldTariffs
    bands: KeepBands

    def __post_init__(self) -> None:
        self.tariffs.on_change.append(self._announced)
        self.bands.on_change.append(self.tell)
        self.bands.price_of.append(self.tariffs.stack.listed)

    def _announced(self, word: AnnounceTariff) -> None:
        self.tell(word.warning)

    @started
    async def tell_first(self) -> None:
        self.tell()

    @every("tariff_repeat_s")
    def tell_again(self) -> None:
        self.tell()

    def tell(self, warning: str | None = None) -> None:
        slots = self.tariffs.ahead() or [
            PriceSlot(start=instant(start), duration_s=end - start, price_eur_per_kwh=price)
            for start, end, price in self.bands.priced(self.clock.now())
        ]
        if not slots:
            return
        issuers = tuple(sorted({issuer for issuer, _ in self.tariffs.stack.layers}))
        info = PriceInfo(
            slots=tuple(slots), feed_in=tuple(self.tariffs.ahead(sold=True)), issuers=issuers, warning=warning
        )
        for app in self.peers.of(APP):
            if app.site == self.address.site:
                self.bus.tell(app, info)
