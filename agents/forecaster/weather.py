"""Weather as it is expected: from a file, else the climate of central Germany. Pure.

The file is CSV with a header: ``time`` (ISO 8601), ``ghi`` (global horizontal irradiance, W/m2), ``temp`` (degC),
``wind`` (m/s at 10 m); a column may be left out or a cell be empty. With a column ``issued`` it holds several
forecasts: of each instant the youngest counts that was issued by then. A row holds until the next one.
"""

import csv
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from agents.kit.typical import outdoor_c

CLEARNESS = (0.46, 0.50, 0.57, 0.62, 0.63, 0.61, 0.61, 0.63, 0.60, 0.54, 0.45, 0.43)
"""By month, mean irradiation over that under a clear sky (Haurwitz).

Long-term sums of some 1,030 kWh/m2 a year, as maps of the German weather service show for the middle of the country,
rounded, over the clear-sky sums at 51.3 N.
"""
WIND_M_PER_S = (5.0, 4.8, 4.7, 4.2, 3.9, 3.7, 3.7, 3.6, 3.9, 4.3, 4.6, 4.9)
"""By month, mean at 10 m of an inland site in the German lowlands; ours, rounded."""
ROW_S = 3600.0
"""How long the last row of a file holds."""


@dataclass(frozen=True)
class Weather:
    """At one instant. ``ghi_w_per_m2`` None: nobody knows the sky, take the climate."""

    ghi_w_per_m2: float | None
    temperature_c: float
    wind_m_per_s: float
    lead_s: float | None
    """Since it was issued; None: climate."""


class WeatherFileError(Exception):
    """A weather file that cannot be used; ``remedy`` says what to do about it."""

    def __init__(self, file: str, line: int, cause: str, remedy: str) -> None:
        super().__init__(f"{file}, line {line}: {cause}. {remedy}")
        self.file, self.line, self.cause, self.remedy = file, line, cause, remedy


@dataclass
class Series:
    """One forecast, rows in order of time."""

    times: list[float] = field(default_factory=list)
    rows: list[tuple[float | None, float | None, float | None]] = field(default_factory=list)

    def at(self, instant: float) -> tuple[float | None, float | None, float | None] | None:
        n = bisect_right(self.times, instant) - 1
        if n < 0 or (n == len(self.times) - 1 and instant >= self.times[n] + ROW_S):
            return None
        return self.rows[n]


@dataclass(frozen=True)
class Forecasts:
    """All forecasts of a file by the instant that they were issued, oldest first."""

    issued: tuple[float, ...] = ()
    series: tuple[Series, ...] = ()

    def newest(self, now: float) -> int:
        """The number of the youngest one that is out; -1 when there is none."""
        return bisect_right(self.issued, now) - 1

    def at(self, instant: float, now: float) -> Weather:
        found = None
        n = self.newest(now)
        if n >= 0:
            found = self.series[n].at(instant)
        month = datetime.fromtimestamp(instant, UTC).month - 1
        ghi, warm, wind = found or (None, None, None)
        # A file without issues is of no known age: it counts as issued now.
        issued = max(self.issued[n], 0.0) if n >= 0 else 0.0
        return Weather(
            ghi,
            outdoor_c(instant) if warm is None else warm,
            WIND_M_PER_S[month] if wind is None else wind,
            None if found is None else instant - (issued or now),
        )


def read(path: str) -> Forecasts:
    """Raises WeatherFileError."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise WeatherFileError(
            path, 1, f"it cannot be read: {problem}", "Check path, rights and encoding."
        ) from problem
    rows = csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if not rows.fieldnames or "time" not in rows.fieldnames:
        raise WeatherFileError(path, 1, "there is no column `time`", "Give time, ghi, temp and wind.")
    by_issue: dict[float, list[tuple[float, tuple[float | None, float | None, float | None]]]] = {}
    for row in rows:
        line = rows.line_num
        at = _instant(row["time"], path, line)
        issued = _instant(row["issued"], path, line) if row.get("issued") else -1.0
        values = (_number(row, "ghi", path, line), _number(row, "temp", path, line), _number(row, "wind", path, line))
        by_issue.setdefault(issued, []).append((at, values))
    if not by_issue:
        raise WeatherFileError(path, 1, "it has no rows", "Give at least one.")
    issues = sorted(by_issue)
    return Forecasts(tuple(issues), tuple(_series(by_issue[issue]) for issue in issues))


def _series(rows: Iterable[tuple[float, tuple[float | None, float | None, float | None]]]) -> Series:
    made = Series()
    for at, values in sorted(rows, key=lambda row: row[0]):
        made.times.append(at)
        made.rows.append(values)
    return made


def _instant(text: str, path: str, line: int) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise WeatherFileError(path, line, f"{text!r} is no instant", "Write 2016-05-20T00:00Z.") from None
    if moment.tzinfo is None:
        raise WeatherFileError(path, line, f"{text!r} has no offset", "End it with Z or +02:00.")
    return moment.timestamp()


_BOUNDS = {"ghi": (0.0, 1500.0), "temp": (-60.0, 60.0), "wind": (0.0, 100.0)}


def _number(row: dict[str, str], name: str, path: str, line: int) -> float | None:
    text = (row.get(name) or "").strip()
    if not text:
        return None
    low, high = _BOUNDS[name]
    try:
        value = float(text)
    except ValueError:
        raise WeatherFileError(path, line, f"{name} {text!r} is no number", "Correct or empty it.") from None
    if not low <= value <= high:
        cause = f"{name} {value:g} lies outside {low:g} to {high:g}"
        raise WeatherFileError(path, line, cause, "Check the unit.")
    return value
