"""Outdoor temperature: the yearly and daily swing of a German lowland station, without weather.

Long-term means for Kassel, where SimBench was made: about 9.5 C over the year, 1 C in January, 18.5 C in July, a daily
swing of some 4 K to each side. SimBench's heat demand already holds the real weather of its year; this only moves the
COP.
"""

import math
from datetime import UTC, datetime

_YEAR_MEAN_C, _YEAR_SWING_K, _DAY_SWING_K = 9.5, 9.0, 4.0
_COLDEST_DAY, _WARMEST_HOUR_UTC = 20, 14


def outdoor_c(instant: float) -> float:
    """At ``instant``, unix seconds."""
    moment = datetime.fromtimestamp(instant, UTC)
    day, hour = moment.timetuple().tm_yday, moment.hour + moment.minute / 60 + moment.second / 3600
    year = -math.cos(2 * math.pi * (day - _COLDEST_DAY) / 365.25)
    return _YEAR_MEAN_C + _YEAR_SWING_K * year + _DAY_SWING_K * math.cos(2 * math.pi * (hour - _WARMEST_HOUR_UTC) / 24)
