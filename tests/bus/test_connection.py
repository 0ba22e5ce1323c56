"""The connection cannot be made deaf, finds a dead server, comes back by itself, and its barrier is one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from nats import errors

from bench.broker import Broker
from bus.nkeys import KeyPair
from bus.transport import BusUnavailable, Connection
from tests.bus.agents import until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


@asynccontextmanager
async def connected(url: str, name: str = "test", **more) -> AsyncIterator[Connection]:
    connection = Connection(url, name=name, inbox=f"_R.{name}", **more)
    await connection.open()
    try:
        yield connection
    finally:
        await connection.close()


# ---------------------------------------------------------------- hostile frames, from a server that says anything


class Speaker:
    """A server that greets, answers PINGs and otherwise says what it is told; ``heard`` is what clients sent."""

    def __init__(self) -> None:
        self.clients: list[asyncio.StreamWriter] = []
        self.heard = bytearray()
        self.connections = 0

    async def __aenter__(self) -> "Speaker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for client in self.clients:
            client.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":65536,"headers":true}\r\n')
        self.clients.append(writer)
        try:
            while line := await reader.readline():
                self.heard += line
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
        except OSError:
            pass

    def say(self, data: bytes) -> None:
        self.clients[-1].write(data)


def msg(subject: bytes, payload: bytes = b"x", reply: bytes = b"", sid: bytes = b"1") -> bytes:
    return b" ".join(p for p in (b"MSG", subject, sid, reply, b"%d" % len(payload)) if p) + b"\r\n" + payload + b"\r\n"


def hmsg(head: bytes, payload: bytes = b"x", subject: bytes = b"a.b", reply: bytes = b"", sid: bytes = b"1") -> bytes:
    sizes = (b"%d" % len(head), b"%d" % (len(head) + len(payload)))
    return b" ".join(p for p in (b"HMSG", subject, sid, reply, *sizes) if p) + b"\r\n" + head + payload + b"\r\n"


LAWFUL_AS_THE_SERVER_SEES_IT = {
    "subject not UTF-8": lambda sid: msg(b"a.\xff\xfe", sid=sid),
    "reply not UTF-8": lambda sid: msg(b"a.b", reply=b"\xff", sid=sid),
    "VT in subject": lambda sid: msg(b"a.\x0bb", sid=sid),
    "VT in reply": lambda sid: msg(b"a.b", reply=b"r\x0br", sid=sid),
    "FF in subject": lambda sid: msg(b"a.\x0cb", sid=sid),
    "header block not UTF-8": lambda sid: hmsg(b"NATS/1.0 \xff\xff\r\n\r\n", sid=sid),
    "status not UTF-8": lambda sid: hmsg(b"NATS/1.0 5\xff3 x\r\n\r\n", sid=sid),
    "status is text": lambda sid: hmsg(b"NATS/1.0 abc def\r\n\r\n", sid=sid),
    "status description not UTF-8": lambda sid: hmsg(b"NATS/1.0 404 \xff\r\n\r\n", sid=sid),
    "no line end after the version": lambda sid: hmsg(b"NATS/1.0", sid=sid),
    "headers are three letters": lambda sid: hmsg(b"abc", sid=sid),
    "headers are one byte": lambda sid: hmsg(b"\x00", sid=sid),
    "headers are empty": lambda sid: hmsg(b"", sid=sid),
    "header name not ASCII": lambda sid: hmsg(b"NATS/1.0\r\n\xff: 1\r\n\r\n", sid=sid),
    "header without colon": lambda sid: hmsg(b"NATS/1.0\r\nnothing\r\n\r\n", sid=sid),
    "header value not UTF-8": lambda sid: hmsg(b"NATS/1.0\r\na: \xff\xfe\r\n\r\n", sid=sid),
    "status and headers mixed": lambda sid: hmsg(b"NATS/1.0 100 Idle\r\nA\r\n: \r\n\r\n", sid=sid),
    "header subject not UTF-8": lambda sid: hmsg(b"NATS/1.0\r\n\r\n", subject=b"\xc3\x28", sid=sid),
    "unknown subscription": lambda _: msg(b"a.b", sid=b"4711"),
    "line ends in the payload": lambda sid: msg(b"a.b", b"\r\nMSG a.b 1 1\r\n", sid=sid),
    "no payload": lambda sid: msg(b"a.b", b"", sid=sid),
}
NO_SERVER_SAYS = {
    "garbage": b"\x00\x01garbage\r\n",
    "no size": b"MSG a.b 1\r\n",
    "size is text": b"MSG a.b 1 many\r\n",
    "negative size": b"MSG a.b 1 -5\r\n",
    "headers longer than all": b"HMSG a.b 1 20 10\r\n" + b"x" * 30,
    "endless line": b"MSG " + b"a" * 40_000,
    "error without text": b"-ERR \r\n",
    "error of unknown kind": b"-ERR 'Something New'\r\n",
    "stale": b"-ERR 'Stale Connection'\r\n",
}
HARMLESS = {
    "info is no JSON": b"INFO {no\r\n",
    "info is a list": b"INFO []\r\n",
    "info with odd addresses": b'INFO {"connect_urls": [7]}\r\n',
    "an answer to no ping": b"PONG\r\nPONG\r\n",
    "acknowledged": b"+OK\r\n",
    "permissions": b"-ERR 'Permissions Violation for Publish to \"a.b\"'\r\n",
}


@pytest.mark.parametrize("direct", [True, False], ids=["agents' path", "library's path"])
@pytest.mark.parametrize("name", LAWFUL_AS_THE_SERVER_SEES_IT)
async def test_a_hostile_frame_does_not_cost_the_next_word(name, direct):
    heard: list[bytes] = []
    async with Speaker() as server, connected(server.url) as connection:
        if direct:
            await connection.subscribe("a.>", lambda _subject, payload: heard.append(payload))
        else:

            async def take(message):
                heard.append(message.data)

            await connection.client.subscribe("a.>", cb=take)
        sid = b"%d" % connection.client._sid
        for _ in range(2):
            server.say(LAWFUL_AS_THE_SERVER_SEES_IT[name](sid))
            server.say(msg(b"a.b", b"lawful", sid=sid))
        await until(lambda: heard.count(b"lawful") == 2)
        assert server.connections == 1


@pytest.mark.parametrize("name", HARMLESS)
async def test_advice_of_the_server_is_no_reason_to_leave(name):
    heard: list[bytes] = []
    async with Speaker() as server, connected(server.url) as connection:
        await connection.subscribe("a.>", lambda _subject, payload: heard.append(payload))
        server.say(HARMLESS[name] + msg(b"a.b", b"lawful"))
        await until(lambda: heard == [b"lawful"])
        assert server.connections == 1


@pytest.mark.parametrize("name", NO_SERVER_SAYS)
async def test_what_no_server_says_leads_to_a_new_connection(name):
    heard: list[bytes] = []
    back: list[int] = []
    async with Speaker() as server, connected(server.url) as connection:
        await connection.subscribe("a.>", lambda _subject, payload: heard.append(payload))
        connection.on_reconnect = lambda: back.append(1)
        server.say(NO_SERVER_SAYS[name])
        await until(lambda: server.connections >= 2 and back)
        await until(lambda: bytes(server.heard).count(b"SUB a.>") == server.connections)
        server.say(msg(b"a.b", b"lawful"))
        await until(lambda: heard == [b"lawful"])


@pytest.mark.parametrize("cut", range(1, 30, 3))
async def test_frames_may_arrive_in_any_pieces(cut):
    heard: list[tuple[str, bytes]] = []
    stream = msg(b"a.b", b"one\r\ntwo") + b"PING\r\n" + hmsg(b"NATS/1.0\r\nA: b\r\n\r\n", b"three") + msg(b"a.c", b"")
    async with Speaker() as server, connected(server.url) as connection:
        await connection.subscribe("a.>", lambda subject, payload: heard.append((subject, payload)))
        for at in range(0, len(stream), cut):
            server.say(stream[at : at + cut])
            await asyncio.sleep(0)
        await until(lambda: len(heard) == 3)
    assert heard == [("a.b", b"one\r\ntwo"), ("a.b", b"three"), ("a.c", b"")]


# ---------------------------------------------------------------- a real server


async def test_after_the_barrier_nothing_is_missed(broker: Broker):
    heard: list[int] = []
    async with connected(broker.url, "hears") as hears, connected(broker.url, "says") as says:
        for n in range(2000):
            await hears.subscribe(f"round.{n}", lambda _subject, payload: heard.append(int(payload)))
            await hears.barrier()
            says.publish(f"round.{n}", b"%d" % n)
            if n % 100 == 99:
                await until(lambda n=n: len(heard) == n + 1)
    assert heard == list(range(2000))


async def test_a_barrier_that_was_given_up_does_not_make_deaf(broker: Broker):
    heard: list[bytes] = []
    async with connected(broker.url, "hears") as hears, connected(broker.url, "says") as says:
        await hears.subscribe("a", lambda _subject, payload: heard.append(payload))
        await hears.barrier()
        for _ in range(20):
            with anyio.move_on_after(0.0):
                await hears.barrier()
        await hears.barrier()
        says.publish("a", b"x")
        await until(lambda: heard)


async def test_a_wrong_key_is_named_at_once(tmp_path):
    keys, wrong = KeyPair.new(), KeyPair.new()
    broker = Broker(tmp_path, f"authorization {{ users: [ {{ nkey: {keys.public} }} ] }}")
    broker.start()
    try:
        async with connected(broker.url, keys=keys) as connection:
            assert connection.connected
        for bad in (wrong, None):
            with pytest.raises(BusUnavailable) as refused:
                await Connection(broker.url, name="x", inbox="_R.x", keys=bad).open()
            assert "authorization" in refused.value.cause.lower()
            assert "key" in str(refused.value)
    finally:
        broker.stop()


async def test_a_seed_signs_in_after_being_written_down(tmp_path):
    keys = KeyPair.new()
    broker = Broker(tmp_path, f"authorization {{ users: [ {{ nkey: {keys.public} }} ] }}")
    broker.start()
    try:
        async with connected(broker.url, keys=KeyPair.from_seed(keys.seed)) as connection:
            assert connection.connected
    finally:
        broker.stop()


async def test_no_server_is_named_after_the_wait(tmp_path):
    broker = Broker(tmp_path)
    with pytest.raises(BusUnavailable) as refused:
        await Connection(broker.url, name="x", inbox="_R.x").open(within_s=0.2)
    assert refused.value.url == broker.url
    assert "refused" in refused.value.cause.lower() or "connect" in refused.value.cause.lower()


async def test_a_server_that_starts_later_is_waited_for(tmp_path):
    broker = Broker(tmp_path)
    connection = Connection(broker.url, name="x", inbox="_R.x")
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(connection.open)
            await anyio.sleep(0.1)
            broker.start()
        assert connection.connected
        await connection.close()
    finally:
        broker.stop()


async def test_too_long_a_word_is_refused_here_and_not_by_closing(broker: Broker):
    heard: list[bytes] = []
    async with connected(broker.url) as connection:
        await connection.subscribe("a", lambda _subject, payload: heard.append(payload))
        client = connection.client
        with pytest.raises(errors.MaxPayloadError):
            connection.publish("a", bytes(65_537))
        with pytest.raises(errors.MaxPayloadError):
            await connection.request("a", bytes(65_537))
        connection.publish("a", b"x")
        await until(lambda: heard)
        assert connection.client is client


async def test_a_question_that_nobody_answers_says_so(broker: Broker):
    async with connected(broker.url) as connection:
        with pytest.raises(errors.NoRespondersError):
            await connection.request("nobody.here", b"?")
        assert connection.client._asked == {}


async def test_killed_at_a_thousand_words_a_second_it_is_back_and_nothing_is_doubled(broker: Broker):
    heard: list[int] = []
    said = 0
    async with connected(broker.url, "hears") as hears, connected(broker.url, "says") as says:
        await hears.subscribe("count", lambda _subject, payload: heard.append(int(payload)))
        await hears.barrier()

        async def speak() -> None:
            nonlocal said
            while True:
                says.publish("count", b"%d" % said)
                said += 1
                await anyio.sleep(0.001)

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            await until(lambda: len(heard) > 300)
            broker.kill()
            await until(lambda: not hears.connected and not says.connected)
            broker.start()
            await until(lambda: hears.connected and says.connected)
            mark = said
            await until(lambda: heard[-1] > mark + 300)
            group.cancel_scope.cancel()
    assert len(heard) == len(set(heard))
    assert heard == sorted(heard)


async def test_a_frozen_server_is_found_and_left(broker: Broker, monkeypatch):
    monkeypatch.setattr("bus.transport.PING_EVERY_S", 0.2)
    back: list[int] = []
    async with connected(broker.url) as connection:
        connection.on_reconnect = lambda: back.append(1)
        broker.freeze()
        await until(lambda: not connection.connected)
        broker.thaw()
        await until(lambda: back and connection.connected)


async def test_a_peer_that_reads_nothing_is_left_although_much_is_queued_for_it(broker: Broker, monkeypatch):
    """The library waits until its buffer is sent before it looks for another connection: for ever, here."""
    monkeypatch.setattr("bus.transport.PING_EVERY_S", 0.2)
    async with Hole(broker.port) as hole, connected(hole.url) as connection:
        heard: list[bytes] = []
        await connection.subscribe("a", lambda _subject, payload: heard.append(payload))
        await connection.barrier()
        hole.swallow = True
        with pytest.raises(errors.OutboundBufferLimitError):  # noqa: PT012  which of them is up to the sockets
            for _ in range(5000):
                connection.publish("b", bytes(60_000))
                await asyncio.sleep(0)
        await until(lambda: hole.connections >= 2 and connection.connected)
        connection.publish("a", b"x")
        await until(lambda: heard)


class Hole:
    """A way to the server that can stop to carry anything without closing."""

    def __init__(self, port: int) -> None:
        self._port, self.swallow, self.connections = port, False, 0

    async def __aenter__(self) -> "Hole":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.swallow = False  # the holes are in the connections before this one
        number = self.connections
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._port)
        for one, other in ((reader, back_writer), (back_reader, writer)):
            task = asyncio.create_task(self._carry(one, other, number))
            self._tasks.add(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while data := await reader.read(65536):
                if self.swallow or number < self.connections:
                    await asyncio.Event().wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


async def test_a_user_that_was_taken_away_is_back_when_given_again(tmp_path):
    keys = KeyPair.new()
    users = "authorization {{ users: [ {} ] }}".format
    broker = Broker(tmp_path, users(f"{{ nkey: {keys.public} }}"))
    broker.start()
    try:
        async with connected(broker.url, keys=keys) as connection:
            heard: list[bytes] = []
            await connection.subscribe("a", lambda _subject, payload: heard.append(payload))
            broker.authorize(users(f"{{ nkey: {KeyPair.new().public} }}"))
            broker.reload()
            await until(lambda: not connection.connected)
            broker.authorize(users(f"{{ nkey: {keys.public} }}"))
            broker.reload()
            await until(lambda: connection.connected)
            connection.publish("a", b"x")
            await until(lambda: heard)
    finally:
        broker.stop()


@pytest.mark.parametrize("task", ["_reading_task", "_flusher_task", "_ping_interval_task"])
async def test_a_task_of_the_library_that_died_is_noticed(broker: Broker, task):
    async with connected(broker.url) as connection:
        heard: list[bytes] = []
        await connection.subscribe("a", lambda _subject, payload: heard.append(payload))
        first = connection.client
        getattr(first, task).cancel()
        await until(lambda: connection.client is not first and connection.connected)
        connection.publish("a", b"x")
        await until(lambda: heard)


async def test_closing_never_fails_whatever_the_server_does(tmp_path):
    for trouble in ("kill", "freeze"):
        (tmp_path / trouble).mkdir()
        broker = Broker(tmp_path / trouble)
        broker.start()
        try:
            connection = Connection(broker.url, name="x", inbox="_R.x")
            await connection.open()
            connection.publish("a", b"x")
            getattr(broker, trouble)()
            await connection.close()
            await connection.close()
        finally:
            broker.stop()


@pytest.mark.parametrize("turns", range(5))
async def test_closing_ends_although_trouble_comes_at_the_same_moment(broker: Broker, turns):
    connection = Connection(broker.url, name="one", inbox="_R.one")
    await connection.open()
    connection._trouble.set()
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
    with anyio.fail_after(60):
        await connection.close()
