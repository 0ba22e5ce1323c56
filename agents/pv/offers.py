"""What a PV inverter offers: to make less."""

from dataclasses import dataclass

from agents.kit.hardware import Values
from agents.kit.offers import Offers
from agents.kit.skill import skill
from agents.pv.terminals import PvTerminals
from contracts.flexibility import EnvelopeFlexibility, Flexibility


@skill()
@dataclass
class OfferLess(Offers):
    """Anything between all and nothing; what is cut is lost."""

    terminals: PvTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:  # noqa: ARG002
        if "power_limit_percent" not in values:
            return None
        rating = self.terminals.rating_w(values)
        return EnvelopeFlexibility(
            upper_from_w=0.0, upper_to_w=0.0, lower_from_w=-rating, lower_to_w=0.0, consequence="vanish"
        )
