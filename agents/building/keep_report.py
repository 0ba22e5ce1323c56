"""Performance reports of the service provider, kept for the building's manager. IC-BE-THOR-PEAK."""

import logging
from dataclasses import dataclass, field

from agents.kit.skill import hears, restores, skill
from bus.bus import Heard
from bus.store import State
from contracts.roles import ESP
from contracts.site_power import PerformanceReport

log = logging.getLogger("gridparley.building")
KEPT = 366


@skill(use_cases=("community.peak-shaving",))
@dataclass
class KeepReport:
    """A year of days, the newest last."""

    state: State
    reports: list[PerformanceReport] = field(default_factory=list)

    @restores
    async def restore(self) -> None:
        self.reports = await self.state.get("reports", list[PerformanceReport]) or []

    @hears(PerformanceReport, of=(ESP,), where="addressed")
    async def hear(self, report: PerformanceReport, heard: Heard) -> None:
        others = [known for known in self.reports if known.day != report.day]
        self.reports = [*others, report][-KEPT:]
        await self.state.put("reports", self.reports)
        log.info(
            "%s reports %s: at most %.0f W of %.0f W, %d slots above",
            heard.sender,
            report.day.date(),
            report.highest_w,
            report.contracted_w,
            report.slots_above,
        )
