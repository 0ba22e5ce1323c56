"""The car's view of its charge: level, what is missing, and the plan that it makes of an offer. Pure."""

from dataclasses import dataclass, replace
from itertools import pairwise

from bus.envelope import instant
from contracts.charging import ChargingOffer
from contracts.device import DeviceReading
from contracts.profiles import PlannedPower, PriceSlot

NOMINAL_V = 230.0
CLOSE_WH = 50.0


@dataclass(frozen=True)
class Level:
    """How full it is. Measured where the station passes on the car's own figure, counted else."""

    soc_percent: float
    measured: bool = False
    began_percent: float = 0.0
    began_wh: float | None = None
    energy_wh: float = 0.0
    """Drawn since it was plugged in."""

    def after(self, reading: DeviceReading, capacity_wh: float, efficiency: float) -> "Level":
        """One reading later. A register that went back started anew."""
        drawn = self.energy_wh
        began = self.began_wh
        if reading.session_wh is not None:
            drawn = reading.session_wh
        elif reading.energy_wh is not None:
            if began is None or reading.energy_wh < began:
                began = reading.energy_wh - drawn if reading.energy_wh >= drawn else reading.energy_wh
            drawn = max(reading.energy_wh - began, 0.0)
        if reading.soc_percent is not None:
            return replace(self, soc_percent=reading.soc_percent, measured=True, began_wh=began, energy_wh=drawn)
        counted = min(self.began_percent + 100 * drawn * efficiency / capacity_wh, 100.0)
        return replace(self, soc_percent=counted, measured=False, began_wh=began, energy_wh=drawn)


def missing_wh(soc_percent: float, target_percent: float, capacity_wh: float, efficiency: float) -> float:
    """To be drawn, losses included."""
    return max(target_percent - soc_percent, 0.0) / 100 * capacity_wh / efficiency


def plan(
    offer: ChargingOffer,
    needs_wh: float,
    *,
    now: float,
    until: float | None,
    not_before: float | None = None,
    least_w: float,
    most_w: float,
    greenest: bool = False,
) -> tuple[PlannedPower, ...]:
    """Fill the best slots that the offer allows, never above it; ``most_w`` is what the car itself takes."""
    slots = [_Piece(start, end, rank, free) for start, end, rank, free in _pieces(offer, now, until, greenest)]
    if not_before is not None:
        slots = [s for s in slots if s.end > not_before]
        slots = [replace(s, start=max(s.start, not_before)) for s in slots]
    chosen: dict[float, tuple[float, float]] = {}
    """By start: watts, and for how long; a rest that is less than it can charge with takes a part of a slot."""
    left = needs_wh
    for slot in sorted(slots, key=lambda s: (s.rank, s.start)):
        if left <= CLOSE_WH:
            break
        free_w = min(slot.free_w, most_w)
        if free_w < least_w:
            continue
        hours = (slot.end - slot.start) / 3600
        watts = min(free_w, max(left / hours, least_w))
        lasts_s = min(left / watts * 3600, slot.end - slot.start)
        chosen[slot.start] = watts, lasts_s
        left -= watts * lasts_s / 3600
    made = []
    for slot in sorted(slots, key=lambda s: s.start):
        watts, lasts_s = chosen.get(slot.start, (0.0, slot.end - slot.start))
        made.append(PlannedPower(start=instant(slot.start), duration_s=lasts_s, power_w=watts, upper_w=watts))
        rest_s = slot.end - slot.start - lasts_s
        if rest_s > 1.0:
            made.append(PlannedPower(start=instant(slot.start + lasts_s), duration_s=rest_s, power_w=0.0, upper_w=0.0))
    while made and made[-1].power_w == 0.0:
        made.pop()
    return tuple(made)


@dataclass(frozen=True)
class _Piece:
    start: float
    end: float
    rank: float
    free_w: float


def _pieces(
    offer: ChargingOffer, now: float, until: float | None, greenest: bool
) -> list[tuple[float, float, float, float]]:
    """Where prices and maximum both say something, cut at every edge of either."""
    edges = {now} | ({until} if until is not None else set())
    periods: tuple[PriceSlot | PlannedPower, ...] = (*offer.maximum, *offer.incentives)
    for period in periods:
        start = period.start.timestamp()
        edges |= {start, start + period.duration_s}
    cut = sorted(edge for edge in edges if edge >= now and (until is None or edge <= until))
    made = []
    for start, end in pairwise(cut):
        price = next((p for p in offer.incentives if _covers(p, start)), None)
        bound = next((p for p in offer.maximum if _covers(p, start)), None)
        if price is None or (offer.maximum and bound is None):
            continue
        free = float("inf") if bound is None else bound.power_w if bound.upper_w is None else bound.upper_w
        made.append((start, end, _rank(price, greenest), free))
    return made


def _rank(price: PriceSlot, greenest: bool) -> float:
    if greenest and price.green_percent is not None:
        return -price.green_percent
    return price.price_eur_per_kwh


def _covers(period: PriceSlot | PlannedPower, at: float) -> bool:
    start = period.start.timestamp()
    return start <= at < start + period.duration_s


def cost_eur(power: tuple[PlannedPower, ...], prices: tuple[PriceSlot, ...]) -> float | None:
    """At the offered prices; None where some slot has none."""
    total = 0.0
    for slot in power:
        price = next((p for p in prices if _covers(p, slot.start.timestamp())), None)
        if price is None:
            return None
        total += slot.power_w * slot.duration_s / 3.6e6 * price.price_eur_per_kwh
    return total
