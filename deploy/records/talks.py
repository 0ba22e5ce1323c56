"""Talks as they were: who, when, what was said and why, and whether there is a deal. Pure: recorded words in.

What passes the hub is in the run's records; what stays at home is there for the homes whose topology has an
``ops.recorder`` of their own, and then in a file of its own: it never leaves the machine that the home's server is on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from contracts.all import conversations
from contracts.kit import END, Conversation, word_of
from deploy.records.rows import Event, events
from deploy.records.run_facts import RECORDS

HOMES = "homes"
"""Below the run's records: one folder of records per home that is listened to."""
Ended = Literal["open", "deal", "no deal", "answered", "lapsed"]


class NoTalk(Exception):
    """Nothing of this id was recorded."""

    def __init__(self, id: str) -> None:
        super().__init__(
            f"no talk {id!r} was recorded: `gridparley talks` lists them; a home's own need an ops recorder at the site"
        )


@dataclass
class Told:
    """One talk. Instants are run seconds; ``now`` is as far as the records go."""

    id: str
    table: Conversation
    words: list[Event] = field(default_factory=list)
    now: float = 0.0

    @property
    def opener(self) -> str:
        return self.words[0].sender

    @property
    def answerer(self) -> str:
        return self.words[0].receiver or "?"

    @property
    def start(self) -> float:
        return self.words[0].at

    @property
    def took_s(self) -> float:
        return self.words[-1].at - self.start

    @property
    def state(self) -> str:
        """Where the table is after what was said; a word out of turn moves nothing."""
        return _walk(self.table, self.words)[0]

    @property
    def outcome(self) -> Ended:
        state, last = _walk(self.table, self.words)
        if state != END:
            lapse = self.table.lapse_in(state)
            return "lapsed" if lapse is not None and self.now > self.words[-1].at + 2 * lapse.after else "open"
        if not self.table.deal:
            return "answered"
        return "deal" if last in {word_of(word) for word in self.table.deal} else "no deal"

    @property
    def sites(self) -> set[str]:
        return {self.opener.partition(".")[0], self.answerer.partition(".")[0]}

    @property
    def reason(self) -> str:
        """Of the last word that gives one."""
        return next((text for event in reversed(self.words) if (text := reason_of(event))), "")


def _walk(table: Conversation, words: Iterable[Event]) -> tuple[str, str]:
    state, last = table.start, ""
    sides = _sides(table, words)
    for event in words:
        side = sides.get(event.sender)
        turn = next((t for t in table.turns_in(state) if t.speaker == side and word_of(t.says) == event.word), None)
        if turn is not None:
            state, last = turn.then, event.word
    return state, last


def _sides(table: Conversation, words: Iterable[Event]) -> dict[str, str]:
    first = next(iter(words), None)
    if first is None:
        return {}
    return {first.sender: table.opener, first.receiver or "?": table.answerer}


@lru_cache(maxsize=1)
def _openings() -> dict[tuple[str, str], Conversation]:
    return {(table.opening.topic, word_of(table.opening)): table for table in conversations().values()}


def recorded(folder: Path) -> Iterator[Event]:
    """Every word of a run that was said in a talk, at the hub and in its homes, each once."""
    seen: set[tuple[str, str]] = set()
    places = [folder / RECORDS, *sorted((folder / RECORDS / HOMES).glob("*"))]
    for place in places:
        for event in events(place):
            key = (event.sender, event.id)
            if event.talk is not None and event.receiver is not None and key not in seen:
                seen.add(key)
                yield event


def talks(words: Iterable[Event]) -> list[Told]:
    """In the order of their beginning. Words whose opening was not recorded make no talk."""
    by_id: dict[str, list[Event]] = {}
    now = 0.0
    for event in words:
        now = max(now, event.heard)
        by_id.setdefault(event.talk or "", []).append(event)
    found = []
    for id, said in by_id.items():
        said.sort(key=lambda event: (event.at, event.heard))
        opening = next((n for n, one in enumerate(said) if (one.topic, one.word) in _openings()), None)
        if opening is not None:
            table = _openings()[said[opening].topic, said[opening].word]
            found.append(Told(id=id, table=table, words=said[opening:], now=now))
    return sorted(found, key=lambda talk: talk.start)


def find(found: Iterable[Told], id: str) -> Told:
    """By its id, or by how its id begins where that is one talk's alone. Raises NoTalk."""
    known = list(found)
    exact = [talk for talk in known if talk.id == id]
    begins = exact or [talk for talk in known if talk.id.startswith(id)]
    if len(begins) != 1:
        raise NoTalk(id)
    return begins[0]


# -------------------------------------------------------------------- as text


def row(talk: Told, zone: tzinfo) -> str:
    """One line: id, table, who with whom, state and outcome, when, how long, use cases."""
    who = f"{talk.opener} -> {talk.answerer}"
    state = "" if talk.state == END else f" ({talk.state})"
    cases = ",".join(talk.table.use_cases)
    when = f"{clock(talk.start, zone)}  {talk.took_s:6.1f} s"
    return f"{talk.id:<22} {talk.table.name:<22} {who:<42} {talk.outcome + state:<22} {when}  {cases}"


def sequence(talk: Told, zone: tzinfo) -> list[str]:
    """The talk as it went: each word with its time, who said it, its reason and what else it says."""
    lines = [
        f"{talk.table.name}  {talk.id}",
        f"{talk.table.opener} {talk.opener}, {talk.table.answerer} {talk.answerer}; {talk.table.clause}",
        f"proves {', '.join(talk.table.use_cases) or 'no use case'}",
        f"times are {zone}",
        "",
    ]
    for event in talk.words:
        arrow = "->" if event.sender == talk.opener else "<-"
        name = "".join(part.capitalize() for part in event.word.split("_"))
        lines.append(f"{clock(event.at, zone)} +{event.at - talk.start:6.1f} s  {arrow}  {event.sender}: {name}")
        lines += [f"{'':26}{text}" for text in _says(event)]
    lines += ["", _end(talk)]
    return lines


def _end(talk: Told) -> str:
    deal = "it binds nobody" if not talk.table.deal else "there is a deal"
    match talk.outcome:
        case "deal":
            return f"there is a deal: {talk.words[-1].word} is stored"
        case "no deal":
            return "no deal" + (f": {talk.reason}" if talk.reason else "")
        case "answered":
            return f"it ended as its table says; {deal}"
        case "lapsed":
            return f"it lapsed in state {talk.state!r}: nobody said anything more; no deal"
        case _:
            return f"it goes on, in state {talk.state!r}"


def _says(event: Event) -> list[str]:
    body = _body(event)
    lines = []
    reason = reason_of(event)
    if reason:
        lines.append(f"because {reason}")
    plain = {
        name: value
        for name, value in body.items()
        if name != "reason" and isinstance(value, str | int | float) and value not in ("", False)
    }
    longer = {name: len(value) for name, value in body.items() if isinstance(value, list | dict) and value}
    longer.pop("reason", None)
    said = [f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}" for name, value in plain.items()]
    said += [f"{name}: {count}" for name, count in longer.items()]
    if said:
        lines.append(", ".join(said))
    return lines


def reason_of(event: Event) -> str:
    """The sentence of a word's reason; empty where it has none."""
    reason = _body(event).get("reason")
    return str(reason.get("text", "")) if isinstance(reason, dict) else ""


def _body(event: Event) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(event.body)
    except msgspec.MsgspecError:
        return {}
    return body if isinstance(body, dict) else {}


def clock(at: float, zone: tzinfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%H:%M:%S}"
