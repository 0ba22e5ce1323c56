"""What a heat pump offers: the heat that it stores, or, beside a boiler, a demand that either can meet."""

from dataclasses import dataclass

from agents.heatpump.terminals import HeatPumpSettings, HeatPumpTerminals
from agents.kit.hardware import Values
from agents.kit.offers import Offers
from agents.kit.skill import skill
from contracts.flexibility import DemandFlexibility, Flexibility, OperationMode


@skill()
@dataclass
class OfferHeatPump(Offers):
    """``hybrid`` in the settings says which of the two."""

    settings: HeatPumpSettings
    terminals: HeatPumpTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        store = self.terminals.storage(values)
        if not self.settings.hybrid:
            return store
        pump = OperationMode(
            name="heat_pump", lower_w=store.least_w, upper_w=store.upper_w, minimum_s=self.settings.minimum_on_s
        )
        boiler = OperationMode(name="boiler", lower_w=0.0, upper_w=0.0, minimum_s=self.settings.minimum_off_s)
        return DemandFlexibility(
            demand_w=store.demand_w,
            modes=(pump, boiler),
            mode="heat_pump" if store.on else "boiler",
            cop_share=store.cop_share,
        )
