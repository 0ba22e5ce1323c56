"""The time-variable grid fee, day by day, to those who have chosen it. BK8-22/010-A, module 3."""

import logging
from dataclasses import dataclass, field
from datetime import date, timedelta

from agents.dso.settings import DsoSettings, GridFee
from agents.kit.agent import Peers
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.kit.local_day import local
from agents.kit.skill import every, skill, started
from agents.kit.windows import of_day
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff

log = logging.getLogger("gridparley.dso")


def word_of(fee: GridFee, day: date, zone: str, now: float) -> AnnounceTariff:
    """A local day's fee; binding, as it is published a year ahead."""
    slots = tuple(
        PriceSlot(
            start=instant(start),
            duration_s=end - start,
            price_eur_per_kwh=fee.otherwise_eur_per_kwh if window is None else window.eur_per_kwh,
        )
        for start, end, window in of_day(fee.windows, day, zone)
    )
    return AnnounceTariff(
        tariff=f"{fee.name} {day} @{instant(now):%Y-%m-%dT%H:%M:%SZ}",
        component="grid_fee",
        slots=slots,
        reason=Reason(code="grid_fee", text=f"What using the grid costs on {day}.", binding="tariff"),
    )


@skill(use_cases=("tariffs.price-info",))
@dataclass
class AnnounceGridFee:
    """Today's on start, tomorrow's from the set hour on."""

    clock: Clock
    settings: DsoSettings
    peers: Peers
    tariffs: AnnounceTariffs
    _said: set[tuple[str, date]] = field(default_factory=set)

    @started
    async def begin(self) -> None:
        await self.look()

    @every("tariffs_every_s")
    async def look(self) -> None:
        now, zone = self.clock.now(), self.settings.time_zone
        here = local(now, zone)
        days = [here.date()]
        if here.time() >= self.settings.announce_fees_at:
            days.append(here.date() + timedelta(days=1))
        for fee in self.settings.grid_fees:
            for day in days:
                if (fee.name, day) in self._said:
                    continue
                customers = [p for p in self.peers.addresses if p.site in fee.sites and p.role in fee.to]
                try:
                    await self.tariffs.announce(word_of(fee, day, zone, now), customers)
                    self._said.add((fee.name, day))
                except NotStored as problem:
                    log.warning("%s of %s: %s; it is announced at the next look", fee.name, day, problem)
        self._said = {key for key in self._said if key[1] >= here.date()}
