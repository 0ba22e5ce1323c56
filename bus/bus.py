"""The bus as one agent sees it: say, tell, talk, remember; and what it hears, routed to whoever listens."""

import inspect
import logging
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup
from nats import errors as nats_errors

from bus import store, tracing
from bus.address import Address, Parsed, group, heard, parse, say, to
from bus.clock import Clock
from bus.envelope import Envelope, Ids, decoder, encode, instant
from bus.nkeys import KeyPair
from bus.store import Outbox, State
from bus.talk import OutOfTurn, Talk
from bus.transport import Connection, NotStored
from contracts.kit import Conversation, Message, Role, vocabulary
from contracts.reasons import Reason
from contracts.system import GroupMessage, Refusal

log = logging.getLogger("gridparley.bus")

MAILBOX = 8192
"""Words that may wait unread. What comes beyond is counted and refused."""
SEEN = 8192
"""Ids remembered to drop what comes twice."""
RETRY_WALL_S = 0.3
BATCH = 256  # words handled before others get a turn

Listener = Callable[..., Any]
Answerer = Callable[[Talk, Any], Coroutine[Any, Any, Any]]


@dataclass(frozen=True, slots=True)
class Heard:
    """Who said a word and when; the sender is what the servers vouch for."""

    sender: Address
    id: str
    at: float
    talk: str | None
    trace: str | None
    home: bool
    group: str | None = None


@dataclass(slots=True)
class _Route:
    """Where a word goes. ``roles`` are the roles it is taken from; empty means any."""

    kind: type[Message]
    roles: frozenset[str]
    listeners: list[Listener]
    opens: list[tuple[Conversation, Answerer]]


@dataclass(slots=True)
class _Open:
    talk: Talk
    peer: Address


class Bus:
    """One agent's voice and ears.

    Make it, register listeners (``on``, ``answer``), then ``open`` it and keep ``run`` running in a task group.
    ``hub`` is the JetStream domain of the grid side, None where the agent is connected to that server itself.
    """

    def __init__(
        self, address: Address, url: str, clock: Clock, *, keys: KeyPair | None = None, hub: str | None = None
    ) -> None:
        self.address, self.clock, self.hub = address, clock, hub
        self.connection = Connection(url, name=str(address), inbox=address.inbox, keys=keys)
        self.state = State(self.connection, address)
        self.outbox = Outbox(self.connection, self.state)
        self.counts: Counter[str] = Counter()
        self._ids = Ids()
        self._words = vocabulary()
        self._routes: dict[type[Message], _Route] = {}
        self._says: dict[str, None] = {}
        self._groups: tuple[str, ...] = ()
        self._mailbox: deque[tuple[str, bytes]] = deque()
        self._post = anyio.Event()
        self._known: dict[str, tuple[Parsed, type[Message], _Route | None, Any]] = {}
        self._seen: dict[str, None] = {}
        self._handled: dict[str, None] = {}
        self._talks: dict[tuple[str, Address], _Open] = {}
        self._tasks: TaskGroup | None = None
        self._rejoined: list[Callable[[], Coroutine[Any, Any, None]]] = []

    # ---------------------------------------------------------------- listening

    def on(self, kind: type[Message], listener: Listener, *, of: Iterable[Role] = ()) -> None:
        """Give every word of this kind to ``listener(message, heard)``: said, addressed or to a group.

        A plain function is called in order and must not block; a coroutine function runs as a task of its own.
        """
        route = self._route(kind, of)
        route.listeners.append(listener)

    def answer(self, table: Conversation, answerer: Answerer) -> None:
        """Run ``answerer(talk, opening)`` whenever somebody opens this conversation with us."""
        self._route(table.opening, table.opened_by).opens.append((table, answerer))

    def _route(self, kind: type[Message], of: Iterable[Role]) -> _Route:
        roles = frozenset(role.name for role in of)
        route = self._routes.setdefault(kind, _Route(kind, roles, [], []))
        route.roles = route.roles | roles if route.roles and roles else frozenset()
        return route

    def listen(self, kind: type[Message], *, site: str = "*", role: str = "*", name: str = "*", home: bool) -> None:
        """Subscribe to what agents say about themselves."""
        self._says[heard(kind, site=site, role=role, name=name, home=home)] = None

    def join(self, groups: Iterable[str]) -> None:
        """Be a member of groups; the servers' permissions say of which one may be."""
        self._groups = tuple(groups)

    def on_rejoin(self, action: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an action whenever the connection to our own server is back."""
        self._rejoined.append(action)

    # ---------------------------------------------------------------- life

    async def open(self) -> None:
        """Connect and restore what is remembered; nothing is heard yet. Raises BusUnavailable, NotStored."""
        await self.connection.open()
        self._handled = dict.fromkeys(await self.state.get("handled", list[str]) or [])
        await self.outbox.restore()

    async def run(self, group: TaskGroup) -> None:
        """Start to hear: subscribe, pass the barrier, read what was missed. Returns when ready."""
        self._tasks = group
        for subject in (*self.address.mailboxes, *self._says, *(f"group.{g}.>" for g in self._groups)):
            await self.connection.subscribe(subject, self._receive)
        await self.connection.barrier()
        group.start_soon(self._read_mailbox)
        group.start_soon(self.outbox.run)
        self.connection.on_reconnect = lambda: group.start_soon(self._rejoin)
        await self.catch_up()

    async def _rejoin(self) -> None:
        await self.catch_up()
        for action in self._rejoined:
            await action()

    async def catch_up(self) -> None:
        """Read the durable words that came while we were away; the handled and the expired are dropped."""
        name = store.consumer_name(self.address)
        sources: list[tuple[str, str | None]] = [(store.TALKS, None)]
        if self.hub is not None:
            sources.append((store.TALKS, self.hub))
        if self._groups:
            sources.append((store.GROUPS, self.hub))
        for stream, domain in sources:
            try:
                async for subject, payload in store.missed(self.connection, stream, name, domain):
                    self._receive(subject, payload)
            except NotStored as problem:
                self.counts["catch_up_failed"] += 1
                log.info("%s cannot read what it missed: %s", self.address, problem)

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
        await self.connection.close()

    # ---------------------------------------------------------------- speaking

    def _wrap(
        self, message: Message, talk: str | None, ttl_s: float | None, trace: str | None = None
    ) -> tuple[str, bytes]:
        now = self.clock.now()
        id = self._ids()
        envelope = Envelope(
            id=id,
            at=instant(now),
            deadline=instant(now + (ttl_s or message.ttl_s)),
            talk=talk,
            trace=trace,
            body=message,
        )
        return id, encode(envelope)

    def say(self, message: Message, *, home: bool, ttl_s: float | None = None) -> str:
        """Tell whoever listens, at most once. What binds or must not be lost is said with ``record``."""
        id, payload = self._wrap(message, None, ttl_s)
        self._publish(say(self.address, type(message), home=home), payload)
        return id

    async def record(self, message: Message) -> str:
        """Say something to the grid side that must arrive: kept here until its stream has it, over restarts."""
        id, payload = self._wrap(message, None, None)
        await self.outbox.add(say(self.address, type(message), home=False), payload, id)
        return id

    def tell(self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None) -> str:
        """One addressed word outside of a table (heartbeat, refusal), at most once."""
        id, payload = self._wrap(message, talk, None, trace)
        self._publish(to(receiver, self.address, type(message)), payload)
        return id

    async def tell_durably(
        self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None
    ) -> str:
        """One addressed word that is stored when this returns. Tried until its deadline; raises NotStored."""
        id, payload = self._wrap(message, talk, None, trace)
        await self._store(to(receiver, self.address, type(message)), payload, id, message.ttl_s)
        return id

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

    def _publish(self, subject: str, payload: bytes) -> None:
        try:
            self.connection.publish(subject, payload)
            self.counts["sent"] += 1
        except nats_errors.Error as problem:
            self.counts["unsent"] += 1
            log.info("%s could not say %s: %s", self.address, subject, problem or type(problem).__name__)

    @asynccontextmanager
    async def talk(self, table: Conversation, peer: Address) -> AsyncIterator[Talk]:
        """Open a conversation with a peer: we say its opening word first."""
        async with self._side(table, table.opener, self._ids(), peer, None) as talk:
            yield talk

    @asynccontextmanager
    async def _side(
        self, table: Conversation, side: str, id: str, peer: Address, parent: str | None
    ) -> AsyncIterator[Talk]:
        attributes: tracing.Attributes = {
            "messaging.system": "nats",
            "messaging.message.conversation_id": id,
            "gridparley.table": table.name,
            "gridparley.side": side,
            "gridparley.peer": str(peer),
            "gridparley.use_cases": ",".join(table.use_cases),
        }
        with tracing.span(f"{table.name} {side}", attributes, parent=parent) as mark:
            talk = Talk(table, side, id, _ToPeer(self, peer, id, mark), self.clock, peer)
            self._talks[(id, peer)] = _Open(talk, peer)
            try:
                yield talk
            finally:
                del self._talks[(id, peer)]
                mark.set(gridparley__state=talk.state, gridparley__transcript="; ".join(talk.transcript))

    def refuse(self, sender: Address, of: str, subject: str, code: str, text: str) -> None:
        """Tell a sender that its word changed nothing."""
        self.counts["refused"] += 1
        self.tell(sender, Refusal(of=of, subject=subject[:256], reason=Reason(code=code, text=text[:512])))

    # ---------------------------------------------------------------- hearing

    def _receive(self, subject: str, payload: bytes) -> None:
        """Called in the read loop: put away, nothing else."""
        if len(self._mailbox) >= MAILBOX:
            self.counts["overflow"] += 1
            self._reject(subject, payload, "busy", f"{self.address} has {MAILBOX} words waiting: say it again later")
            return
        self._mailbox.append((subject, payload))
        self._post.set()

    async def _read_mailbox(self) -> None:
        while True:
            if not self._mailbox:
                self._post = anyio.Event()
                await self._post.wait()
            for _ in range(min(len(self._mailbox), BATCH)):
                subject, payload = self._mailbox.popleft()
                try:
                    self._handle(subject, payload)
                except Exception as problem:  # a listener's fault must not make the agent deaf
                    self.counts["handler_failed"] += 1
                    log.exception("%s failed on %s", self.address, subject)
                    self._dead("handler_failed", f"{type(problem).__name__}: {problem}", subject, payload)
            await anyio.lowlevel.checkpoint()

    def _resolve(self, subject: str) -> tuple[Parsed, type[Message], _Route | None, Any] | None:
        known = self._known.get(subject)
        if known is not None:
            return known
        parsed = parse(subject)
        kind = self._words.get((parsed.topic, parsed.edition, parsed.word)) if parsed else None
        if parsed is None or kind is None:
            return None
        if len(self._known) > 65536:
            self._known.clear()
        known = self._known[subject] = (parsed, kind, self._routes.get(kind), decoder(kind).decode)
        return known

    def _handle(self, subject: str, payload: bytes) -> None:
        resolved = self._resolve(subject)
        if resolved is None:
            self._reject(subject, payload, "unknown_word", "no such word in this edition of the contracts")
            return
        parsed, kind, route, decode = resolved
        try:
            envelope: Envelope[Message] = decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as problem:
            self._reject(subject, payload, "undecodable", str(problem))
            return
        id = envelope.id
        if id in self._seen or id in self._handled:
            self.counts["duplicate"] += 1
            return
        if envelope.deadline.timestamp() < self.clock.now():
            self.counts["expired"] += 1
            if parsed.receiver is not None:
                self._dead("expired", f"deadline was {envelope.deadline.isoformat()}", subject, payload)
            return
        self._seen[id] = None
        if len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]
        self.counts["received"] += 1
        where = Heard(
            parsed.sender, id, envelope.at.timestamp(), envelope.talk, envelope.trace, parsed.home, parsed.group
        )
        if envelope.talk is not None and parsed.receiver is not None:
            opened = self._talks.get((envelope.talk, parsed.sender))
            if opened is not None:
                try:
                    opened.talk.deliver(envelope.body)
                except OutOfTurn as problem:
                    self._reject(subject, payload, "out_of_turn", str(problem), id)
                return
        if route is None or (not route.listeners and not route.opens):
            if kind is Refusal:
                self.counts["refusals_heard"] += 1
                return
            why = "belongs to no talk that is open here" if envelope.talk else "nobody here listens to this word"
            self._reject(subject, payload, "out_of_turn" if envelope.talk else "not_heard", why, id)
            return
        if route.roles and parsed.sender.role not in route.roles:
            self._reject(subject, payload, "wrong_role", f"a {parsed.sender.role} may not say {kind.__name__} here", id)
            return
        self._deliver(route, envelope, where)

    def _deliver(self, route: _Route, envelope: Envelope[Message], where: Heard) -> None:
        assert self._tasks is not None
        if envelope.talk is not None:
            for table, answerer in route.opens:
                self._tasks.start_soon(self._answer, table, answerer, envelope, where)
        for listener in route.listeners:
            if inspect.iscoroutinefunction(listener):
                self._tasks.start_soon(self._guarded, listener, envelope.body, where)
            else:
                listener(envelope.body, where)

    async def _guarded(self, listener: Listener, message: Message, where: Heard) -> None:
        try:
            if where.trace is None:
                await listener(message, where)
            else:
                with tracing.span(f"hear {type(message).__name__}", parent=where.trace):
                    await listener(message, where)
            if type(message).durable:
                await self.remember(where.id)
        except Exception as problem:  # one listener's fault must not end the agent
            self.counts["handler_failed"] += 1
            log.exception("%s failed on %s of %s", self.address, type(message).__name__, where.sender)
            self._dead("handler_failed", f"{type(problem).__name__}: {problem}", str(where.sender), encode(message))

    async def _answer(self, table: Conversation, answerer: Answerer, envelope: Envelope[Message], where: Heard) -> None:
        assert envelope.talk is not None
        try:
            async with self._side(table, table.answerer, envelope.talk, where.sender, where.trace) as talk:
                talk.deliver(envelope.body)
                opening = talk.hear_opening()
                await answerer(talk, opening)
                if type(opening).durable:
                    await self.remember(where.id)
        except (
            Exception
        ) as problem:  # one talk's fault must not end the agent; the peer hears silence, as its table says
            self.counts["handler_failed"] += 1
            log.exception("%s failed in %s with %s", self.address, table.name, where.sender)
            self._dead(
                "handler_failed", f"{type(problem).__name__}: {problem}", str(where.sender), encode(envelope.body)
            )

    async def remember(self, id: str) -> None:
        """A durable word has been handled: after a crash it is not handled again."""
        self._handled[id] = None
        while len(self._handled) > 256:
            del self._handled[next(iter(self._handled))]
        await self.state.put("handled", list(self._handled))

    def _reject(self, subject: str, payload: bytes, code: str, text: str, id: str = "") -> None:
        """Changes nothing: refusal to the sender where the plane allows one, dead letter, counter."""
        self.counts[code] += 1
        self._dead(code, text, subject, payload)
        parsed = parse(subject)
        if parsed is not None and parsed.receiver == self.address and parsed.word != "refusal":
            self.refuse(parsed.sender, id, subject, code, text)

    def _dead(self, code: str, error: str, subject: str, payload: bytes) -> None:
        self.counts["dead_letters"] += 1
        store.dead_letter(self.connection, self.address, self.clock.now(), subject, code, error, payload)


class _ToPeer:
    """Carries a talk's words to its peer, durable ones by way of a stream."""

    def __init__(self, bus: Bus, peer: Address, talk: str, mark: tracing.Mark) -> None:
        self._bus, self._peer, self._talk, self._mark = bus, peer, talk, mark

    async def send(self, message: Message, last: bool) -> None:
        trace = tracing.current()
        if type(message).durable:
            await self._bus.tell_durably(self._peer, message, talk=self._talk, trace=trace)
        else:
            self._bus.tell(self._peer, message, talk=self._talk, trace=trace)
        self._mark.event(f"said {type(message).__name__}", last=last)
