"""A tariff that the supplier sends to the app itself is shown, where no CEM sums up prices. IC-IT-HLUC4 step 2."""

from dataclasses import dataclass

from agents.app.show import PRICES_LAST_S, Show
from agents.kit.hold_tariffs import HoldTariffs
from agents.kit.skill import every, skill, started
from bus.clock import Clock
from contracts.tariff import AnnounceTariff, PriceInfo


@skill(use_cases=("tariffs.day-ahead-alert",))
@dataclass
class ShowTariff:
    """As soon as it is taken."""

    clock: Clock
    show: Show
    tariffs: HoldTariffs

    def __post_init__(self) -> None:
        self.tariffs.on_change.append(self._announced)

    @started
    async def show_at_start(self) -> None:
        self.update()

    @every(900.0)
    def update(self, warning: str | None = None) -> None:
        slots = tuple(self.tariffs.ahead())
        if slots and not self.show.summed_within(PRICES_LAST_S):
            self.show.show_prices(PriceInfo(slots=slots, warning=warning))

    def _announced(self, word: AnnounceTariff) -> None:
        self.update(word.warning)
