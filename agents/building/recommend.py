"""Advice to the sites, never a command: what some have too much, others may use; what is cheap, all. IC-FR-PUC-4.

IC-FR-HLUC1; IC-FR-PUC8 R2: with what is advised, all sites together stay below the subscribed power.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from agents.building.follow_prices import FollowPrices
from agents.building.settings import BuildingSettings
from agents.building.watch_sites import WatchSites
from agents.kit.skill import every, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from contracts.forecast import AskSiteForecast, SiteForecastIs, SiteForecastUnknown, site_forecast
from contracts.kit import Lapsed
from contracts.profiles import SLOT_S, PlannedPower
from contracts.reasons import Reason
from contracts.site_power import Recommend, RecommendationDeclined, RecommendationFollowed, recommendation

log = logging.getLogger("gridparley.building")


def shares(powers: Mapping[str, float], subscribed_w: float, least_w: float) -> dict[str, float]:
    """Site -> the power that it is advised to reach in one slot: consumers share the others' surplus evenly.

    Nobody is advised beyond the subscribed power, nor for less than ``least_w`` of surplus.
    """
    surplus = -sum(min(0.0, power) for power in powers.values())
    consumers = [site for site, power in powers.items() if power >= 0]
    used = sum(powers[site] for site in consumers)
    free = surplus - used
    if subscribed_w > 0:
        free = min(free, subscribed_w - used)
    if not consumers or free < least_w:
        return {}
    return {site: powers[site] + free / len(consumers) for site in consumers}


def room(powers: Mapping[str, float], subscribed_w: float, least_w: float) -> dict[str, float]:
    """Site -> the power that it is advised to reach in a cheap slot: all share evenly what may still be taken."""
    free = subscribed_w - sum(powers.values())
    if not powers or free < least_w:
        return {}
    return {site: power + free / len(powers) for site, power in powers.items()}


@skill(opens=(site_forecast, recommendation), use_cases=("home.self-consumption", "home.precedence", "tariffs.dynamic"))
@dataclass
class RecommendSchedules:
    """Asks each site what it expects; tells those with room when others have a surplus, and all when it is cheap."""

    bus: Bus
    clock: Clock
    settings: BuildingSettings
    sites: WatchSites
    prices: FollowPrices
    followed: dict[str, bool] = field(default_factory=dict)
    """CEM -> whether it followed the last advice."""

    @every("advise_every_s")
    async def advise(self) -> None:
        told = await self._ask()
        start = self.clock.now() // SLOT_S * SLOT_S
        n = max(1, int(self.settings.advise_ahead_s // SLOT_S))
        slots: dict[str, list[PlannedPower]] = {}
        cheap = self.prices.cheap()
        reason = Reason(code="surplus", text="Neighbours have a surplus then: use it if it suits.")
        for k in range(n):
            here = start + k * SLOT_S
            powers = {cem: _at(said, here) for cem, said in told.items()}
            advised = shares(powers, self.settings.subscribed_w, self.settings.advise_from_w)
            if not advised and any(begin <= here < end for begin, end in cheap):
                advised = room(powers, self.settings.subscribed_w, self.settings.advise_from_w)
                reason = Reason(code="cheap", text="Energy is cheap then: use what is free if it suits.")
            for site, power in advised.items():
                slots.setdefault(site, []).append(
                    PlannedPower(start=instant(here), duration_s=SLOT_S, power_w=round(power, 1))
                )
        async with anyio.create_task_group() as group:
            for cem in self.sites.cems():
                if str(cem) in slots:
                    group.start_soon(self._tell, cem, slots[str(cem)], reason)

    async def _ask(self) -> dict[str, SiteForecastIs]:
        found: dict[str, SiteForecastIs] = {}

        async def ask(cem: Address) -> None:
            async with self.bus.talk(site_forecast, cem) as talk:
                await talk.say(AskSiteForecast(horizon_s=self.settings.advise_ahead_s))
                match await talk.hear(SiteForecastIs, SiteForecastUnknown, Lapsed):
                    case SiteForecastIs() as said:
                        found[str(cem)] = said
                    case _:
                        pass  # it has not consented, or it has left: the rest goes on

        async with anyio.create_task_group() as group:
            for cem in self.sites.cems():
                group.start_soon(ask, cem)
        return found

    async def _tell(self, cem: Address, slots: Sequence[PlannedPower], reason: Reason) -> None:
        word = Recommend(slots=tuple(slots), reason=reason)
        async with self.bus.talk(recommendation, cem) as talk:
            await talk.say(word)
            match await talk.hear(RecommendationFollowed, RecommendationDeclined, Lapsed):
                case RecommendationFollowed():
                    self.followed[str(cem)] = True
                case RecommendationDeclined(reason=reason):
                    self.followed[str(cem)] = False
                    log.info("%s does not follow the advice: %s", cem, reason.text)
                case Lapsed():
                    self.followed.pop(str(cem), None)


def _at(said: SiteForecastIs, at: float) -> float:
    for value in said.values:
        start = value.start.timestamp()
        if start <= at < start + value.duration_s:
            return value.power_w
    return said.power_w
