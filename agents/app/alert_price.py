"""A planned cycle in a dear period: the user is told, and when it would be cheaper. IC-IT-HLUC4 step 3."""

from dataclasses import dataclass, field
from datetime import datetime

from agents.app.place_cycle import Better, better_start
from agents.app.settings import AppSettings
from agents.app.show import Show
from agents.kit.local_day import local
from agents.kit.skill import hears, skill
from bus.bus import Bus, Heard
from bus.clock import Clock
from contracts.emergency import DisplayNotice
from contracts.home_plan import PlanShown
from contracts.roles import CEM


@skill(says_home=(DisplayNotice,), use_cases=("tariffs.day-ahead-alert",))
@dataclass
class AlertPrice:
    """Compares each planned cycle with the prices that the display has, whenever either changes. Once per start."""

    bus: Bus
    clock: Clock
    settings: AppSettings
    show: Show
    _plan: PlanShown | None = None
    _told: dict[str, datetime] = field(default_factory=dict)
    """Device -> the start that was alerted of."""

    def __post_init__(self) -> None:
        self.show.on_prices.append(self.compare)

    @hears(PlanShown, of=(CEM,), where="home")
    def hear_plan(self, plan: PlanShown, _heard: Heard) -> None:
        self._plan = plan
        self.compare()

    def compare(self) -> None:
        if self._plan is None:
            return
        for item in self._plan.items:
            if item.start is None or self._told.get(item.device) == item.start:
                continue
            if item.start.timestamp() <= self.clock.now():
                continue
            found = better_start(item, self.show.picture.prices, self.clock.now(), self.settings)
            if found is not None:
                self._told[item.device] = item.start
                self.bus.say(
                    DisplayNotice(kind="warning", text=self._text(item.device, found), device=item.device), home=True
                )
                self.show.tell(self._text(item.device, found))

    def _text(self, device: str, found: Better) -> str:
        zone = self.settings.time_zone
        text = (
            f"{device} is planned for {local(found.start, zone):%a %H:%M}, when electricity is dear "
            f"({found.price_eur_per_kwh:.3f} EUR/kWh)."
        )
        if found.better is None:
            return f"{text} No other time that is known would be cheaper."
        saved = f", which saves {found.saves_eur:.2f} EUR" if found.saves_eur >= 0.005 else ""
        then = f"{local(found.better, zone):%a %H:%M}"
        return f"{text} Choose {then} instead: {found.better_eur_per_kwh:.3f} EUR/kWh{saved}."
