"""Once a day the prices of the next, as soon as they are computed. IC-FR-PUC8, IC-IT-HLUC4, IEC-MSG-FIG19."""

import logging
from dataclasses import dataclass, field
from datetime import date, timedelta

import msgspec

from agents.kit.agent import Peers
from agents.kit.announce_tariffs import AnnounceTariffs
from agents.kit.local_day import bounds, instant_of, local
from agents.kit.skill import every, skill, started
from agents.retailer.compute_prices import ComputePrices
from agents.retailer.customers import of_tariff
from agents.retailer.settings import RetailerSettings, Tariff
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff

log = logging.getLogger("gridparley.retailer")


def bind(slots: list[PriceSlot], now: float, binding_s: float | None) -> tuple[list[PriceSlot], float]:
    """What is still to come, the first part of it binding and the rest a forecast; and until when it is binding."""
    ahead = [slot for slot in slots if slot.start.timestamp() + slot.duration_s > now]
    if not ahead:
        return [], now
    last = ahead[-1].start.timestamp() + ahead[-1].duration_s
    until = last if binding_s is None else min(last, max(now, ahead[0].start.timestamp()) + binding_s)
    return [
        slot if slot.start.timestamp() < until else msgspec.structs.replace(slot, binding="forecast") for slot in ahead
    ], until


def word_of(tariff: Tariff, name: str, slots: list[PriceSlot], now: float, text: str, code: str) -> AnnounceTariff:
    """An edition of a tariff. ``name`` is the tariff's, with the day that it is for."""
    volume = any(slot.threshold_wh is not None for slot in slots)
    return AnnounceTariff(
        tariff=f"{name} @{instant(now):%Y-%m-%dT%H:%M:%SZ}",
        component=tariff.component,
        form="price_and_volume" if volume else "real_time" if tariff.form == "real_time" else "schedule",
        slots=tuple(slots),
        warning=tariff.warning,
        listed_eur_per_kwh=tariff.registers_eur_per_kwh,
        reason=Reason(code=code, text=text, binding="tariff"),
    )


@skill(use_cases=("tariffs.dynamic", "tariffs.day-ahead-alert"))
@dataclass
class AnnounceDayAhead:
    """Today's prices on start, tomorrow's from ``announce_at`` on; what was a forecast again when it binds."""

    clock: Clock
    settings: RetailerSettings
    peers: Peers
    prices: ComputePrices
    tariffs: AnnounceTariffs
    _bound: dict[tuple[str, date], float] = field(default_factory=dict)
    """Until when the prices of a day are binding, as they were announced last."""
    _guessed: set[tuple[str, date]] = field(default_factory=set)
    _missed: set[tuple[str, date]] = field(default_factory=set)
    _listed: set[str] = field(default_factory=set)

    @started
    async def begin(self) -> None:
        await self.look()

    @every("check_every_s")
    async def look(self) -> None:
        """Announce what is due by now."""
        now = self.clock.now()
        here = local(now, self.settings.time_zone)
        today = here.date()
        for tariff in self.settings.tariffs:
            if tariff.form == "real_time":
                continue
            if not tariff.file and not tariff.windows and tariff.otherwise_eur_per_kwh is None:
                await self._list(tariff, now)
                continue
            await self._day(tariff, today, now, late=True)
            if here.time() >= self.settings.announce_at:
                late = now >= instant_of(today, self.settings.latest_at, self.settings.time_zone)
                await self._day(tariff, today + timedelta(days=1), now, late=late)
        for key in [key for key in self._bound if key[1] < today]:
            del self._bound[key]

    async def _day(self, tariff: Tariff, day: date, now: float, *, late: bool) -> None:
        key, (_, end) = (tariff.name, day), bounds(day, self.settings.time_zone)
        bound = self._bound.get(key)
        if bound is not None and (bound >= end - 1.0 or now + (tariff.binding_s or 0.0) / 2 < bound):
            return
        slots = await self.prices.of_day(tariff, day)
        if slots is not None:
            ahead, until = bind(slots, now, tariff.binding_s)
            if ahead and await self._say(tariff, day, ahead, now, f"Prices of {day} by {tariff.name}.", "computed"):
                self._bound[key] = until
        elif late and key not in self._guessed:
            guess = await self.prices.guess(tariff, day)
            if key not in self._missed:
                self._missed.add(key)
                log.error("tariff %s: not all prices of %s are there; expected ones are announced", tariff.name, day)
            text = f"The prices of {day} are late: these are what is expected."
            if guess and await self._say(tariff, day, bind(guess, now, None)[0], now, text, "prices_late"):
                self._guessed.add(key)

    async def _list(self, tariff: Tariff, now: float) -> None:
        """Prices by register: the meter tells which is in force."""
        if tariff.name not in self._listed and tariff.registers_eur_per_kwh:
            word = word_of(tariff, tariff.name, [], now, f"Prices by register, {tariff.name}.", "listed")
            await self.tariffs.announce(word, of_tariff(self.settings, self.peers, tariff.name))
            self._listed.add(tariff.name)

    async def _say(self, tariff: Tariff, day: date, slots: list[PriceSlot], now: float, text: str, code: str) -> bool:
        word = word_of(tariff, f"{tariff.name} {day}", slots, now, text, code)
        try:
            await self.tariffs.announce(word, of_tariff(self.settings, self.peers, tariff.name))
        except NotStored as problem:
            log.warning("tariff %s: %s; it is announced at the next look", tariff.name, problem)
            return False
        return True
