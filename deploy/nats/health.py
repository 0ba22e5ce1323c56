"""Servers that run and cannot write: found by asking them, ended when that helps, so that they are started again.

A JetStream stream that once met a full disk refuses every word from then on, also when the disk has room again; only a
restart of the server ends that (nats-server 2.15.1, seen in storms). Kubernetes does it by the liveness probe.
"""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec
from nats.errors import Error as NatsError

from bus.transport import BusUnavailable
from deploy.doors import Doors

log = logging.getLogger("gridparley.watch")
ASK = "$SYS.REQ.SERVER.PING.HEALTHZ"
LOOK_WALL_S = 2.0
ROOM_BYTES = 4 << 20
"""With less room than this a restart would only meet the full disk again."""
_CANNOT_WRITE = "write error"


class _Data(msgspec.Struct):
    status: str = ""
    error: str = ""


class _Answer(msgspec.Struct):
    data: _Data


_answer = msgspec.json.Decoder(_Answer).decode


class ServerHealth:
    """``stores``: where each server keeps its streams; ``end`` ends one that somebody else then starts again."""

    def __init__(self, doors: Doors, stores: Mapping[str, Path], end: Callable[[str], Awaitable[None]]) -> None:
        self._doors, self._stores, self._end = doors, stores, end
        self.sick: dict[str, str] = {}
        """Server -> what it says that it cannot do."""
        self.looks = 0

    async def keep(self, server: str) -> None:
        """Until cancelled. Raises BusUnavailable when the server does not take its system user."""
        connection = self._doors.connection(server, f"{server}.sys", "_R.sys.health")
        await connection.open()
        try:
            while True:
                await asyncio.sleep(LOOK_WALL_S)
                try:
                    data = _answer(await connection.request(ASK, b"{}")).data
                except (NatsError, TimeoutError, msgspec.MsgspecError, BusUnavailable):
                    continue  # it is down or busy; who keeps it sees to that
                await self._take(server, data)
        finally:
            await connection.close()

    async def _take(self, server: str, data: _Data) -> None:
        self.looks += 1
        if data.status == "ok":
            if self.sick.pop(server, None) is not None:
                log.warning("the server %s writes again", server)
            return
        if server not in self.sick:
            log.warning("the server %s is not well: %s", server, data.error)
        self.sick[server] = data.error
        if _CANNOT_WRITE in data.error and shutil.disk_usage(self._stores[server]).free >= ROOM_BYTES:
            log.warning("the server %s cannot write although its disk has room: it is ended to begin anew", server)
            await self._end(server)
