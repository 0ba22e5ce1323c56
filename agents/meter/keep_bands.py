"""Registers per time-of-use band: only the one in force grows; each is read on schedule. ENA-08-01, ENA-09-01.

Registers and the reading that they were counted up to are stored together: what a restart finds counted less is counted
then, by the time that passed in each band.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.local_day import bounds, date_at
from agents.kit.skill import answers, every, restores, skill, started
from agents.kit.windows import at as band_at
from agents.kit.windows import of_day
from agents.meter.measure import Measure, Sample
from agents.meter.settings import MeterSettings
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.reasons import Reason
from contracts.roles import DSO, HES, RETAILER
from contracts.tariff import ActiveTariff, BandsRefused, BandsSet, SetBands, TouBand, TouReading, bands_write

log = logging.getLogger("gridparley.meter")
KEEP_EVERY_S = 300.0
DEALT_S = 7 * 86_400.0
"""As long as anybody may be away and still hear what was said."""
MOST_REGISTERS = 48
SHORTEST_REPORT_S = 60.0
OPERATORS = (DSO, RETAILER, HES)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up. ``counted_wh`` is the import register up to which the registers have counted, at
    ``counted_at``; ``unsent`` a reading that is recorded again after a crash, as it is."""

    bands: SetBands
    by: str
    registers: dict[str, float] = {}
    counted_wh: float = 0.0
    counted_at: float = 0.0
    sequence: int = 1
    reported_at: float = 0.0
    unsent: TouReading | None = None


@skill(says_grid=(TouReading,), says_home=(ActiveTariff,), use_cases=("tariffs.tou-registers", "tariffs.sync"))
@dataclass
class KeepBands:
    """Counts from the meter's own import register with every sample."""

    bus: Bus
    clock: Clock
    settings: MeterSettings
    state: State
    measure: Measure
    deals: Deals
    kept: Kept | None = None
    active: str | None = None
    on_change: list[Callable[[], None]] = field(default_factory=list)
    price_of: list[Callable[[str], float | None]] = field(default_factory=list)
    """Who else may know what a register costs."""
    _restored: bool = False
    _stored_at: float = 0.0
    _part: tuple[float, float, TouBand | None] = (0.0, 0.0, None)
    """Where the band lies that was looked up last: samples come each second, bands change some times a day."""

    def __post_init__(self) -> None:
        self.measure.listeners.append(self.count)
        self.deals.on_settled(bands_write, self._settled)

    @restores
    async def take_up(self) -> None:
        self.kept = await self.state.get("bands", Kept)
        self._restored = True
        dealt = self.deals.standing(bands_write)
        for deal in dealt:
            self._use(deal.read(SetBands), deal.peer)
        if dealt:
            await self._keep_dealt()

    @started
    async def say_at_start(self) -> None:
        self._follow(self.clock.now())

    # ---------------------------------------------------------------- configuration

    @answers(bands_write)
    async def on_bands(self, talk: Talk, word: SetBands) -> None:
        reason = _fault(word)
        if reason is not None:
            await talk.say(BandsRefused(reason=reason))
            return
        until = self.clock.now() + DEALT_S
        try:
            deal = await self.deals.close(talk, BandsSet(registers=_names(word)), word, until=until)
        except (NotStored, TooManyDeals) as problem:
            text = f"It could not be kept: {problem}. Say it again."
            await talk.say(BandsRefused(reason=Reason(code="not_stored", text=text)))
            return
        await self._settled(deal)

    async def _settled(self, deal: Deal) -> None:
        if deal.phase != "on" or not self._restored:
            return
        self._use(deal.read(SetBands), deal.peer)
        self._follow(self.clock.now())
        await self._keep_dealt()

    def _use(self, word: SetBands, by: Address) -> None:
        """The registers go on; those that the new bands name for the first time begin at zero."""
        now, latest = self.clock.now(), self.measure.latest
        if latest is not None:
            self._count_up(latest)
        before = self.kept
        self.kept = Kept(
            bands=word,
            by=str(by),
            registers={**dict.fromkeys(_names(word), 0.0), **(before.registers if before else {})},
            counted_wh=before.counted_wh if before else (latest.import_wh if latest else -1.0),
            counted_at=before.counted_at if before else (latest.at if latest else now),
            sequence=before.sequence if before else 1,
            reported_at=now - now % word.report_every_s,
            unsent=before.unsent if before else None,
        )
        self.active, self._part = None, (0.0, 0.0, None)

    async def _keep_dealt(self) -> None:
        """Each deal is done once what it says is stored as in use."""
        done = self.deals.standing(bands_write)
        try:
            await self._store(self.kept)
            for deal in done:
                await self.deals.end(deal)
        except NotStored as problem:
            log.warning("new bands: %s; they are kept with the next reading", problem)

    # ---------------------------------------------------------------- counting

    async def count(self, sample: Sample) -> None:
        kept = self.kept
        if kept is None:
            return
        changed = self._count_up(sample) or self._follow(sample.at)
        try:
            await self._report(sample)
            if changed or sample.at - self._stored_at >= KEEP_EVERY_S:
                await self._store(self.kept)
        except NotStored as problem:
            log.warning("time-of-use registers: %s; they are kept with the next reading", problem)

    def _count_up(self, sample: Sample) -> bool:
        """Share what was taken since the last time among the bands by their time; True when it began anew."""
        kept = self.kept
        if kept is None:
            return False
        grown, passed = sample.import_wh - kept.counted_wh, sample.at - kept.counted_at
        registers, began = dict(kept.registers), kept.counted_wh < 0 or grown < 0
        if not began and grown > 0:
            for name, share in self._shares(kept.counted_at, sample.at):
                registers[name] = registers.get(name, 0.0) + grown * share
        if began or passed > 0:
            self.kept = msgspec.structs.replace(
                kept, registers=registers, counted_wh=sample.import_wh, counted_at=sample.at
            )
        return began

    def _shares(self, start: float, end: float) -> list[tuple[str, float]]:
        """(register, share of the time) from start to end."""
        if end <= start:
            return [(self._register(end), 1.0)]
        found, at = [], start
        while at < end:
            _, until, band = self._band(at)
            stop = min(until, end)
            found.append((self._name(band), (stop - at) / (end - start)))
            at = stop
        return found

    def _band(self, at: float) -> tuple[float, float, TouBand | None]:
        assert self.kept is not None
        if not self._part[0] <= at < self._part[1]:
            self._part = band_at(self.kept.bands.bands, at, self.kept.bands.time_zone)
        return self._part

    def _name(self, band: TouBand | None) -> str:
        assert self.kept is not None
        return self.kept.bands.otherwise if band is None else band.register

    def _register(self, at: float) -> str:
        return self._name(self._band(at)[2])

    # ---------------------------------------------------------------- saying

    @every("tariff_repeat_s")
    def say_again(self) -> None:
        """For who has come since."""
        if self.active is not None:
            self._say_active(self.clock.now())

    def _follow(self, at: float) -> bool:
        """Say the register in force when it has changed."""
        if self.kept is None or self._register(at) == self.active:
            return False
        self.active = self._register(at)
        self._say_active(at)
        for act in self.on_change:
            act()
        return True

    def _say_active(self, at: float) -> None:
        begun, _, band = self._band(at)
        register = self._name(band)
        price = None if band is None else band.price_eur_per_kwh
        if price is None:
            price = next((p for ask in self.price_of if (p := ask(register)) is not None), None)
        self.bus.say(ActiveTariff(since=instant(begun), register=register, price_eur_per_kwh=price), home=True)

    async def _report(self, sample: Sample) -> None:
        """One reading per register with the first sample at or after each due instant."""
        kept = self.kept
        if kept is None:
            return
        if kept.unsent is None:
            every_s = kept.bands.report_every_s
            due = sample.at - sample.at % every_s
            if due <= kept.reported_at:
                return
            reading = TouReading(
                sequence=kept.sequence,
                at=instant(sample.at),
                import_by_register_wh=dict(kept.registers),
                active=self._register(sample.at),
            )
            kept = msgspec.structs.replace(kept, sequence=kept.sequence + 1, reported_at=due, unsent=reading)
            await self._store(kept)
        assert kept.unsent is not None
        await self.bus.record(kept.unsent)
        await self._store(msgspec.structs.replace(kept, unsent=None))

    def priced(self, at: float) -> list[tuple[float, float, float]]:
        """(start, end, price) of the bands of this day and the next that have a price."""
        if self.kept is None:
            return []
        word, zone = self.kept.bands, self.kept.bands.time_zone
        today = date_at(at, zone)
        parts = [part for day in (today, today + timedelta(days=1)) for part in of_day(word.bands, day, zone)]
        found = []
        for start, end, band in parts:
            price = None if band is None else band.price_eur_per_kwh
            if price is None:
                price = next((p for ask in self.price_of if (p := ask(self._name(band))) is not None), None)
            if price is not None and end > at:
                found.append((start, end, price))
        return found

    async def _store(self, kept: Kept | None) -> None:
        await self.measure.keep()
        await self.state.put("bands", kept)
        self.kept, self._stored_at = kept, self.clock.now()


def _names(word: SetBands) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(band.register for band in word.bands), word.otherwise]))


def _fault(word: SetBands) -> Reason | None:
    names = {band.register for band in word.bands} | {word.otherwise}
    try:
        bounds(date_at(0.0, word.time_zone), word.time_zone)
        ZoneInfo(word.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        return _no("unknown_zone", f"There is no time zone {word.time_zone!r}: name one such as Europe/Berlin.")
    if "" in names:
        return _no("no_name", "A register has no name: give each band one, and one for all other times.")
    if len(names) > MOST_REGISTERS:
        return _no("too_many_registers", f"{len(names)} registers: this meter keeps {MOST_REGISTERS}.")
    if word.report_every_s < SHORTEST_REPORT_S:
        return _no("too_often", f"A reading each {word.report_every_s:g} s: ask for one each minute at most.")
    if any(day not in range(7) for band in word.bands for day in band.days):
        return _no("unknown_day", "Days are 0 (Monday) to 6 (Sunday).")
    return None


def _no(code: str, text: str) -> Reason:
    return Reason(code=code, text=text, binding="meter")
