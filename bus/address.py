"""Addresses and every subject that is made from them. Nobody types a subject anywhere else.

Three planes, each with a home twin below ``home.`` that no link between site and hub carries:

    to.<to site>.<to role>.<to name>.<from site>.<from role>.<from name>.<topic>.<edition>.<word>
    say.<from site>.<from role>.<from name>.<topic>.<edition>.<word>
    group.<group>.<from site>.<from role>.<from name>.<topic>.<edition>.<word>

The servers' permissions bind the sender tokens to the credential: the receiver believes the subject, never the payload.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from contracts.kit import Message, word_of

TOKEN = re.compile(r"[a-z0-9_-]+\Z")
HOME = "home."


class BadAddress(ValueError):
    """Not ``site.role.name`` of ``[a-z0-9_-]+`` tokens."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text!r} is no address: write site.role.name, each of a-z, 0-9, _ and -")
        self.text = text


@dataclass(frozen=True, slots=True)
class Address:
    """One agent: ``h07.cem.main``, ``grid.dso.north``."""

    site: str
    role: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Raises BadAddress."""
        parts = text.split(".")
        if len(parts) != 3 or not all(TOKEN.match(p) for p in parts):
            raise BadAddress(text)
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.site}.{self.role}.{self.name}"

    @property
    def mailboxes(self) -> tuple[str, str]:
        """What this agent subscribes to for words addressed to it: from the grid side and from its own site."""
        return f"to.{self}.>", f"home.to.{self}.>"

    @property
    def inbox(self) -> str:
        """Prefix of the private inbox for JetStream's own replies; agents' words never go there."""
        return f"_R.{self}"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a subject says. ``receiver`` is None unless addressed, ``group`` unless a group's."""

    plane: str
    home: bool
    sender: Address
    receiver: Address | None
    group: str | None
    topic: str
    edition: int
    word: str


def tail(kind: type[Message]) -> str:
    """The last three tokens of every subject of this word."""
    return f"{kind.topic}.{kind.edition}.{word_of(kind)}"


def is_home(sender: Address, receiver: Address) -> bool:
    """Words between agents of one site stay there."""
    return sender.site == receiver.site


@lru_cache(maxsize=65536)
def to(receiver: Address, sender: Address, kind: type[Message]) -> str:
    root = HOME if is_home(sender, receiver) else ""
    return f"{root}to.{receiver}.{sender}.{tail(kind)}"


@lru_cache(maxsize=65536)
def say(sender: Address, kind: type[Message], *, home: bool) -> str:
    return f"{HOME if home else ''}say.{sender}.{tail(kind)}"


def group(name: str, sender: Address, kind: type[Message]) -> str:
    return f"group.{name}.{sender}.{tail(kind)}"


def heard(kind: type[Message], *, site: str = "*", role: str = "*", name: str = "*", home: bool) -> str:
    """The subscription for what agents say about themselves."""
    return f"{HOME if home else ''}say.{site}.{role}.{name}.{tail(kind)}"


@lru_cache(maxsize=65536)
def parse(subject: str) -> Parsed | None:
    """Take a subject apart; None when it is none of ours, down to the last token: one word has one subject."""
    home = subject.startswith(HOME)
    tokens = (subject[len(HOME) :] if home else subject).split(".")
    receiver: Address | None = None
    name: str | None = None
    if not all(map(TOKEN.match, tokens)):
        return None
    try:
        match tokens:
            case ["to", ts, tr, tn, fs, fr, fn, topic, edition, word]:
                receiver = Address(ts, tr, tn)
            case ["say", fs, fr, fn, topic, edition, word]:
                pass
            case ["group", name, fs, fr, fn, topic, edition, word] if not home:
                pass
            case _:
                return None
        if str(int(edition)) != edition:
            return None
        return Parsed(tokens[0], home, Address(fs, fr, fn), receiver, name, topic, int(edition), word)
    except ValueError:
        return None


def sender_of(subject: str) -> Address:
    """Whose word it is. Raises ValueError where the subject is nobody's."""
    parsed = parse(subject)
    if parsed is None:
        raise ValueError(subject)
    return parsed.sender
