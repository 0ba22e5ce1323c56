"""What a device that stores heat or cold offers."""

from dataclasses import dataclass

from agents.kit.hardware import Values
from agents.kit.offers import Offers
from agents.kit.skill import skill
from agents.kit.thermal import ThermalTerminals
from contracts.flexibility import Flexibility


@skill()
@dataclass
class OfferHeat(Offers):
    """Its store, with what its user wants of it."""

    terminals: ThermalTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        return self.terminals.storage(values)
