"""What the managed sites take, as their energy managers report it: power alone."""

from dataclasses import dataclass, field

from agents.building.settings import BuildingSettings
from agents.kit.agent import Peers
from agents.kit.skill import hears, skill
from bus.address import Address
from bus.bus import Heard
from bus.clock import Clock
from contracts.metering import SitePower
from contracts.roles import CEM


@skill(use_cases=("home.precedence",))
@dataclass
class WatchSites:
    """A CEM that joins is there with its first report; one that leaves drops out with its last."""

    clock: Clock
    settings: BuildingSettings
    peers: Peers
    reports: dict[str, SitePower] = field(default_factory=dict)

    def cems(self) -> list[Address]:
        """Every energy manager that is managed."""
        sites = self.settings.sites
        return [address for address in self.peers.of(CEM) if not sites or address.site in sites]

    @hears(SitePower, of=(CEM,), where="grid")
    def hear(self, said: SitePower, heard: Heard) -> None:
        if not self.settings.sites or heard.sender.site in self.settings.sites:
            self.reports[str(heard.sender)] = said

    def powers(self) -> dict[str, float]:
        """CEM -> power, W, of those that reported lately."""
        oldest = self.clock.now() - self.settings.young_s
        return {cem: said.power_w for cem, said in self.reports.items() if said.at.timestamp() >= oldest}

    @property
    def total_w(self) -> float:
        return sum(self.powers().values())
