"""A plan in the words of the contracts: starts, stretches of equal power, cost and reason per device. Pure."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from agents.cem.planner.plan import Course, Plan
from bus.envelope import instant
from contracts.home_plan import PlanItem, PlanShown
from contracts.profiles import SLOT_S, PlannedPower

SAME_W = 10.0
Prices = Callable[[float, int], Sequence[float | None]]


def shown(plan: Plan, name: str, buy: Prices, sell: Prices) -> PlanShown:
    """``buy`` and ``sell`` give prices per quarter hour; without one, energy counts nothing in an item's cost."""
    edges = plan.horizon.edges_s()
    start, n = edges[0] - edges[0] % SLOT_S, plan.horizon.count
    prices = [
        (b if power > 0 else s) or 0.0 for power, b, s in zip(plan.power_w, buy(start, n), sell(start, n), strict=True)
    ]
    return PlanShown(
        plan=name,
        at=instant(edges[0]),
        items=tuple(_item(course, edges, prices) for course in plan.devices.values()),
        gcp=stretches(plan.power_w, edges),
        cost_eur=round(plan.costs.money + plan.costs.stored, 4),
        unplanned_cost_eur=round(plan.baseline.money + plan.baseline.stored, 4),
        gap_share=min(plan.gap, 10.0),
        solved_in_s=round(plan.seconds, 4),
        found_by=plan.found_by,
        broken=tuple([b.reason for b in plan.broken] + [r.reason for r in plan.refused]),
    )


def _item(course: Course, edges: Sequence[float], prices: Sequence[float]) -> PlanItem:
    cost = sum(
        power * (end - begin) / 3.6e6 * price
        for power, price, (begin, end) in zip(course.power_w, prices, pairwise(edges), strict=True)
    )
    first = next((n for n, power in enumerate(course.power_w) if abs(power) > SAME_W), None)
    start = course.runs[0].start_s if course.runs else None
    return PlanItem(
        device=course.name,
        start=instant(start) if start is not None else None,
        power=stretches(course.power_w, edges),
        cost_eur=round(cost, 4),
        reason=course.why[0 if first is None or first > 0 else first],
    )


def stretches(power_w: Sequence[float], edges: Sequence[float]) -> tuple[PlannedPower, ...]:
    """Slots of equal power joined."""
    found: list[tuple[float, float, float]] = []
    for power, (begin, end) in zip(power_w, pairwise(edges), strict=True):
        if found and abs(found[-1][2] - power) < SAME_W:
            found[-1] = (found[-1][0], end, found[-1][2])
        else:
            found.append((begin, end, power))
    return tuple(PlannedPower(start=instant(b), duration_s=e - b, power_w=round(p, 1)) for b, e, p in found)
