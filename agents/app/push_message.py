"""A message to the user when a condition that he set is met, once per crossing. IC-PT-PUC-MGCP."""

from dataclasses import dataclass, field

from agents.app.settings import AppSettings, Condition
from agents.app.show import Show
from agents.kit.skill import hears, skill
from bus.bus import Bus, Heard
from contracts.emergency import DisplayNotice
from contracts.metering import GcpReading
from contracts.roles import METER


@dataclass
class Crossing:
    """One condition over time: when it began to be met (metered instants, unix seconds), and whether it was told."""

    condition: Condition
    since: float | None = None
    told: bool = False

    def take(self, power_w: float, at: float) -> bool:
        """Whether to tell now."""
        value = {"power_w": power_w, "import_w": max(power_w, 0.0), "export_w": max(-power_w, 0.0)}
        over = value[self.condition.quantity] - self.condition.value_w
        if not (over > 0 if self.condition.beyond == "above" else over < 0):
            self.since, self.told = None, False
            return False
        self.since = at if self.since is None else self.since
        if self.told or at - self.since < self.condition.for_s:
            return False
        self.told = True
        return True


@skill(says_home=(DisplayNotice,), use_cases=("metering.gcp-to-cem",))
@dataclass
class PushMessage:
    """Watches the connection point's readings as they come."""

    bus: Bus
    settings: AppSettings
    show: Show
    crossings: list[Crossing] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.crossings = [Crossing(condition) for condition in self.settings.conditions]

    @hears(GcpReading, of=(METER,), where="home")
    def watch(self, reading: GcpReading, heard: Heard) -> None:
        for crossing in self.crossings:
            if crossing.take(reading.power_w, reading.at.timestamp()):
                notice = DisplayNotice(kind="info", text=_text(crossing.condition, reading.power_w))
                self.bus.say(notice, home=True)
                self.show.notice(notice, heard)


def _text(condition: Condition, power_w: float) -> str:
    if condition.text:
        return condition.text
    lasting = f" for {condition.for_s:g} s" if condition.for_s else ""
    name = condition.quantity.removesuffix("_w")
    return f"{name} is {condition.beyond} {condition.value_w:g} W{lasting}: it is {power_w:.0f} W now"
