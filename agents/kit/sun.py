"""Sunrise and sunset of a day at a place. Pure.

The NOAA Global Monitoring Laboratory's general solar position calculations by the fractional year: within a minute or
two between the polar circles, which is more than a yard light needs.
"""

from datetime import UTC, date, datetime, timedelta
from math import acos, cos, degrees, pi, radians, sin, tan
from typing import Literal

ZENITH_DEG = 90.833
"""The upper edge of the sun on the horizon, with refraction."""


def sun(event: Literal["sunrise", "sunset"], day: date, latitude_deg: float, longitude_deg: float) -> datetime | None:
    """The instant, UTC; None where the sun does not rise or set on that day. Longitude is + to the east."""
    days = 366 if day.year % 4 == 0 and (day.year % 100 != 0 or day.year % 400 == 0) else 365
    hour = 6.0 if event == "sunrise" else 18.0
    g = 2 * pi / days * (day.timetuple().tm_yday - 1 + (hour - 12 - longitude_deg / 15) / 24)
    equation_min = 229.18 * (
        0.000075 + 0.001868 * cos(g) - 0.032077 * sin(g) - 0.014615 * cos(2 * g) - 0.040849 * sin(2 * g)
    )
    declination = (
        0.006918
        - 0.399912 * cos(g)
        + 0.070257 * sin(g)
        - 0.006758 * cos(2 * g)
        + 0.000907 * sin(2 * g)
        - 0.002697 * cos(3 * g)
        + 0.00148 * sin(3 * g)
    )
    latitude = radians(latitude_deg)
    cosine = cos(radians(ZENITH_DEG)) / (cos(latitude) * cos(declination)) - tan(latitude) * tan(declination)
    if not -1 <= cosine <= 1:
        return None
    angle = degrees(acos(cosine)) * (1 if event == "sunrise" else -1)
    minutes = 720 - 4 * (longitude_deg + angle) - equation_min
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
