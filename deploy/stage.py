"""What the containers of one machine share: the clock of a run, and who has which place in it."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import anyio

from bus.clock import NoClock, SharedClock, WallClock
from deploy.condition import CannotRun, Condition, GivenUp
from deploy.topology import Topology
from deploy.world_spec import WORLD, has_world

CLOCK_WALL_S = 60.0
LOOK_WALL_S = 0.2


class ClockMissing(GivenUp):
    """Nobody has made the clock of the run in time."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no clock {path} after {CLOCK_WALL_S:g} s: is `gridparley clock` running, and is its folder "
            "the same volume here? Without a clock file an agent lives in real time"
        )


def clock_names(topology: Topology) -> list[str]:
    """Who reports lags to the clock, each in the slot of its index: the world where there is one, then all agents."""
    agents = [str(address) for address in topology.agents]
    return [WORLD, *agents] if has_world(topology) else agents


def slots(topology: Topology) -> Mapping[str, int]:
    """Name -> its place in the clock."""
    return {name: slot for slot, name in enumerate(clock_names(topology))}


async def clock_of(path: Path | None, topology: Topology, name: str, condition: Condition) -> WallClock | SharedClock:
    """A process's clock: real time without a file, else the run's, that may come up later than this process.

    Raises ClockMissing, CannotRun.
    """
    return WallClock() if path is None else await shared_clock(path, topology, name, condition)


async def shared_clock(path: Path, topology: Topology, name: str, condition: Condition) -> SharedClock:
    """As ``clock_of``, for who cannot live in real time."""
    until = asyncio.get_running_loop().time() + CLOCK_WALL_S
    while True:
        try:
            return SharedClock(path, slots(topology).get(name))
        except FileNotFoundError:
            condition.tell(f"there is no clock {path} yet: `gridparley clock` makes it")
        except NoClock as problem:
            raise CannotRun(str(problem)) from None
        except OSError as problem:
            raise CannotRun(
                f"the clock {path} cannot be used ({problem}): this user must be able to write it"
            ) from None
        if asyncio.get_running_loop().time() > until:
            raise ClockMissing(path)
        await anyio.sleep(LOOK_WALL_S)


def must_hold(folder: Path, name: str, url: str) -> None:
    """See that a container's folder of secrets has what it signs in with. Nothing is ever made there.

    Raises CannotRun.
    """
    seed = folder / "keys" / f"{name}.nk"
    if not seed.is_file():
        raise CannotRun(f"there is no key {seed}: make it with `gridparley keys` and mount its folder, or give --keys")
    authority = folder / "tls" / "ca.pem"
    if url.startswith("tls:") and not authority.is_file():
        raise CannotRun(f"there is no {authority}, so nobody can say whether {url} is the right server: mount it too")
