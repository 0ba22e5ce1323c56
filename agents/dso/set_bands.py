"""Set the time-of-use registers of meters, and keep at it until each has them. ENA-08-01, ENA-09-01."""

import logging
from dataclasses import dataclass, field

import msgspec

from agents.dso.settings import DsoSettings, MeterBands
from agents.kit.agent import Peers
from agents.kit.skill import every, restores, settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.roles import METER
from contracts.tariff import BandsRefused, BandsSet, SetBands, bands_write

log = logging.getLogger("gridparley.dso")
RETRY_S = 300.0


class Book(msgspec.Struct, kw_only=True):
    """By meter: what it was told last and in which talk, and what came of it (``set``, or why it refused)."""

    told: dict[str, SetBands] = {}
    talks: dict[str, str] = {}
    outcome: dict[str, str] = {}


@skill(opens=(bands_write,), use_cases=("tariffs.tou-registers",))
@dataclass
class SetMeterBands:
    """The settings say what holds; what a meter has taken is remembered, so that a restart asks for nothing anew."""

    bus: Bus
    clock: Clock
    state: State
    settings: DsoSettings
    peers: Peers
    book: Book = field(default_factory=Book)
    _tried: dict[str, float] = field(default_factory=dict)

    @restores
    async def take_up(self) -> None:
        self.book = await self.state.get("meter_bands", Book) or Book()

    @every("tariffs_every_s")
    async def look(self) -> None:
        now = self.clock.now()
        for wanted in self.settings.meter_bands:
            for meter in self.peers.of(METER):
                if meter.site not in wanted.sites or now - self._tried.get(str(meter), float("-inf")) < RETRY_S:
                    continue
                word = self._word(wanted)
                if self.book.told.get(str(meter)) != word or str(meter) not in self.book.outcome:
                    self._tried[str(meter)] = now
                    await self._tell(meter, word)

    def _word(self, wanted: MeterBands) -> SetBands:
        return SetBands(
            bands=wanted.bands,
            otherwise=wanted.otherwise,
            time_zone=self.settings.time_zone,
            report_every_s=wanted.report_every_s,
        )

    async def _tell(self, meter: Address, word: SetBands) -> None:
        try:
            async with self.bus.talk(bands_write, meter) as talk:
                self.book.told[str(meter)], self.book.talks[str(meter)] = word, talk.id
                self.book.outcome.pop(str(meter), None)
                await self._keep()
                await talk.say(word)
                match await talk.hear(BandsSet, BandsRefused, Lapsed):
                    case BandsSet():
                        pass  # is_set() has been told
                    case BandsRefused(reason=reason):
                        log.error("%s refuses its bands: %s", meter, reason.text)
                        await self._note(meter, reason.text)
                    case Lapsed():
                        log.info("%s has not answered; its bands are sent again", meter)
        except NotStored as problem:
            log.info("%s is not told its bands yet: %s", meter, problem)

    @settles(bands_write)
    async def is_set(self, _word: BandsSet, heard: Heard) -> None:
        """Also when nobody waits for it any more; what came of older bands says nothing of the newest."""
        if self.book.talks.get(str(heard.sender)) == heard.talk:
            await self._note(heard.sender, "set")

    async def _note(self, meter: Address, outcome: str) -> None:
        self.book.outcome[str(meter)] = outcome
        await self._keep()

    async def _keep(self) -> None:
        await self.state.put("meter_bands", self.book)
