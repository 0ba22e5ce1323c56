"""Scripted partners of every role: they say anything that their table allows, and on demand what it does not.

Each has the rights of its role and no sense: its words are made up from their types. Everything is read from the tables
and from what the agents declare, so a new table, word or role needs no line here.
"""

import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agents.kit.skill import Vocabulary
from bus.address import Address, parse
from bus.bus import Bus, Heard
from bus.talk import Talk
from contracts.all import conversations
from contracts.kit import END, Conversation, Lapsed, Message, Turn, vocabulary
from contracts.operator import ORDERS
from contracts.roles import OPS
from contracts.system import NoDeal, Refusal
from deploy.permissions import Permissions
from tests.bus.samples import sample
from tests.support.grid import Words

NAME = "scripted"


@dataclass(frozen=True)
class Pair:
    """Who may open a table with whom."""

    table: Conversation
    opener: Address
    answerer: Address


def pairs(permissions: Permissions, openers: list[Address], answerers: list[Address]) -> Iterator[Pair]:
    """Every table between every two that declare it and may meet."""
    for opener in openers:
        is_tool = opener.role == OPS.name
        opened = ORDERS if is_tool else permissions.vocabularies[opener.role].opens
        for table in opened:
            for answerer in (one for one in answerers if one.role in permissions.vocabularies):
                answered = {one.name for one in permissions.vocabularies[answerer.role].answers}
                parties = {role.name for role in table.opened_by}, {role.name for role in table.answered_by}
                fits = opener.role in parties[0] and answerer.role in parties[1] and table.name in answered
                if fits and table.opening in permissions.may_address(opener, answerer):
                    yield Pair(table, opener, answerer)


Choose = Callable[[str, list[Turn]], Turn | None]
"""(state, turns of ours) -> what to say; None: nothing."""


async def converse(talk: Talk, choose: Choose, seed: int = 0) -> None:
    """One side of a talk, until it ends or somebody is silent."""
    while talk.state != END:
        turns = talk.table.turns_in(talk.state)
        if turns[0].speaker == talk.side:
            turn = choose(talk.state, turns)
            if turn is None:
                return
            await talk.say(sample(turn.says, seed))
        else:
            hear: Callable[..., Awaitable[Any]] = talk.hear
            if isinstance(await hear(*(turn.says for turn in turns), Lapsed), Lapsed):
                return


def along(way: tuple[Turn, ...]) -> Choose:
    """Keep to one way through the table."""
    return lambda _state, turns: next((turn for turn in turns if turn in way), None)


@dataclass
class Partner:
    """A scripted agent on its bus. ``refusals``: id of a word of ours -> the reason's code."""

    bus: Bus
    dice: random.Random
    refusals: dict[str, str] = field(default_factory=dict)
    unlawful: list[str] = field(default_factory=list)
    """Ids of the words that it said out of turn."""
    beside: list[str] = field(default_factory=list)
    """Those among them that were said in a talk that was open."""
    way: tuple[Turn, ...] = ()
    """Where it goes when it answers; empty: anywhere that the table leads."""

    def prepare(self, role: Vocabulary | None) -> None:
        """Before it hears: take part in all that its role answers."""
        self.bus.on(Refusal, self.refused)
        for table in role.answers if role is not None else ():
            self.bus.answer(table, self.answer)

    def refused(self, word: Refusal, _heard: Heard) -> None:
        self.refusals[word.of] = word.reason.code

    def any(self, _state: str, turns: list[Turn]) -> Turn:
        return self.dice.choice(turns)

    async def answer(self, talk: Talk, _opening: Message) -> None:
        """First something of this table that it does not allow here, then anything that it allows."""
        here = {turn.says for turn in talk.table.turns_in(talk.state)}
        wrong = sorted(talk.table.says(talk.side) - here, key=lambda kind: kind.__name__)
        if wrong and talk.peer is not None:
            self.beside.append(await self.say_wrongly(talk.peer, self.dice.choice(wrong), talk.id))
        await converse(talk, along(self.way) if self.way else self.any, self.dice.randrange(1000))

    async def say_wrongly(self, peer: Address, kind: type[Message], talk: str | None) -> str:
        """Past the table: as whoever holds the credential could. Returns the word's id."""
        word = sample(kind)
        if kind.durable:
            id = await self.bus.tell_durably(peer, word, talk=talk)
        else:
            id = self.bus.tell(peer, word, talk=talk)
        self.unlawful.append(id)
        return id


def wrong_openings(permissions: Permissions, sender: Address, receiver: Address) -> list[tuple[type[Message], bool]]:
    """Words that one may say to another, but not so: (word, whether in a made-up talk)."""
    mine = permissions.may_address(sender, receiver) - {Refusal, NoDeal}
    if sender.role not in permissions.vocabularies:
        return []  # a tool's orders all open talks, and it has no ears for refusals
    its = permissions.vocabularies[receiver.role]
    listened = {mark.kind for mark in its.hears}
    opening = {table.opening for table in its.answers}
    words = sorted(mine - listened, key=lambda kind: kind.__name__)
    return [(kind, kind not in opening) for kind in words]


def faults(words: Words, unlawful: set[str]) -> list[str]:
    """What was said on the wire in talks and against their tables; ``unlawful``: ids that were meant to be."""
    by_opening = {table.opening: table for table in conversations().values()}
    kinds = vocabulary()
    talks: dict[tuple[frozenset[Address], str], tuple[Conversation, str]] = {}
    found = []
    for subject, payload in words.all:
        parsed = parse(subject)
        if parsed is None or parsed.receiver is None:
            continue
        envelope = msgspec.json.decode(payload)
        kind = kinds.get((parsed.topic, parsed.edition, parsed.word))
        if kind is None or kind in (Refusal, NoDeal) or envelope.get("talk") is None or envelope["id"] in unlawful:
            continue
        key = frozenset((parsed.sender, parsed.receiver)), envelope["talk"]
        if key not in talks:
            table = by_opening.get(kind)
            if table is None:
                found.append(f"{subject}: opens no talk")
                continue
            talks[key] = table, table.start
        table, state = talks[key]
        turn = next((turn for turn in table.turns_in(state) if turn.says is kind), None)
        if turn is None:
            found.append(f"{subject}: not in {table.name}, state {state}")
            continue
        talks[key] = table, turn.then
    return found
