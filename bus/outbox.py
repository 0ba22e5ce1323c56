"""Records that must reach a stream on the other side of a link that may be down for hours."""

import asyncio
import logging

from bus.store import State, store
from bus.transport import Connection, NotStored

log = logging.getLogger("gridparley.bus")

RETRY_WALL_S = 0.5
SLOTS = 4096
"""Records that may wait. One more is not taken: whoever wanted it kept must know that it is not."""


class Outbox:
    """Each record is written to the agent's own state first, then sent in order until stored, over restarts.

    One key per record, in a ring of numbered slots, so that a long outage fits whatever a message may hold.
    """

    def __init__(self, connection: Connection, state: State) -> None:
        self._connection, self._state = connection, state
        self._waiting: dict[int, tuple[str, str, str]] = {}
        self._next = 0
        self._adding = asyncio.Lock()
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def restore(self) -> None:
        """Take up what a former life left. Raises NotStored."""
        number = await self._state.get("outbox", int) or 0
        while True:
            kept = await self._state.get(_slot(number), tuple[int, str, str, str])
            if kept is None or kept[0] != number:
                break
            self._waiting[number] = kept[1:]
            number += 1
        self._next = number
        if self._waiting:
            self._wake.set()

    async def add(self, subject: str, payload: bytes, id: str) -> None:
        """Returns when it is kept here. Raises NotStored when it is not, also when the outbox is full."""
        if len(self._waiting) >= SLOTS:
            raise NotStored(subject, f"{SLOTS} records wait for the link already")
        record = (id, subject, payload.decode())
        async with self._adding:  # one by one: a number that failed is used again, so the ring has no holes
            await self._state.put(_slot(self._next), (self._next, *record))
            self._waiting[self._next] = record
            self._next += 1
        self._wake.set()

    def nudge(self) -> None:
        """The link may be back."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                first = sent = min(self._waiting)
                try:
                    while sent in self._waiting:
                        id, subject, payload = self._waiting[sent]
                        await store(self._connection, subject, payload.encode(), id)
                        del self._waiting[sent]
                        sent += 1
                except NotStored:
                    await asyncio.sleep(RETRY_WALL_S)
                if sent > first:
                    try:
                        await self._state.put("outbox", sent)
                    except NotStored as problem:
                        log.warning("outbox: %s", problem)  # sent twice at worst: the stream keeps one of each id


def _slot(number: int) -> str:
    return f"outbox-{number % SLOTS}"
