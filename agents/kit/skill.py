"""Marks that say what a skill hears, answers and does. They only mark: a test builds the dataclass and calls methods.

What an agent says and hears can be listed from the marks without starting it; the servers' permissions, the
documentation and the console are made from that list.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from contracts.kit import Conversation, Message, Role

F = TypeVar("F", bound=Callable[..., Any])
K = TypeVar("K", bound=type)
Where = Literal["home", "grid", "addressed"]


@dataclass(frozen=True)
class Hears:
    """``kind`` from ``of`` (empty: anyone): said at home, said on the grid side, or addressed to the agent."""

    kind: type[Message]
    of: tuple[Role, ...]
    where: Where


@dataclass(frozen=True)
class Every:
    """A period in run seconds, or the name of a settings field that holds it."""

    period: float | str


@dataclass(frozen=True)
class Settles:
    """The words of the peer that make a deal of this table."""

    table: Conversation


@dataclass(frozen=True)
class Declared:
    """What a skill says. The servers let an agent say nothing else."""

    says_home: tuple[type[Message], ...] = ()
    says_grid: tuple[type[Message], ...] = ()
    tells: tuple[tuple[type[Message], tuple[Role, ...]], ...] = ()
    opens: tuple[Conversation, ...] = ()
    speaks_to_groups: bool = False
    use_cases: tuple[str, ...] = ()


def skill(
    *,
    says_home: tuple[type[Message], ...] = (),
    says_grid: tuple[type[Message], ...] = (),
    tells: tuple[tuple[type[Message], tuple[Role, ...]], ...] = (),
    opens: tuple[Conversation, ...] = (),
    speaks_to_groups: bool = False,
    use_cases: tuple[str, ...] = (),
) -> Callable[[K], K]:
    """Declare what a skill says: about itself at home or to the grid side, addressed outside of tables, or in talks."""

    def put(cls: K) -> K:
        cls.__declared__ = Declared(says_home, says_grid, tells, opens, speaks_to_groups, use_cases)  # type: ignore[attr-defined]
        return cls

    return put


def _mark(what: object) -> Callable[[F], F]:
    def put(function: F) -> F:
        function.__dict__.setdefault("__marks__", []).append(what)
        return function

    return put


def hears(kind: type[Message], *, of: tuple[Role, ...] = (), where: Where) -> Callable[[F], F]:
    """``method(self, message, heard)``: plain functions are called in order and must not block."""
    return _mark(Hears(kind, of, where))


def answers(table: Conversation) -> Callable[[F], F]:
    """``async method(self, talk, opening)``: our side of a conversation that somebody opened with us."""
    return _mark(table)


def settles(table: Conversation) -> Callable[[F], F]:
    """``async method(self, word, heard)``: the peer has made the deal, in a talk that either side may have opened.

    Called once for each such word that its stream has, whether our side of the talk still waits, has lapsed or was lost
    in a restart, and before the talk hears it; called again after a crash in the middle. ``deals.honour(word, heard)``
    is what it does first. Raising NotStored brings the word again, OutOfTurn refuses it.
    """
    return _mark(Settles(table))


def every(period: float | str) -> Callable[[F], F]:
    """``async method(self)`` or plain: done each period of run time, without drift."""
    return _mark(Every(period))


@dataclass(frozen=True)
class _Moment:
    name: str


RESTORES, STARTED, STOPPING, REJOINED = (
    _Moment("restores"),
    _Moment("started"),
    _Moment("stopping"),
    _Moment("rejoined"),
)


def restores(function: F) -> F:
    """``async``: take up what a former life left, before anything is heard."""
    return _mark(RESTORES)(function)


def started(function: F) -> F:
    """``async``: once everything can be heard; runs as a task for as long as it likes."""
    return _mark(STARTED)(function)


def stopping(function: F) -> F:
    """``async``: an orderly stop; a few wall seconds at most."""
    return _mark(STOPPING)(function)


def rejoined(function: F) -> F:
    """``async``: the connection to our own server is back."""
    return _mark(REJOINED)(function)


def marks_of(cls: type) -> list[tuple[str, object]]:
    """(method name, mark) of every marked method, in order of definition."""
    return [
        (name, mark)
        for base in reversed(cls.__mro__)
        for name, method in vars(base).items()
        for mark in getattr(method, "__marks__", ())
    ]


@dataclass(frozen=True)
class Vocabulary:
    """All that an agent says and hears: the sum over its skills."""

    says_home: frozenset[type[Message]] = field(default_factory=frozenset)
    says_grid: frozenset[type[Message]] = field(default_factory=frozenset)
    tells: frozenset[tuple[type[Message], Role]] = field(default_factory=frozenset)
    opens: tuple[Conversation, ...] = ()
    answers: tuple[Conversation, ...] = ()
    hears: tuple[Hears, ...] = ()
    speaks_to_groups: bool = False
    use_cases: tuple[str, ...] = ()


def vocabulary_of(skills: tuple[type, ...]) -> Vocabulary:
    declared = [getattr(cls, "__declared__", Declared()) for cls in skills]
    marks = [mark for cls in skills for _, mark in marks_of(cls)]
    return Vocabulary(
        says_home=frozenset(kind for d in declared for kind in d.says_home),
        says_grid=frozenset(kind for d in declared for kind in d.says_grid),
        tells=frozenset((kind, role) for d in declared for kind, roles in d.tells for role in roles),
        opens=tuple({table.name: table for d in declared for table in d.opens}.values()),
        answers=tuple({m.name: m for m in marks if isinstance(m, Conversation)}.values()),
        hears=tuple(m for m in marks if isinstance(m, Hears)),
        speaks_to_groups=any(d.speaks_to_groups for d in declared),
        use_cases=tuple(sorted({u for d in declared for u in d.use_cases})),
    )
