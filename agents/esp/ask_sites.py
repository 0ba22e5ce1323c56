"""What the customers take and expect, asked of each energy manager. IC-DE-HLUC1 Seq 1.2; IC-BE-THOR-PEAK D-1."""

from dataclasses import dataclass

import anyio

from agents.esp.settings import EspSettings
from agents.kit.agent import Peers
from agents.kit.skill import skill
from bus.address import Address
from bus.bus import Bus
from contracts.forecast import AskSiteForecast, SiteForecastIs, SiteForecastUnknown, site_forecast
from contracts.kit import Lapsed
from contracts.roles import CEM


@skill(opens=(site_forecast,), use_cases=("tariffs.wind", "community.peak-shaving", "home.self-consumption"))
@dataclass
class AskSites:
    """Who has not consented, or is silent, is left out."""

    bus: Bus
    settings: EspSettings
    peers: Peers

    def cems(self, sites: tuple[str, ...] = ()) -> list[Address]:
        """The customers' energy managers, of these sites or of all."""
        wanted = sites or self.settings.sites
        return [address for address in self.peers.of(CEM) if not wanted or address.site in wanted]

    async def ask(self, horizon_s: float, sites: tuple[str, ...] = ()) -> dict[str, SiteForecastIs]:
        """By site, of those who let us know."""
        found: dict[str, SiteForecastIs] = {}

        async def ask_one(cem: Address) -> None:
            async with self.bus.talk(site_forecast, cem) as talk:
                await talk.say(AskSiteForecast(horizon_s=horizon_s))
                match await talk.hear(SiteForecastIs, SiteForecastUnknown, Lapsed):
                    case SiteForecastIs() as said:
                        found[cem.site] = said
                    case _:
                        pass

        async with anyio.create_task_group() as group:
            for cem in self.cems(sites):
                group.start_soon(ask_one, cem)
        return {site: found[site] for site in sorted(found)}
