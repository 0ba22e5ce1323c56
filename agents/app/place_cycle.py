"""Whether a planned cycle lies in a dear period, and the cheapest other start of the same day. Pure."""

from dataclasses import dataclass

from agents.app.settings import AppSettings
from agents.kit.local_day import bounds, date_at
from agents.kit.price_stack import Piece, dear_periods, quarters_of
from contracts.home_plan import PlanItem
from contracts.profiles import SLOT_S, PlannedPower, PriceSlot

DEFAULT_S = 3600.0
"""How long a cycle is taken to last whose power nobody tells."""


@dataclass(frozen=True)
class Better:
    """Means over the cycle, EUR/kWh; ``better`` None: no known time is cheaper."""

    start: float
    price_eur_per_kwh: float
    better: float | None
    better_eur_per_kwh: float
    saves_eur: float


def better_start(item: PlanItem, prices: tuple[PriceSlot, ...], now: float, settings: AppSettings) -> Better | None:
    """None when the cycle touches no dear period of its day, or its prices are not known."""
    assert item.start is not None
    start = item.start.timestamp()
    cycle = _cycle(item.power, start)
    pieces = quarters_of([_piece(slot) for slot in prices])
    day = bounds(date_at(start, settings.time_zone), settings.time_zone)
    today = [p for p in pieces if p.start < day[1] and p.end > day[0]]
    dear = dear_periods(today, settings.high_price_quantile, settings.high_price_margin)
    if not any(begin < start + length and end > start for begin, end, _ in dear for length in [cycle[-1][1]]):
        return None
    price = _mean(cycle, start, pieces)
    if price is None:
        return None
    best: tuple[float, float] | None = None
    for piece in pieces:
        if piece.start < now:
            continue
        here = _mean(cycle, piece.start, pieces)
        if here is not None and here < price - 1e-6 and (best is None or here < best[0] - 1e-9):
            best = here, piece.start
    energy_kwh = sum(max(0.0, power) * (end - begin) for begin, end, power in cycle) / 3.6e6
    if best is None:
        return Better(start, price, None, price, 0.0)
    return Better(start, price, best[1], best[0], (price - best[0]) * energy_kwh)


def _cycle(power: tuple[PlannedPower, ...], start: float) -> list[tuple[float, float, float]]:
    """(begin, end, W) from its start on; slots without power are no part of it."""
    parts = [
        (p.start.timestamp() - start, p.start.timestamp() - start + p.duration_s, p.power_w)
        for p in power
        if p.power_w > 0 and p.start.timestamp() + p.duration_s > start
    ]
    return parts or [(0.0, DEFAULT_S, 0.0)]


def _piece(slot: PriceSlot) -> Piece:
    start = slot.start.timestamp()
    return Piece(start, start + slot.duration_s, slot.price_eur_per_kwh, slot.binding == "binding", True)


def _mean(cycle: list[tuple[float, float, float]], start: float, pieces: list[Piece]) -> float | None:
    """Weighted by the cycle's energy; None where a price is missing."""
    total = weight = 0.0
    even = all(power == 0 for _, _, power in cycle)
    for begin, end, power in cycle:
        covered = 0.0
        for piece in pieces:
            both = min(piece.end, start + end) - max(piece.start, start + begin)
            if both > 0 and piece.price is not None:
                share = both * (1.0 if even else power)
                total, weight, covered = total + piece.price * share, weight + share, covered + both
        if covered < end - begin - SLOT_S / 100:
            return None
    return total / weight if weight else None
