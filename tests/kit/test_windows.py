"""Times of the local day: windows on odd minutes, over midnight, and on the days when the clock changes."""

from dataclasses import dataclass
from datetime import date, time
from itertools import pairwise

import pytest

from agents.kit.local_day import bounds, earlier_day, quarters
from agents.kit.windows import at, of_day

BERLIN = "Europe/Berlin"
WEEK = (0, 1, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Window:
    start: time
    end: time
    name: str
    days: tuple[int, ...] = WEEK


def minutes(day: date, *windows: Window) -> list[tuple[float, float, str]]:
    first, _ = bounds(day, BERLIN)
    return [((a - first) / 60, (b - first) / 60, w.name if w else "-") for a, b, w in of_day(windows, day, BERLIN)]


@pytest.mark.parametrize(
    ("day", "count"), [(date(2016, 5, 20), 96), (date(2016, 3, 27), 92), (date(2016, 10, 30), 100)]
)
def test_a_local_day_has_its_quarter_hours(day: date, count: int) -> None:
    assert len(quarters(day, BERLIN)) == count


@pytest.mark.parametrize("day", [date(2016, 5, 20), date(2016, 3, 27), date(2016, 10, 30)])
def test_thirteen_windows_on_odd_minutes_cover_the_day_without_gap_or_overlap(day: date) -> None:
    marks = [time((7 + n * 97) // 60, (7 + n * 97) % 60) for n in range(14)]
    windows = [Window(a, b, f"w{n}") for n, (a, b) in enumerate(pairwise(marks))]
    parts = of_day(windows, day, BERLIN)
    assert (parts[0][0], parts[-1][1]) == bounds(day, BERLIN)
    assert all(before[1] == after[0] for before, after in pairwise(parts))
    assert {w.name for _, _, w in parts if w} == {f"w{n}" for n in range(13)}


def test_the_first_that_fits_counts_and_one_may_run_over_midnight() -> None:
    night = Window(time(22, 10), time(6, 20), "night")
    noon = Window(time(5, 50), time(12), "noon")
    assert minutes(date(2016, 5, 20), night, noon) == [
        (0, 380, "night"),
        (380, 720, "noon"),
        (720, 1330, "-"),
        (1330, 1440, "night"),
    ]


def test_a_window_belongs_to_the_day_that_it_starts_on() -> None:
    friday_night = Window(time(22), time(6), "n", days=(4,))
    assert minutes(date(2016, 5, 20), friday_night) == [(0, 1320, "-"), (1320, 1440, "n")]
    assert minutes(date(2016, 5, 21), friday_night) == [(0, 360, "n"), (360, 1440, "-")]


def test_all_day_is_a_window_that_ends_when_it_starts() -> None:
    assert minutes(date(2016, 5, 20), Window(time(0), time(0), "all")) == [(0, 1440, "all")]


def test_a_part_goes_on_over_midnight() -> None:
    night = Window(time(22), time(6), "n")
    first, end = bounds(date(2016, 5, 20), BERLIN)
    assert at([night], end - 60, BERLIN) == (first + 22 * 3600, end + 6 * 3600, night)
    assert at([night], end + 60, BERLIN) == (first + 22 * 3600, end + 6 * 3600, night)


def test_the_same_local_time_of_an_earlier_day_is_not_always_a_multiple_of_24_hours() -> None:
    noon = bounds(date(2016, 3, 27), BERLIN)[0] + 11 * 3600  # 12:00 summer time
    assert noon - earlier_day(noon, 1, BERLIN) == 23 * 3600
