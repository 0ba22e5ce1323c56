"""Times of the local day in which something holds: tariff windows, bands of a meter, grid fees. Pure."""

from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from itertools import pairwise
from typing import Protocol, TypeVar

from agents.kit.local_day import bounds, date_at, instant_of


class Daily(Protocol):
    """Holds from ``start`` to ``end`` (over midnight where that is earlier, all day where both are the same) on the
    ``days`` that it starts on, 0 = Monday."""

    @property
    def start(self) -> time: ...

    @property
    def end(self) -> time: ...

    @property
    def days(self) -> tuple[int, ...]: ...


D = TypeVar("D", bound=Daily)


def of_day(windows: Sequence[D], day: date, zone: str) -> list[tuple[float, float, D | None]]:
    """(start, end, the first window that fits or None) over a local day, each part as long as it can be."""
    first, end = bounds(day, zone)
    spans = list(_spans(windows, day, zone))
    edges = sorted({first, end, *(at for a, b, _ in spans for at in (a, b) if first < at < end)})
    found: list[tuple[float, float, D | None]] = []
    for start, stop in pairwise(edges):
        here = next((window for a, b, window in spans if a <= start < b), None)
        if found and found[-1][2] is here:
            found[-1] = (found[-1][0], stop, here)
        else:
            found.append((start, stop, here))
    return found


def at(windows: Sequence[D], instant: float, zone: str) -> tuple[float, float, D | None]:
    """The part that an instant lies in; it may have begun on the day before and go on on the next."""
    day = date_at(instant, zone)
    days = [day - timedelta(days=1), day, day + timedelta(days=1)]
    parts = [part for each in days for part in of_day(windows, each, zone)]
    here = next(n for n, (start, end, _) in enumerate(parts) if start <= instant < end)
    first = last = here
    while first > 0 and parts[first - 1][2] is parts[here][2]:
        first -= 1
    while last + 1 < len(parts) and parts[last + 1][2] is parts[here][2]:
        last += 1
    return parts[first][0], parts[last][1], parts[here][2]


def _spans(windows: Iterable[D], day: date, zone: str) -> Iterable[tuple[float, float, D]]:
    """In order of the windows, those that began on the day before too."""
    for window in windows:
        for begins in (day - timedelta(days=1), day):
            if begins.weekday() not in window.days:
                continue
            ends = begins if window.end > window.start else begins + timedelta(days=1)
            yield instant_of(begins, window.start, zone), instant_of(ends, window.end, zone), window
