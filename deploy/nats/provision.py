"""Streams and consumers of a server, derived from what its agents say. Doing it again changes nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from nats.errors import Error as NatsError

from agents.kit.skill import Vocabulary
from bus import store
from bus.address import HOME, tail
from bus.nkeys import KeyPair
from bus.transport import FIRST_CONNECT_S, Connection
from bus.user_jwt import Credential
from contracts.kit import Message
from contracts.roles import OPS
from contracts.system import GroupMessage
from deploy.permissions import Permissions, words_of
from deploy.topology import GRID, HUB

log = logging.getLogger("gridparley.provision")
OPERATOR = "operator"
"""Name of the tool that ``gridparley order`` speaks as: grid.ops.operator."""
_S = 1_000_000_000  # JetStream counts nanoseconds
_DAY_S = 86_400
DEDUP_S = 600
"""A word sent again within this is stored once; wall time, longer than any outbox waits between two tries."""

ACK_WAIT_S = 5.0
"""A word that was read and not acknowledged comes again after so long; wall time."""
MAX_CONSUMERS = 100_000
"""Per stream, one for each agent that reads what it missed; nats-server 2.15 stops at 1,000 unless told otherwise."""


AGAIN_WALL_S, TELL_WALL_S = 1.0, 10.0
_UNAVAILABLE, _NO_PEERS = 503, 10_005
"""What a cluster answers that still looks for its leader, or for the last of its servers."""


class NotProvisioned(Exception):
    """A server did not take a stream or a consumer. ``passing``: it may later."""

    def __init__(self, server: str, what: str, cause: str, *, passing: bool = False) -> None:
        super().__init__(f"{server}: {what} was not made: {cause}")
        self.server, self.what, self.cause, self.passing = server, what, cause, passing


async def provision(
    permissions: Permissions,
    server: str,
    url: str,
    admin: KeyPair | Credential,
    ca: Path | None = None,
    *,
    replicas: int = 1,
    within_s: float = FIRST_CONNECT_S,
    patience_s: float = 0.0,
) -> None:
    """Make or update what the topology needs at a server.

    replicas   copies of each stream, on as many servers of a cluster
    within_s   how long a server that is not up yet is waited for
    patience_s   how long each stream and consumer is asked for again where a cluster is not whole yet

    Raises NotProvisioned, BusUnavailable.
    """
    connection = Connection(url, name=f"{server}.admin", inbox="_R.admin", keys=admin, ca=ca)
    await connection.open(within_s)
    try:
        for stream in streams(permissions, server, replicas=replicas):
            await _patiently(partial(_make_stream, connection, server, stream), patience_s)
        for stream_name, consumer in consumers(permissions, server):
            what = f"CONSUMER.DURABLE.CREATE.{stream_name}.{consumer['durable_name']}"
            body = {"stream_name": stream_name, "config": consumer}
            await _patiently(partial(_ask, connection, server, what, body), patience_s)
    finally:
        await connection.close()


async def _patiently(ask: Callable[[], Awaitable[None]], patience_s: float) -> None:
    loop = asyncio.get_running_loop()
    until, next_word = loop.time() + patience_s, loop.time()
    while True:
        try:
            return await ask()
        except NotProvisioned as problem:
            if not problem.passing or loop.time() >= until:
                raise
            if loop.time() >= next_word:
                next_word += TELL_WALL_S
                log.info("%s; it is tried again", problem)
        await asyncio.sleep(AGAIN_WALL_S)


async def empty(permissions: Permissions, server: str, connection: Connection) -> None:
    """Forget what was said and kept in earlier runs, whose clock went over the same day. Raises NotProvisioned."""
    for stream in streams(permissions, server):
        await _ask(connection, server, f"STREAM.PURGE.{stream['name']}", {})


async def _make_stream(connection: Connection, server: str, stream: dict[str, Any]) -> None:
    try:
        await _ask(connection, server, f"STREAM.CREATE.{stream['name']}", stream)
    except NotProvisioned as problem:
        if "name already in use" not in problem.cause:
            raise
        await _ask(connection, server, f"STREAM.UPDATE.{stream['name']}", stream)


async def _ask(connection: Connection, server: str, what: str, body: dict[str, Any]) -> None:
    try:
        answer = msgspec.json.decode(await connection.request(f"$JS.API.{what}", msgspec.json.encode(body)))
    except (NatsError, TimeoutError, OSError) as problem:
        raise NotProvisioned(server, what, str(problem) or type(problem).__name__, passing=True) from problem
    if "error" in answer:
        error = answer["error"]
        passing = error.get("code") == _UNAVAILABLE or error.get("err_code") == _NO_PEERS
        raise NotProvisioned(server, what, str(error.get("description", error)), passing=passing)


def streams(permissions: Permissions, server: str, *, replicas: int = 1) -> list[dict[str, Any]]:
    """The streams of a server. Sites keep what stays at home; the grid side keeps its own and what crosses the link."""
    here = GRID if server == HUB else server
    vocabularies = permissions.vocabularies.values()
    addressed = sorted({tail(kind) for kind in _addressed(vocabularies) if kind.durable})
    said_home = sorted({tail(k) for v in vocabularies for k in v.says_home if not k.durable})
    talks = [f"{HOME}to.{here}.*.*.{here}.*.*.{end}" for end in addressed]
    last = [f"{HOME}say.{here}.*.*.{end}" for end in said_home]
    made = [
        _stream(store.STATE, [f"$KV.STATE.{here}.>"], max_msgs_per_subject=1, allow_rollup_hdrs=True),
        _stream(
            store.DEAD, ["dead.>" if server == HUB else f"dead.{here}.>"], max_msgs=20_000, max_age=7 * _DAY_S * _S
        ),
    ]
    if server == HUB:
        talks += [f"to.*.*.*.*.*.*.{end}" for end in addressed]
        last += sorted({f"say.*.*.*.{tail(k)}" for v in vocabularies for k in v.says_grid if not k.durable})
        records = sorted({f"say.*.*.*.{tail(k)}" for v in vocabularies for k in v.says_grid if k.durable})
        if records:
            made.append(_stream(store.RECORDS, records, max_age=30 * _DAY_S * _S, duplicate_window=DEDUP_S * _S))
        ends = f"*.*.*.*.{tail(GroupMessage)}"
        made.append(_stream(store.GROUPS, [f"group.{ends}"], max_age=7 * _DAY_S * _S, duplicate_window=DEDUP_S * _S))
    if talks:
        made.append(_stream(store.TALKS, talks, max_age=7 * _DAY_S * _S, duplicate_window=DEDUP_S * _S))
    if last:
        made.append(_stream(store.LAST, last, storage="memory", max_msgs_per_subject=1, max_bytes=32 << 20))
    # In a cluster a stream in memory is empty at a server that was restarted: after two, the return of the third is
    # waited for without a leader, and the servers tell that they are unwell (nats-server 2.15.1, seen in containers).
    on_disk = {"storage": "file"} if replicas > 1 else {}
    return [{**stream, **on_disk, "num_replicas": replicas} for stream in made]


def _stream(name: str, subjects: list[str], **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "allow_direct": True,
        "max_consumers": MAX_CONSUMERS,
        **more,
    }


def _addressed(vocabularies: Iterable[Vocabulary]) -> set[type[Message]]:
    words: set[type[Message]] = set()
    for vocabulary in vocabularies:
        words.update(kind for kind, _ in vocabulary.tells)
        for table in vocabulary.opens:
            words |= words_of(table, table.opener)
        for table in vocabulary.answers:
            words |= words_of(table, table.answerer)
    return words


def consumers(permissions: Permissions, server: str) -> list[tuple[str, dict[str, Any]]]:
    """(stream, consumer) of every agent that reads missed words from this server."""
    here = GRID if server == HUB else server
    there = {stream["name"] for stream in streams(permissions, server)}
    made = []
    if server == HUB:  # the recorder's: everything that is stored, once; who orders hears the answers alone
        tools = [
            address for address in permissions.topology.entries if address.role == OPS.name and address.site == here
        ]
        made += [
            (stream, _consumer(store.consumer_name(address), [">"]))
            for address in tools
            if address.name != OPERATOR
            for stream in (store.TALKS, store.GROUPS, store.RECORDS)
            if stream in there
        ]
        made += [
            (store.TALKS, _consumer(store.consumer_name(address), [f"to.{address}.>"]))
            for address in tools
            if address.name == OPERATOR and store.TALKS in there
        ]
    for address in permissions.agents():
        name = store.consumer_name(address, home=server != HUB)
        wanted: list[tuple[str, list[str]]] = []
        if address.site == here:
            home = [f"{HOME}to.{address}.>"]
            wanted.append((store.TALKS, [*home, f"to.{address}.>"] if server == HUB else home))
        elif server == HUB:
            wanted.append((store.TALKS, [f"to.{address}.>"]))
        if server == HUB:
            wanted.append((store.GROUPS, [f"group.{group}.>" for group in permissions.groups_of(address)]))
            wanted.append((store.RECORDS, permissions.heard_records(address)))
        made += [(stream, _consumer(name, filters)) for stream, filters in wanted if filters and stream in there]
    return made


def _consumer(name: str, filters: list[str]) -> dict[str, Any]:
    chosen = {"filter_subject": filters[0]} if len(filters) == 1 else {"filter_subjects": filters}
    return {
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ACK_WAIT_S * _S),
        "max_ack_pending": 1024,
        **chosen,
    }
