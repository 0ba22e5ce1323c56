"""A home whose hardware is the world's: physics behind real Modbus sockets, on the run's own clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from tests.support.grid import START, Grid
from world.run import run_world
from world.spec import DeviceSpec, EventSpec, WorldSpec
from world.street import day
from world.world import World

SITE = "h07"


class Simulated:
    """The running world of one home, ``h07``."""

    def __init__(self, world: World) -> None:
        self.world = world

    def line(self, device: str) -> dict[str, object]:
        """What an agent's settings need to reach a device."""
        unit = self.world.units[f"{SITE}.{device}"]
        where = {"host": "127.0.0.1", "port": self.world.ports[SITE]}
        return {**where, "unit": unit.unit, "device": unit.device.key}

    def happens(self, action: str, device: str, **more: object) -> None:
        event = {"at": START, "action": action, "site": SITE, "device": device, **more}
        self.world.inject(msgspec.convert(event, EventSpec))

    def shows(self, device: str, point: str) -> object:
        """What the device's registers hold."""
        unit = self.world.units[f"{SITE}.{device}"]
        unit.refresh()
        return unit.get(point)


def spec_of(*devices: DeviceSpec) -> WorldSpec:
    street = day()
    home = next(one for one in street.sites if one.name == "h09")
    site = msgspec.structs.replace(home, name=SITE, devices=devices)
    return msgspec.structs.replace(street, start=START, sites=(site,), events=())


@asynccontextmanager
async def simulated(run: Grid, *devices: DeviceSpec) -> AsyncIterator[Simulated]:
    """The world runs until the block is left."""
    made: list[World] = []
    there = anyio.Event()

    def ready(world: World) -> None:
        made.append(world)
        there.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_world, spec_of(*devices), run.clock, ready)
        await there.wait()
        try:
            yield Simulated(made[0])
        finally:
            tasks.cancel_scope.cancel()
