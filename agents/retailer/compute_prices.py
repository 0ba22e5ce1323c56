"""Compute what the customers pay, from files and time-of-use windows. IC-FR-PUC-8 step 1."""

import logging
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import anyio.to_thread
import msgspec

from agents.kit.local_day import bounds, date_at, earlier_day, quarters
from agents.kit.skill import skill
from agents.kit.windows import of_day
from agents.retailer import price_files
from agents.retailer.price_slots import PriceFileError, Slot, averaged
from agents.retailer.settings import RetailerSettings, Tariff
from bus.envelope import instant
from contracts.profiles import SLOT_S, PriceSlot

log = logging.getLogger("gridparley.retailer")
DAYS_BACK = 7


def of_windows(tariff: Tariff, day: date, zone: str) -> list[PriceSlot]:
    """A local day's slots; where no window fits and there is no other price, a gap."""
    found = []
    for start, end, window in of_day(tariff.windows, day, zone):
        price = tariff.otherwise_eur_per_kwh if window is None else window.eur_per_kwh
        if price is None:
            continue
        found.append(
            PriceSlot(
                start=instant(start),
                duration_s=end - start,
                price_eur_per_kwh=price,
                green_percent=None if window is None else window.green_percent,
                threshold_wh=None if window is None else window.threshold_wh,
                beyond_eur_per_kwh=None if window is None else window.beyond_eur_per_kwh,
            )
        )
    return found


def of_slots(tariff: Tariff, slots: tuple[Slot, ...], first: float, end: float) -> list[PriceSlot]:
    """A file's prices of a time, as the customer pays them."""
    return [
        PriceSlot(
            start=instant(max(slot.start, first)),
            duration_s=min(slot.end, end) - max(slot.start, first),
            price_eur_per_kwh=round(slot.eur_per_kwh * tariff.factor + tariff.markup_eur_per_kwh, 6),
        )
        for slot in slots
        if slot.end > first and slot.start < end
    ]


@skill(use_cases=("tariffs.dynamic",))
@dataclass
class ComputePrices:
    """Reads each file once, and again when it has changed; off the loop, as a year of prices takes its time."""

    settings: RetailerSettings
    _read: dict[str, tuple[float, tuple[Slot, ...]]] = field(default_factory=dict)
    _wrong: dict[str, str] = field(default_factory=dict)

    async def of_day(self, tariff: Tariff, day: date) -> list[PriceSlot] | None:
        """A local day's slots, None while they are not there in full. What is wrong with a file is logged once."""
        zone = self.settings.time_zone
        if tariff.form == "windows":
            return of_windows(tariff, day, zone)
        first, end = bounds(day, zone)
        slots = await self._known(tariff, first, end)
        priced_s = sum(slot.duration_s for slot in slots)
        return slots if priced_s >= end - first - 1.0 else None

    async def guess(self, tariff: Tariff, day: date) -> list[PriceSlot] | None:
        """What is expected: the file's prices of this day as far as they go, else the last known day's at the same
        local times."""
        zone = self.settings.time_zone
        first, end = bounds(day, zone)
        found = {at: slot for slot in await self._known(tariff, first, end) for at in _within(slot, day, zone)}
        for back in range(1, DAYS_BACK + 1):
            began = earlier_day(first, back, zone)
            before = await self.of_day(tariff, date_at(began, zone))
            if before is not None:
                prices = {at: slot for slot in before for at in _within(slot, date_at(began, zone), zone)}
                for at in quarters(day, zone):
                    found.setdefault(at, prices[earlier_day(at, back, zone)])
                return _expected(found)
        return _expected(found) if found else None

    async def at(self, tariff: Tariff, now: float, length_s: float) -> list[PriceSlot]:
        """The real-time price from now on; empty where there is none."""
        zone = self.settings.time_zone
        if tariff.form == "windows":
            day = date_at(now, zone)
            return [slot for slot in of_windows(tariff, day, zone) if slot.start.timestamp() + slot.duration_s > now][
                :1
            ]
        first = now - now % length_s
        return of_slots(tariff, await self._slots(tariff, date_at(now, zone)), first, first + length_s)

    async def _known(self, tariff: Tariff, first: float, end: float) -> list[PriceSlot]:
        """As far as the file of that day has them."""
        return of_slots(tariff, await self._slots(tariff, date_at(first, self.settings.time_zone)), first, end)

    async def _slots(self, tariff: Tariff, day: date) -> tuple[Slot, ...]:
        path = tariff.file.replace("{day}", day.isoformat())
        changed = _changed_at(path)
        known = self._read.get(path)
        if known is None or known[0] != changed:
            try:
                slots = await anyio.to_thread.run_sync(price_files.read, path, self.settings.time_zone)
                self._wrong.pop(path, None)
            except PriceFileError as problem:
                if self._wrong.get(path) != str(problem):
                    self._wrong[path] = str(problem)
                    log.error("tariff %s: %s", tariff.name, problem)
                slots = known[1] if known is not None else ()
            self._read[path] = changed, slots
        slots = self._read[path][1]
        return averaged(slots, tariff.average_s) if tariff.average_s else slots


def _within(slot: PriceSlot, day: date, zone: str) -> list[float]:
    """The quarter hours of a day that begin in a slot."""
    begin = slot.start.timestamp()
    return [at for at in quarters(day, zone) if begin <= at < begin + slot.duration_s]


def _expected(prices: dict[float, PriceSlot]) -> list[PriceSlot]:
    """Of quarter hours and what is priced like them; equal ones in a row are one slot."""
    found: list[PriceSlot] = []
    for at, slot in sorted(prices.items()):
        last = found[-1] if found else None
        goes_on = last is not None and last.start.timestamp() + last.duration_s == at
        if last is not None and goes_on and last.price_eur_per_kwh == slot.price_eur_per_kwh:
            found[-1] = msgspec.structs.replace(last, duration_s=last.duration_s + SLOT_S)
            continue
        found.append(
            PriceSlot(
                start=instant(at),
                duration_s=SLOT_S,
                price_eur_per_kwh=slot.price_eur_per_kwh,
                binding="forecast",
            )
        )
    return found


def _changed_at(path: str) -> float:
    """When a file was written; -1 while there is none."""
    try:
        return Path(path).stat().st_mtime
    except OSError:
        return -1.0
