"""What this agent has bound itself to in talks, over kill -9 of either side.

There is a deal exactly if the word that makes it is in the stream that its receiver reads. The side that says that word
(the closer) writes it down before; the other side (the promisor) writes down what it offered before it says the word
after which the closer may close. Both find out when they come back. ``docs/decisions/0030-deals.md``.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Raw

from agents.kit.skill import every, hears, rejoined, restores, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.talk import OutOfTurn, Talk
from bus.transport import NotStored
from contracts.kit import Conversation, Message
from contracts.system import NoDeal

log = logging.getLogger("gridparley.deals")
S = TypeVar("S", bound=msgspec.Struct)
SLOTS = 4096
"""Talks that may be written down at once."""
TIDY_EVERY_S = 60.0

Phase = Literal["open", "closing", "on", "off"]


class Deal(msgspec.Struct, frozen=True, kw_only=True):
    """One talk that binds or may bind us.

    open      we offered; the peer may close
    closing   we are about to say the word that makes the deal, or do not know yet whether its stream has it
    on        its stream has it
    off       it never will be there; kept until ``until`` so that nobody begins this talk again

    ``terms`` are what we wrote down, ``word`` the body of the word that made the deal. ``until`` is run time.
    """

    id: str
    """The talk's. A later revocation cites it."""
    table: str
    peer: Address
    phase: Phase
    closer: bool
    terms: Raw
    until: float
    word: Raw = Raw(b"null")
    subject: str = ""
    """Where the closer says that word, and as which id."""
    said: str = ""

    def read(self, kind: type[S]) -> S:
        """The terms. Raises msgspec.MsgspecError when they are of another kind."""
        return msgspec.json.decode(self.terms, type=kind)

    def read_word(self, kind: type[S]) -> S:
        """The word that made the deal, or is to. Raises msgspec.MsgspecError."""
        return msgspec.json.decode(self.word, type=kind)


class TooManyDeals(Exception):
    """No more can be written down; nothing was said."""

    def __init__(self, table: str) -> None:
        super().__init__(f"{table}: {SLOTS} talks are written down already: end some, or let them run out")
        self.table = table


Settled = Callable[[Deal], Coroutine[Any, Any, None]]


@skill()
@dataclass
class Deals:
    """Any skill that has a field of this type is given the agent's one.

    A closer says its deal word with ``close``. A promisor calls ``open`` before the word after which the peer may
    close, and ``honour`` in its ``@settles`` method. Who was refused, or is done, calls ``end``.
    """

    bus: Bus
    state: State
    clock: Clock
    _deals: dict[tuple[Address, str], Deal] = field(default_factory=dict)
    _slots: dict[tuple[Address, str], int] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _used: int = 0
    _kept: int = 0
    _growing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _closing: dict[str, asyncio.Lock] = field(default_factory=dict)
    _watchers: dict[str, list[Settled]] = field(default_factory=dict)

    # ---------------------------------------------------------------- looking

    def standing(self, table: Conversation | None = None) -> list[Deal]:
        """The deals that are on and have not run out, of one table or of all."""
        return self._of(table, "on")

    def offered(self, table: Conversation | None = None) -> list[Deal]:
        """What the peers may still close."""
        return self._of(table, "open")

    def unsettled(self, table: Conversation | None = None) -> list[Deal]:
        """What we closed and do not know of yet: the stream cannot be reached."""
        return self._of(table, "closing")

    def _of(self, table: Conversation | None, phase: Phase) -> list[Deal]:
        now = self.clock.now()
        return [
            deal
            for deal in self._deals.values()
            if deal.phase == phase and deal.until > now and (table is None or deal.table == table.name)
        ]

    def find(self, peer: Address, talk: str) -> Deal | None:
        """What is written down of a talk with a peer, in any phase."""
        return self._deals.get((peer, talk))

    def table_of(self, peer: Address, talk: str) -> str | None:
        deal = self._deals.get((peer, talk))
        return None if deal is None else deal.table

    def on_settled(self, table: Conversation, watcher: Settled) -> None:
        """Run ``await watcher(deal)`` when a closing is settled after ``close`` returned or after a restart."""
        self._watchers.setdefault(table.name, []).append(watcher)

    # ---------------------------------------------------------------- the promisor

    async def open(self, talk: Talk, terms: msgspec.Struct, *, until: float) -> None:
        """Write down what we are about to offer; called again, the newest terms hold. Raises NotStored, TooManyDeals.

        ``until``: the end of what is dealt in, in run time; until then the peer's word is honoured.
        """
        await self._put(_deal(talk, "open", terms, until))

    async def honour(self, word: Message, heard: Heard) -> Deal:
        """The peer has closed; returns when that is written down. Raises NotStored.

        Raises OutOfTurn when nothing of ours is open to this word. Doing it again returns the same deal.
        """
        key = heard.sender, heard.talk or ""
        deal = self._deals.get(key)
        if deal is None or deal.closer or deal.phase == "off":
            state = "unknown" if deal is None else deal.phase
            raise OutOfTurn(deal.table if deal else "deals", "the peer", type(word).__name__, state, [])
        if deal.phase == "open":
            body = Raw(msgspec.json.encode(word))
            deal = await self._put(msgspec.structs.replace(deal, phase="on", word=body))
        return deal

    @hears(NoDeal, where="addressed")
    async def hear_no_deal(self, word: NoDeal, heard: Heard) -> None:
        deal = self._deals.get((heard.sender, word.talk))
        if deal is not None and deal.phase == "open" and deal.table == word.table:
            await self._settle_as(deal, "off")

    # ---------------------------------------------------------------- the closer

    async def close(self, talk: Talk, word: Message, terms: msgspec.Struct | None = None, *, until: float) -> Deal:
        """Say the word that makes the deal. The deal that is returned is ``on``, ``off``, or ``closing`` when the
        stream could not be asked: then ``on_settled`` tells.

        ``terms`` default to the word itself. Raises OutOfTurn, and NotStored or TooManyDeals when it could not even be
        written down: then nothing was said.
        """
        assert talk.peer is not None  # the bus carries it
        if type(word) not in talk.table.deal:
            raise ValueError(f"{talk.table.name}: {type(word).__name__} makes no deal: say it")
        sealed = talk.seal(word)
        # One closing at a time on a subject: then the last word on it answers whether ours was stored.
        async with self._closing.setdefault(sealed.subject, asyncio.Lock()):
            for other in list(self._deals.values()):
                if other.phase == "closing" and other.subject == sealed.subject:
                    await self._find_out(other)
            body = Raw(msgspec.json.encode(word))
            deal = _deal(talk, "closing", word if terms is None else terms, until)
            marks = {"word": body, "subject": sealed.subject, "said": sealed.id}
            deal = await self._put(msgspec.structs.replace(deal, closer=True, **marks))
            try:
                await talk.say(word, sealed)
            except NotStored:
                with suppress(NotStored):  # tidy() goes on
                    deal = await self._find_out(deal)
                return deal
            with suppress(NotStored):  # it is on; a restart would find that out
                return await self._settle_as(deal, "on")
            return deal

    async def _find_out(self, deal: Deal) -> Deal:
        """Whether its word is in the stream. If not, its place there is taken, as it may still be on its way. Raises
        NotStored while the stream cannot be asked."""
        stored = await self.bus.is_stored(deal.subject, deal.said)
        if not stored:
            await self.bus.withdraw(deal.said, deal.peer, NoDeal(table=deal.table, talk=deal.id))
            stored = await self.bus.is_stored(deal.subject, deal.said)
        return await self._settle_as(deal, "on" if stored else "off")

    # ---------------------------------------------------------------- life

    async def end(self, talk: Talk | Deal) -> None:
        """Forget a talk: refused, done or revoked. Raises NotStored."""
        if talk.peer is not None and (talk.peer, talk.id) in self._deals:
            await self._drop((talk.peer, talk.id))

    @restores
    async def restore(self) -> None:
        """Take up what a former life wrote down, and find out what became of it."""
        self.bus.book = self
        self._kept = self._used = await self.state.get("deals", int) or 0
        for slot in range(self._kept):
            deal = await self.state.get(_key(slot), Deal)
            if deal is None:
                self._free.append(slot)
            else:
                self._deals[deal.peer, deal.id] = deal
                self._slots[deal.peer, deal.id] = slot
        await self.tidy()

    @rejoined
    async def rejoin(self) -> None:
        await self.tidy()

    @every(TIDY_EVERY_S)
    async def tidy(self) -> None:
        """Settle what is still closing, and drop what has run out."""
        for deal in list(self._deals.values()):
            with suppress(NotStored):
                if deal.phase == "closing":
                    await self._resume(deal)
                elif deal.until <= self.clock.now():
                    await self._drop((deal.peer, deal.id))

    async def _resume(self, deal: Deal) -> None:
        async with self._closing.setdefault(deal.subject, asyncio.Lock()):
            if self._deals.get((deal.peer, deal.id)) != deal:
                return
            settled = await self._find_out(deal)
        for watcher in self._watchers.get(deal.table, ()):
            try:
                await watcher(settled)
            except Exception:  # one skill's trouble must not keep the others from knowing
                log.exception("%s: nobody could be told that it is %s", deal.id, settled.phase)

    # ---------------------------------------------------------------- writing down

    async def _settle_as(self, deal: Deal, phase: Phase) -> Deal:
        return await self._put(msgspec.structs.replace(deal, phase=phase))

    async def _put(self, deal: Deal) -> Deal:
        key = deal.peer, deal.id
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = await self._slot(deal.table)
        try:
            await self.state.put(_key(slot), deal)
        except NotStored:
            if key not in self._deals:
                self._free.append(self._slots.pop(key))
            raise
        self._deals[key] = deal
        return deal

    async def _slot(self, table: str) -> int:
        if self._free:
            return self._free.pop()
        async with self._growing:
            if self._used >= SLOTS:
                raise TooManyDeals(table)
            if self._used >= self._kept:
                more = min(SLOTS, max(16, 2 * self._kept))
                await self.state.put("deals", more)  # a restart looks at all slots below
                self._kept = more
            self._used += 1
            return self._used - 1

    async def _drop(self, key: tuple[Address, str]) -> None:
        await self.state.delete(_key(self._slots[key]))
        if self._deals.pop(key, None) is not None:
            self._free.append(self._slots.pop(key))


def _deal(talk: Talk, phase: Phase, terms: msgspec.Struct, until: float) -> Deal:
    assert talk.peer is not None  # the bus carries it
    body = Raw(msgspec.json.encode(terms))
    return Deal(id=talk.id, table=talk.table.name, peer=talk.peer, phase=phase, closer=False, terms=body, until=until)


def _key(slot: int) -> str:
    return f"deal-{slot}"
