"""What a device says of itself, before anybody plans with it: an absurd offer, a measured lie. Pure."""

import msgspec

from agents.kit.bargain import MOST_SLOTS, duration_s, slot_at
from bus.envelope import instant
from contracts.device import Announce
from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.profiles import PlannedPower
from contracts.reasons import Reason

TOLERANCE_W, TOLERANCE_SHARE = 100.0, 0.1
"""So much above its profile is measuring, not lying."""
OVER_RATING_SHARE = 1.1


def absurd(offer: Flexibility, announced: Announce, now: float) -> Reason | None:
    """Why this cannot be planned with; None: it can."""
    most = max(announced.nominal_upper_w, 1.0) * OVER_RATING_SHARE
    least = min(announced.nominal_lower_w, -1.0) * OVER_RATING_SHARE
    match offer:
        case ProfileFlexibility():
            return _profile(offer, least, most, now)
        case EnvelopeFlexibility():
            figures = (offer.lower_from_w, offer.lower_to_w, offer.upper_from_w, offer.upper_to_w)
            if offer.lower_from_w > offer.lower_to_w or offer.upper_from_w > offer.upper_to_w:
                return _no("empty_range", "a range begins above its end: swap the two")
            return _powers(figures, least, most)
        case StorageFlexibility():
            return _storage(offer, least, most, now)
        case ThermalFlexibility():
            return _thermal(offer, least, most)
        case ModesFlexibility() | DemandFlexibility():
            if not offer.modes:
                return _no("no_modes", "an offer of modes needs at least one")
            if any(mode.lower_w > mode.upper_w for mode in offer.modes):
                return _no("empty_range", "a mode's range begins above its end: swap the two")
            return _powers(tuple(w for mode in offer.modes for w in (mode.lower_w, mode.upper_w)), least, most)


def _no(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="offer", inputs=inputs)


def _powers(figures: tuple[float, ...], least: float, most: float) -> Reason | None:
    for watts in figures:
        if not least <= watts <= most:
            text = f"{watts:.0f} W is beyond what it announced that it can take or give: announce again or offer less"
            return _no("beyond_nominal", text, power_w=watts, lower_w=least, upper_w=most)
    return None


def _profile(offer: ProfileFlexibility, least: float, most: float, now: float) -> Reason | None:
    if not offer.alternatives or any(not sequence.slots for sequence in offer.alternatives):
        return _no("empty", "a profile needs at least one sequence of at least one slot")
    for sequence in offer.alternatives:
        if len(sequence.slots) > MOST_SLOTS:
            return _no("too_many_slots", f"{len(sequence.slots)} slots: {MOST_SLOTS} are the most")
        running = offer.state in ("executing", "interrupted")
        if any(slot.duration_s < 0 or (slot.duration_s == 0 and not running) for slot in sequence.slots):
            return _no("no_duration", "every slot has to last: give each a duration above 0")
        figures = tuple(w for slot in sequence.slots for w in (slot.power_w, slot.peak_w or slot.power_w))
        wrong = _powers(figures, least, most)
        if wrong is not None:
            return wrong
    if offer.state != "not_scheduled" and offer.state != "scheduled":
        return None
    done_by, shortest = offer.done_by.timestamp(), min(duration_s(s) for s in offer.alternatives)
    if done_by <= now:
        return _no("done_by_over", f"{offer.job} was to be done by {offer.done_by:%d %b %H:%M} UTC, which is past")
    if max(offer.earliest_start.timestamp(), now) + shortest > done_by + 1.0:
        text = f"{offer.job} needs {shortest / 60:.0f} min and its window has less: set a later end"
        return _no("window_too_short", text, needs_s=shortest, left_s=done_by - now)
    return None


def _storage(offer: StorageFlexibility, least: float, most: float, now: float) -> Reason | None:
    if offer.capacity_wh <= 0:
        return _no("no_capacity", "a store without capacity stores nothing")
    if not offer.lowest_percent <= offer.highest_percent or not 0 <= offer.level_percent <= 100:
        return _no("bad_level", f"a level of {offer.level_percent:g} % within these bounds makes no sense")
    if any(target.at.timestamp() <= now for target in offer.targets):
        return _no("target_over", "a level is wished for an instant that is past: set a new one")
    if offer.fill_upper_w < 0 or offer.empty_lower_w > 0 or offer.fill_least_w > offer.fill_upper_w:
        return _no("wrong_sign", "filling takes (+) and emptying gives (-): check the signs and the least power")
    return _powers((offer.fill_upper_w, offer.empty_lower_w), least, most)


def _thermal(offer: ThermalFlexibility, least: float, most: float) -> Reason | None:
    if offer.lowest_c > offer.highest_c:
        return _no("empty_band", "the lowest temperature is above the highest: swap the two")
    if offer.capacity_wh_per_k <= 0 or offer.cop_share <= 0:
        return _no("no_capacity", "a store without capacity, or heat without power, cannot be planned with")
    return _powers((offer.upper_w, *offer.steps_w), least, most)


# -------------------------------------------------------------------- what it really does


def most_w(slot: PlannedPower) -> float:
    return slot.power_w if slot.upper_w is None else max(slot.upper_w, slot.power_w)


def beyond(power: tuple[PlannedPower, ...], measured_w: float, at: float) -> float:
    """By how much a measured power is above the confirmed profile, beyond tolerance. 0 outside of the profile."""
    slot = slot_at(power, at)
    if slot is None:
        return 0.0
    promised = most_w(slot)
    excess = measured_w - promised - max(TOLERANCE_W, TOLERANCE_SHARE * abs(promised))
    return max(excess, 0.0)


def worst(power: tuple[PlannedPower, ...], measured_w: float) -> tuple[PlannedPower, ...]:
    """The profile of a device that does not keep to it: in every slot at least what it was seen to take."""
    return tuple(
        msgspec.structs.replace(slot, power_w=max(slot.power_w, measured_w), upper_w=max(most_w(slot), measured_w))
        for slot in power
    )


def moved(power: tuple[PlannedPower, ...], start: float) -> tuple[PlannedPower, ...]:
    """The same profile from another instant on."""
    if not power:
        return power
    by = start - power[0].start.timestamp()
    return tuple(msgspec.structs.replace(slot, start=instant(slot.start.timestamp() + by)) for slot in power)
