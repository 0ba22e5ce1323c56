"""The real head-end as a process of its own, so that a test can kill it.

Arguments: url, key file, authority's certificate, clock, database, meters.
"""

import sys
from pathlib import Path

import anyio

import contracts.all  # noqa: F401  fills the vocabulary
from agents.hes.agent import AGENT
from agents.hes.settings import HesSettings
from agents.kit.agent import Peers
from agents.kit.run import run_agent
from bus.address import Address
from bus.bus import Bus
from bus.clock import SharedClock
from bus.nkeys import KeyPair


async def main(url: str, key: str, ca: str, clock: str, database: str, meters: tuple[str, ...]) -> None:
    keys = KeyPair.from_file(Path(key))
    bus = Bus(Address.parse("grid.hes.main"), url, SharedClock(Path(clock)), keys=keys, ca=Path(ca))
    peers = Peers(tuple(map(Address.parse, meters)))
    await run_agent(AGENT, bus, HesSettings(database=database), peers)


if __name__ == "__main__":
    url, key, ca, clock, database, *meters = sys.argv[1:]
    anyio.run(main, url, key, ca, clock, database, tuple(meters))
