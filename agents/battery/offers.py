"""What a battery offers."""

from dataclasses import dataclass

from agents.battery.terminals import BatterySettings, BatteryTerminals
from agents.kit.hardware import Values, needed, number
from agents.kit.offers import Offers
from agents.kit.skill import skill
from contracts.flexibility import Flexibility, StorageFlexibility


@skill()
@dataclass
class OfferStorage(Offers):
    """Between its reserve and full."""

    settings: BatterySettings
    terminals: BatteryTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        nominal = self.terminals.capabilities(values)
        if values.get("state") == "error":
            return None
        return StorageFlexibility(
            capacity_wh=number(values, "capacity_wh") or self.settings.capacity_wh,
            level_percent=needed(values, "soc_percent"),
            lowest_percent=self.settings.reserve_percent,
            highest_percent=self.settings.full_percent,
            fill_upper_w=nominal.nominal_upper_w,
            empty_lower_w=nominal.nominal_lower_w,
            efficiency_share=self.settings.round_trip_share,
            from_grid=self.settings.from_grid,
            to_grid=self.settings.to_grid,
        )
