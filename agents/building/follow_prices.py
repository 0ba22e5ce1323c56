"""The sites' tariff as their supplier tells it to the orchestrator: when energy is cheap. IC-FR-PUC8; IC-FR-PUC-8.

A price is confidential to who was sent it (R1): advice says that it is cheap, never how cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agents.kit.hold_tariffs import HoldTariffs
from agents.kit.skill import skill
from contracts.profiles import PriceSlot

CHEAP_SHARE = 0.25
CHEAPER_BY = 0.1


def cheap(slots: Sequence[PriceSlot]) -> list[tuple[float, float]]:
    """(start, end) of the cheapest quarter of the time that is known, where it is 10 % below its mean."""
    whole = sum(slot.duration_s for slot in slots)
    if whole <= 0:
        return []
    mean = sum(slot.price_eur_per_kwh * slot.duration_s for slot in slots) / whole
    edge = mean - CHEAPER_BY * abs(mean)
    found, taken = [], 0.0
    for slot in sorted(slots, key=lambda one: (one.price_eur_per_kwh, one.start)):
        if slot.price_eur_per_kwh >= edge or taken >= CHEAP_SHARE * whole:
            break
        start = slot.start.timestamp()
        found.append((start, start + slot.duration_s))
        taken += slot.duration_s
    return found


@skill(use_cases=("tariffs.dynamic",))
@dataclass
class FollowPrices:
    """Nothing is cheap where no tariff is known."""

    tariffs: HoldTariffs

    def cheap(self) -> list[tuple[float, float]]:
        """(start, end) of the periods ahead that are cheap."""
        return cheap(self.tariffs.ahead())
