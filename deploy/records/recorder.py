"""A listener at the hub that hears every word of the grid side, keeps it on disk and the latest of it in memory.

Its identity is ``grid.ops.<name>``: it may subscribe to everything and speaks for nobody.
"""

import logging
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import anyio
import msgspec

from bus import store
from bus.address import parse
from bus.bus import Bus
from bus.envelope import decoder, encode
from bus.transport import NotStored
from contracts.kit import Message, vocabulary
from contracts.metering import GcpReading
from contracts.power_limit import Heartbeat
from deploy.records.rows import LINK_DOWN, LINK_UP, Event, Writer
from deploy.records.run_facts import RunFacts
from deploy.records.view import View

log = logging.getLogger("gridparley.recorder")

SUBJECTS = ("say.>", "to.>", "group.>", "dead.>")
"""All that passes the hub: nothing of a home's inside is among it. The servers' permissions of ops must allow these."""
WAITING = 65_536
SEEN = 65_536
_ROUTINE = (GcpReading, Heartbeat)  # readings are rows of their own, heartbeats are counted only


class Recorder:
    """Hear, decode, write. ``folder`` is where the records go; None keeps only the ``view``."""

    def __init__(self, bus: Bus, folder: Path | None, facts: RunFacts) -> None:
        self.view = View(facts)
        self._bus, self._folder = bus, folder
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._post = anyio.Event()
        self._seen: dict[tuple[str, str], None] = {}
        self._words = vocabulary()
        self._writer: Writer | None = None
        self.records = anyio.Event()
        """Set when it hears and writes."""

    async def run(self, stop: anyio.Event) -> None:
        """Record until ``stop`` is set; what was heard by then is on disk. Raises BusUnavailable."""
        connection = self._bus.connection
        if not connection.connected:
            await connection.open()
        self._writer = Writer(self._folder) if self._folder is not None else None
        try:
            for subject in SUBJECTS:
                await connection.subscribe(subject, self._receive)
            await connection.barrier()
            self.records.set()
            async with anyio.create_task_group() as group:
                connection.on_reconnect = lambda: group.start_soon(self._catch_up)
                group.start_soon(self._read)
                group.start_soon(self._catch_up)
                await stop.wait()
                if connection.connected:
                    await connection.barrier()
                self._drain()
                group.cancel_scope.cancel()
        finally:
            connection.on_reconnect = lambda: None
            if self._writer is not None:
                self._writer.close()
                self._writer = None

    def _receive(self, subject: str, payload: bytes) -> None:
        if len(self._waiting) >= WAITING:
            self.view.counts["overflow"] += 1
            return
        self._waiting.append((subject, payload))
        self._post.set()

    async def _read(self) -> None:
        while True:
            if not self._waiting:
                self._post = anyio.Event()
                await self._post.wait()
            self._drain()
            await anyio.lowlevel.checkpoint()

    async def _catch_up(self) -> None:
        """What was stored while nobody listened here: the hub or this process was down."""
        for stream in (store.RECORDS, store.TALKS, store.GROUPS):
            try:
                consumer = store.consumer_name(self._bus.address)
                async for subject, payload in store.missed(self._bus.connection, stream, consumer):
                    self._receive(subject, payload)
            except NotStored as problem:
                self.view.counts["catch_up_failed"] += 1
                log.info("the recorder cannot read what it missed: %s", problem)

    def _drain(self) -> None:
        for _ in range(len(self._waiting)):
            subject, payload = self._waiting.popleft()
            self.hear(subject, payload)
        if self._writer is not None:
            self._writer.flush()

    def link(self, site: str, up: bool) -> None:
        """The hub has seen a site's link come or go."""
        now = self._bus.clock.now()
        event = Event(at=now, heard=now, word=LINK_UP if up else LINK_DOWN, sender=f"{site}.link")
        if self._writer is not None:
            self._writer.event(event)
            self._writer.flush()
        self.view.link(event, site, up)

    def hear(self, subject: str, payload: bytes) -> None:
        """One word as it passed the hub. What cannot be read is an event too."""
        event, message = read_word(subject, payload, self._bus.clock.now(), self._words)
        if event.id:
            key = (event.sender, event.id)
            if key in self._seen:
                return
            self._seen[key] = None
            if len(self._seen) > SEEN:
                del self._seen[next(iter(self._seen))]
        if self._writer is not None:
            if isinstance(message, GcpReading):
                self._writer.reading(event.sender, message)
            if not isinstance(message, _ROUTINE):
                self._writer.event(event)
        self.view.take(event, message)


def read_word(
    subject: str, payload: bytes, now: float, words: Mapping[tuple[str, int, str], type[Message]]
) -> tuple[Event, Message | None]:
    """One word as it passed, and what it says; None where that cannot be read, and then the event says why."""
    if subject.startswith("dead."):
        return _dead(subject, payload, now), None
    parsed = parse(subject)
    kind = words.get((parsed.topic, parsed.edition, parsed.word)) if parsed else None
    if parsed is None or kind is None:
        sender = str(parsed.sender) if parsed else "grid.unknown.unknown"
        return _unread(sender, now, f"unknown subject {subject[:200]!r}"), None
    try:
        envelope = decoder(kind).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
        return _unread(str(parsed.sender), now, f"{parsed.word}: {problem}"), None
    event = Event(
        at=envelope.at.timestamp(),
        heard=now,
        word=parsed.word,
        topic=parsed.topic,
        edition=parsed.edition,
        sender=str(parsed.sender),
        receiver=str(parsed.receiver) if parsed.receiver else None,
        group=parsed.group,
        id=envelope.id,
        talk=envelope.talk,
        trace=envelope.trace,
        body=msgspec.Raw(encode(envelope.body)),
    )
    return event, envelope.body


def _unread(sender: str, now: float, error: str) -> Event:
    return Event(at=now, heard=now, word="unreadable", sender=sender, error=error[:500])


def _dead(subject: str, payload: bytes, now: float) -> Event:
    """A dead letter of an agent at the hub; ``sender`` is who could not take the word."""
    agent = subject.removeprefix("dead.")
    sender = agent if agent.count(".") == 2 else "grid.unknown.unknown"
    try:
        letter = msgspec.json.decode(payload, type=store.DeadLetter)
    except msgspec.MsgspecError as problem:
        return Event(at=now, heard=now, word="dead_letter", sender=sender, error=f"unreadable: {problem}"[:500])
    error = f"{letter.code}: {letter.error} ({letter.subject})"
    return Event(at=letter.at, heard=now, word="dead_letter", sender=sender, error=error[:500])
