"""A rogue with a device's own credential floods its lawful subjects: garbage, lies, old words and hostile frames."""

import asyncio
import contextlib
import json
import random
import signal
import sys
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import msgspec

from bus.address import Address, say, to
from bus.envelope import Envelope, encode, instant
from contracts.kit import Message
from deploy.doors import Doors
from deploy.run.processes import Files, Plan
from tests.bus.samples import sample

HOST = "127.0.0.1"
ROGUE = "rogue-"
"""How every id that the rogue makes up begins."""
BATCH_WALL_S = 0.05
AGAIN_WALL_S = 0.2
_LAWFUL = b'{"v":1,"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z"'
GARBAGE = (
    b"",
    b"\xff\xfe\x00\x01garbage\r\nPUB x 1\r\n",
    b'{"v":1,"id":"x"',
    b"[]",
    b"[" * 20_000,
    _LAWFUL + b"}",
    _LAWFUL + b',"body":17}',
    b'{"v":9,"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","body":{}}',
    b'{"v":1,"id":"","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","body":{}}',
    b'{"v":1,"id":"x","at":"yesterday","deadline":"2099-01-01T00:00:00Z","body":{}}',
)
HOSTILE_HEADERS = (
    b"NATS/1.0 \xff\xff\r\n\r\n",
    b"NATS/1.0 5\xff3 x\r\n\r\n",
    b"NATS/1.0 abc def\r\n\r\n",
    b"NATS/1.0 404 \xff\r\n\r\n",
    b"NATS/1.0",
    b"abc",
    b"\x00",
    b"NATS/1.0\r\n\xff: 1\r\n\r\n",
    b"NATS/1.0\r\nnothing\r\n\r\n",
    b"NATS/1.0\r\na: \xff\xfe\r\n\r\n",
    b"NATS/1.0 100 Idle\r\nA\r\n: \r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: same\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
)
_ODD_SUBJECTS = (b".\x0bx", b".\xff\xfe", b".\x0cx", b"..", b".a b")
"""Behind a subject of its own; the server may refuse or close, and the rogue comes again."""


async def main(run: Path, name: str, per_wall_s: float, now: float, seed: int) -> None:
    """A process of its own, so that the storm itself is not held up: it says how many words it has said at SIGTERM."""
    files = Files(run)
    flood = Flood(Doors(Plan.read(files).topology, files.nats), Address.parse(name), per_wall_s)
    pouring = asyncio.create_task(flood.run(now, seed))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, pouring.cancel)
    await asyncio.gather(pouring, return_exceptions=True)
    print(f"{flood.sent} words")


class Flood:
    """``sent`` is how many frames the rogue has written so far."""

    def __init__(self, doors: Doors, who: Address, per_wall_s: float) -> None:
        self._doors, self._who, self._per_wall_s = doors, who, per_wall_s
        self.sent = 0

    async def run(self, now: float, seed: int) -> None:
        """Until cancelled. ``now``: the run's time, which its lies carry."""
        frames = cycle(_frames(self._doors, self._who, now, random.Random(seed)))
        while True:
            with contextlib.suppress(OSError, EOFError, ValueError):  # thrown out, or its server is down at the moment
                await self._pour(frames)
            await asyncio.sleep(AGAIN_WALL_S)

    async def _pour(self, frames: Iterator[bytes]) -> None:
        port = int(self._doors.url(self._who).rpartition(":")[2])
        reader, writer = await asyncio.open_connection(HOST, port)
        listening: asyncio.Task[None] | None = None
        try:
            greeting = json.loads((await reader.readline()).partition(b" ")[2])
            keys = self._doors.keys(self._who)
            hello = {
                "verbose": False,
                "pedantic": False,
                "headers": True,
                "no_responders": True,
                "name": f"{self._who} rogue",
                "nkey": keys.public,
                "sig": keys.sign(greeting["nonce"]).decode(),
            }
            writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\nPING\r\n")
            listening = asyncio.create_task(_answer_pings(reader, writer))
            while not listening.done():
                batch = [next(frames) for _ in range(max(1, int(self._per_wall_s * BATCH_WALL_S)))]
                writer.write(b"".join(batch))
                await writer.drain()
                self.sent += len(batch)
                await asyncio.sleep(BATCH_WALL_S)
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
            writer.close()


async def _answer_pings(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        if line.startswith(b"PING"):
            writer.write(b"PONG\r\n")


def _frames(doors: Doors, who: Address, now: float, dice: random.Random) -> Iterator[bytes]:
    """A few thousand, each with an id of its own where it has one."""
    subjects = list(_subjects(doors, who))
    for number in range(4000):
        subject, kind = dice.choice(subjects)
        draw = dice.random()
        if draw < 0.25:
            yield _pub(subject.encode(), dice.choice(GARBAGE))
        elif draw < 0.35:
            header = dice.choice(HOSTILE_HEADERS)
            body = _word(kind, number, now, dice)
            yield b"HPUB %s %d %d\r\n%s%s\r\n" % (subject.encode(), len(header), len(header) + len(body), header, body)
        elif draw < 0.352:
            yield _pub(subject.encode() + dice.choice(_ODD_SUBJECTS), b"x")
        else:
            yield _pub(subject.encode(), _word(kind, number, now, dice))


def _subjects(doors: Doors, who: Address) -> Iterator[tuple[str, type[Message]]]:
    permissions = doors.permissions
    for receiver in permissions.agents():
        for kind in permissions.may_address(who, receiver):
            yield to(receiver, who, kind), kind
    vocabulary = permissions.vocabularies[who.role]
    for home, kinds in ((True, vocabulary.says_home), (False, vocabulary.says_grid)):
        for kind in kinds:
            yield say(who, kind, home=home), kind


def _word(kind: type[Message], number: int, now: float, dice: random.Random) -> bytes:
    """Lawful as far as its form goes; some are too old, some belong to talks that nobody opened, some say too much."""
    deadline = now + dice.choice([-3600.0, 60.0, 86_400.0])
    talk = dice.choice([None, f"{ROGUE}{dice.randint(0, 50)}"])
    id = f"{ROGUE}{dice.randint(0, 2**32):x}-{number if dice.random() < 0.9 else 0}"
    body = sample(kind, dice.randint(0, 20))
    raw = encode(Envelope(id=id, at=instant(now), deadline=instant(deadline), talk=talk, body=body))
    if dice.random() < 0.2:
        more = {**msgspec.json.decode(raw), "zz": {"unknown": [1, 2, 3]}}
        return msgspec.json.encode(more)
    return raw


def _pub(subject: bytes, payload: bytes) -> bytes:
    return b"PUB %s %d\r\n%s\r\n" % (subject, len(payload), payload)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
