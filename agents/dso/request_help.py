"""Yellow: ask the sites for a change of power, by free will, before anybody has to be ordered. IEC-TLC."""

from dataclasses import dataclass

import anyio

from agents.dso.guard_limits import GuardLimits
from agents.dso.report_action import ReportAction
from agents.dso.settings import DsoSettings
from agents.dso.watch_grid import WatchGrid
from agents.kit.skill import every, skill
from bus import tracing
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.grid_state import AdjustmentAgreed, AdjustmentDeclined, AskAdjustment, load_request
from contracts.kit import Lapsed
from contracts.power_limit import Direction
from contracts.reasons import Reason


@skill(opens=(load_request,), use_cases=("limits.grid-state",))
@dataclass
class RequestHelp:
    """Once per yellow phase, and again after a while if it stays. ``agreed_w`` is what the last round has brought."""

    bus: Bus
    clock: Clock
    settings: DsoSettings
    watch: WatchGrid
    guard: GuardLimits
    report: ReportAction
    agreed_w: float = 0.0
    _asked_at: float | None = None

    @every("decide_s")
    async def consider(self) -> None:
        if self.watch.phase != "yellow":
            if self.watch.phase == "green":
                self._asked_at = None
            return
        now, loading = self.clock.now(), self.watch.loading()
        if loading is None or (self._asked_at is not None and now - self._asked_at < self.settings.help_every_s):
            return
        calm = (self.settings.yellow_percent - self.settings.clear_margin_percent) / 100
        wanted_w = (loading.share - calm) * self.settings.transformer_va
        if wanted_w <= 0:
            return  # yellow for a voltage: more or less power is not known to help there
        self._asked_at = now
        direction: Direction = "production" if loading.production >= loading.consumption else "consumption"
        await self._ask_all(direction, wanted_w if direction == "production" else -wanted_w, now)

    async def _ask_all(self, direction: Direction, change_w: float, now: float) -> None:
        """``change_w`` is the wanted change at the transformer, signed; each site is asked for an equal part."""
        asked = {name: site.cem for name, site in self.guard.sites.items() if self.guard.present(site)}
        if not asked:
            return
        text = f"The transformer is filling up by {direction}; help is asked for before limits are needed."
        reason = Reason(code="yellow", text=text, binding="transformer", inputs={"wanted_w": change_w})
        agreed: dict[str, float] = {}
        with tracing.span(
            "request help", {"gridparley.sites": len(asked), "gridparley.use_cases": "limits.grid-state"}
        ):
            async with anyio.create_task_group() as group:
                for place, (name, cem) in enumerate(asked.items()):
                    # Homes that were let go all at once would come back all at once (IEC-JWG30xx-GRID, load pickup).
                    spread_s = self.settings.help_spread_share * self.settings.help_for_s * place / len(asked)
                    ask = AskAdjustment(
                        area=self.settings.area,
                        change_w=change_w / len(asked),
                        within_s=self.settings.help_within_s,
                        until=instant(now + self.settings.help_for_s + spread_s),
                        reason=reason,
                    )
                    group.start_soon(self._ask, name, cem, ask, agreed)
        self.agreed_w = sum(agreed.values())
        if agreed:
            told = Reason(
                code="yellow",
                text=f"{len(agreed)} of {len(asked)} sites agreed to {self.agreed_w:.0f} W of {change_w:.0f} W.",
                binding="transformer",
                inputs={"wanted_w": change_w, "agreed_w": self.agreed_w},
            )
            self.report.begin("request", direction, tuple(sorted(agreed)), self.agreed_w, told)

    async def _ask(self, name: str, cem: Address, ask: AskAdjustment, agreed: dict[str, float]) -> None:
        try:
            async with self.bus.talk(load_request, cem) as talk:
                await talk.say(ask)
                match await talk.hear(AdjustmentAgreed, AdjustmentDeclined, Lapsed):
                    case AdjustmentAgreed(change_w=change_w):
                        agreed[name] = change_w
                    case AdjustmentDeclined() | Lapsed():
                        pass
        except NotStored:
            pass  # a request that cannot be sent is a request that nobody agreed to
