"""nats-py, hardened: hostile frames cannot make it deaf, it never gives up, it finds a dead server in seconds.

Which library faults are worked around here, and the evidence, is in docs/decisions/0002-nats-py-hardened.md.
"""

import asyncio
import logging
import random
import re
from collections.abc import Callable
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.protocol import parser

from bus.nkeys import KeyPair

log = logging.getLogger("gridparley.bus")

# The library's \s also matches VT and FF, which are legal in a subject: such a frame stopped its read loop.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)

PENDING_BYTES = 256 * 1024
PING_EVERY_S = 3
PINGS_OUTSTANDING = 2
FIRST_CONNECT_S = 30.0
REQUEST_S = 2.0

Receive = Callable[[str, bytes], None]


class BusUnavailable(Exception):
    """The server cannot be reached or refuses this credential."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(f"no NATS at {url}: {cause}. Is the server running, and was the key made for this topology?")
        self.url, self.cause = url, cause


class NotStored(Exception):
    """A word that must be stored before it counts was not: no stream answered in time."""

    def __init__(self, subject: str, cause: str) -> None:
        super().__init__(f"not stored: {subject} ({cause}). Is the link to the server that holds the stream up?")
        self.subject, self.cause = subject, cause


class HardClient(Client):
    """The library's client with its read loop made deaf-proof and a direct path into our mailbox.

    ``direct`` maps subscription ids to a plain function that must not block and must not raise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.direct: dict[int, Receive] = {}
        self._kicked = False

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        receive = self.direct.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        self.stats["in_msgs"] += 1
        self.stats["in_bytes"] += len(data)
        receive(subject.decode("utf-8", "replace"), bytes(data))

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            parsed: dict[str, str] | None = await super()._process_headers(headers)
        except Exception:  # whatever a hostile header block raises must not end the read loop
            return {"X-Malformed": "1"}
        return parsed

    def _build_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> Any:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return None

    def use_identity(self, keys: KeyPair) -> None:
        """Sign in with a key pair, without the optional nkeys package."""
        self._public_nkey = keys.public

    def post(self, command: bytes, size: int) -> None:
        """Queue a PUB; all that is queued in one turn of the loop leaves in one write.

        Raises OutboundBufferLimitError while disconnected with a full buffer, ConnectionClosedError when closed.
        """
        if self.is_closed:
            raise errors.ConnectionClosedError
        if self._pending_data_size > PENDING_BYTES and not self.is_connected:
            raise errors.OutboundBufferLimitError
        self._pending.append(command)
        self._pending_data_size += size
        if not self._kicked:
            self._kicked = True
            asyncio.get_running_loop().call_soon(self._kick)

    def _kick(self) -> None:
        self._kicked = False
        if self.is_connected and self._flush_queue is not None and self._flush_queue.empty():
            self._flush_queue.put_nowait(asyncio.get_running_loop().create_future())


class Connection:
    """One identity's connection: connect, subscribe, publish, request, barrier, close. Rebuilt when it closes."""

    def __init__(self, url: str, *, name: str, inbox: str, keys: KeyPair | None = None) -> None:
        self.url, self.name = url, name
        self._inbox, self._keys = inbox, keys
        self._subscriptions: dict[str, Receive] = {}
        self._client: HardClient | None = None
        self._closing = False
        self._rebuild: asyncio.Task[None] | None = None
        self.on_reconnect: Callable[[], object] = lambda: None
        self.refused: list[str] = []
        """Subjects that the server refused, newest last, lower-cased by the library."""

    @property
    def client(self) -> HardClient:
        """The present client, for JetStream administration and the service protocol."""
        if self._client is None:
            raise BusUnavailable(self.url, "not connected yet")
        return self._client

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def open(self, within_s: float = FIRST_CONNECT_S) -> None:
        """Connect; a server that is not up yet is waited for, a refused credential is not."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while True:
            client = HardClient()
            try:
                await self._connect(client)
                break
            except (errors.AuthorizationError, errors.Error) as problem:
                if "authorization" in str(problem).lower() or loop.time() > until:
                    raise BusUnavailable(self.url, str(problem) or type(problem).__name__) from None
            except OSError as problem:
                if loop.time() > until:
                    raise BusUnavailable(self.url, str(problem)) from None
            await asyncio.sleep(random.uniform(0.05, 0.3))
        self._client = client
        for subject, receive in self._subscriptions.items():
            await self._attach(client, subject, receive)
        await self.barrier()

    async def _connect(self, client: HardClient) -> None:
        options: dict[str, Any] = {}
        if self._keys is not None:
            client.use_identity(self._keys)
            options["signature_cb"] = self._keys.sign
        # Without reconnecting the first attempt shows the real error at once; afterwards the client never gives up.
        await client.connect(
            self.url,
            name=self.name,
            inbox_prefix=self._inbox,
            allow_reconnect=False,
            connect_timeout=3,
            ping_interval=PING_EVERY_S,
            max_outstanding_pings=PINGS_OUTSTANDING,
            pending_size=PENDING_BYTES,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            reconnect_to_server_handler=lambda _servers, _info: (None, random.uniform(0.05, 0.8)),
            **options,
        )
        client.options["allow_reconnect"] = True
        client.options["max_reconnect_attempts"] = -1

    async def _on_error(self, problem: Exception) -> None:
        text = str(problem)
        if "permissions violation" in text.lower():
            self.refused.append(text)
            del self.refused[:-100]
        log.warning("%s: %s", self.name, text or type(problem).__name__)

    async def _on_reconnected(self) -> None:
        self.on_reconnect()

    async def _on_closed(self) -> None:
        if not self._closing and self._client is not None and self._rebuild is None:
            self._rebuild = asyncio.get_running_loop().create_task(self._reopen())

    async def _reopen(self) -> None:
        while not self._closing:
            try:
                await self.open()
                self.on_reconnect()
                break
            except BusUnavailable as problem:
                log.warning("%s: %s", self.name, problem)
                await asyncio.sleep(random.uniform(0.5, 2.0))
        self._rebuild = None

    async def _attach(self, client: HardClient, subject: str, receive: Receive) -> None:
        subscription = await client.subscribe(subject, cb=_never)
        client.direct[subscription._id] = receive

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """``receive(subject, payload)`` is called in the read loop: it only puts things away."""
        self._subscriptions[subject] = receive
        await self._attach(self.client, subject, receive)

    def publish(self, subject: str, payload: bytes) -> None:
        """At most once. Raises nats.errors.Error when there is nowhere to put it."""
        command = b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)
        self.client.post(command, len(command))

    async def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Ask the server itself (JetStream's API). Raises nats.errors.Error, TimeoutError."""
        reply = await self.client.request(subject, payload, timeout=REQUEST_S, headers=headers)
        return bytes(reply.data)

    async def barrier(self) -> None:
        """All that was subscribed and published before is at the server now.

        One flush is none: the library writes its PING ahead of its own buffer.
        """
        await self.client.flush()
        await self.client.flush()

    async def close(self) -> None:
        self._closing = True
        if self._rebuild is not None:
            self._rebuild.cancel()
        if self._client is not None and not self._client.is_closed:
            if self._client.is_connected:
                await self.client.flush(timeout=2)
            await self._client.close()


async def _never(_message: object) -> None:
    raise AssertionError("a direct subscription does not use the library's queue")
