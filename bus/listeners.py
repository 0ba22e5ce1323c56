"""Who is given what: each kind of word's listeners, answerers and settlers, and what a subject says, looked up once."""

import inspect
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from bus import tracing
from bus.address import Address, Parsed, is_home, parse
from bus.envelope import Envelope, decoder
from bus.talk import Talk
from contracts.kit import Conversation, Message, Role, vocabulary
from contracts.system import NoDeal

Listener = Callable[..., Any]
Answerer = Callable[[Talk, Any], Coroutine[Any, Any, Any]]


class Heard(msgspec.Struct, frozen=True):
    """Who said a word and when; the sender is what the servers vouch for."""

    sender: Address
    id: str
    at: float
    talk: str | None
    trace: str | None
    home: bool
    group: str | None = None

    @property
    def attributes(self) -> dict[str, str | int | float | bool]:
        """What a span says about a word that has come."""
        found: dict[str, str | int | float | bool] = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.operation.name": "hear",
            "messaging.message.id": self.id,
            "gridparley.peer": str(self.sender),
        }
        if self.talk is not None:
            found["messaging.message.conversation_id"] = self.talk
        return found


class Ear(NamedTuple):
    """Who is given a word, and the roles it is taken from; none means any. With a table, the word opens a talk."""

    give: Callable[..., Any]
    roles: frozenset[str]
    waits: bool
    table: Conversation | None

    def takes(self, role: str) -> bool:
        return not self.roles or role in self.roles


class Word(NamedTuple):
    """All that a subject says, looked up once."""

    parsed: Parsed
    kind: type[Message]
    stem: str
    """The sender, before an id: one agent's ids are not another's."""
    decode: Callable[[bytes], Envelope[Any]]
    listeners: list[Ear]
    openings: list[Ear]
    settlers: list[Ear]
    counts_stored: bool
    """What is heard of it is nothing, what its stream has is the word, however late it is read."""


@dataclass(slots=True)
class _Ears:
    listeners: list[Ear] = field(default_factory=list)
    openings: list[Ear] = field(default_factory=list)
    settlers: list[Ear] = field(default_factory=list)


class Listeners:
    """``known`` is by subject, for who looks there first; ``resolve`` fills it."""

    def __init__(self, address: Address) -> None:
        self.known: dict[str, Word] = {}
        self._address = address
        self._words = vocabulary()
        self._ears: dict[type[Message], _Ears] = {}

    def on(self, kind: type[Message], listener: Listener, of: Iterable[Role]) -> None:
        roles = frozenset(role.name for role in of)
        ears = self._ears.setdefault(kind, _Ears())
        ears.listeners.append(Ear(listener, roles, inspect.iscoroutinefunction(listener), None))

    def answer(self, table: Conversation, answerer: Answerer) -> None:
        """Raises ValueError when the word opens another talk here already: nobody could tell the two apart."""
        ears = self._ears.setdefault(table.opening, _Ears())
        if ears.openings:
            raise ValueError(f"{self._address} already answers {table.opening.__name__}: one answerer for each opening")
        ears.openings.append(Ear(answerer, frozenset(role.name for role in table.opened_by), True, table))

    def settle(self, table: Conversation, settler: Listener) -> None:
        for word in table.deal:
            closers = table.opened_by if table.closer(word) == table.opener else table.answered_by
            ears = self._ears.setdefault(word, _Ears())
            ears.settlers.append(Ear(settler, frozenset(role.name for role in closers), True, table))

    def resolve(self, subject: str) -> Word | None:
        """None: a subject of nobody, or a word of no contract."""
        parsed = parse(subject)
        kind = self._words.get((parsed.topic, parsed.edition, parsed.word)) if parsed else None
        if parsed is None or kind is None:
            return None
        if parsed.receiver is not None and parsed.home != is_home(parsed.sender, parsed.receiver):
            return None
        if len(self.known) > 65536:
            self.known.clear()
        ears = self._ears.get(kind, _Ears())
        stem = f"{parsed.sender} "
        stored = bool(ears.settlers) or (kind is NoDeal and bool(ears.listeners))
        word = Word(
            parsed,
            kind,
            stem,
            decoder(kind).decode,
            ears.listeners,
            ears.openings,
            ears.settlers,
            stored and parsed.receiver is not None,
        )
        self.known[subject] = word
        return word


def heard(parsed: Parsed, envelope: Envelope[Any]) -> Heard:
    """What a listener is told beside the word."""
    return Heard(
        parsed.sender,
        envelope.id,
        envelope.at.timestamp(),
        envelope.talk,
        envelope.trace,
        parsed.home,
        parsed.group,
    )


def hearing(how: str, body: Message, where: Heard) -> AbstractContextManager[tracing.Mark]:
    """The span in which a word of a trace is dealt with."""
    attributes: tracing.Attributes = {}
    if tracing.on():
        attributes = {**where.attributes, **tracing.because(tracing.reason_of(body))}
    return tracing.span(f"{how} {type(body).__name__}", attributes, parent=where.trace, kind="consumer")
