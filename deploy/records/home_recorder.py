"""A listener at a home's own server: it keeps the talks that never leave the home, beside the run's other records.

Its identity is ``<site>.ops.recorder``: it may hear and speaks for nobody. A topology without it keeps a home's words
to the home; what it writes stays on the machine that the home's server is on.
"""

import logging
from collections import deque
from pathlib import Path

import anyio

from bus.address import HOME
from bus.bus import Bus
from contracts.kit import vocabulary
from deploy.records.recorder import read_word
from deploy.records.rows import Writer

log = logging.getLogger("gridparley.recorder")
NAME = "recorder"


class HomeRecorder:
    """Addressed words only: readings and presence are no talks, and most of what is said."""

    def __init__(self, bus: Bus, folder: Path) -> None:
        self._bus, self._folder = bus, folder
        self._waiting: deque[tuple[str, bytes]] = deque(maxlen=65_536)
        self._post = anyio.Event()
        self._words = vocabulary()
        self.records = anyio.Event()
        """Set when it hears and writes."""

    async def run(self, stop: anyio.Event) -> None:
        """Until ``stop`` is set. Raises BusUnavailable."""
        await self._bus.connection.open()
        writer = Writer(self._folder)
        try:
            await self._bus.connection.subscribe(f"{HOME}to.{self._bus.address.site}.>", self._receive)
            await self._bus.connection.barrier()
            self.records.set()
            async with anyio.create_task_group() as group:
                group.start_soon(self._write, writer)
                await stop.wait()
                group.cancel_scope.cancel()
            self._drain(writer)
        finally:
            writer.close()
            await self._bus.connection.close()

    def _receive(self, subject: str, payload: bytes) -> None:
        self._waiting.append((subject, payload))
        self._post.set()

    async def _write(self, writer: Writer) -> None:
        while True:
            if not self._waiting:
                self._post = anyio.Event()
                await self._post.wait()
            self._drain(writer)
            await anyio.lowlevel.checkpoint()

    def _drain(self, writer: Writer) -> None:
        for _ in range(len(self._waiting)):
            subject, payload = self._waiting.popleft()
            event, _ = read_word(subject, payload, self._bus.clock.now(), self._words)
            if event.talk is not None:
                writer.event(event)
        writer.flush()
