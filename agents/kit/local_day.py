"""The local day in quarter hours: 96 of them, 92 and 100 when the clock changes. Pure."""

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from contracts.profiles import SLOT_S


@lru_cache(maxsize=256)
def bounds(day: date, zone: str) -> tuple[float, float]:
    """Unix seconds of a local day's first instant and of the next day's."""
    midnight = datetime.combine(day, time(), ZoneInfo(zone))
    return midnight.timestamp(), datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone)).timestamp()


def quarters(day: date, zone: str) -> list[float]:
    """The start of each quarter hour of a local day."""
    first, end = bounds(day, zone)
    return [first + n * SLOT_S for n in range(round((end - first) / SLOT_S))]


def date_at(at: float, zone: str) -> date:
    return local(at, zone).date()


def local(at: float, zone: str) -> datetime:
    return datetime.fromtimestamp(at, ZoneInfo(zone))


def shown(at: float, zone: str, form: str = "%H:%M") -> str:
    """As people read it, its zone named: ``12:45 CEST``. Decision 0037."""
    return f"{local(at, zone):{form} %Z}"


def instant_of(day: date, clock: time, zone: str) -> float:
    """Unix seconds of a time of the local day; a time that the clock skips is the one an hour later."""
    return datetime.combine(day, clock, ZoneInfo(zone)).timestamp()


def earlier_day(at: float, days: int, zone: str) -> float:
    """The same local time some days before."""
    here = local(at, zone)
    return instant_of(here.date() - timedelta(days=days), here.timetz().replace(tzinfo=None), zone)


def next_local(at: time, now: float, zone: str, *, now_too: bool = False) -> float:
    """The next instant at which local clocks show this time; ``now_too``: it may be now.

    A time that a clock change skips comes an hour later.
    """
    today = date_at(now, zone)
    instant = instant_of(today, at, zone)
    if instant > now or (now_too and instant == now):
        return instant
    return instant_of(today + timedelta(days=1), at, zone)
