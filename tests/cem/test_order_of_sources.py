"""Own sun first, then wind of the grid, then whatever there is. IC-DE-HLUC2; IC-DE-HLUC4."""

from datetime import timedelta
from typing import Any

import pytest

from agents.cem.planner.solve import solve
from agents.cem.pose_problem import pose
from bus.envelope import instant
from contracts.flexibility import ProfileFlexibility
from contracts.profiles import PowerSequence, PowerSlot
from tests.cem.test_pose_problem import NOW, SETTINGS, SPAN, N, around, known

pytestmark = pytest.mark.use_case("home.self-consumption")
EVENING, NIGHT, NOON = (range(n, n + 8) for n in (20, 48, 72))
"""Slots of two hours each: dear, windy, sunny."""


def washing(incentive: Any = None) -> ProfileFlexibility:
    run = PowerSequence(name="cotton", slots=(PowerSlot(duration_s=3600.0, power_w=2_000.0),))
    return ProfileFlexibility(
        job="wash",
        alternatives=(run,),
        earliest_start=instant(NOW),
        done_by=instant(NOW) + timedelta(hours=23),
        incentive=incentive,
    )


def starts_in(*, sun: bool, wind: float | None = None, incentive: Any = None) -> int:
    """The slot in which the plan starts it. ``wind``: the price in the windy slots."""
    pv = [(-4_000.0, -4_500.0, -3_500.0) if sun and n in NOON else (0.0, 0.0, 0.0) for n in range(N)]
    buy = [wind if wind is not None and n in NIGHT else 0.30 for n in range(N)]
    green = [90.0 if n in NIGHT else 20.0 for n in range(N)]
    posed = pose(
        SPAN,
        around(buy=buy, sell=[0.08] * N, pv=pv, green=green if incentive else [None] * N),
        [known("pv"), known("whitegoods", washing(incentive))],
        SETTINGS,
    )
    course = solve(posed).devices["whitegoods.1"]
    begins = course.runs[0].start_s
    return max(n for n, edge in enumerate(SPAN.edges_s()[:-1]) if edge <= begins + 1.0)


def test_own_sun_goes_before_the_cheap_wind_of_the_grid() -> None:
    assert starts_in(sun=True, wind=0.20) in NOON


def test_without_sun_it_is_put_where_the_tariff_list_is_cheap_for_wind() -> None:
    assert starts_in(sun=False, wind=0.20) in NIGHT


def test_without_sun_or_a_cheaper_hour_the_greenest_hours_are_taken_where_that_is_wished() -> None:
    assert starts_in(sun=False, incentive="greenest") in NIGHT
    assert starts_in(sun=True, incentive="greenest") in NOON


def test_where_neither_covers_it_the_grid_supplies_it_at_once() -> None:
    assert starts_in(sun=False) <= 1
