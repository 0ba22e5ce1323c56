"""A change by hand at one site: fine, or more than the common connection carries. IC-FR-PUC7-SC1 Inf.5, 6."""

from dataclasses import dataclass, field

from agents.building.settings import BuildingSettings
from agents.building.watch_sites import WatchSites
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.talk import Talk
from contracts.reasons import Reason
from contracts.site_power import ChangeFine, ReportChange, ReturnExcess, change_report

REPORTED_S = 120.0
"""So long a change is counted on top of what sites report: then their own reports contain it."""


def excess_w(total_w: float, announced_w: float, more_w: float, subscribed_w: float) -> float:
    """What would be too much, 0 if nothing is."""
    return max(0.0, total_w + announced_w + more_w - subscribed_w) if subscribed_w > 0 else 0.0


@skill(use_cases=("tariffs.user-choice", "customer.override", "home.precedence"))
@dataclass
class JudgeChanges:
    """Only power is known here: no temperature, no price, no device's name."""

    clock: Clock
    settings: BuildingSettings
    sites: WatchSites
    usual: dict[str, tuple[str, float]] = field(default_factory=dict)
    """CEM -> (device class, rating) of what runs plainly there, as it told us and nobody else. IC-FR-PUC6-SC2 Inf.3."""
    announced: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    """(CEM, class) -> (until, W)."""

    @answers(change_report)
    async def on_change(self, talk: Talk, said: ReportChange) -> None:
        peer, now = str(talk.peer), self.clock.now()
        key = (peer, said.device_class)
        self.announced = {k: v for k, v in self.announced.items() if v[0] > now and k != key}
        if said.kind == "business_as_usual":
            self.usual[peer] = (said.device_class, said.rating_w or said.power_w)
        elif said.kind == "back_to_plan":
            self.usual.pop(peer, None)
        others = sum(power for _, power in self.announced.values())
        over = excess_w(self.sites.total_w, others, max(0.0, said.power_w), self.settings.subscribed_w)
        if over <= 0 or said.kind == "back_to_plan" or said.power_w <= 0:  # less never overloads
            self.announced[key] = (now + REPORTED_S, max(0.0, said.power_w))
            await talk.say(ChangeFine())
            return
        text = f"Together {over:.0f} W more than the subscribed {self.settings.subscribed_w:.0f} W: take it back."
        inputs = {"total_w": self.sites.total_w, "asked_w": said.power_w, "subscribed_w": self.settings.subscribed_w}
        reason = Reason(code="overload", text=text, binding="subscribed_power", inputs=inputs)
        await talk.say(ReturnExcess(excess_w=over, reason=reason))
