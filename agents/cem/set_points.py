"""A thermostat's programme: which set point holds when, by the local week. Pure. IEC-DM-TEMPERATURE-PROFILE."""

from collections.abc import Sequence
from datetime import timedelta

from agents.kit.local_day import instant_of, local
from contracts.preferences import SetPoint

WEEKEND = (5, 6)
"""Saturday and Sunday; the source's weekday profile is Monday to Friday."""
LOOK_BACK_DAYS = 8
"""A programme of weekends only still holds on Friday."""


def in_force(points: Sequence[SetPoint], at: float, zone: str) -> tuple[float, float] | None:
    """(since, degC) of the set point that holds at an instant (run seconds); None: there is none."""
    today = local(at, zone).date()
    for back in range(LOOK_BACK_DAYS):
        day = today - timedelta(days=back)
        weekend = day.weekday() in WEEKEND
        of_day = (p for p in points if p.days == "all" or (p.days == "weekend") == weekend)
        begun = [(instant_of(day, p.at, zone), p.target_c) for p in of_day]
        begun = [one for one in begun if one[0] <= at]
        if begun:
            return max(begun)
    return None


def set_point_c(points: Sequence[SetPoint] | None, at: float, zone: str) -> float | None:
    """What the programme wants at an instant; None: nothing, or there is none."""
    holds = in_force(points, at, zone) if points else None
    return None if holds is None else holds[1]
