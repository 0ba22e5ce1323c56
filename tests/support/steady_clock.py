"""A shared clock that a busy machine does not move: run time passes while this process and its servers keep up."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Lock

import anyio
from nats import errors

from bus.clock import SharedClock
from bus.transport import Connection

LEASH_WALL_S, LEASH_S = 0.08, 1.0
"""What passes at most after the last proof that everybody came to his turn: the longer of so much wall and run time."""
LOOK_WALL_S = 0.01
FROZEN_WALL_S = 3
"""A server that is connected and silent for so long is held up by the test itself: it is waited for no more."""


class SteadyClock(SharedClock):
    """For a run whose agents are all of one process, and only while ``keep`` runs in it.

    On a fast clock a stall of two wall seconds is minutes: talks would lapse, readings go stale and guards give up,
    though nobody was late but the machine.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = Lock()
        self._hidden_s = 0.0
        self._proven, _ = super()._read()

    def _read(self) -> tuple[float, float]:
        with self._lock:
            now, speed = super()._read()
            beyond = max(0.0, now - self._proven - max(LEASH_S, LEASH_WALL_S * speed))
            self._hidden_s += beyond
            self._proven += beyond
            return now - self._hidden_s, speed

    def _prove(self) -> None:
        self._read()
        with self._lock:
            self._proven, _ = super()._read()

    async def keep(self, servers: Iterable[Connection] = ()) -> None:
        """Let time pass after each round trip to all these servers; who is not connected is not waited for."""
        frozen: set[Connection] = set()

        async def answers(server: Connection) -> None:
            if server.connected and server not in frozen:
                try:
                    with suppress(errors.ConnectionClosedError, OSError):
                        await server.client.flush(FROZEN_WALL_S)
                except errors.TimeoutError:
                    if server.connected:
                        frozen.add(server)

        while True:
            await asyncio.gather(*(answers(server) for server in servers))
            self._prove()
            await anyio.sleep(LOOK_WALL_S)
