"""What a message, a role and a conversation are. Pure: no bus, no clock.

A conversation is one table. The run-time checks on both sides, the scripted partners of the tests, the diagrams and the
permissions of the servers are all read from it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import msgspec

END = "end"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")
_registry: "dict[tuple[str, int, str], type[Message]]" = {}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A word. Who says it, when, in which talk and until when it holds rides in the envelope, not here.

    Subclasses restate ``frozen=True, kw_only=True`` (msgspec does not inherit ``kw_only``).
    """

    topic: ClassVar[str]
    """The subject matter; with edition and word the last three tokens of the subject."""
    edition: ClassVar[int] = 1
    """A breaking change is a new edition; both are served until nobody hears the old one."""
    durable: ClassVar[bool] = False
    """Binds somebody: stored in a stream before it counts, and read again after a crash."""
    ttl_s: ClassVar[float] = 30.0
    """Default deadline after sending, in run time. What arrives later is dropped."""
    clause: ClassVar[str] = ""
    """Where the word comes from: document and clause, or use-case entry."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "topic" not in cls.__dict__ and not any("topic" in base.__dict__ for base in cls.__mro__[1:]):
            return
        key = (cls.topic, cls.edition, word_of(cls))
        known = _registry.get(key)
        if known is not None and known.__module__ != cls.__module__:
            raise TypeError(f"{key} is already the word {known.__qualname__}: rename one of the two")
        _registry[key] = cls


def word_of(kind: type[Message]) -> str:
    """The word as a subject token: ``SetLimit`` -> ``set_limit``."""
    return _WORD.sub("_", kind.__name__).lower()


def vocabulary() -> "dict[tuple[str, int, str], type[Message]]":
    """Every known word by (topic, edition, word); fill it by importing ``contracts.all``."""
    return dict(_registry)


@dataclass(frozen=True)
class Role:
    """A party of a conversation. The name is also the role token of agents' addresses."""

    name: str


@dataclass(frozen=True)
class Turn:
    """In ``state`` the ``speaker`` may say ``says``, which leads to ``then``."""

    state: str
    speaker: str
    says: type[Message]
    then: str


@dataclass(frozen=True)
class Lapse:
    """What silence means: ``after`` seconds of run time in ``state`` lead to ``then``."""

    state: str
    after: float
    then: str = END


class Lapsed(msgspec.Struct, frozen=True):
    """Heard instead of a word when the listener has waited as long as the table says."""

    state: str = ""


@dataclass(frozen=True)
class Conversation:
    """A table of turns between two sides.

    A side is a part in the play, named as its standard names it (``energy_guard``); ``opened_by`` and ``answered_by``
    list the roles that may play it, so that one table serves, say, a DSO and a head-end as energy guard.

    ``deal`` are the words that make it binding: there is a deal exactly if one of them is in the stream that its
    receiver reads. A table without any informs and binds nobody.
    """

    name: str
    opener: str
    opened_by: tuple[Role, ...]
    answerer: str
    answered_by: tuple[Role, ...]
    turns: Sequence[Turn]
    lapses: Sequence[Lapse] = ()
    clause: str = ""
    use_cases: tuple[str, ...] = ()
    deal: tuple[type[Message], ...] = ()

    @property
    def start(self) -> str:
        return self.turns[0].state

    @property
    def opening(self) -> type[Message]:
        """The one word that opens the talk."""
        return self.turns[0].says

    def turns_in(self, state: str) -> list[Turn]:
        return [t for t in self.turns if t.state == state]

    def lapse_in(self, state: str) -> Lapse | None:
        return next((lapse for lapse in self.lapses if lapse.state == state), None)

    def says(self, side: str) -> set[type[Message]]:
        """Every word this side may ever say: the permissions are made from it."""
        return {t.says for t in self.turns if t.speaker == side}

    def closer(self, word: type[Message]) -> str:
        """The side that says a word of the deal. Raises KeyError when the table has no such word."""
        for turn in self.turns:
            if turn.says is word:
                return turn.speaker
        raise KeyError(f"{self.name}: nobody says {word.__name__}")

    def faults(self) -> list[str]:
        """What is wrong with the table; empty when it is sound."""
        bad: list[str] = []
        states = {t.state for t in self.turns}
        for state in states:
            turns = self.turns_in(state)
            if len({t.speaker for t in turns}) > 1:
                bad.append(f"{state}: both sides may speak, so their words can cross")
            if len({t.says for t in turns}) < len(turns):
                bad.append(f"{state}: one word leads to two states")
            if state != self.start and self.lapse_in(state) is None:
                bad.append(f"{state}: waits for ever")
        if len(self.turns_in(self.start)) != 1 or self.turns[0].speaker != self.opener:
            bad.append(f"{self.start}: exactly one word of the opener must open the talk")
        targets = {t.then for t in self.turns} | {lapse.then for lapse in self.lapses}
        bad += [f"leads to unknown state {target}" for target in targets - states - {END}]
        reached = targets | {self.start}
        bad += [f"{state}: cannot be reached" for state in states - reached]
        bad += [
            f"{lapse.state}: silence is defined for an unknown state"
            for lapse in self.lapses
            if lapse.state not in states
        ]
        return sorted(bad + self._deal_faults())

    def _deal_faults(self) -> list[str]:
        bad: list[str] = []
        for word in self.deal:
            turns = [t for t in self.turns if t.says is word]
            name = word.__name__
            if not turns:
                bad.append(f"{name}: makes the deal, but nobody says it")
            if not word.durable:
                bad.append(f"{name}: makes the deal, but no stream keeps it")
            if any(t.then != END for t in turns):
                bad.append(f"{name}: makes the deal, but the talk goes on after it")
            if len({t.speaker for t in turns}) > 1:
                bad.append(f"{name}: both sides could make the deal with it")
        return bad

    def paths(self, at: str | None = None, seen: tuple[Turn, ...] = ()) -> Iterator[tuple[Turn, ...]]:
        """Every lawful sequence of turns, each turn at most once."""
        here = at or self.start
        if here == END:
            yield seen
            return
        for turn in self.turns_in(here):
            if turn not in seen:
                yield from self.paths(turn.then, (*seen, turn))

    def mermaid(self) -> str:
        """The table as a state diagram for the documentation."""
        arrows = [(t.state, t.then, f"{t.speaker} says {t.says.__name__}") for t in self.turns]
        arrows += [(lapse.state, lapse.then, f"silence for {lapse.after:g} s") for lapse in self.lapses]
        # Mermaid draws [*] as the dot of start and end; "end" is a word of its own language.
        drawn = {END: "[*]", self.start: "[*]"}
        rows = [f"    {drawn.get(a, a)} --> {drawn.get(b, b)}: {what}" for a, b, what in arrows]
        return "\n".join(["stateDiagram-v2", *rows])
