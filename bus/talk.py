"""One side of one conversation, held to its table."""

import asyncio
from collections import deque
from typing import Any, NamedTuple, Protocol, TypeVar, overload

from bus import tracing
from bus.address import Address
from bus.clock import Clock, patience
from bus.store import Sealed
from contracts.kit import END, Conversation, Lapse, Lapsed, Message

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

    def seal(self, message: Message) -> Sealed: ...

    async def post(self, sealed: Sealed) -> None: ...


class _Here(NamedTuple):
    """What a table says about one state, looked up once: words are checked far more often than tables are made."""

    then: dict[tuple[str, type[Message]], str]
    """Where a word of a side leads."""
    ready: frozenset[type[Any]]
    """What a listener must be ready for."""
    lapse: Lapse | None


_NOWHERE = _Here({}, frozenset(), None)
_states: dict[int, tuple[Conversation, dict[str, _Here]]] = {}


def _states_of(table: Conversation) -> dict[str, _Here]:
    known = _states.get(id(table))
    if known is not None:  # the table is kept beside it, so no other one gets its id
        return known[1]
    made = {}
    for state in {turn.state for turn in table.turns}:
        turns, lapse = table.turns_in(state), table.lapse_in(state)
        ready = frozenset[type[Any]](turn.says for turn in turns) | ({Lapsed} if lapse else set())
        made[state] = _Here({(turn.speaker, turn.says): turn.then for turn in turns}, ready, lapse)
    _states[id(table)] = table, made
    return made


class Talk:
    """One side of a conversation. ``say`` and ``hear`` move it along the table or raise.

    ``id`` is the same on both sides and names the trace; ``transcript`` is what was said so far; ``peer`` is whom the
    servers vouch for, None only where no bus carries the talk; ``lapsed`` once silence has moved it on; ``last`` is the
    kind of the last word. ``opened_at``: when the peer said the opening, by its own clock; None where we did.
    """

    def __init__(
        self, table: Conversation, side: str, id: str, carrier: Carrier, clock: Clock, peer: Address | None = None
    ) -> None:
        self.table, self.side, self.id, self.peer = table, side, id, peer
        self.peer_side = table.answerer if side == table.opener else table.opener
        self.state = table.start
        self._states = _states_of(table)
        self.transcript: list[str] = []
        self.lapsed = False
        self.opened_at: float | None = None
        self.last: type[Message] | None = None
        self._carrier, self._clock = carrier, clock
        self._heard: deque[Message] = deque()
        self._news: asyncio.Future[None] | None = None
        self._sleeper: asyncio.Task[None] | None = None

    def _step(self, side: str, message: Message) -> None:
        self.state = self._after(self.state, side, message)
        self.last = type(message)
        self.transcript.append(f"{side}: {self.last.__name__}")

    def _after(self, state: str, side: str, message: Message) -> str:
        then = self._states.get(state, _NOWHERE).then
        try:
            return then[side, type(message)]
        except KeyError:
            may = [word.__name__ for speaker, word in then if speaker == side]
            raise OutOfTurn(self.table.name, side, type(message).__name__, state, may) from None

    def check(self, message: Message) -> None:
        """Raise OutOfTurn unless the peer may say this in the state that follows what was already received."""
        state = self.state
        for earlier in self._heard:
            state = self._after(state, self.peer_side, earlier)
        self._after(state, self.peer_side, message)

    def deliver(self, message: Message) -> None:
        """A word of the peer has arrived. Raises OutOfTurn and changes nothing when it may not come now."""
        self.check(message)
        self._heard.append(message)
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def seal(self, message: Message) -> Sealed:
        """Put a durable word into its envelope, so that its id is known before it is said. Raises OutOfTurn."""
        self._after(self.state, self.side, message)
        return self._carrier.seal(message)

    async def say(self, message: Message, sealed: Sealed | None = None) -> None:
        """Say a word; durable words are stored when this returns. Raises OutOfTurn, NotStored.

        ``sealed``: what ``seal`` made of it.
        """
        before = self.state
        self._step(self.side, message)
        try:
            if sealed is None:
                await self._carrier.send(message, self.state == END)
            else:
                await self._carrier.post(sealed)
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
        here = self._states.get(self.state, _NOWHERE)
        if here.ready != set(kinds):
            raise Deaf(f"{self.table.name}/{self.state}: be ready for {sorted(k.__name__ for k in here.ready)}")
        lapse = here.lapse
        assert lapse is not None  # Conversation.faults() lets no state wait for ever
        if not self._heard:
            await self._wait(patience(self._clock, lapse.after))
        if not self._heard:
            state, self.state, self.lapsed = self.state, lapse.then, True
            self.transcript.append(f"silence for {lapse.after:g} s")
            tracing.note("silence", {"gridparley.state": state})
            return Lapsed(state)
        message = self._heard.popleft()
        self._step(self.peer_side, message)
        tracing.heard(message, self.state)
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
