"""What must survive: words stored before they count, durable state, last values, dead letters. All JetStream.

Streams (made by ``deploy``, one set per server): TALKS durable addressed words, RECORDS durable says, GROUPS, LAST the
last value of every other say, DEAD dead letters, KV_STATE the agents' state.
"""

import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import msgspec
from nats import errors as nats_errors

from bus.address import Address
from bus.transport import Connection, NotStored

log = logging.getLogger("gridparley.bus")
T = TypeVar("T")
_BATCH = 64
READ_TRIES = 4
"""An agent that starts reads what it kept; it cannot go on without, and asking again costs nothing."""
TALKS, RECORDS, GROUPS, LAST, DEAD, STATE = "TALKS", "RECORDS", "GROUPS", "LAST", "DEAD", "KV_STATE"


def consumer_name(address: Address, *, home: bool = False) -> str:
    """The durable consumer that an agent reads missed words from; made by whoever provisions.

    home   the one at its site's own server, of an agent that has one at the hub as well. An acknowledgement names
           stream and consumer, not the domain, and both servers hear it: under one name, handling a word of the home
           would acknowledge an unread one of the hub.
    """
    return f"{'home-' if home else ''}{address.site}-{address.role}-{address.name}"


class _Ack(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


async def store(connection: Connection, subject: str, payload: bytes, id: str) -> int:
    """Publish into whichever stream holds the subject. Returns the sequence; raises NotStored.

    Storing the same id again is harmless: the stream keeps one.
    """
    try:
        answer = await connection.request(subject, payload, headers={"Nats-Msg-Id": id})
        ack = msgspec.json.decode(answer, type=_Ack)
    except (TimeoutError, nats_errors.Error, msgspec.MsgspecError, OSError) as problem:
        raise NotStored(subject, type(problem).__name__) from problem
    if ack.error is not None or ack.seq == 0:
        raise NotStored(subject, str(ack.error))
    return ack.seq


class Sealed(NamedTuple):
    """A durable word in its envelope, not said yet. ``until`` is its deadline in run time."""

    subject: str
    payload: bytes
    id: str
    until: float


class State:
    """An agent's own durable values: one JSON document per key, written before anything is acknowledged."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self._connection, self._prefix = connection, f"$KV.STATE.{address}"
        self.failures = 0
        """Writes that the server did not take."""

    async def put(self, key: str, value: object) -> None:
        """Raises NotStored when the site's server did not take it."""
        await self._write(key, msgspec.json.encode(value))

    async def get(self, key: str, kind: type[T]) -> T | None:
        """None when never written or deleted. Raises NotStored when the server does not answer.

        A value that does not decode any more is logged and treated as never written.
        """
        subject = f"{self._prefix}.{key}"
        raw = await last_message(self._connection, STATE, subject, tries=READ_TRIES)
        if not raw:
            return None
        try:
            return msgspec.json.decode(raw, type=kind)
        except msgspec.MsgspecError as problem:
            log.error("state %s is unreadable and starts anew: %s", subject, problem)
            return None

    async def delete(self, key: str) -> None:
        """Raises NotStored when the site's server did not take it."""
        await self._write(key, b"")

    async def _write(self, key: str, payload: bytes) -> None:
        subject = f"{self._prefix}.{key}"
        try:
            answer = await self._connection.request(subject, payload)
            ack = msgspec.json.decode(answer, type=_Ack)
        except (TimeoutError, nats_errors.Error, msgspec.MsgspecError, OSError) as problem:
            self.failures += 1
            raise NotStored(subject, type(problem).__name__) from problem
        if ack.error is not None:
            self.failures += 1
            raise NotStored(subject, str(ack.error))


async def last_message(
    connection: Connection, stream: str, subject: str, domain: str | None = None, *, tries: int = 1
) -> bytes | None:
    """The last message of one subject, None if there is none. Raises NotStored when no server answers."""
    prefix = "$JS.API" if domain is None else f"$JS.{domain}.API"
    for left in reversed(range(tries)):
        try:
            reply = await connection.client.request(f"{prefix}.DIRECT.GET.{stream}.{subject}", b"", timeout=2.0)
            break
        except (TimeoutError, nats_errors.Error, OSError) as problem:
            if not left or not isinstance(problem, TimeoutError):
                raise NotStored(subject, type(problem).__name__) from problem
    if reply.headers and "Status" in reply.headers:
        return None
    return bytes(reply.data)


async def pending(
    connection: Connection, stream: str, consumer: str, domain: str | None = None
) -> AsyncIterator[tuple[str, bytes, str]]:
    """(subject, payload, token) of every stored word that this consumer has not acknowledged, oldest first.

    Publishing ``+ACK`` to the token acknowledges; what stays unacknowledged comes again. Raises NotStored when the
    stream cannot be read.
    """
    prefix = "$JS.API" if domain is None else f"$JS.{domain}.API"
    ask = f"{prefix}.CONSUMER.MSG.NEXT.{stream}.{consumer}"
    client = connection.client
    batch = _BATCH
    while batch == _BATCH:
        batch = 0
        subscription = None
        try:
            inbox = client.new_inbox()
            subscription = await client.subscribe(inbox)
            await client.publish(ask, msgspec.json.encode({"batch": _BATCH, "no_wait": True}), reply=inbox)
            while batch < _BATCH:
                message = await subscription.next_msg(timeout=2.0)
                if message.headers and "Status" in message.headers:
                    if message.headers["Status"] == "503":
                        raise NotStored(ask, "no such stream or consumer, or no link to it")
                    break
                batch += 1
                yield message.subject, bytes(message.data), message.reply
        except (TimeoutError, nats_errors.Error, OSError) as problem:
            raise NotStored(ask, type(problem).__name__) from problem
        finally:
            if subscription is not None:
                with suppress(nats_errors.Error):
                    await subscription.unsubscribe()


async def missed(
    connection: Connection, stream: str, consumer: str, domain: str | None = None
) -> AsyncIterator[tuple[str, bytes]]:
    """As ``pending``; each word is acknowledged when the next one is asked for."""
    async for subject, payload, token in pending(connection, stream, consumer, domain):
        yield subject, payload
        with suppress(nats_errors.Error):
            connection.publish(token, b"+ACK")


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A word that changed nothing, kept with the reason. ``data`` is base64, cut to 4 KiB."""

    at: float
    receiver: str
    subject: str
    code: str
    error: str
    data: str


def dead_letter(
    connection: Connection, address: Address, at: float, subject: str, code: str, error: str, data: bytes
) -> None:
    """Keep what could not be taken. Best effort: it must never hurt the living."""
    letter = DeadLetter(
        at=at,
        receiver=str(address),
        subject=subject[:512],
        code=code,
        error=error[:1024],
        data=b64encode(data[:4096]).decode(),
    )
    try:
        connection.publish(f"dead.{address}", msgspec.json.encode(letter))
    except nats_errors.Error as problem:
        log.warning("dead letter lost (%s): %s %s", problem, code, error)
