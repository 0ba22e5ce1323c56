"""A device's own plan from prices and own generation. Greedy and pure: the decision stays in the device.

What has to be done (comfort, the charge that is wished) goes into the cheapest slots that still come in time; what the
sun gives now is used as far as the store has room. Powers: + consumed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from bus.envelope import instant
from contracts.flexibility import StorageFlexibility, StorageTarget, ThermalFlexibility
from contracts.own_plans import GiveIncentive
from contracts.profiles import SLOT_S, PlannedPower

STEPS = 400
"""More turns than any plan of two days needs; then it stays as it is."""
NEAR_K = 0.01


@dataclass(frozen=True)
class Slot:
    """One period as the device sees it. ``sun_w`` is what own generation gives in it, >= 0."""

    start: float
    duration_s: float
    price: float
    sun_w: float = 0.0


def slots_of(word: GiveIncentive, now: float, greenest: bool = False) -> tuple[Slot, ...]:
    """Prices and sun on one grid. Where only one of the two is given, the other does not decide.

    ``greenest``: the grid's share of renewables decides in place of the price, as far as it is told.
    """
    sun = {round(p.start.timestamp()): max(-p.power_w, 0.0) for p in word.pv_expected}
    made: list[Slot] = []
    for price in word.prices:
        start, end = price.start.timestamp(), price.start.timestamp() + price.duration_s
        if end <= now:
            continue
        rank = price.price_eur_per_kwh
        if greenest and price.green_percent is not None:
            rank = -price.green_percent
        began = max(start, now)
        made.append(Slot(began, end - began, rank, sun.get(round(start), 0.0)))
    if not made:
        for p in word.pv_expected:
            start, end = max(p.start.timestamp(), now), p.start.timestamp() + p.duration_s
            if end > now:
                made.append(Slot(start, end - start, 0.0, max(-p.power_w, 0.0)))
    if word.pv_power_w is not None:
        sun_now = max(-word.pv_power_w, 0.0)
        if made and made[0].start <= now + 1.0:
            made[0] = replace(made[0], sun_w=sun_now)
        elif not made:
            made = [Slot(now, SLOT_S, 0.0, sun_now)]
    return tuple(made)


def _planned(slots: Sequence[Slot], power: Sequence[float]) -> tuple[PlannedPower, ...]:
    return tuple(
        PlannedPower(start=instant(slot.start), duration_s=slot.duration_s, power_w=watts)
        for slot, watts in zip(slots, power, strict=True)
    )


def _rank(slot: Slot, least_w: float) -> float:
    """The sun costs nothing, where it suffices to run."""
    return min(slot.price, 0.0) if slot.sun_w >= max(least_w, 1.0) else slot.price


# -------------------------------------------------------------------- heat and cold


def temperatures(store: ThermalFlexibility, slots: Sequence[Slot], power: Sequence[float]) -> list[float]:
    """At the end of each slot."""
    sign, at = (1.0 if store.heats else -1.0), store.temperature_c
    shown = []
    for slot, watts in zip(slots, power, strict=True):
        gain_w = sign * (store.cop_share * watts - store.demand_w) - store.loss_w_per_k * (at - store.ambient_c)
        at += gain_w * slot.duration_s / 3600 / store.capacity_wh_per_k
        shown.append(at)
    return shown


def bounds(store: ThermalFlexibility, slots: Sequence[Slot]) -> list[float]:
    """By slot, what its end may not be colder than (warmer, where it cools): the band, and the target at its time."""
    edge = [store.lowest_c if store.heats else store.highest_c] * len(slots)
    if store.target_c is not None and store.target_at is not None:
        at = store.target_at.timestamp()
        for n, slot in enumerate(slots):
            if slot.start < at <= slot.start + slot.duration_s:
                edge[n] = max(edge[n], store.target_c) if store.heats else min(edge[n], store.target_c)
    return edge


def _too_little(store: ThermalFlexibility, edge: Sequence[float], shown: Sequence[float]) -> int | None:
    """The first slot at whose end it would be too cold (too warm, where it cools)."""
    return next((n for n, c in enumerate(shown) if _lacks(store, edge[n], c)), None)


def _lacks(store: ThermalFlexibility, edge_c: float, c: float) -> bool:
    return c < edge_c - NEAR_K if store.heats else c > edge_c + NEAR_K


def _too_much(store: ThermalFlexibility, c: float) -> bool:
    return c > store.highest_c + NEAR_K if store.heats else c < store.lowest_c - NEAR_K


def _more(store: ThermalFlexibility, watts: float, step_w: float) -> float:
    if store.steps_w:
        return next((s for s in sorted(store.steps_w) if s > watts + 1.0), watts)
    raised = max(watts + step_w, store.least_w)
    return min(raised, store.upper_w)


def plan_heat(store: ThermalFlexibility, slots: Sequence[Slot]) -> tuple[PlannedPower, ...]:
    """Keeps the temperature inside its band for the least money, and takes the sun that is there now."""
    power = [0.0] * len(slots)
    step_w, dead, edge = max(store.upper_w / 4, 1.0), set[int](), bounds(store, slots)
    for _ in range(STEPS):
        short = _too_little(store, edge, temperatures(store, slots, power))
        if short is None:
            break
        choices = [n for n in range(short + 1) if n not in dead and _more(store, power[n], step_w) > power[n]]
        if not choices:
            # Nothing before suffices: what is missing there is missing, later slots are still served.
            if power[short] >= store.upper_w or short in dead:
                break
            power[short] = store.upper_w
            continue
        best = min(choices, key=lambda n: (_rank(slots[n], store.least_w), -n))
        tried = [*power]
        tried[best] = _more(store, power[best], step_w)
        shown = temperatures(store, slots, tried)
        if any(_too_much(store, c) for c in shown[best : short + 1]):
            dead.add(best)
        else:
            power = tried
    if slots:
        _use_sun(store, slots, power)
        _keep_minimum_on(store, slots, power)
    return _planned(slots, power)


def _use_sun(store: ThermalFlexibility, slots: Sequence[Slot], power: list[float]) -> None:
    """Raise or start with what own generation gives, as long as there is room."""
    for n, slot in enumerate(slots):
        wanted = min(slot.sun_w, store.upper_w)
        if store.steps_w:
            wanted = max((s for s in store.steps_w if s <= wanted), default=0.0)
        if wanted < max(store.least_w, 1.0) or wanted <= power[n]:
            continue
        tried = [*power]
        tried[n] = wanted
        if not any(_too_much(store, c) for c in temperatures(store, slots, tried)[n : n + 1]):
            power[n] = wanted


def _keep_minimum_on(store: ThermalFlexibility, slots: Sequence[Slot], power: list[float]) -> None:
    """A run that is too short goes on with the least that it can run on."""
    ran_s = 0.0
    gentle_w = min(store.steps_w) if store.steps_w else max(store.least_w, store.upper_w / 20)
    for n, slot in enumerate(slots):
        if power[n] > 0:
            ran_s += slot.duration_s
        elif 0 < ran_s < store.minimum_on_s:
            power[n] = gentle_w
            ran_s += slot.duration_s
        else:
            ran_s = 0.0


# -------------------------------------------------------------------- a charge


def plan_charge(store: StorageFlexibility, slots: Sequence[Slot]) -> tuple[PlannedPower, ...]:
    """Fills what is missing to the wished level in the cheapest slots before it is wished; all the sun besides."""
    power = [0.0] * len(slots)
    target = max(store.targets, key=lambda t: t.lower_percent, default=None)
    wished = store.highest_percent if target is None else target.lower_percent
    missing_wh = max(wished - store.level_percent, 0.0) / 100 * store.capacity_wh
    until = None if target is None else target.at.timestamp()
    open_slots = [n for n, s in enumerate(slots) if until is None or s.start + s.duration_s <= until + 1.0] or list(
        range(len(slots))
    )
    for n in sorted(open_slots, key=lambda n: (_rank(slots[n], store.fill_least_w), n)):
        if missing_wh <= 0:
            break
        hours = slots[n].duration_s / 3600
        watts = min(store.fill_upper_w, max(missing_wh / hours, store.fill_least_w))
        power[n], missing_wh = watts, missing_wh - watts * hours
    return _planned(slots, power)


def as_wished(offer: object, word: GiveIncentive) -> object:
    """What it can do, within what its user has told the energy manager."""
    match offer:
        case ThermalFlexibility():
            low = offer.lowest_c if word.lowest_c is None else word.lowest_c
            high = offer.highest_c if word.highest_c is None else word.highest_c
            target, at = (offer.target_c, offer.target_at) if word.ready_at is None else (word.target_c, word.ready_at)
            if target is not None:
                low, high = (low, max(high, target)) if offer.heats else (min(low, target), high)
            return msgspec.structs.replace(offer, lowest_c=low, highest_c=max(low, high), target_c=target, target_at=at)
        case StorageFlexibility() if word.ready_at is not None:
            wished = max((t.lower_percent for t in offer.targets), default=offer.highest_percent)
            least = wished if word.charge_lower_percent is None else word.charge_lower_percent
            return msgspec.structs.replace(offer, targets=(StorageTarget(at=word.ready_at, lower_percent=least),))
        case _:
            return offer


def plan_by_incentive(
    offer: object, word: GiveIncentive, now: float, greenest: bool = False
) -> tuple[PlannedPower, ...] | None:
    """None: this kind of device does not plan itself, or there is nothing to plan by."""
    slots = slots_of(word, now, greenest)
    if not slots:
        return None
    match as_wished(offer, word):
        case ThermalFlexibility() as heat:
            return plan_heat(heat, slots)
        case StorageFlexibility(to_grid=False, empty_lower_w=0.0) as charge:
            return plan_charge(charge, slots)
        case _:
            return None
