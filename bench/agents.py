"""A server with streams and agents on it, for as long as a benchmark runs."""

import tempfile
from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from bench.broker import CONSUMED, Broker
from bus.address import Address
from bus.bus import Bus
from bus.clock import WallClock
from contracts.kit import Message

DSO = Address.parse("grid.dso.north")
CEM = Address.parse("h07.cem.main")
EVSE = Address.parse("h07.evse.1")


@asynccontextmanager
async def broker(
    *agents: Address, words: tuple[type[Message], ...] = (), consumed: Container[str] = CONSUMED
) -> AsyncIterator[Broker]:
    with tempfile.TemporaryDirectory() as folder:
        made = Broker(Path(folder))
        made.start()
        try:
            await made.provision(*agents, words=words, consumed=consumed)
            yield made
        finally:
            made.stop()


@asynccontextmanager
async def alive(address: Address, url: str, prepare: Callable[[Bus], object] = lambda _bus: None) -> AsyncIterator[Bus]:
    bus = Bus(address, url, WallClock())
    prepare(bus)
    await bus.open()
    try:
        async with anyio.create_task_group() as group:
            await bus.run(group)
            yield bus
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await bus.close()
