"""The simulated world as a process: it serves the gateways of a street and writes down what really happened."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bus import metrics
from bus.clock import SharedClock
from deploy.condition import Condition
from deploy.telemetry.figures import kept
from deploy.world_spec import WORLD
from world.spec import EventSpec, WorldError, WorldSpec

if TYPE_CHECKING:
    from world.world import World

log = logging.getLogger("gridparley.world")


async def run_street(
    spec: WorldSpec,
    clock: SharedClock,
    condition: Condition,
    ready: Callable[[], None],
    *,
    truth: Path,
    commands: str | None = None,
) -> None:
    """The world's life in this process, until ``condition.stop``.

    truth      CSV of what really happened; a restarted world goes on from what is beside it
    commands   path of the socket where the launcher tells it what else is to happen; None: its own events alone
    """
    from world.run import run_world

    opening: list[asyncio.Task[object]] = []
    watched = _Watched(clock)

    def on_ready(world: "World") -> None:
        if commands is not None:
            Path(commands).unlink(missing_ok=True)
            server = asyncio.start_unix_server(lambda r, w: _obey(world, r, w), commands)
            opening.append(asyncio.ensure_future(server))
        condition.ready()
        ready()

    with kept(WORLD, WORLD, scraped=condition.scraped):
        running = asyncio.ensure_future(run_world(spec, watched, on_ready, truth))
        stopping = asyncio.ensure_future(condition.stop.wait())
        try:
            await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                raise RuntimeError("the world ended by itself")
        finally:
            stopping.cancel()
            running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)


class _Watched:
    """The run's clock as the world knows it; how late its steps come is also a figure."""

    def __init__(self, clock: SharedClock) -> None:
        self.now, self.sleep_until, self._late = clock.now, clock.sleep_until, clock.late

    def late(self, seconds: float) -> None:
        self._late(seconds)
        metrics.record(metrics.LAG, seconds)


async def _obey(world: "World", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        world.inject(msgspec.json.decode(await reader.readline(), type=EventSpec))
        answer = ""
    except (WorldError, msgspec.MsgspecError, LookupError, ValueError) as problem:
        answer = str(problem)
    writer.write(json.dumps({"error": answer}).encode() + b"\n")
    writer.close()
