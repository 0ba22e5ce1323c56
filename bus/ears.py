"""The hearing side of an agent: a bounded mailbox, each word taken apart once, checked, and given to who listens.

What does not decode, breaks its limits, comes late, twice, out of turn or from the wrong role changes nothing and is
accounted for in ``counts``: arrived = overflow + busy + unknown_word + undecodable + duplicate + expired + announced +
received, and received ends with a listener or a talk, or as out_of_turn, late, not_heard or wrong_role.

A word that makes a deal counts once its stream has it: what is heard of it before only makes us look there.
"""

import asyncio
import logging
from collections import Counter, deque
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from bus.address import Address, parse, sender_of
from bus.clock import Clock
from bus.envelope import Envelope, id_of, instant
from bus.handled import Handled
from bus.hands import Hands
from bus.listeners import Answerer, Ear, Heard, Listeners, Word, heard, hearing
from bus.talk import OutOfTurn, Talk
from bus.transport import NotStored
from contracts.kit import END, Conversation, Message
from contracts.system import Refusal

log = logging.getLogger("gridparley.bus")

MAILBOX = 8192
"""Words that may wait unread, and words that may be worked on at once. What comes beyond is counted and refused."""
SEEN = 8192
"""At least so many ids are remembered to drop what comes twice, at most twice as many."""
UNHEARD = 1024
"""At least so many talks that we stopped listening to are remembered, so that a late word is known as late."""
AWAITED = 1024
"""Words that may be looked for in their streams at once; the sweep brings those beyond."""
BATCH = 1024  # words handled before others get a turn


class Mouth(Protocol):
    """What the ears need to answer with."""

    def refuse(self, sender: Address, of: str, subject: str, code: str, text: str) -> None: ...

    def bury(self, code: str, error: str, subject: str, payload: bytes) -> None: ...

    def acknowledge(self, token: str) -> None: ...

    def host(self, table: Conversation, id: str, peer: Address) -> Talk: ...

    def table_of(self, peer: Address, talk: str) -> str | None: ...

    async def answer_in(self, talk: Talk, answerer: Answerer, where: Heard) -> None: ...


class Ears:
    """``receive`` is called in the read loop; ``read`` runs in the agent's task group."""

    def __init__(self, address: Address, clock: Clock, mouth: Mouth, handled: Handled, counts: "Counter[str]") -> None:
        self.address = address
        self.heard: Counter[type[Message]] = Counter()
        """Words that were taken, by kind."""
        self.talks: dict[str, Talk] = {}
        """By ``talk_key``: one agent's talks are not another's."""
        self.listeners = Listeners(address)
        self.hands = Hands(mouth.acknowledge)
        self._known = self.listeners.known
        self.announced = asyncio.Event()
        """Set when a word was heard that counts once its stream has it."""
        self.awaited: dict[str, bool] = {}
        """Those words, and whether each is in the site's own stream."""
        self._clock, self._mouth, self._handled, self._counts = clock, mouth, handled, counts
        self._mailbox: deque[tuple[str, bytes]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._emptied = asyncio.Event()
        self._seen: set[str] = set()
        self._seen_before: set[str] = set()
        self._unheard: dict[str, Talk] = {}
        self._unheard_before: dict[str, Talk] = {}
        self._now = instant(0.0)

    # ---------------------------------------------------------------- talks

    def forget(self, key: str, talk: Talk) -> None:
        """Our side of a talk has ended. Where it did not hear it out, what the peer says later is no fault of its."""
        self.talks.pop(key, None)
        if talk.lapsed or talk.state != END:
            self._unheard[key] = talk
            if len(self._unheard) >= UNHEARD:
                self._unheard_before, self._unheard = self._unheard, {}

    # ---------------------------------------------------------------- the mailbox

    @property
    def unread(self) -> int:
        """Words that wait."""
        return len(self._mailbox)

    def receive(self, subject: str, payload: bytes) -> None:
        """Put away, nothing else."""
        if len(self._mailbox) >= MAILBOX:
            self._counts["arrived"] += 1
            self._counts["overflow"] += 1
            self._reject(subject, payload, "busy", f"{self.address} has {MAILBOX} words waiting: say it again later")
            return
        self._mailbox.append((subject, payload))
        if self._reader is not None:
            if not self._reader.done():  # who read has been cancelled
                self._reader.set_result(None)
            self._reader = None

    async def take_stored(self, subject: str, payload: bytes, token: str) -> None:
        """A durable word from its stream. It is acknowledged once it has been dealt with, whichever copy that was."""
        key = self._key_of(subject, payload)
        if key is None:
            await self._room()
            self.receive(subject, payload)  # to the dead letters; it will not get better
            self._mouth.acknowledge(token)
            return
        self.awaited.pop(key, None)
        if key in self.hands.working:
            self.hands.tokens[key] = token
        elif self._is_known(key):
            self._mouth.acknowledge(token)
        else:
            self.hands.tokens[key] = token
            await self._room()
            self.receive(subject, payload)

    def _key_of(self, subject: str, payload: bytes) -> str | None:
        """Which word this is; None when it cannot be read, and then an id in it stands for nothing."""
        try:
            key = f"{sender_of(subject)} {id_of(payload)}"
            if not self._is_known(key):
                word = self._known.get(subject) or self.listeners.resolve(subject)
                if word is None:
                    return None
                word.decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError):
            return None
        return key

    async def _room(self) -> None:
        """Stored words can wait; they must not push out what cannot."""
        while len(self._mailbox) >= MAILBOX // 2:
            self._emptied.clear()
            await self._emptied.wait()

    async def read(self) -> None:
        while True:
            if not self._mailbox:
                self._reader = asyncio.get_running_loop().create_future()
                await self._reader
            batch = min(len(self._mailbox), BATCH)
            self._now = instant(self._clock.now())
            self._counts["arrived"] += batch
            for _ in range(batch):
                subject, payload = self._mailbox.popleft()
                try:
                    self._handle(subject, payload)
                except Exception as problem:  # no word may make the agent deaf
                    self._failed(problem, subject, payload)
            if not self._emptied.is_set():
                self._emptied.set()
            if self._mailbox:
                await asyncio.sleep(0)

    # ---------------------------------------------------------------- one word

    def _is_known(self, key: str) -> bool:
        return key in self._seen or key in self._seen_before or key in self._handled

    def _handle(self, subject: str, payload: bytes) -> None:
        word = self._known.get(subject) or self.listeners.resolve(subject)
        if word is None:
            self._reject(subject, payload, "unknown_word", "no such word in this edition of the contracts")
            return
        parsed, kind, stem, decode, listeners, _, _, counts_stored = word
        try:
            envelope = decode(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as problem:
            self._reject(subject, payload, "undecodable", str(problem))
            return
        key = stem + envelope.id
        if key in self._seen or key in self._seen_before or (kind.durable and key in self._handled):
            self._counts["duplicate"] += 1
            if key not in self.hands.working:
                self.hands.settle(key, kind)
            return
        if counts_stored:
            if key not in self.hands.tokens:
                self._announce(key, parsed.home)
                return
        elif envelope.deadline < self._now:
            self._counts["expired"] += 1
            if parsed.receiver is not None:
                self._mouth.bury("expired", f"deadline was {envelope.deadline.isoformat()}", subject, payload)
            self.hands.settle(key, kind)
            return
        self._seen.add(key)
        if len(self._seen) >= SEEN:
            self._seen_before, self._seen = self._seen, set()
        self._counts["received"] += 1
        self.heard[kind] += 1
        if parsed.receiver is None and listeners and not kind.durable:  # telemetry: the short way
            self._give(word, envelope, key, subject, payload)
            return
        if not kind.durable:
            self._route(word, envelope, key, subject, payload)
            return
        try:
            self.hands.working[key] = self.hands.working.get(key, 0) + 1
            self._route(word, envelope, key, subject, payload)
        finally:
            self.hands.done(key, kind)

    def _route(self, word: Word, envelope: Envelope[Any], key: str, subject: str, payload: bytes) -> None:
        talk_id = envelope.talk
        addressed = word.parsed.receiver is not None
        if talk_id is not None and addressed:
            talk = self.talks.get(word.stem + talk_id)
            if word.settlers:
                ear = self._settler(word, talk_id, talk)
                if ear is not None:
                    self._close(ear, word, envelope, key, subject, payload)
                    return
            if talk is not None:
                try:
                    talk.deliver(envelope.body)
                except OutOfTurn as problem:
                    if talk.lapsed and word.kind in talk.table.says(talk.peer_side):
                        self._counts["late"] += 1
                    else:
                        self._reject(subject, payload, "out_of_turn", str(problem), envelope.id)
                return
        if word.listeners or (word.openings and talk_id is not None and addressed):
            self._give(word, envelope, key, subject, payload)
        elif word.kind is Refusal:
            self._counts["refusals_heard"] += 1
        elif word.openings:
            why = f"{word.kind.__name__} opens a talk: say it to one agent, in a talk"
            self._reject(subject, payload, "out_of_turn", why, envelope.id)
        elif talk_id is not None and self._was_open(word.stem + talk_id, word.kind):
            self._counts["late"] += 1
        elif talk_id is not None:
            self._reject(subject, payload, "out_of_turn", "belongs to no talk that is open here", envelope.id)
        else:
            self._reject(subject, payload, "not_heard", "nobody here listens to this word", envelope.id)

    def _was_open(self, key: str, kind: type[Message]) -> bool:
        """Whether the peer might have said this in a talk of ours, had we not stopped listening."""
        talk = self._unheard.get(key) or self._unheard_before.get(key)
        return talk is not None and kind in talk.table.says(talk.peer_side)

    # ---------------------------------------------------------------- words that make a deal

    def _announce(self, key: str, home: bool) -> None:
        """Heard, but maybe never stored: it counts when its stream brings it."""
        self._counts["announced"] += 1
        if len(self.awaited) < AWAITED:
            self.awaited[key] = home
            self.announced.set()

    def _settler(self, word: Word, talk_id: str, talk: Talk | None) -> Ear | None:
        """Who settles this word. One word may make the deal of several tables; whose it is, the talk tells."""
        name = talk.table.name if talk is not None else self._mouth.table_of(word.parsed.sender, talk_id)
        if name is None:
            return word.settlers[0] if len(word.settlers) == 1 else None
        return next((ear for ear in word.settlers if ear.table is not None and ear.table.name == name), None)

    def _close(self, ear: Ear, word: Word, envelope: Envelope[Any], key: str, subject: str, payload: bytes) -> None:
        role = word.parsed.sender.role
        if not ear.takes(role):
            text = f"a {role} may not say {word.kind.__name__} here"
            self._reject(subject, payload, "wrong_role", text, envelope.id)
            return
        self.hands.working[key] += 1
        self.hands.do(self._settling(ear, word, envelope, key, subject, payload), keeps=True)

    async def _settling(
        self, ear: Ear, word: Word, envelope: Envelope[Any], key: str, subject: str, payload: bytes
    ) -> None:
        where = heard(word.parsed, envelope)
        try:
            if where.trace is None:
                await ear.give(envelope.body, where)
            else:
                with hearing("settle", envelope.body, where):
                    await ear.give(envelope.body, where)
            await self._handled.add(key)
        except NotStored as problem:  # nobody may learn of a deal that we could forget: the stream brings it again
            self._counts["unsettled"] += 1
            log.warning("%s could not keep a deal yet: %s", self.address, problem)
            self.hands.tokens.pop(key, None)
            self._seen.discard(key)
            self._seen_before.discard(key)
        except OutOfTurn as problem:
            self._reject(subject, payload, "out_of_turn", str(problem), envelope.id)
        except Exception as problem:  # one word's fault must not end the agent
            self._failed(problem, subject, payload)
        else:
            talk = self.talks.get(talk_key(where.sender, where.talk or ""))
            if talk is not None:
                with suppress(OutOfTurn):  # our side has stopped waiting; the deal is on all the same
                    talk.deliver(envelope.body)
        finally:
            self.hands.running -= 1
            self.hands.done(key, word.kind)

    # ---------------------------------------------------------------- words for who listens

    def _give(self, word: Word, envelope: Envelope[Any], key: str, subject: str, payload: bytes) -> None:
        parsed, body = word.parsed, envelope.body
        role = parsed.sender.role
        opens = envelope.talk is not None and parsed.receiver is not None
        where = heard(parsed, envelope)
        taken = False
        for ear in (*word.openings, *word.listeners) if opens else word.listeners:
            if ear.roles and role not in ear.roles:
                continue
            taken = True
            if ear.table is not None and ear.table.deal and self._mouth.table_of(parsed.sender, envelope.talk or ""):
                self._counts["answered_before"] += 1  # in a former life, as our book says: it is not begun again
            elif not ear.waits:
                try:
                    if where.trace is None:
                        ear.give(body, where)
                    else:
                        with hearing("hear", body, where):
                            ear.give(body, where)
                except Exception as problem:  # one listener's fault must not keep the word from the others
                    self._failed(problem, subject, payload)
            elif self.hands.running >= MAILBOX:
                self._reject(subject, payload, "busy", f"{self.address} has its hands full", envelope.id)
            else:
                if word.kind.durable:
                    self.hands.working[key] += 1
                talk = None
                if ear.table is not None and envelope.talk is not None:
                    talk = self._mouth.host(ear.table, envelope.talk, parsed.sender)
                    talk.opened_at = where.at
                    talk.deliver(body)
                self.hands.do(self._work(ear, talk, body, where, key, subject, payload))
        if not taken:
            kind = word.kind.__name__
            self._reject(subject, payload, "wrong_role", f"a {role} may not say {kind} here", envelope.id)

    async def _work(
        self, ear: Ear, talk: Talk | None, body: Message, where: Heard, key: str, subject: str, payload: bytes
    ) -> None:
        try:
            if talk is not None:
                await self._mouth.answer_in(talk, ear.give, where)
            elif where.trace is None:
                await ear.give(body, where)
            else:
                with hearing("hear", body, where):
                    await ear.give(body, where)
            if type(body).durable:
                await self._handled.add(key)
        except Exception as problem:  # one word's fault must not end the agent; a peer hears silence, as its table says
            self._failed(problem, subject, payload)
        finally:
            self.hands.running -= 1
            if type(body).durable:
                self.hands.done(key, type(body))

    # ---------------------------------------------------------------- what became of it

    def _failed(self, problem: Exception, subject: str, payload: bytes) -> None:
        self._counts["handler_failed"] += 1
        log.error("%s failed on %s", self.address, subject, exc_info=problem)
        self._mouth.bury("handler_failed", f"{type(problem).__name__}: {problem}", subject, payload)

    def _reject(self, subject: str, payload: bytes, code: str, text: str, id: str = "") -> None:
        """Changes nothing: refusal to the sender where the plane allows one, dead letter, counter."""
        self._counts[code] += 1
        self._mouth.bury(code, text, subject, payload)
        parsed = parse(subject)
        if parsed is not None and parsed.receiver == self.address and parsed.word != "refusal":
            self._mouth.refuse(parsed.sender, id, subject, code, text)


def talk_key(peer: Address, id: str) -> str:
    """What a talk is found by when a word of it arrives."""
    return f"{peer} {id}"
