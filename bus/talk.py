"""One side of one conversation, held to its table."""

import asyncio
from collections import deque
from typing import Any, Protocol, TypeVar, overload

from bus.address import Address
from bus.clock import Clock, patience
from contracts.kit import END, Conversation, Lapsed, Message

A = TypeVar("A", bound=Message)
B = TypeVar("B", bound=Message)
C = TypeVar("C", bound=Message)


_SOON_S = 0.02  # wall time, far below what any table calls silence


class OutOfTurn(Exception):
    """The table does not let this side say this now. As a received word it is refused; as our own it is a bug."""

    def __init__(self, table: str, side: str, word: str, state: str, may: list[str]) -> None:
        allowed = ", ".join(may) or "nothing"
        super().__init__(f"{table}: {side} may not say {word} in state {state!r}; allowed there: {allowed}")
        self.table, self.side, self.word, self.state = table, side, word, state


class Deaf(Exception):
    """``hear`` was not ready for everything that the table allows here."""


class Carrier(Protocol):
    """What a talk needs of the bus: send one word to the peer and return when it counts."""

    async def send(self, message: Message, last: bool) -> None: ...


class Talk:
    """One side of a conversation. ``say`` and ``hear`` move it along the table or raise.

    ``id`` is the same on both sides and names the trace; ``transcript`` is what was said so far; ``peer`` is whom the
    servers vouch for, None only where no bus carries the talk.
    """

    def __init__(
        self, table: Conversation, side: str, id: str, carrier: Carrier, clock: Clock, peer: Address | None = None
    ) -> None:
        self.table, self.side, self.id, self.peer = table, side, id, peer
        self.peer_side = table.answerer if side == table.opener else table.opener
        self.state = table.start
        self.transcript: list[str] = []
        self._carrier, self._clock = carrier, clock
        self._heard: deque[Message] = deque()
        self._news: asyncio.Future[None] | None = None
        self._sleeper: asyncio.Task[None] | None = None

    def _step(self, side: str, message: Message) -> None:
        turns = self.table.turns_in(self.state)
        for turn in turns:
            if turn.speaker == side and type(message) is turn.says:
                self.state = turn.then
                self.transcript.append(f"{side}: {type(message).__name__}")
                return
        may = [t.says.__name__ for t in turns if t.speaker == side]
        raise OutOfTurn(self.table.name, side, type(message).__name__, self.state, may)

    def check(self, message: Message) -> None:
        """Raise OutOfTurn unless the peer may say this in the state that follows what was already received."""
        state = self.state
        for earlier in [*self._heard, message]:
            for turn in self.table.turns_in(state):
                if turn.speaker == self.peer_side and type(earlier) is turn.says:
                    state = turn.then
                    break
            else:
                may = [t.says.__name__ for t in self.table.turns_in(state) if t.speaker == self.peer_side]
                raise OutOfTurn(self.table.name, self.peer_side, type(message).__name__, state, may)

    def deliver(self, message: Message) -> None:
        """A word of the peer has arrived. Raises OutOfTurn and changes nothing when it may not come now."""
        self.check(message)
        self._heard.append(message)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def say(self, message: Message) -> None:
        """Say a word; durable words are stored when this returns. Raises OutOfTurn, NotStored."""
        before = self.state
        self._step(self.side, message)
        try:
            await self._carrier.send(message, self.state == END)
        except BaseException:
            if not self._heard:  # an answer would prove that it was said after all
                self.state = before  # not said: the table stays where it was
                self.transcript.pop()
            raise

    def hear_opening(self) -> Message:
        """The word that opened the talk, on the answering side."""
        message = self._heard.popleft()
        self._step(self.peer_side, message)
        return message

    @overload
    async def hear(self, a: type[A], b: type[Lapsed], /) -> A | Lapsed: ...
    @overload
    async def hear(self, a: type[A], b: type[B], c: type[Lapsed], /) -> A | B | Lapsed: ...
    @overload
    async def hear(self, a: type[A], b: type[B], c: type[C], d: type[Lapsed], /) -> A | B | C | Lapsed: ...
    async def hear(self, *kinds: type[Any]) -> Any:
        """The peer's next word, or Lapsed when it stayed silent as long as the table says.

        Every word that the table allows here must be named; raises Deaf otherwise.
        """
        lapse = self.table.lapse_in(self.state)
        may = {t.says for t in self.table.turns_in(self.state)} | ({Lapsed} if lapse else set())
        if set(kinds) != may:
            raise Deaf(f"{self.table.name}/{self.state}: be ready for {sorted(k.__name__ for k in may)}")
        assert lapse is not None  # Conversation.faults() lets no state wait for ever
        if not self._heard:
            await self._wait(patience(self._clock, lapse.after))
        if not self._heard:
            state, self.state = self.state, lapse.then
            self.transcript.append(f"silence for {lapse.after:g} s")
            return Lapsed(state)
        message = self._heard.popleft()
        self._step(self.peer_side, message)
        return message

    async def _wait(self, seconds: float) -> None:
        """Until a word is there or run time has passed. No task group: it would be most of what a short talk costs."""
        loop = asyncio.get_running_loop()
        self._news = news = loop.create_future()
        until = self._clock.now() + seconds
        if self._clock.speed > 0:  # time passes by itself: most answers are here before a sleeper is worth its task
            alarm: asyncio.Handle | asyncio.Task[None] = loop.call_later(_SOON_S, self._sleep, until, news)
        else:
            alarm = self._sleep(until, news)
        try:
            await news
        finally:
            self._news = None
            alarm.cancel()
            if self._sleeper is not None:
                self._sleeper.cancel()
                self._sleeper = None

    def _sleep(self, until: float, news: "asyncio.Future[None]") -> "asyncio.Task[None]":
        self._sleeper = asyncio.get_running_loop().create_task(self._lapse(until, news))
        return self._sleeper

    async def _lapse(self, until: float, news: "asyncio.Future[None]") -> None:
        try:
            await self._clock.sleep_until(until)
        except Exception as problem:  # a clock that fails must not leave the talk waiting
            if not news.done():
                news.set_exception(problem)
        else:
            if not news.done():
                news.set_result(None)
