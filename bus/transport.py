"""One identity's connection to its server. It never gives up; a client that is lost for good is built anew."""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nats import errors

from bus.nkeys import BadSeed, KeyPair
from bus.user_jwt import BadJwt, Credential, UserJwt, stamp
from bus.wire import PENDING_BYTES, HardClient, Receive

__all__ = ["BusUnavailable", "Connection", "HardClient", "NotStored", "Receive"]

log = logging.getLogger("gridparley.bus")

PING_EVERY_S = 3
PINGS_OUTSTANDING = 2
FIRST_CONNECT_S = 30.0
REQUEST_S = 2.0
WATCH_EVERY_S = 1.0


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


class Connection:
    """Connect, subscribe, publish, request, barrier, close. Rebuilt when the library gives its client up.

    With ``ca`` the server must show a certificate of that authority before anything is said; without, the way is plain.
    The files of a ``Credential`` are read again at each sign-in. When they or ``ca`` are replaced, a second connection
    is made with them before the first is given up: nothing is missed, what arrives meanwhile may arrive twice.
    """

    def __init__(
        self, url: str, *, name: str, inbox: str, keys: KeyPair | Credential | None = None, ca: Path | None = None
    ) -> None:
        self.url, self.name, self._ca = url, name, ca
        self._inbox, self._keys = inbox, keys
        self._signed_in_with: object = None
        self._try_after = 0.0
        self._subscriptions: dict[str, Receive] = {}
        self._client: HardClient | None = None
        self.reconnects = 0
        """How often the connection came back."""
        self._trouble = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._cause = ""
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
        """Connect; a server that is not up yet is waited for, a refused credential is not. Raises BusUnavailable."""
        await self._open(within_s)
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _open(self, within_s: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while True:
            client = HardClient()
            try:
                await self._connect(client)
                for subject, receive in self._subscriptions.items():
                    await client.attach(subject, receive)
                await _flush_twice(client)
                break
            except (BadSeed, BadJwt) as problem:
                await _discard(client)
                raise BusUnavailable(self.url, str(problem)) from None
            except (errors.Error, OSError, ValueError) as problem:
                await _discard(client)
                cause = str(problem) or type(problem).__name__
                if isinstance(problem, errors.NoServersError):
                    cause = self._cause or cause
                if "authorization" in cause.lower() or loop.time() > until:
                    raise BusUnavailable(self.url, cause) from None
            except BaseException:
                await _discard(client)
                raise
            await asyncio.sleep(random.uniform(0.05, 0.3))
        self._client = client

    async def _connect(self, client: HardClient) -> None:
        options: dict[str, Any] = {}
        self._signed_in_with = self._files()
        if self._keys is not None:
            client.use_identity(self._present)
        if self._ca is not None:
            # TLS comes first: the library takes a plain greeting's word for it that there is no TLS.
            options |= {"tls": _context(self._ca), "tls_handshake_first": True}
        # Without reconnecting the first attempt shows the real error at once; afterwards the client never gives up.
        await client.connect(
            self.url,
            name=self.name,
            inbox_prefix=self._inbox,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
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
        self._cause = text = str(problem) or type(problem).__name__
        if "permissions violation" in text.lower():
            self.refused.append(text)
            del self.refused[:-100]
            log.warning("%s: %s", self.name, text)
        else:
            log.info("%s: %s", self.name, text)

    async def _on_reconnected(self) -> None:
        self.reconnects += 1
        self.on_reconnect()

    async def _on_closed(self) -> None:
        self._trouble.set()

    async def _watch(self) -> None:
        """Build the client anew whenever it is lost: closed by the server, or one of its tasks has died silently."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(WATCH_EVERY_S):  # wait_for may swallow a cancellation (Python 3.11)
                    await self._trouble.wait()
            self._trouble.clear()
            if not self.client.lost:
                if self._files() != self._signed_in_with and asyncio.get_running_loop().time() > self._try_after:
                    await self._move_over()
                continue
            cause = self.client.last_error or self._cause
            log.warning("%s: the connection was closed (%s) and is built anew", self.name, cause)
            await _discard(self.client)
            while True:
                try:
                    await self._open(FIRST_CONNECT_S)
                    break
                except BusUnavailable as problem:
                    log.warning("%s: %s", self.name, problem)
                    await asyncio.sleep(random.uniform(0.5, 2.0))
            self.reconnects += 1
            self.on_reconnect()

    def _present(self) -> tuple[KeyPair, UserJwt | None]:
        assert self._keys is not None
        return self._keys.present() if isinstance(self._keys, Credential) else (self._keys, None)

    def _files(self) -> object:
        """Differs when what a sign-in reads was replaced."""
        held = self._keys.stamps() if isinstance(self._keys, Credential) else ()
        return (*held, stamp(self._ca) if self._ca is not None else None)

    async def _move_over(self) -> None:
        """Sign in with what the files hold now, beside the present connection, then leave that one."""
        old = self.client
        try:
            await self._open(0.0)
        except BusUnavailable as problem:
            log.warning("%s: its new credential does not open the door, the old one stays: %s", self.name, problem)
            self._signed_in_with = None
            self._try_after = asyncio.get_running_loop().time() + random.uniform(2.0, 4.0)
            return
        old._closed_cb = old._reconnected_cb = None
        with suppress(errors.Error, OSError):
            await old.flush(timeout=2)
        await old.answered(REQUEST_S)
        await _discard(old)
        log.info("%s: signed in with its new credential", self.name)

    async def subscribe(self, subject: str, receive: Receive) -> None:
        """``receive(subject, payload)`` is called in the read loop: it only puts things away."""
        self._subscriptions[subject] = receive
        await self.client.attach(subject, receive)

    def publish(self, subject: str, payload: bytes) -> None:
        """At most once. Raises nats.errors.Error when there is nowhere to put it or it is too long."""
        self.client.post(f"PUB {subject} ".encode(), payload)

    async def request(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> bytes:
        """Ask the server itself (JetStream's API). Raises nats.errors.Error, TimeoutError."""
        return await self.client.ask(subject, payload, REQUEST_S, headers)

    async def barrier(self) -> None:
        """All that was subscribed and published before is at the server now. Raises TimeoutError.

        One flush is none: the library writes its PING ahead of its own buffer.
        """
        await _flush_twice(self.client)

    async def close(self) -> None:
        """Send what is queued, if somebody takes it, and leave. Never raises, also when the server is dead."""
        while self._watcher is not None and not self._watcher.done():
            self._watcher.cancel()  # again and again: the library it may be waiting in can swallow one
            await asyncio.wait([self._watcher], timeout=WATCH_EVERY_S)
        self.on_reconnect = lambda: None
        if self._client is not None:
            if self._client.is_connected:
                with suppress(errors.Error, OSError):
                    await self._client.flush(timeout=2)
            await _discard(self._client)


def _context(ca: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


async def _flush_twice(client: HardClient) -> None:
    await client.flush()
    await client.flush()


async def _discard(client: HardClient) -> None:
    """Close a client that may be in any state; its callbacks are of no interest any more."""
    client._closed_cb = client._reconnected_cb = None
    try:
        await asyncio.wait_for(client.close(), 2.0)
    except Exception as problem:  # the library's close may fail in every way that a half-open connection allows
        log.debug("closing: %s", problem or type(problem).__name__)
    finally:  # also where closing is cancelled in its turn
        client.abort()
