"""Prices as comma separated values: the transparency platform's table, and a plain ``start,price``.

- ENTSO-E: a column ``MTU (CET/CEST)`` or ``MTU (UTC)`` with "01.01.2024 00:00 - 01.01.2024 01:00" (or slashes and
  seconds), a column ``Day-ahead Price [EUR/MWh]`` or ``(EUR/MWh)``; where there is a sequence, the first counts.
- SMARD: ``Datum von;Datum bis;... [€/MWh] ...`` with "01.01.2024 00:00" and "31,50"; one price column.
- Plain: a column ``start`` (ISO 8601; without offset it is local time), optionally ``end``, and a price column whose
  name has the unit: ``price_eur_per_mwh``, ``price EUR/kWh``. Energy-Charts' ``Date (GMT+1)`` is such a column.

Where the clock goes back, local times that come twice are told apart by their order.
Unit and currency are read from the header alone. A price that is not there ("-", "n/e", empty) leaves a gap.
"""

import csv
import io
import re
from datetime import UTC, datetime, tzinfo
from itertools import pairwise
from statistics import median
from zoneinfo import ZoneInfo

from agents.retailer.price_slots import PriceFileError, Slot, checked, in_order

_MISSING = {"", "-", "n/e", "n/a", "na", "null"}
_UNIT = re.compile(r"(?i)(eur|€)\s*[/_ ]?\s*(?:per)?[/_ ]?\s*(mwh|kwh)")
_MONEY = re.compile(r"(?i)price")
_CENTRAL = "Europe/Brussels"
_STAMP = re.compile(r"(\d{1,2})[./](\d{1,2})[./](\d{4})\s+(\d{1,2}):(\d{2})(?::(\d{2}))?\s*(?:\((\w+)\))?")
_OFFSETS = {"CET": 1, "CEST": 2, "UTC": 0}
_STARTS, _ENDS = ("start", "time", "timestamp", "datum von"), ("end", "datum bis")


def read(text: str, file: str, zone: str) -> tuple[Slot, ...]:
    """Slots in order. ``zone``: of plain local times. Raises PriceFileError."""
    lines = text.lstrip("\ufeff").splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise PriceFileError(file, 1, "it is empty", "Give a header line and at least one price.")
    mark = ";" if lines[first].count(";") > lines[first].count(",") else ","
    rows = csv.reader(io.StringIO("\n".join(lines[first:])), delimiter=mark)
    header = [name.strip().strip('"') for name in next(rows)]
    column, per_kwh = _price_column(header, file, first + 1)
    times = next((n for n, name in enumerate(header) if name.upper().startswith("MTU")), None)
    numbered = [
        (rows.line_num + first, row) for row in rows if any(cell.strip() for cell in row) and not row[0].startswith("#")
    ]
    if times is not None:
        return in_order(file, _table(numbered, header, times, column, per_kwh, file))
    start = next((n for n, name in enumerate(header) if name.lower().startswith("date (")), None)
    start = next((n for n, name in enumerate(header) if name.lower() in _STARTS), start)
    if start is None:
        cause, remedy = "no column tells the time", "Name it `start`, or give the platform's `MTU` column."
        raise PriceFileError(file, first + 1, cause, remedy)
    end = next((n for n, name in enumerate(header) if name.lower() in _ENDS), None)
    return in_order(file, _plain(numbered, start, end, column, per_kwh, file, ZoneInfo(zone)))


def _price_column(header: list[str], file: str, line: int) -> tuple[int, bool]:
    priced = [(n, unit) for n, name in enumerate(header) if (unit := _UNIT.search(name)) and _MONEY.search(name)]
    if not priced:
        priced = [(n, unit) for n, name in enumerate(header) if (unit := _UNIT.search(name))]
    if len(priced) != 1:
        cause = "no column has a price in EUR/MWh or EUR/kWh" if not priced else "several columns have a price"
        remedy = "Put the unit into the name of the one price column, such as `price_eur_per_kwh`."
        raise PriceFileError(file, line, cause, remedy)
    column, unit = priced[0]
    return column, unit[2].lower() == "kwh"


def _price(row: list[str], column: int, per_kwh: bool, file: str, line: int) -> float | None:
    cell = row[column].strip() if column < len(row) else ""
    if cell.lower() in _MISSING:
        return None
    try:
        # A comma is the decimal sign where it cannot part two columns: "1.234,50" is of a table with semicolons.
        value = float(cell.replace(".", "").replace(",", ".") if "," in cell else cell)
    except ValueError:
        cause = f"{cell!r} is no number"
        raise PriceFileError(file, line, cause, "Write the price with a decimal point and no unit.") from None
    return value if per_kwh else value / 1000


def _table(
    rows: list[tuple[int, list[str]]], header: list[str], times: int, column: int, per_kwh: bool, file: str
) -> list[Slot]:
    utc = "UTC" in header[times].upper() and "CET" not in header[times].upper()
    sequence = next((n for n, name in enumerate(header) if name.lower() == "sequence"), None)
    area = next((n for n, name in enumerate(header) if name.lower() == "area"), None)
    only: str | None = None
    found: list[Slot] = []
    before = float("-inf")
    for line, row in rows:
        if sequence is not None and row[sequence].strip().lower() not in ("sequence 1", "without sequence", ""):
            continue
        if area is not None:
            only = only or row[area]
            if row[area] != only:
                cause, remedy = f"{row[area]} is another area than {only}", "Export one bidding zone per file."
                raise PriceFileError(file, line, cause, remedy)
        stamps = [_STAMP.match(part.strip()) for part in row[times].split(" - ")]
        if len(stamps) != 2 or stamps[0] is None or stamps[1] is None:
            cause = f"{row[times]!r} is no time from - to"
            raise PriceFileError(file, line, cause, "It looks like 31.01.2024 00:00 - 31.01.2024 01:00.")
        try:
            start = _moment(stamps[0], utc, before)
            end = _moment(stamps[1], utc, start + 1)
            if stamps[1][7] is None:
                # Where an hour comes twice or not at all, a row is at most as long as it looks; 02:45 to 02:00 is the
                # last quarter before the clock goes back.
                looks = _naive(stamps[1]) - _naive(stamps[0])
                end = min(end, start + looks) if looks > 0 else start + looks + 3600.0
        except ValueError as problem:
            raise PriceFileError(file, line, str(problem), "Correct the date.") from None
        before = end
        price = _price(row, column, per_kwh, file, line)
        if price is not None:
            found.append(checked(file, line, start, end, price))
    return found


def _naive(stamp: re.Match[str]) -> float:
    day, month, year, hour, minute = (int(stamp[n]) for n in range(1, 6))
    return datetime(year, month, day, hour, minute, int(stamp[6] or 0), tzinfo=UTC).timestamp()


def _moment(stamp: re.Match[str], utc: bool, not_before: float) -> float:
    """Of the two readings of an hour that comes twice, the first that is not before what came before it."""
    day, month, year, hour, minute = (int(stamp[n]) for n in range(1, 6))
    place: tzinfo = UTC if utc else ZoneInfo(_CENTRAL)
    if stamp[7] in _OFFSETS:
        return _naive(stamp) - 3600.0 * _OFFSETS[stamp[7]]
    return _instant(datetime(year, month, day, hour, minute, int(stamp[6] or 0)), place, not_before)


def _plain(
    rows: list[tuple[int, list[str]]],
    start: int,
    end: int | None,
    column: int,
    per_kwh: bool,
    file: str,
    place: ZoneInfo,
) -> list[Slot]:
    begun: list[tuple[float, float | None, int, float | None]] = []
    before = float("-inf")
    for line, row in rows:
        stamp = _stamp(row, start, file, line)
        at = before = _instant(stamp, place, before + 1)
        until = None
        if end is not None:
            last_stamp = _stamp(row, end, file, line)
            until = _instant(last_stamp, place, at + 1)
            if last_stamp.tzinfo is None and stamp.tzinfo is None and last_stamp > stamp:
                until = min(until, at + (last_stamp - stamp).total_seconds())  # as in the platform's table
        begun.append((at, until, line, _price(row, column, per_kwh, file, line)))
    steps = [b[0] - a[0] for a, b in pairwise(begun) if b[0] > a[0]]
    usual = median(steps) if steps else 3600.0
    found = []
    for place_in_file, (at, until, line, price) in enumerate(begun):
        following = [b[0] for b in begun[place_in_file + 1 : place_in_file + 2] if b[0] > at]
        # Without an end a slot lasts until the next one, but no longer than usual: what follows is a gap.
        last = until if until is not None else min([at + usual, *following])
        if price is not None:
            found.append(checked(file, line, at, last, price))
    return found


def _stamp(row: list[str], column: int, file: str, line: int) -> datetime:
    """Without a time zone where the cell has none."""
    cell = row[column].strip() if column < len(row) else ""
    german = _STAMP.fullmatch(cell)
    try:
        if german is None:
            return datetime.fromisoformat(cell)
        day, month, year, hour, minute = (int(german[n]) for n in range(1, 6))
        return datetime(year, month, day, hour, minute, int(german[6] or 0))
    except ValueError:
        cause, remedy = f"{cell!r} is no instant", "Write ISO 8601, such as 2016-05-20T00:00+02:00."
        raise PriceFileError(file, line, cause, remedy) from None


def _instant(stamp: datetime, place: tzinfo, not_before: float) -> float:
    """Of the two readings of a local time that comes twice, the first that is not before ``not_before``."""
    if stamp.tzinfo is not None:
        return stamp.timestamp()
    first, second = (stamp.replace(tzinfo=place, fold=fold).timestamp() for fold in (0, 1))
    return second if first < not_before - 0.5 and second > first else first
