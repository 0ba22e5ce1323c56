"""When an appliance may run and what it would cost, by stored prices or by the offline profile. Pure. ETSI-5.3.1."""

from collections.abc import Collection, Sequence

from agents.kit.local_day import local, shown
from bus.envelope import instant
from contracts.own_plans import AskOptions, RunOption
from contracts.profiles import SLOT_S, PowerSequence, PriceSlot
from contracts.reasons import Reason


def starts(asked: AskOptions, now: float) -> tuple[float, ...]:
    """Every quarter hour at which it could begin and still be done in time; the first as soon as possible."""
    length = sum(slot.duration_s for slot in asked.sequence.slots)
    first = max(asked.earliest_start.timestamp(), now)
    latest = asked.done_by.timestamp() - length
    if latest < first:
        return ()
    next_quarter = first - first % SLOT_S + SLOT_S
    count = max(int((latest - next_quarter) // SLOT_S) + 1, 0)
    return (first, *(next_quarter + n * SLOT_S for n in range(count)))


def cost(sequence: PowerSequence, start: float, prices: Sequence[PriceSlot]) -> tuple[float, float | None] | None:
    """EUR, and the green share of its energy where every price says one; None where a price is missing."""
    at, total, energy, green = start, 0.0, 0.0, 0.0
    knows_green = True
    for slot in sequence.slots:
        end = at + slot.duration_s
        while at < end - 1e-6:
            price = next((p for p in prices if p.start.timestamp() <= at < p.start.timestamp() + p.duration_s), None)
            if price is None:
                return None
            until = min(end, price.start.timestamp() + price.duration_s)
            part = slot.power_w * (until - at) / 3.6e6
            total, energy = total + part * price.price_eur_per_kwh, energy + part
            knows_green = knows_green and price.green_percent is not None
            green += part * (price.green_percent or 0.0)
            at = until
    return total, green / energy if knows_green and energy > 0 else None


def avoids(sequence: PowerSequence, start: float, hours: Collection[int], zone: str) -> bool:
    """Whether no part of the run falls into one of these local hours."""
    at, end = start, start + sum(slot.duration_s for slot in sequence.slots)
    while at < end:
        if local(at, zone).hour in hours:
            return False
        at += SLOT_S
    return True


def options(
    asked: AskOptions, prices: Sequence[PriceSlot], avoid: Collection[int], zone: str, now: float, most: int
) -> tuple[tuple[RunOption, ...], bool] | Reason:
    """(options, best first; whether the offline profile decided), or why there are none."""
    possible = starts(asked, now)
    if not possible:
        by = shown(asked.done_by.timestamp(), zone)
        text = f"{asked.job} cannot be done by {by} any more: run it at once or set a later end"
        return Reason(code="window_too_short", text=text)
    priced = [(found, start) for start in possible if (found := cost(asked.sequence, start, prices)) is not None]
    if priced:
        best = sorted(priced, key=lambda one: (one[0][0], one[1]))[:most]
        return tuple(
            RunOption(start=instant(start), cost_eur=eur, green_percent=green) for (eur, green), start in best
        ), False
    quiet = [start for start in possible if avoids(asked.sequence, start, avoid, zone)]
    note = "outside of the regular peaks" if quiet else "no time without a regular peak is left"
    return tuple(RunOption(start=instant(start), note=note) for start in (quiet or possible)[:most]), True
