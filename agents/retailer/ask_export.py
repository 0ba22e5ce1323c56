"""The supplier sees too much fed in and asks its customers for less. IEC-JWG120x, IEC-JWG121x."""

import logging
from dataclasses import dataclass, field

import anyio

from agents.kit.agent import Peers
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import hears, settles, skill, started
from agents.retailer.settings import ExportPlan, RetailerSettings
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.metering import SitePower
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.tariff import AskExport, ExportAgreed, ExportDeclined, export_request

log = logging.getLogger("gridparley.retailer")


@skill(opens=(export_request,), use_cases=("limits.export",))
@dataclass
class AskExportLess:
    """Exported power is monitored first: a site that feeds nothing in is not asked."""

    bus: Bus
    clock: Clock
    settings: RetailerSettings
    peers: Peers
    deals: Deals
    power_w: dict[str, float] = field(default_factory=dict)
    """Site -> signed power as its CEM reports it."""

    @hears(SitePower, of=(CEM,), where="grid")
    def hear_power(self, said: SitePower, heard: Heard) -> None:
        self.power_w[heard.sender.site] = said.power_w

    @started
    async def keep_schedule(self) -> None:
        async with anyio.create_task_group() as group:
            for plan in self.settings.export_requests:
                group.start_soon(self._watch, plan)

    async def _watch(self, plan: ExportPlan) -> None:
        await self.clock.sleep_until(plan.at.timestamp())
        cem = next((a for a in self.peers.of(CEM) if a.site == plan.site), None)
        if cem is None:
            log.warning("%s has no CEM in reach: it cannot be asked for less export", plan.site)
            return
        while self.clock.now() < plan.until.timestamp() and not self._agreed(cem):
            enough = -self.power_w.get(plan.site, 0.0) > (plan.export_upper_w or 0.0)
            wrong = await self.ask(cem, plan) if enough else None
            if wrong is not None:
                log.info("%s goes on feeding in: %s", plan.site, wrong.text)
            await self.clock.sleep(self.settings.export_retry_s if enough else 30.0)

    def _agreed(self, cem: Address) -> bool:
        return any(deal.peer == cem for deal in self.deals.standing(export_request))

    async def ask(self, cem: Address, plan: ExportPlan) -> Reason | None:
        """None once it is agreed, else why it is not."""
        word = AskExport(
            export_upper_w=plan.export_upper_w,
            less_by_w=plan.less_by_w,
            until=plan.until,
            reason=Reason(code="surplus", text=plan.text, inputs={"power_w": self.power_w.get(plan.site, 0.0)}),
        )
        async with self.bus.talk(export_request, cem) as talk:
            try:
                await self.deals.open(talk, word, until=plan.until.timestamp())
                await talk.say(word)
            except (NotStored, TooManyDeals) as problem:
                return Reason(code="not_said", text=f"{problem}: it is asked again.")
            match await talk.hear(ExportAgreed, ExportDeclined, Lapsed):
                case ExportAgreed() as agreed:
                    means = ", ".join(agreed.means) or "nothing new"
                    log.info("%s feeds in at most %.0f W by %s", cem.site, agreed.export_upper_w, means)
                    return None
                case ExportDeclined(reason=reason):
                    await self.deals.end(talk)
                    return reason
                case Lapsed():
                    return Reason(code="no_answer", text=f"{cem} does not answer.")

    @settles(export_request)
    async def on_agreed(self, word: ExportAgreed, heard: Heard) -> None:
        await self.deals.honour(word, heard)
