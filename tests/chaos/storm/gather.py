"""What only the living servers and agents can tell, asked as the quiet ends: streams, books, counts, who answers."""

import asyncio
import contextlib
from bisect import bisect_left
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from nats.errors import Error as NatsError

from bus import store
from bus.transport import BusUnavailable, Connection
from contracts.kit import vocabulary
from contracts.roles import OPS
from deploy.doors import Doors
from deploy.nats.provision import ACK_WAIT_S, OPERATOR
from deploy.records.recorder import read_word
from deploy.records.rows import Event
from deploy.run.processes import Files, Plan
from deploy.topology import GRID, HUB

ANSWER_WALL_S = 5.0
BATCH = 500
STUCK_WALL_S = 2 * ACK_WAIT_S


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """One durable word as a stream has it; ``event.heard`` is the run instant of its storing, by the server's clock."""

    server: str
    stream: str
    seq: int
    event: Event


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment.

    stored    the words of TALKS, RECORDS and GROUPS of all servers, in each stream's order
    books     address -> key -> its document, as KV_STATE had it before the words were read: what it tells is there
    moving    ``address.key`` of documents that were another a moment later
    letters   all dead letters
    counts    address -> what its bus has counted in this life; only who answered
    ailing    whom the street's own status showed as not well
    unread    consumers that make no step although words wait for them, with how many
    """

    at: float
    stored: tuple[Stored, ...] = ()
    books: dict[str, dict[str, msgspec.Raw]] = {}
    moving: tuple[str, ...] = ()
    letters: tuple[store.DeadLetter, ...] = ()
    counts: dict[str, dict[str, int]] = {}
    ailing: tuple[str, ...] = ()
    unread: dict[str, int] = {}


async def gather(run: Path, at: float, instants: list[tuple[float, float]], ailing: list[str]) -> Gathered:
    """Of a run on this machine; else as ``gather_at``."""
    files = Files(run)
    return await gather_at(Doors(Plan.read(files).topology, files.nats), at, instants, ailing)


async def gather_at(doors: Doors, at: float, instants: list[tuple[float, float]], ailing: list[str]) -> Gathered:
    """``instants`` are (wall, run) pairs. Raises BusUnavailable when a server does not answer at all."""
    topology = doors.topology
    stored: list[Stored] = []
    books: dict[str, dict[str, msgspec.Raw]] = {}
    letters: list[store.DeadLetter] = []
    moving: list[str] = []
    counts: dict[str, dict[str, int]] = {}
    unread: dict[str, int] = {}
    words = vocabulary()

    async def ask(server: str) -> None:
        admin = doors.connection(server, f"{server}.admin", "_R.admin")
        await admin.open()
        try:
            first = await _books(admin)
            for stream in (store.TALKS, store.RECORDS, store.GROUPS):
                for seq, wall, subject, data in await all_of(admin, stream):
                    event, _ = read_word(subject, data, _run_time(instants, wall), words)
                    stored.append(Stored(server=server, stream=stream, seq=seq, event=event))
            books.update(first)
            unread.update({f"{server} {name}": count for name, count in (await _stuck(admin)).items()})
            again = await _books(admin)
            moving.extend(
                f"{address}.{key}"
                for address, book in first.items()
                for key, document in book.items()
                if again.get(address, {}).get(key) != document
            )
            for _, _, _, data in await all_of(admin, store.DEAD):
                with contextlib.suppress(msgspec.MsgspecError):
                    letters.append(msgspec.json.decode(data, type=store.DeadLetter))
        finally:
            await admin.close()
        counts.update(await _counts(doors, server))

    async with asyncio.TaskGroup() as group:
        for server in topology.servers:
            group.create_task(ask(server))
    return Gathered(
        at=at,
        stored=tuple(stored),
        books=books,
        moving=tuple(moving),
        letters=tuple(letters),
        counts=counts,
        ailing=tuple(ailing),
        unread=unread,
    )


def _run_time(instants: list[tuple[float, float]], wall: float) -> float:
    if not instants:
        return 0.0
    n = min(max(bisect_left(instants, (wall, 0.0)), 1), len(instants) - 1)
    (wall_a, run_a), (wall_b, run_b) = instants[n - 1], instants[n]
    if wall_b <= wall_a:
        return run_b
    return run_a + (wall - wall_a) / (wall_b - wall_a) * (run_b - run_a)


async def _ask(connection: Connection, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """Raises BusUnavailable when JetStream does not answer."""
    for _ in range(5):
        try:
            raw = await connection.request(f"$JS.API.{what}", msgspec.json.encode(body))
            answer: dict[str, Any] = msgspec.json.decode(raw)
            return answer
        except (NatsError, TimeoutError):
            await asyncio.sleep(0.5)
    raise BusUnavailable(connection.url, f"JetStream does not answer {what}")


async def all_of(admin: Connection, stream: str) -> list[tuple[int, float, str, bytes]]:
    """(sequence, wall time, subject, payload) of every message, many at a time. Raises BusUnavailable."""
    info = await _ask(admin, f"STREAM.INFO.{stream}", {})
    if "error" in info:
        return []
    found: list[tuple[int, float, str, bytes]] = []
    client, last = admin.client, info["state"]["last_seq"]
    while (found[-1][0] if found else info["state"]["first_seq"] - 1) < last:
        after = found[-1][0] if found else info["state"]["first_seq"] - 1
        inbox = client.new_inbox()
        subscription = await client.subscribe(inbox)
        batch = msgspec.json.encode({"seq": after + 1, "batch": BATCH})
        await client.publish(f"$JS.API.DIRECT.GET.{stream}", batch, reply=inbox)
        try:
            while True:
                message = await subscription.next_msg(timeout=ANSWER_WALL_S)
                headers = message.headers or {}
                if "Nats-Sequence" not in headers:
                    break
                wall = datetime.fromisoformat(_micro(headers["Nats-Time-Stamp"])).timestamp()
                found.append((int(headers["Nats-Sequence"]), wall, headers["Nats-Subject"], bytes(message.data)))
        except TimeoutError:
            raise BusUnavailable(admin.url, f"JetStream does not tell what is in {stream}") from None
        finally:
            await subscription.unsubscribe()
        if not found or found[-1][0] == after:
            break
    return found


def _micro(text: str) -> str:
    """RFC 3339 with nanoseconds as Python reads it."""
    head, _, rest = text.rstrip("Z").partition(".")
    return f"{head}.{(rest + '000000')[:6]}+00:00"


async def _books(admin: Connection) -> dict[str, dict[str, msgspec.Raw]]:
    books: dict[str, dict[str, msgspec.Raw]] = {}
    for _, _, subject, data in await all_of(admin, store.STATE):
        address, _, key = subject.removeprefix("$KV.STATE.").rpartition(".")
        if data:
            books.setdefault(address, {})[key] = msgspec.Raw(data)
    return books


async def _waiting(admin: Connection, stream: str) -> dict[str, tuple[int, int]]:
    """Consumer -> (how many words wait, up to which all are dealt with); only where some wait."""
    listed = await _ask(admin, f"CONSUMER.LIST.{stream}", {})
    found = {
        one["name"]: (one["num_pending"] + one["num_ack_pending"], one["ack_floor"]["stream_seq"])
        for one in listed.get("consumers") or []
    }
    return {name: waiting for name, waiting in found.items() if waiting[0]}


async def _stuck(admin: Connection) -> dict[str, int]:
    """Consumers that make no step although words wait, longer than it takes until one comes again."""
    streams = (store.TALKS, store.RECORDS, store.GROUPS)
    before = {stream: await _waiting(admin, stream) for stream in streams}
    if not any(before.values()):
        return {}
    await asyncio.sleep(STUCK_WALL_S)
    after = {stream: await _waiting(admin, stream) for stream in streams}
    return {
        f"{stream} {name}": count
        for stream, waiting in after.items()
        for name, (count, floor) in waiting.items()
        if before[stream].get(name, (0, -1))[1] == floor
    }


async def _counts(doors: Doors, server: str) -> dict[str, dict[str, int]]:
    """Ask everybody at one server, as an operator's tool does."""
    place = GRID if server == HUB else server
    tools = [a for a in doors.topology.entries if a.role == OPS.name and a.site == place]
    if not tools:
        return {}
    tool = next((a for a in tools if a.name == OPERATOR), tools[0])
    expected = {
        str(a)
        for a, entry in doors.topology.entries.items()
        if a.site == place and a.role != OPS.name and not entry.attach
    }
    inbox = f"{tool.inbox}.storm"
    connection = doors.connection(server, str(tool), inbox)
    found: dict[str, dict[str, int]] = {}
    all_there = asyncio.Event()

    def take(_subject: str, payload: bytes) -> None:
        answer = msgspec.json.decode(payload)
        counts: dict[str, int] = next((e["data"] for e in answer.get("endpoints", []) if e["name"] == "mailbox"), {})
        found[answer["metadata"]["address"]] = {name: int(n) for name, n in counts.items()}
        if expected <= set(found):
            all_there.set()

    await connection.open()
    try:
        await connection.subscribe(f"{inbox}.stats", take)
        await connection.barrier()
        for _ in range(3):
            await connection.client.publish("$SRV.STATS", b"", reply=f"{inbox}.stats")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(all_there.wait(), ANSWER_WALL_S)
                break
    finally:
        await connection.close()
    return found
