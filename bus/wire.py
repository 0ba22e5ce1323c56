"""nats-py's client, hardened: nothing that arrives can make it deaf, and a dead server is left in seconds.

Which library faults are worked around here, and the evidence, is in docs/decisions/0002-nats-py-hardened.md.
"""

import asyncio
import json
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from secrets import token_hex
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.protocol.parser import Parser

from bus.nkeys import KeyPair
from bus.user_jwt import UserJwt

log = logging.getLogger("gridparley.bus")

PENDING_BYTES = 256 * 1024
"""What may wait while there is no connection; what is said beyond fails at once."""
BACKLOG_BYTES = 16 * 1024 * 1024
"""What may wait while connected: a server that reads this slowly is as good as gone."""
READ_BYTES = 64 * 1024
CONTROL_LINE = 16 * 1024
STOOD_STILL_S = 0.25
"""An alarm that rings so much too late says that the whole process did not come to its turn."""

Receive = Callable[[str, bytes], None]
Present = Callable[[], tuple[KeyPair, UserJwt | None]]


class _Frames(Parser):
    """The server's protocol, split by hand: several times the speed of the library's expressions, and stricter.

    The library's ``\\s`` also matches VT and FF, which are legal in a subject.
    """

    def __init__(self, client: "HardClient") -> None:
        self._client = client
        super().__init__(client)

    def reset(self) -> None:
        super().reset()
        self._rest = b""

    async def parse(self, data: bytes = b"") -> None:
        """Take what has arrived apart. Raises ProtocolError on what no server says."""
        client = self._client
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while at < end:
            eol = data.find(b"\r\n", at)
            if eol < 0:
                if end - at > CONTROL_LINE:
                    raise errors.ProtocolError
                break
            if data.startswith((b"MSG ", b"HMSG "), at):
                head = data[at:eol].split(b" ")
                try:
                    headed = len(head[0]) == 4
                    body = eol + 2
                    over = body + int(head[-1])
                    text = body + int(head[-2]) if headed else body
                    sid = int(head[2])
                    if len(head) - headed not in (4, 5) or not body <= text <= over:
                        raise ValueError(head)
                except (ValueError, IndexError):
                    raise errors.ProtocolError from None
                if over + 2 > end:
                    break
                at = over + 2
                receive = client.direct.get(sid)
                if receive is not None:
                    receive(head[1].decode("utf-8", "replace"), data[text:over])
                else:
                    reply = head[3] if len(head) - headed == 5 else b""
                    await client._process_msg(sid, head[1], reply, data[text:over], data[body:text])
            else:
                line = data[at:eol]
                at = eol + 2
                await self._other(line)
        self._rest = data[at:]

    async def _other(self, line: bytes) -> None:
        client = self._client
        if line.startswith(b"PING"):
            await client._process_ping()
        elif line.startswith(b"PONG"):
            await client._process_pong()
        elif line.startswith(b"-ERR"):
            await client._process_err(line[4:].decode("utf-8", "replace").strip().lower())
        elif line.startswith(b"INFO "):
            with suppress(ValueError, TypeError, KeyError, AttributeError):  # advice only: other servers, lame duck
                await client._process_info(json.loads(line[5:]))
        elif not line.startswith(b"+OK"):
            raise errors.ProtocolError


class _Tcp(TcpTransport):
    async def connect_tls(self, uri: Any, ssl_context: ssl.SSLContext, _buffer: int, connect_timeout: int) -> None:
        """Go over to TLS. The library's own way leaves the stream unaware of it: no flow control, and warnings."""
        assert self._io_writer is not None
        await asyncio.wait_for(self._io_writer.start_tls(ssl_context, server_hostname=uri), connect_timeout)


class HardClient(Client):
    """The library's client with its read loop made deaf-proof and a direct path into our mailbox.

    ``direct`` maps subscription ids to a plain function that must not block and must not raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Frames(self)
        self.direct: dict[int, Receive] = {}
        self._kicked = False
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        self._questions = count()
        self._answers_at: str | None = None
        self._present: Present | None = None

    # ---------------------------------------------------------------- reading

    async def _read_loop(self) -> None:
        """The library's own ends for good on any error that it does not expect; here each one reconnects."""
        while not self.is_closed and not self.is_reconnecting and self._transport is not None:
            try:
                if self._transport.at_eof():
                    raise errors.UnexpectedEOF
                await self._ps.parse(await self._transport.read(READ_BYTES))
            except asyncio.CancelledError:
                break
            except Exception as problem:  # whatever it is: better reconnected than deaf
                if not isinstance(problem, (OSError, errors.Error)):
                    log.exception("reading from the server failed; connecting anew")
                await self._process_op_err(problem)
                break

    async def _process_pong(self) -> None:
        """A PONG for a flush that was given up meanwhile must not end the read loop."""
        if self._pongs and self._pongs[0].done():
            self._pongs.pop(0)
            self._pongs_received += 1
            self._pings_outstanding = 0
            return
        await super()._process_pong()

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except Exception:  # whatever a hostile header block raises must not cost us the connection
            return {"X-Malformed": "1"}
        return parsed

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return None

    # ---------------------------------------------------------------- life

    async def _connect_to_server(self, server: Any) -> None:
        server.last_attempt = time.monotonic()
        self.abort()  # what an attempt before has left half open: the library only forgets it
        if not self._transport:
            self._transport = _Tcp()  # type: ignore[no-untyped-call]
        await self._transport.connect(server.uri, READ_BYTES, self.options["connect_timeout"])

    def use_identity(self, present: Present) -> None:
        """Ask ``present`` for key pair and JWT at each sign-in; needs no nkeys package."""
        self._present = present

    def _connect_command(self) -> bytes:
        if self._present is not None:
            keys, jwt = self._present()
            self._public_nkey, self._signature_cb = keys.public, keys.sign
            self._user_jwt_cb = None if jwt is None else jwt.text.encode
        return super()._connect_command()

    @property
    def lost(self) -> bool:
        """Closed, or one of the library's tasks is gone that nothing would ever start again."""
        if self.is_closed:
            return True
        if self.is_reconnecting:
            return self._reconnection_task is None or bool(self._reconnection_task.done())
        needed = (self._reading_task, self._flusher_task, self._ping_interval_task)
        return bool(self.is_connected) and any(task is None or task.done() for task in needed)

    async def _process_op_err(self, e: Exception) -> None:
        """Leave at once: the library waits until a peer that reads nothing has taken what is buffered for it."""
        if not self.is_closed and not self.is_reconnecting:
            self.abort()
        await super()._process_op_err(e)

    def abort(self) -> None:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    # ---------------------------------------------------------------- speaking

    async def attach(self, subject: str, receive: Receive) -> None:
        """Subscribe; ``receive(subject, payload)`` is called in the read loop."""
        self.direct[self._sid + 1] = receive  # before the server can know of it
        await self.subscribe(subject, cb=_never)

    def post(self, head: bytes, payload: bytes) -> None:
        """Queue a word; ``head`` is ``PUB subject [reply] ``. All of one turn of the loop leaves in one write.

        Raises MaxPayloadError (the server would close the connection for it), OutboundBufferLimitError when too much
        is waiting, ConnectionClosedError when closed.
        """
        size = len(payload)
        if size > self._max_payload:
            raise errors.MaxPayloadError
        self._queue(b"%b%d\r\n%b\r\n" % (head, size, payload))

    def _queue(self, command: bytes) -> None:
        if self._status == Client.CLOSED:
            raise errors.ConnectionClosedError
        if self._pending_data_size > PENDING_BYTES and (
            not self.is_connected or self._pending_data_size > BACKLOG_BYTES
        ):
            raise errors.OutboundBufferLimitError
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._kicked:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._kick)

    def _kick(self) -> None:
        """Write at once where the socket takes it; where it does not, the library's flusher waits for it."""
        self._kicked = False
        if not self.is_connected or self._reconnection_task_future is not None or not self._pending:
            return
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None and not writer.is_closing() and writer.transport.get_write_buffer_size() == 0:
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            writer.write(b"".join(pending))
        elif self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())

    async def ask(
        self, subject: str, payload: bytes, timeout: float, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """Ask the server itself. Raises NoRespondersError, TimeoutError and what ``post`` raises."""
        if self._answers_at is None:
            self._answers_at = f"{self._inbox_prefix.decode()}.{token_hex(6)}"
            await self.attach(f"{self._answers_at}.*", self._answered)
        number = f"{next(self._questions):x}"
        reply = f"{self._answers_at}.{number}"
        if headers is None:
            command = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
        else:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"NATS/1.0\r\n{lines}\r\n".encode()
            sizes = len(head), len(head) + len(payload)
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (subject.encode(), reply.encode(), *sizes, head, payload)
        if len(payload) > self._max_payload:
            raise errors.MaxPayloadError
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._asked[number] = answer
        due = loop.time() + timeout
        alarm = loop.call_at(due, _give_up, answer, due, timeout)
        try:
            self._queue(command)
            return await answer
        finally:
            alarm.cancel()
            del self._asked[number]

    async def answered(self, within_s: float) -> None:
        """Until no question is open, or the time is over."""
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=within_s)

    def _answered(self, subject: str, payload: bytes) -> None:
        answer = self._asked.get(subject.rpartition(".")[2])
        if answer is None or answer.done():
            return
        if payload:
            answer.set_result(payload)
        else:  # JetStream's answers have a body; without one it is the status 503
            answer.set_exception(errors.NoRespondersError())


def _give_up(answer: "asyncio.Future[bytes]", due: float, timeout: float) -> None:
    """Unless this process itself stood still: then the answer may be there unread, and is given its time anew."""
    if answer.done():
        return
    loop = asyncio.get_running_loop()
    now = loop.time()
    if now - due > STOOD_STILL_S:
        loop.call_at(now + timeout, _give_up, answer, now + timeout, timeout)
    else:
        answer.set_exception(errors.TimeoutError())


async def _never(_message: object) -> None:
    raise AssertionError("a direct subscription does not use the library's queue")
