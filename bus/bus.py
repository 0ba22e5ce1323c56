"""The bus as one agent sees it: say, tell, talk, remember, and be told what is heard."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup
from nats import errors as nats_errors

from bus import metrics, store, tracing
from bus.address import HOME, Address, group, heard, say, to
from bus.backlog import Backlog
from bus.clock import Clock, patience
from bus.ears import Ears, talk_key
from bus.envelope import Envelope, Ids, decoder, encode, id_of, instant
from bus.handled import Handled
from bus.listeners import Answerer, Heard, Listener
from bus.nkeys import KeyPair
from bus.outbox import Outbox
from bus.store import Sealed, State
from bus.talk import Talk
from bus.to_peer import ToPeer, attributes_of
from bus.transport import Connection, NotStored
from bus.user_jwt import Credential
from contracts.kit import Conversation, Message, Role
from contracts.reasons import Reason
from contracts.system import GroupMessage, NoDeal, Refusal

__all__ = ["Answerer", "Book", "Bus", "Heard", "Listener"]

log = logging.getLogger("gridparley.bus")

RETRY_WALL_S = 0.3


class Book(Protocol):
    """Which talks an agent has bound itself in, over restarts."""

    def table_of(self, peer: Address, talk: str) -> str | None:
        """The name of the table of a talk that something is written down of."""
        ...


class _Blank:
    """The book of who makes no deals."""

    def table_of(self, _peer: Address, _talk: str) -> str | None:
        return None


class Bus:
    """One agent's voice and ears.

    Make it, register listeners (``on``, ``answer``), then ``open`` it and keep ``run`` running in a task group.
    ``hub`` is the JetStream domain of the grid side, None where the agent is connected to that server itself.
    ``ca``: the server must show a certificate of that authority.
    """

    def __init__(
        self,
        address: Address,
        url: str,
        clock: Clock,
        *,
        keys: KeyPair | Credential | None = None,
        hub: str | None = None,
        ca: Path | None = None,
    ) -> None:
        self.address, self.clock, self.hub = address, clock, hub
        self.connection = Connection(url, name=str(address), inbox=address.inbox, keys=keys, ca=ca)
        self.state = State(self.connection, address)
        self.outbox = Outbox(self.connection, self.state)
        self.counts: Counter[str] = Counter()
        self.words_said: Counter[type[Message]] = Counter()
        self.refused: Counter[tuple[str, str]] = Counter()
        """Words that we refused, by topic and code; ``buried`` those that became dead letters."""
        self.buried: Counter[tuple[str, str]] = Counter()
        self.book: Book = _Blank()
        self._ids = Ids()
        self._handled = Handled(self.state)
        self._ears = Ears(address, clock, self, self._handled, self.counts)
        self._backlog = Backlog(address, self.connection, hub, self._ears, self.counts)
        self._says: dict[str, None] = {}
        self._heads: dict[tuple[type[Message], bool], bytes] = {}
        self._heads_to: dict[Address, dict[type[Message], bytes]] = {}
        self._groups: tuple[str, ...] = ()
        self._rejoined: list[Callable[[], Coroutine[object, object, None]]] = []

    @property
    def words_heard(self) -> "Counter[type[Message]]":
        """Words that were taken, by kind."""
        return self._ears.heard

    @property
    def unread(self) -> int:
        """Words that wait to be read."""
        return self._ears.unread

    @property
    def open_talks(self) -> int:
        """Talks that have not ended."""
        return len(self._ears.talks)

    # ---------------------------------------------------------------- listening

    def on(self, kind: type[Message], listener: Listener, *, of: Iterable[Role] = ()) -> None:
        """Give every word of this kind to ``listener(message, heard)``: said, addressed or to a group.

        A plain function is called in order and must not block; a coroutine function runs as a task of its own.
        """
        self._ears.listeners.on(kind, listener, of)

    def answer(self, table: Conversation, answerer: Answerer) -> None:
        """Run ``answerer(talk, opening)`` whenever somebody opens this conversation with us."""
        self._ears.listeners.answer(table, answerer)

    def settle(self, table: Conversation, settler: Listener) -> None:
        """Run ``await settler(word, heard)`` for each word of the peer that makes a deal of this table.

        It is given what the stream has, whether our side of the talk still waits or ended long ago, before the talk
        hears it; the stored word is acknowledged when it returns, and comes again when it raises NotStored. It raises
        OutOfTurn when nothing of ours stands for the word to close.
        """
        self._ears.listeners.settle(table, settler)

    def listen(self, kind: type[Message], *, site: str = "*", role: str = "*", name: str = "*", home: bool) -> None:
        """Subscribe to what agents say about themselves."""
        self._says[heard(kind, site=site, role=role, name=name, home=home)] = None
        self._backlog.records |= kind.durable and not home

    def join(self, groups: Iterable[str]) -> None:
        """Be a member of groups; the servers' permissions say of which one may be."""
        self._groups = tuple(groups)
        self._backlog.groups = bool(self._groups)

    def on_rejoin(self, action: Callable[[], Coroutine[object, object, None]]) -> None:
        """Run an action whenever the connection to our own server is back."""
        self._rejoined.append(action)

    # ---------------------------------------------------------------- life

    async def open(self) -> None:
        """Connect and restore what is remembered; nothing is heard yet. Raises BusUnavailable, NotStored."""
        await self.connection.open()
        await self._handled.restore()
        await self.outbox.restore()

    async def run(self, group: TaskGroup) -> None:
        """Start to hear: subscribe, pass the barrier, read what was missed. Returns when ready."""
        for subject in (*self.address.mailboxes, *self._says, *(f"group.{g}.>" for g in self._groups)):
            await self.connection.subscribe(subject, self._ears.receive)
        await self.connection.barrier()
        group.start_soon(self._ears.hands.keep)
        group.start_soon(self._ears.read)
        group.start_soon(self.outbox.run)
        group.start_soon(self._backlog.fetch)
        self.connection.on_reconnect = lambda: group.start_soon(self._rejoin)
        await self.catch_up()
        group.start_soon(self._backlog.sweep)

    async def _rejoin(self) -> None:
        self.outbox.nudge()
        await self.catch_up()
        for action in self._rejoined:
            try:
                await action()
            except Exception:  # one skill's trouble must not end the agent
                self.counts["handler_failed"] += 1
                log.exception("%s failed to rejoin with %s", self.address, action)

    async def catch_up(self) -> None:
        """Read the durable words that came while we were away; the handled and the expired are dropped."""
        await self._backlog.catch_up()

    async def last(self, kind: type[Message], sender: Address, *, home: bool) -> Message | None:
        """The last thing an agent said of this kind, unless expired: for who joins late."""
        stream = store.RECORDS if kind.durable else store.LAST
        domain = self.hub if not home else None
        subject = say(sender, kind, home=home)
        try:
            raw = await store.last_message(self.connection, stream, subject, domain)
            if raw is None:
                return None
            envelope = decoder(kind).decode(raw)
        except (NotStored, msgspec.MsgspecError) as problem:
            log.info("%s has no last %s of %s: %s", self.address, kind.__name__, sender, problem)
            return None
        return envelope.body if envelope.deadline.timestamp() >= self.clock.now() else None

    async def close(self) -> None:
        """Leave, once the deals that were heard are kept: who takes over our name is not to begin them again."""
        await self._ears.hands.kept()
        await self.connection.close()

    # ---------------------------------------------------------------- speaking

    def _wrap(
        self, message: Message, talk: str | None, ttl_s: float | None, trace: str | None = None
    ) -> tuple[str, bytes]:
        self.words_said[type(message)] += 1
        at = instant(self.clock.now())
        id = self._ids()
        until = at + _duration(patience(self.clock, message.ttl_s if ttl_s is None else ttl_s))
        return id, encode(Envelope(id=id, at=at, deadline=until, talk=talk, trace=trace, body=message))

    def say(self, message: Message, *, home: bool, ttl_s: float | None = None) -> str:
        """Tell whoever listens, at most once. What binds or must not be lost is said with ``record``."""
        kind = type(message)
        head = self._heads.get((kind, home))
        if head is None:
            head = self._heads[kind, home] = f"PUB {say(self.address, kind, home=home)} ".encode()
        if tracing.telemetry_ratio:
            return self._say_traced(head, message, home, ttl_s)
        id, payload = self._wrap(message, None, ttl_s)
        self._post(head, payload)
        return id

    def _say_traced(self, head: bytes, message: Message, home: bool, ttl_s: float | None) -> str:
        kind = type(message)
        attributes = tracing.sending(say(self.address, kind, home=home), None, tracing.reason_of(message))
        name, ratio = f"say {kind.__name__}", tracing.telemetry_ratio
        with tracing.span(name, attributes, kind="producer", ratio=ratio) as mark:
            id, payload = self._wrap(message, None, ttl_s, tracing.current())
            self._post(head, payload)
            mark.set({"messaging.message.id": id})
        return id

    async def record(self, message: Message) -> str:
        """Say something to the grid side that must arrive: kept here until its stream has it, over restarts."""
        id, payload = self._wrap(message, None, None)
        await self.outbox.add(say(self.address, type(message), home=False), payload, id)
        return id

    def tell(self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None) -> str:
        """One addressed word outside of a table (heartbeat, refusal), at most once."""
        id, payload = self._wrap(message, talk, None, trace)
        self._post(self._head_to(receiver, type(message)), payload)
        return id

    def _head_to(self, receiver: Address, kind: type[Message]) -> bytes:
        heads = self._heads_to.setdefault(receiver, {})
        head = heads.get(kind)
        if head is None:
            head = heads[kind] = f"PUB {to(receiver, self.address, kind)} ".encode()
        return head

    async def tell_durably(
        self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None
    ) -> str:
        """One addressed word that is stored when this returns. Tried until its deadline; raises NotStored."""
        id, payload = self._wrap(message, talk, None, trace)
        await self._store(to(receiver, self.address, type(message)), payload, id, message.ttl_s)
        return id

    def seal(self, receiver: Address, message: Message, *, talk: str, trace: str | None = None) -> Sealed:
        """A durable word in its envelope, to be said with ``post``."""
        id, payload = self._wrap(message, talk, None, trace)
        until = self.clock.now() + patience(self.clock, message.ttl_s)
        return Sealed(to(receiver, self.address, type(message)), payload, id, until)

    async def post(self, sealed: Sealed) -> None:
        """Say a sealed word; it is stored when this returns. Tried until its deadline; raises NotStored."""
        await self._store(sealed.subject, sealed.payload, sealed.id, sealed.until - self.clock.now())

    async def is_stored(self, subject: str, id: str) -> bool:
        """Whether this is the last word on its subject in the stream that its receiver reads. Raises NotStored."""
        domain = None if subject.startswith(HOME) else self.hub
        raw = await store.last_message(self.connection, store.TALKS, subject, domain)
        return raw is not None and id_of(raw) == id

    async def withdraw(self, id: str, receiver: Address, word: NoDeal) -> None:
        """Say ``word`` in the place of the one with this id: of the two the stream takes the first. Raises NotStored.

        Which it was, ``is_stored`` says.
        """
        _, payload = self._wrap(word, None, None)
        await store.store(self.connection, to(receiver, self.address, NoDeal), payload, id)

    async def tell_group(self, name: str, message: GroupMessage) -> str:
        """One word to all members of a group, stored for those who are away. Returns its id; raises NotStored."""
        id, payload = self._wrap(message, None, None)
        await self._store(group(name, self.address, type(message)), payload, id, 60.0)
        return id

    async def _store(self, subject: str, payload: bytes, id: str, within_s: float) -> None:
        until = self.clock.now() + within_s
        while True:
            try:
                await store.store(self.connection, subject, payload, id)
                return
            except NotStored:
                if self.clock.now() >= until:
                    raise
                await anyio.sleep(RETRY_WALL_S)

    def _post(self, head: bytes, payload: bytes) -> None:
        try:
            self.connection.client.post(head, payload)
            self.counts["sent"] += 1
        except nats_errors.Error as problem:
            self.counts["unsent"] += 1
            log.info("%s could not say %s: %s", self.address, head.decode(), problem or type(problem).__name__)

    # ---------------------------------------------------------------- talks

    @asynccontextmanager
    async def talk(self, table: Conversation, peer: Address) -> AsyncIterator[Talk]:
        """Open a conversation with a peer: we say its opening word first."""
        talk = self._side(table, table.opener, self._ids(), peer)
        with self._during(talk, peer, None, None):
            yield talk

    def _side(self, table: Conversation, side: str, id: str, peer: Address) -> Talk:
        talk = Talk(table, side, id, ToPeer(self, peer, id), self.clock, peer)
        self._ears.talks[talk_key(peer, id)] = talk
        return talk

    @contextmanager
    def _during(self, talk: Talk, peer: Address, where: Heard | None, opening: Message | None) -> Iterator[None]:
        """The life of our side of a talk; ``where`` and ``opening`` if the peer opened it."""
        began = perf_counter()
        if not tracing.on():
            try:
                yield
            finally:
                self._ears.forget(talk_key(peer, talk.id), talk)
                metrics.talked(talk, began)
            return

        def attributes() -> tracing.Attributes:
            taken = {} if where is None else where.attributes
            reason = None if opening is None else tracing.reason_of(opening)
            return {**attributes_of(talk, peer), **taken, **tracing.because(reason)}

        name, parent = f"{talk.table.name} {talk.side}", None if where is None else where.trace
        with tracing.span(name, attributes, parent=parent, kind="internal" if where is None else "consumer") as mark:
            try:
                yield
            finally:
                self._ears.forget(talk_key(peer, talk.id), talk)
                metrics.talked(talk, began)
                if mark.recorded:
                    mark.set({"gridparley.state": talk.state, "gridparley.transcript": "; ".join(talk.transcript)})

    # ---------------------------------------------------------------- what the ears answer with

    def host(self, table: Conversation, id: str, peer: Address) -> Talk:
        """Our side of a talk that a peer opens; further words of it are its own from now on."""
        return self._side(table, table.answerer, id, peer)

    def table_of(self, peer: Address, talk: str) -> str | None:
        """Of a talk that our book knows."""
        return self.book.table_of(peer, talk)

    async def answer_in(self, talk: Talk, answerer: Answerer, where: Heard) -> None:
        """Run the answerer of a talk whose opening has been delivered."""
        opening = talk.hear_opening()
        with self._during(talk, where.sender, where, opening):
            await answerer(talk, opening)

    def refuse(self, sender: Address, of: str, subject: str, code: str, text: str) -> None:
        """Tell a sender that its word changed nothing."""
        self.counts["refused"] += 1
        self.refused[metrics.topic_of(subject), code] += 1
        self.tell(sender, Refusal(of=of, subject=subject[:256], reason=Reason(code=code, text=text[:512])))

    def bury(self, code: str, error: str, subject: str, payload: bytes) -> None:
        """Keep a word that changed nothing among the dead letters."""
        self.counts["dead_letters"] += 1
        self.buried[metrics.topic_of(subject), code] += 1
        store.dead_letter(self.connection, self.address, self.clock.now(), subject, code, error, payload)

    def acknowledge(self, token: str) -> None:
        """A stored word has been dealt with. A lost acknowledgement only brings it once more, to be dropped."""
        with suppress(nats_errors.Error):
            self.connection.publish(token, b"+ACK")


_duration = lru_cache(maxsize=256)(lambda seconds: timedelta(seconds=seconds))
