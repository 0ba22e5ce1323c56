"""What every price file comes down to: slots of EUR/kWh, and an error that says where the file is wrong. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

ABSURD_EUR_PER_KWH = 15.0
"""Three times the harmonised limit of the European day-ahead market: beyond it a unit is wrong, not a price."""
_DURATION = re.compile(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?\Z")


class Slot(NamedTuple):
    """A price of a time, unix seconds; ``line`` is where it stands."""

    start: float
    end: float
    eur_per_kwh: float
    line: int = 0


class PriceFileError(Exception):
    """A price file that cannot be used. ``remedy`` says what to do about it."""

    def __init__(self, file: str, line: int, cause: str, remedy: str) -> None:
        super().__init__(f"{file}, line {line}: {cause}. {remedy}")
        self.file, self.line, self.cause, self.remedy = file, line, cause, remedy


def seconds(duration: str) -> float | None:
    """Of an ISO 8601 duration of days, hours, minutes and seconds; None when it is none."""
    found = _DURATION.match(duration.strip())
    if found is None or not any(found.groups()):
        return None
    days, hours, minutes, rest = (float(part or 0) for part in found.groups())
    return days * 86_400 + hours * 3600 + minutes * 60 + rest


def in_order(file: str, slots: Iterable[Slot]) -> tuple[Slot, ...]:
    """Sorted and checked. Raises PriceFileError where two say different prices of one time."""
    found: list[Slot] = []
    for slot in sorted(slots):
        if found and slot.start < found[-1].end - 0.5:
            if slot.start == found[-1].start and slot.eur_per_kwh == found[-1].eur_per_kwh:
                continue
            remedy = "Leave one of the two out."
            raise PriceFileError(file, slot.line, f"its time overlaps that of line {found[-1].line}", remedy)
        found.append(slot)
    if not found:
        raise PriceFileError(file, 1, "it has no price", "Give a file with at least one price.")
    return tuple(found)


def checked(file: str, line: int, start: float, end: float, eur_per_kwh: float) -> Slot:
    """Raises PriceFileError when the price cannot be one or the time has no length."""
    if not abs(eur_per_kwh) <= ABSURD_EUR_PER_KWH:  # NaN too
        cause = f"{eur_per_kwh:g} EUR/kWh is no price"
        raise PriceFileError(file, line, cause, "Check the unit: EUR/MWh is a thousandth of EUR/kWh.")
    if end <= start:
        raise PriceFileError(file, line, "its time ends before it begins", "Correct start or end.")
    return Slot(start, end, eur_per_kwh, line)


def averaged(slots: tuple[Slot, ...], over_s: float) -> tuple[Slot, ...]:
    """Means over whole periods, such as an hour of five-minute prices; a period with a gap is left out."""
    found: dict[float, list[Slot]] = {}
    for slot in slots:
        at = slot.start
        while at < slot.end:
            first = at - at % over_s
            end = min(slot.end, first + over_s)
            found.setdefault(first, []).append(slot._replace(start=at, end=end))
            at = end
    means = []
    for first, parts in sorted(found.items()):
        length = sum(part.end - part.start for part in parts)
        if abs(length - over_s) < 1.0:
            price = sum(part.eur_per_kwh * (part.end - part.start) for part in parts) / length
            means.append(Slot(first, first + over_s, price, parts[0].line))
    return tuple(means)
