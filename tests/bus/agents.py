"""Agents on a real server, for tests of the bus."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock, WallClock

DSO = Address.parse("grid.dso.north")
HES = Address.parse("grid.hes.main")
CEM = Address.parse("h07.cem.main")
EVSE = Address.parse("h07.evse.1")
METER = Address.parse("h07.meter.main")
AGENTS = (DSO, HES, CEM, EVSE, METER)


@asynccontextmanager
async def alive(
    address: Address, url: str, prepare: Callable[[Bus], object] = lambda bus: None, clock: Clock | None = None
) -> AsyncIterator[Bus]:
    """An agent that hears, until the block ends."""
    bus = Bus(address, url, clock or WallClock())
    prepare(bus)
    try:
        await bus.open()
        async with anyio.create_task_group() as group:
            await bus.run(group)
            yield bus
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await bus.close()


async def until(fact: Callable[[], object], wall_s: float = 60.0, *, show: Callable[[], object] = lambda: "") -> None:
    """Wait for a fact; a fact that does not come is a failure, not a timing. ``show`` is told with it."""
    with anyio.move_on_after(wall_s):
        while not fact():  # noqa: ASYNC110  facts of other processes and servers set no event
            await anyio.sleep(0.005)
    if not fact():
        raise TimeoutError(f"did not come within {wall_s:g} s: {show()}")
