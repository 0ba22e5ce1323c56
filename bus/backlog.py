"""What an agent's streams hold for it and it has not dealt with: missed while away, or heard and to be found there."""

import asyncio
import logging
from collections import Counter
from contextlib import suppress

from bus import store
from bus.address import Address
from bus.ears import Ears
from bus.transport import Connection, NotStored

log = logging.getLogger("gridparley.bus")

SWEEP_WALL_S = 5.0
"""So often the streams are asked for words whose live copy was lost: a link was down, our own connection was not."""
SETTLE_WALL_S = 0.2
"""So soon after a durable word was dealt with is its stored copy acknowledged."""
FETCH_WALL_S = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4)
"""Pauses before each look for a word that was heard and counts once its stream has it."""


class Backlog:
    """Reads the streams and gives the words to the ears. ``hub`` is the grid side's JetStream domain."""

    def __init__(
        self, address: Address, connection: Connection, hub: str | None, ears: Ears, counts: "Counter[str]"
    ) -> None:
        self.groups = self.records = False
        """Whether words to its groups, and records of the grid side, are read as well."""
        self._address, self._connection, self._hub, self._ears, self._counts = address, connection, hub, ears, counts
        self._reading: dict[tuple[str, str | None], asyncio.Lock] = {}
        self._unreadable: set[str] = set()

    async def sweep(self) -> None:
        """Look every now and then, and soon after a durable word was dealt with."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ears.hands.settled.wait(), SWEEP_WALL_S)
                await asyncio.sleep(SETTLE_WALL_S)
            self._ears.hands.settled.clear()
            if self._connection.connected:
                await self.catch_up()

    async def catch_up(self) -> None:
        """Read the durable words that came while we were away; the handled and the expired are dropped.

        Each is acknowledged when it has been dealt with, so one that a crash interrupted comes again.
        """
        sources: list[tuple[str, str | None]] = [(store.TALKS, None)]
        if self._hub is not None:
            sources.append((store.TALKS, self._hub))
        if self.groups:
            sources.append((store.GROUPS, self._hub))
        if self.records:
            sources.append((store.RECORDS, self._hub))
        for stream, domain in sources:
            await self._read(stream, domain)

    async def _read(self, stream: str, domain: str | None) -> None:
        name = store.consumer_name(self._address, home=domain is None and self._hub is not None)
        source = f"{domain or 'own'} {stream}"
        async with self._reading.setdefault((stream, domain), asyncio.Lock()):
            try:
                async for subject, payload, token in store.pending(self._connection, stream, name, domain):
                    await self._ears.take_stored(subject, payload, token)
                self._unreadable.discard(source)
            except NotStored as problem:
                self._counts["catch_up_failed"] += 1
                if source not in self._unreadable:
                    self._unreadable.add(source)
                    log.info("%s cannot read what it missed: %s", self._address, problem)

    async def fetch(self) -> None:
        """Read what was announced: words that count once their stream has them, which is just behind what we hear."""
        while True:
            await self._ears.announced.wait()
            self._ears.announced.clear()
            for pause in FETCH_WALL_S:
                await asyncio.sleep(pause)
                for home in set(self._ears.awaited.values()):
                    await self._read(store.TALKS, None if home else self._hub)
                if not self._ears.awaited:
                    break
            self._ears.awaited.clear()  # what is not there by now was never stored, or the sweep will bring it
