"""What a car may draw, and whether its own plan stays inside. Pure. IC-PT-PUC-CEVC."""

from collections.abc import Sequence

from agents.kit.bargain import end_of
from bus.envelope import instant
from contracts.charging import ChargingDemand, ChargingPlan
from contracts.profiles import SLOT_S, PlannedPower
from contracts.reasons import Reason

NOMINAL_V = 230.0
CLOSE_W = 20.0
ENERGY_SHARE = 1.1
"""A plan may hold so much of the demanded energy: charging loses some."""


def no(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="charging", inputs=inputs)


def maximum_a(most_w: float, fuse_a: float, phases: int, wanted_a: float) -> float:
    """Per phase: the station, the fuse and the car, whichever is least."""
    amps = min(wanted_a, most_w / (NOMINAL_V * phases))
    return amps if fuse_a <= 0 else min(amps, fuse_a)


def room(start: float, free_w: Sequence[float], most_w: float, least_w: float) -> tuple[PlannedPower, ...]:
    """The most that may be drawn by slot: what the connection has left, nothing where that is too little to charge."""
    made = []
    for n, free in enumerate(free_w):
        watts = max(min(free, most_w), 0.0)
        watts = 0.0 if watts < least_w else watts
        made.append(
            PlannedPower(
                start=instant(start + n * SLOT_S), duration_s=SLOT_S, power_w=watts, lower_w=0.0, upper_w=watts
            )
        )
    return tuple(made)


def cannot_serve(demand: ChargingDemand, now: float, most_a: float, most_wh: float) -> Reason | None:
    """Why there is nothing to offer."""
    if most_a < demand.least_a:
        text = f"{most_a:.1f} A are free and it needs at least {demand.least_a:.1f} A: ask again later"
        return no("too_little", text, maximum_a=most_a, least_a=demand.least_a)
    leaves = demand.leaves_at
    if leaves is not None and leaves.timestamp() <= now:
        return no("left_already", "it says that it has left: say a departure that is to come")
    if leaves is not None and most_wh * 1.01 < demand.energy_wh:
        text = f"until {leaves:%H:%M} UTC only {most_wh / 1000:.1f} kWh can be charged: leave later or ask for less"
        return no("not_in_time", text, possible_wh=most_wh, energy_wh=demand.energy_wh)
    return None


def outside(plan: ChargingPlan, demand: ChargingDemand, maximum: tuple[PlannedPower, ...], now: float) -> Reason | None:
    """Why a car's plan is not taken; None: it stays inside of what was offered."""
    if not plan.power:
        return no("empty", "a plan needs at least one slot") if demand.energy_wh > 0 else None
    if any(slot.duration_s <= 0 for slot in plan.power):
        return no("no_duration", "every slot has to last: give each a duration above 0")
    if end_of(plan.power[-1]) <= now:
        return no("over", "all of it lies in the past: plan anew")
    for slot in plan.power:
        if slot.power_w < 0:
            return no("feeds_in", "the car was not asked to feed in: plan 0 W or more", power_w=slot.power_w)
        for given in maximum:
            overlaps = slot.start.timestamp() < end_of(given) - 1 and end_of(slot) > given.start.timestamp() + 1
            if overlaps and slot.power_w > (given.upper_w or 0.0) + CLOSE_W:
                text = f"{slot.power_w:.0f} W at {slot.start:%H:%M} UTC: {given.upper_w or 0:.0f} W are the most then"
                return no("above_maximum", text, power_w=slot.power_w, maximum_w=given.upper_w or 0.0)
        if maximum and end_of(slot) > end_of(maximum[-1]) + 1 and slot.power_w > 0:
            return no("beyond_offer", "it plans beyond what was offered: plan inside the offer's time")
    planned_wh = sum(slot.power_w * slot.duration_s for slot in plan.power) / 3600
    if planned_wh > demand.energy_wh * ENERGY_SHARE + 100.0:
        text = f"it plans {planned_wh / 1000:.1f} kWh and asked for {demand.energy_wh / 1000:.1f} kWh"
        return no("more_than_asked", text, planned_wh=planned_wh, energy_wh=demand.energy_wh)
    return None
