"""What a generator offers."""

from dataclasses import dataclass

from agents.fuelcell.terminals import FuelCellTerminals
from agents.kit.hardware import Values
from agents.kit.offers import Offers
from agents.kit.skill import skill
from contracts.flexibility import Flexibility


@skill()
@dataclass
class OfferModes(Offers):
    """To run within its range, or not."""

    terminals: FuelCellTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        return self.terminals.modes(values)
