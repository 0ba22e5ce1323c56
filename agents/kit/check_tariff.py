"""Whether a tariff can be used as it was announced. Pure.

A gap is no fault: it has no price, and the CEM says so. Everything else that is wrong refuses the whole word, so that
issuer and customer never hold different halves of it.
"""

from typing import NamedTuple

from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff

MOST_SLOTS = 3000
"""A month of quarter hours."""
SLACK_S = 0.5


class Bounds(NamedTuple):
    """What a price can be, and how far ahead it can begin."""

    lowest_eur_per_kwh: float = -2.0
    highest_eur_per_kwh: float = 10.0
    horizon_s: float = 400 * 86_400.0


WIDE = Bounds()


def fault(word: AnnounceTariff, now: float, bounds: Bounds = WIDE) -> Reason | None:
    """Why nothing of it can be used, None when it can."""
    if not word.slots:
        if word.listed_eur_per_kwh:
            return _absurd_list(word.listed_eur_per_kwh, bounds)
        return _no("no_slots", "There is no price in it: send slots, or a list by register.")
    if len(word.slots) > MOST_SLOTS:
        return _no("too_many_slots", f"{len(word.slots)} slots at once: send at most {MOST_SLOTS}.")
    end = -1e18
    for number, slot in enumerate(word.slots, start=1):
        start = slot.start.timestamp()
        wrong = _slot(slot, number, bounds)
        if wrong is not None:
            return wrong
        if start < end - SLACK_S:
            before = word.slots[number - 2].start
            code, what = ("unordered", "starts before") if slot.start < before else ("overlap", "overlaps")
            text = f"Slot {number} at {slot.start.isoformat()} {what} the one before it: send each time once, in order."
            return _no(code, text, slot=float(number))
        end = start + slot.duration_s
    if end <= now:
        text = f"All of it is over: it ends {word.slots[-1].start.isoformat()}. Check date and time zone."
        return _no("in_the_past", text, over_since_s=now - end)
    if word.slots[0].start.timestamp() > now + bounds.horizon_s:
        return _no("too_far_ahead", f"It begins at {word.slots[0].start.isoformat()}: check the date.")
    if word.valid_until is not None and word.valid_until <= word.slots[0].start:
        return _no("never_valid", "It is valid until before its first slot begins: correct one of the two.")
    return _absurd_list(word.listed_eur_per_kwh, bounds)


def _slot(slot: PriceSlot, number: int, bounds: Bounds) -> Reason | None:
    prices = [slot.price_eur_per_kwh, *slot.by_kind_eur_per_kwh.values()]
    if slot.beyond_eur_per_kwh is not None:
        prices.append(slot.beyond_eur_per_kwh)
    for price in prices:
        if not bounds.lowest_eur_per_kwh <= price <= bounds.highest_eur_per_kwh:
            return _absurd(f"Slot {number} at {slot.start.isoformat()}", price, bounds)
    if slot.duration_s <= 0:
        return _no("no_duration", f"Slot {number} at {slot.start.isoformat()} has no length.", slot=float(number))
    if (slot.threshold_wh is None) != (slot.beyond_eur_per_kwh is None):
        text = f"Slot {number} has a threshold without a price beyond it, or the reverse: send both or none."
        return _no("half_threshold", text, slot=float(number))
    if slot.green_percent is not None and not 0 <= slot.green_percent <= 100:
        text = f"Slot {number} has {slot.green_percent:g} % green power: a share lies between 0 and 100."
        return _no("absurd_share", text, slot=float(number))
    return None


def _absurd_list(listed: dict[str, float], bounds: Bounds) -> Reason | None:
    for register, price in listed.items():
        if not bounds.lowest_eur_per_kwh <= price <= bounds.highest_eur_per_kwh:
            return _absurd(f"Register {register}", price, bounds)
    return None


def _absurd(what: str, price: float, bounds: Bounds) -> Reason:
    low, high = bounds.lowest_eur_per_kwh, bounds.highest_eur_per_kwh
    text = (
        f"{what} says {price:g} EUR/kWh, which is beyond {low:g} to {high:g} EUR/kWh: check the unit (EUR/MWh is a "
        "thousandth), or widen the bounds in the settings."
    )
    return _no("absurd_price", text, price_eur_per_kwh=price, lowest_eur_per_kwh=low, highest_eur_per_kwh=high)


def _no(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="tariff", inputs=inputs)
