"""What a person types after a command, read; what is not understood ends it with exit code 2."""

from collections.abc import Iterable
from datetime import datetime, time
from math import isfinite
from typing import Literal

from agents.kit.local_day import next_local
from bus.address import Address
from bus.envelope import instant
from contracts.preferences import PURPOSES, SetPoint
from deploy.durations import duration_s
from deploy.options import failed

_DAYS: dict[str, Literal["all", "weekdays", "weekend"]] = {
    "daily": "all",
    "mon-sun": "all",
    "mon-fri": "weekdays",
    "sat-sun": "weekend",
}


def set_points(given: Iterable[str]) -> tuple[SetPoint, ...] | None:
    """``mon-fri 06:00 21``: days (none: every day), local time, degC; None where nothing was said."""
    return tuple(_set_point(text) for text in given) or None


def _set_point(text: str) -> SetPoint:
    days, at, degrees = ["daily", *text.split()][-3:] if len(text.split()) in (2, 3) else ("", "", "")
    try:
        point = SetPoint(at=time.fromisoformat(at), target_c=float(degrees), days=_DAYS[days])
    except (KeyError, ValueError):
        point = None
    if point is None or not isfinite(point.target_c):
        known = ", ".join(_DAYS)
        raise failed(f"{text!r} is no set point: write it like 'mon-fri 06:00 21'; the days are {known}", 2)
    return point


def consents(given: Iterable[str]) -> dict[str, tuple[str, ...]] | None:
    """``grid.esp.main=forecast,rules``: party -> purposes; nothing after the ``=`` takes it back."""
    found = {}
    for one in given:
        party, equals, said = one.partition("=")
        try:
            Address.parse(party)
        except ValueError:
            equals = ""
        if not equals:
            raise failed(f"{one!r} is not understood: write grid.esp.main=forecast, or grid.esp.main= for none", 2)
        found[party] = tuple(purpose for purpose in said.split(",") if purpose)
        unknown = [purpose for purpose in found[party] if purpose not in PURPOSES]
        if unknown:
            raise failed(f"nothing is done for {unknown[0]!r}: the purposes are {', '.join(PURPOSES)}", 2)
    return found or None


def time_of_day(text: str) -> time | None:
    """``07:00``; None where nothing was said, or ``never``."""
    try:
        return time.fromisoformat(text) if text and text != "never" else None
    except ValueError:
        raise failed(f"{text!r} is no time of day: write it like 07:00", 2) from None


def next_at(at: time | None, since: datetime, zone: str) -> datetime | None:
    """The next instant at which the person's clock shows that."""
    if at is None:
        return None
    return instant(next_local(at, since.timestamp(), zone, now_too=True))


def seconds(text: str) -> float | None:
    """``90s``, ``20m``, ``1.5h``; None where nothing was said."""
    try:
        return duration_s(text) if text else None
    except ValueError as problem:
        raise failed(f"{text!r} is not understood ({problem}): write 90s, 20m or 1.5h", 2) from None
