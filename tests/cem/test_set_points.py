"""A thermostat's programme by the local week, and what it makes of the comfort band."""

from datetime import UTC, datetime, time, timedelta

import msgspec
import pytest

from agents.cem.comfort import comfort_c
from agents.cem.known import Known, Surroundings
from agents.cem.planner.problem import Thermal
from agents.cem.pose_problem import horizon, pose
from agents.cem.set_points import in_force, set_point_c
from agents.cem.settings import CemSettings
from contracts.device import Announce
from contracts.preferences import DevicePreferences, SetPoint
from tests.kit.test_bargain import TANK

pytestmark = pytest.mark.use_case("home.price-plan", partial=True)
WEEK = (
    *(SetPoint(at=time(hour), target_c=c, days="weekdays") for hour, c in ((5, 20), (7, 18), (11, 19), (13, 18))),
    *(SetPoint(at=time(hour), target_c=c, days="weekdays") for hour, c in ((17, 21), (22, 16))),
    SetPoint(at=time(8), target_c=21.0, days="weekend"),
    SetPoint(at=time(23), target_c=17.0, days="weekend"),
)
"""Six a working day, two on the others."""
FRIDAY, ZONE = datetime(2016, 5, 20, tzinfo=UTC), "UTC"


@pytest.mark.parametrize(
    ("hours", "celsius"),
    [
        *((4.9, 16), (5, 20), (6.99, 20), (7, 18), (12, 19), (14, 18), (17, 21), (21.9, 21), (22, 16)),
        *((24 + 7.9, 16), (24 + 8, 21), (48 + 7, 17), (48 + 12, 21), (72 + 4, 17), (72 + 6, 20)),
    ],
)
def test_each_set_point_holds_until_the_next_one_of_its_kind_of_day(hours: float, celsius: float) -> None:
    assert set_point_c(WEEK, (FRIDAY + timedelta(hours=hours)).timestamp(), ZONE) == celsius


def test_it_is_the_local_day_and_its_clock_change() -> None:
    point = (SetPoint(at=time(6), target_c=20.0), SetPoint(at=time(22), target_c=16.0))
    spring = datetime(2016, 3, 27, 4, 0, tzinfo=UTC)
    assert in_force(point, spring.timestamp(), "Europe/Berlin") == (spring.timestamp(), 20.0)
    assert set_point_c(point, spring.timestamp() - 1.0, "Europe/Berlin") == 16.0


def test_without_a_programme_nothing_is_wanted() -> None:
    assert set_point_c(None, FRIDAY.timestamp(), ZONE) is None
    assert set_point_c((), FRIDAY.timestamp(), ZONE) is None


def test_it_is_at_least_so_warm_where_it_heats_and_at_most_where_it_cools() -> None:
    wanted = DevicePreferences()
    assert comfort_c(TANK, wanted, away=False, season="winter", set_point_c=50.0) == (50.0, 60.0)
    cools = msgspec.structs.replace(TANK, heats=False, lowest_c=20.0, highest_c=28.0)
    assert comfort_c(cools, wanted, away=False, season="summer", set_point_c=24.0) == (20.0, 24.0)
    assert comfort_c(TANK, wanted, away=True, season=None, set_point_c=50.0)[0] < 10.0, "nobody is there to feel it"


def test_the_plan_is_bound_by_each_set_point_in_its_own_hours() -> None:
    settings = CemSettings(time_zone="UTC")
    span = horizon((FRIDAY + timedelta(hours=4)).timestamp(), settings)
    n = span.count
    around = Surroundings(buy=(0.3,) * n, sell=(0.1,) * n)
    announce = Announce(
        device_class="heatpump",
        maker="test",
        model="test",
        functions=("measure", "setpoint"),
        use_cases=(),
        nominal_lower_w=0.0,
        nominal_upper_w=3000.0,
    )
    room = msgspec.structs.replace(TANK, temperature_c=18.0, lowest_c=15.0, highest_c=23.0)
    known = Known(
        name="heatpump.1",
        announce=announce,
        reading=None,
        flexibility=room,
        preferences=DevicePreferences(set_points=WEEK),
    )
    problem = pose(span, around, [known], settings)
    (thermal,) = problem.devices
    assert isinstance(thermal, Thermal)
    edges = span.edges_s()
    by_hour = {(at - FRIDAY.timestamp()) / 3600: c for at, c in zip(edges[:-1], thermal.minimum_c, strict=True)}
    assert [by_hour[h] for h in (4.5, 5.0, 7.0, 11.0, 17.0, 22.0)] == [16.0, 20.0, 18.0, 19.0, 21.0, 16.0]
