"""Tariffs to those who subscribed, until each has taken or refused them, over cut links and restarts.

What is due is stored before it is said, in one value for all: a fleet is more than a book of deals can hold, and as a
tariff's name has its edition, no talk need be remembered. A customer's ``TariffTaken`` counts once its stream has it,
also when our side of the talk ended long ago; silence only means that it is said again.
"""

import logging
from dataclasses import dataclass, field

import anyio
import msgspec

from agents.kit.skill import hears, restores, settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM, GATEWAY, METER
from contracts.system import Hello
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice

log = logging.getLogger("gridparley.tariff")
RETRY_S = 300.0
"""So long after silence a customer is told again; the word of before may still reach it first."""
ALIVE_S = 180.0
"""Three hellos: who has not been heard for so long is away, and is told when it is back."""
AT_ONCE = 50
CUSTOMERS = (CEM, METER, APP, GATEWAY, BUILDING)


class Book(msgspec.Struct, kw_only=True):
    """``words`` by tariff; ``due`` and ``refused`` by customer's address, then tariff."""

    words: dict[str, AnnounceTariff] = {}
    due: dict[str, list[str]] = {}
    refused: dict[str, dict[str, Reason]] = {}


def series(tariff: str) -> str:
    """What all editions of a tariff have in common."""
    return tariff.partition(" @")[0]


@skill(opens=(tariff_notice,), use_cases=("tariffs.price-info", "tariffs.dynamic", "tariffs.day-ahead-alert"))
@dataclass
class AnnounceTariffs:
    """``announce`` returns when it is stored; saying goes on by itself."""

    bus: Bus
    clock: Clock
    state: State
    book: Book = field(default_factory=Book)
    _tried: dict[str, float] = field(default_factory=dict)
    _heard: dict[str, float] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _news: anyio.Event = field(default_factory=anyio.Event)

    async def announce(self, word: AnnounceTariff, customers: list[Address]) -> None:
        """A newer edition (``name @edition``) replaces what is still due of the older ones. Raises NotStored."""
        self.book.words[word.tariff] = word
        for customer in map(str, customers):
            due = self.book.due.get(customer, [])
            self.book.due[customer] = [one for one in due if series(one) != series(word.tariff)] + [word.tariff]
            self.book.refused.get(customer, {}).pop(word.tariff, None)
            self._tried.pop(customer, None)
        self._tidy()
        await self._keep()
        self._news.set()

    def _tidy(self) -> None:
        """What is over need not be said any more."""
        now = self.clock.now()
        for tariff, word in list(self.book.words.items()):
            if word.slots and word.slots[-1].start.timestamp() + word.slots[-1].duration_s <= now:
                del self.book.words[tariff]
        for customer, due in list(self.book.due.items()):
            self.book.due[customer] = [tariff for tariff in due if tariff in self.book.words]
            if not self.book.due[customer]:
                del self.book.due[customer]

    @restores
    async def take_up(self) -> None:
        self.book = await self.state.get("tariffs", Book) or Book()

    async def _keep(self) -> None:
        await self.state.put("tariffs", self.book)

    @hears(Hello, of=CUSTOMERS, where="grid")
    def see(self, hello: Hello, heard: Heard) -> None:
        """Who is back after a silence is told at once."""
        who, now = str(heard.sender), self.clock.now()
        if hello.leaving:
            self._heard.pop(who, None)
            return
        back = now - self._heard.get(who, float("-inf")) > ALIVE_S
        self._heard[who] = now
        if back and who in self.book.due:
            self._tried.pop(who, None)
            self._news.set()

    @started
    async def keep_saying(self) -> None:
        limit = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as tasks:
            while True:
                self._news = anyio.Event()
                now = self.clock.now()
                for customer in list(self.book.due):
                    if customer not in self._busy and self._may_try(customer, now):
                        self._busy.add(customer)
                        self._tried[customer] = now
                        tasks.start_soon(self._serve, customer, limit)
                async with anyio.create_task_group() as waiting:

                    async def later(scope: anyio.CancelScope = waiting.cancel_scope) -> None:
                        await self.clock.sleep(RETRY_S / 5)
                        scope.cancel()

                    waiting.start_soon(later)
                    await self._news.wait()
                    waiting.cancel_scope.cancel()

    def _may_try(self, customer: str, now: float) -> bool:
        tried = self._tried.get(customer)
        if tried is None:
            return True
        alive = now - self._heard.get(customer, float("-inf")) <= ALIVE_S
        return alive and now - tried >= RETRY_S

    async def _serve(self, customer: str, limit: anyio.Semaphore) -> None:
        """All that is due to one customer, in order, until it is silent."""
        try:
            async with limit:
                for tariff in list(self.book.due.get(customer, ())):
                    if tariff in self.book.due.get(customer, ()) and not await self._say(customer, tariff):
                        return
        except NotStored as problem:
            log.info("%s is not told yet: %s", customer, problem)
        finally:
            self._busy.discard(customer)
            if set(self.book.due.get(customer, ())) and customer not in self._tried:
                self._news.set()  # something came while we spoke

    async def _say(self, customer: str, tariff: str) -> bool:
        word = self.book.words.get(tariff)
        if word is None:
            return True
        async with self.bus.talk(tariff_notice, Address.parse(customer)) as talk:
            await talk.say(word)
            match await talk.hear(TariffTaken, TariffRefused, Lapsed):
                case TariffTaken():
                    return True  # taken() has been told
                case TariffRefused(reason=reason) if reason.code == "not_stored":
                    log.info("%s could not keep tariff %s and is told again: %s", customer, tariff, reason.text)
                    return False
                case TariffRefused(reason=reason):
                    log.warning("%s refuses tariff %s: %s", customer, tariff, reason.text)
                    self.book.refused.setdefault(customer, {})[tariff] = reason
                    await self._done(customer, tariff)
                    return True
                case Lapsed():
                    return False

    @settles(tariff_notice)
    async def taken(self, word: TariffTaken, heard: Heard) -> None:
        """It is taken, whether or not anybody still waited to hear so."""
        await self._done(str(heard.sender), word.tariff)

    async def _done(self, customer: str, tariff: str) -> None:
        due = self.book.due.get(customer, [])
        if tariff in due:
            due.remove(tariff)
            if not due:
                del self.book.due[customer]
            await self._keep()
