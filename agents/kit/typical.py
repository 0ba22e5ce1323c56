"""What is typical where nothing better is known: a household's day, and the outdoor temperature of a year. Pure."""

import math
from datetime import UTC, datetime
from typing import Literal

from agents.kit.local_day import local

DayType = Literal["workday", "saturday", "sunday"]
Season = Literal["winter", "between", "summer"]
YEARLY_WH = 3_500_000.0
"""A household of three in Germany."""

# fmt: off
HOUSEHOLD: dict[tuple[Season, DayType], tuple[float, ...]] = {
    ("winter", "workday"): (
        0.72, 0.53, 0.47, 0.44, 0.48, 0.60, 1.13, 1.49, 1.67, 1.59, 1.51, 1.55,
        1.47, 1.46, 1.58, 1.62, 1.55, 1.61, 1.80, 1.89, 1.91, 1.73, 1.38, 1.05,
    ),
    ("winter", "saturday"): (
        0.89, 0.62, 0.51, 0.45, 0.47, 0.47, 0.92, 1.15, 1.41, 1.79, 1.84, 2.01,
        2.00, 1.75, 1.72, 1.85, 1.70, 1.88, 1.80, 1.82, 1.66, 1.53, 1.19, 1.04,
    ),
    ("winter", "sunday"): (
        0.90, 0.61, 0.51, 0.47, 0.48, 0.51, 0.83, 1.11, 1.22, 1.79, 2.00, 1.78,
        1.89, 1.89, 1.81, 1.77, 1.79, 1.84, 1.98, 2.10, 2.01, 1.85, 1.61, 1.13,
    ),
    ("between", "workday"): (
        0.85, 0.51, 0.34, 0.32, 0.30, 0.30, 0.37, 0.82, 1.03, 1.08, 1.03, 0.91,
        0.99, 1.04, 0.99, 0.99, 0.93, 0.76, 0.80, 0.94, 1.03, 1.20, 1.26, 1.08,
    ),
    ("between", "saturday"): (
        0.76, 0.57, 0.40, 0.32, 0.29, 0.28, 0.33, 0.59, 0.82, 0.78, 0.99, 1.20,
        1.33, 1.26, 0.94, 1.16, 1.05, 0.93, 0.91, 0.98, 1.08, 1.20, 1.29, 0.99,
    ),
    ("between", "sunday"): (
        0.89, 0.62, 0.42, 0.34, 0.31, 0.28, 0.31, 0.56, 0.84, 0.93, 1.22, 1.50,
        1.15, 1.43, 1.09, 0.90, 0.99, 0.76, 0.86, 0.99, 1.19, 1.29, 1.17, 1.19,
    ),
    ("summer", "workday"): (
        0.77, 0.44, 0.31, 0.28, 0.27, 0.26, 0.28, 0.72, 0.84, 0.86, 0.78, 0.72,
        0.80, 0.84, 0.76, 0.80, 0.77, 0.59, 0.61, 0.72, 0.77, 0.89, 1.05, 1.08,
    ),
    ("summer", "saturday"): (
        0.86, 0.59, 0.37, 0.32, 0.32, 0.28, 0.25, 0.52, 0.65, 0.70, 0.79, 0.87,
        0.81, 1.02, 0.79, 0.62, 0.66, 0.69, 0.62, 0.78, 0.83, 0.85, 1.01, 0.95,
    ),
    ("summer", "sunday"): (
        0.78, 0.55, 0.41, 0.34, 0.31, 0.30, 0.26, 0.44, 0.65, 0.55, 0.66, 0.87,
        1.23, 1.06, 1.10, 0.86, 0.79, 0.76, 0.75, 0.70, 0.77, 0.80, 0.77, 0.97,
    ),
}
# fmt: on
"""Load by local hour, as a share of the year's mean: SimBench's three household profiles of 2016, averaged.

Source: SimBench (simbench.de), profiles H0-A, H0-B and H0-C, a derivative under ODbL 1.0, see world/data/README.md.
"""
SPREAD_SHARE = (0.5, 1.9)
"""The 10 and 90 % quantiles of one household's quarter hours around that mean, as shares of it; ours."""

_YEAR_MEAN_C, _YEAR_SWING_K, _DAY_SWING_K = 9.5, 9.0, 4.0
_COLDEST_DAY, _WARMEST_HOUR_UTC = 20, 14


def day_type(at: float, zone: str) -> DayType:
    """Public holidays count as the weekday that they are."""
    weekday = local(at, zone).weekday()
    return "sunday" if weekday == 6 else "saturday" if weekday == 5 else "workday"


def household_w(at: float, zone: str, yearly_wh: float = YEARLY_WH) -> float:
    """A household's expected load, by its consumption of a year."""
    here = local(at, zone)
    season: Season = "winter" if here.month in (11, 12, 1, 2, 3) else "summer" if 6 <= here.month <= 8 else "between"
    return HOUSEHOLD[season, day_type(at, zone)][here.hour] * yearly_wh / 8766.0


def outdoor_c(at: float) -> float:
    """Long-term mean of a German lowland station: 9.5 degC over the year, 0.5 in January, 18.5 in July, 4 K by day."""
    moment = datetime.fromtimestamp(at, UTC)
    day, hour = moment.timetuple().tm_yday, moment.hour + moment.minute / 60
    year = -math.cos(2 * math.pi * (day - _COLDEST_DAY) / 365.25)
    return _YEAR_MEAN_C + _YEAR_SWING_K * year + _DAY_SWING_K * math.cos(2 * math.pi * (hour - _WARMEST_HOUR_UTC) / 24)
