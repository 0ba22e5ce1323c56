"""What the storm does to a street is what it says: the rogue is heard and changes nothing, the disk is full."""

import asyncio
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from bus.address import Address
from contracts.power_limit import LimitAccepted
from tests.chaos.storm.disk import full, mount, unmount
from tests.chaos.storm.flood import Flood
from tests.chaos.storm.gather import gather_at
from tests.support.grid import eventually
from tests.support.live_home import CEM, EVSE, live_home

pytestmark = pytest.mark.anyio
WRITES = """
import sys
for line in sys.stdin:
    try:
        with open(line.strip(), "w") as file:
            file.write("x")
        print("done", flush=True)
    except OSError:
        print("full", flush=True)
"""


@pytest.mark.parametrize("own", [False, True], ids=["limit", "own-disk"])
def test_a_full_disk_takes_nothing_and_has_room_again_afterwards(tmp_path: Path, own: bool) -> None:
    folder = tmp_path / "js"
    folder.mkdir()
    if own and not mount(folder):
        own = False  # where nothing can be mounted the storm too takes the other way
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def write(name: str) -> str:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(f"{folder / name}\n")
        return writer.stdout.readline().strip()

    try:
        assert folder.is_mount() == own
        assert write("before") == "done"
        with full(folder, writer.pid):
            assert write("within") == "full"
        assert write("after") == "done"
    finally:
        writer.communicate()
        unmount([folder])


async def test_a_home_takes_a_limit_under_the_flood_of_one_of_its_own_devices_and_gets_over_it(tmp_path: Path) -> None:
    async with live_home(tmp_path) as h:
        servers = h.run.servers
        flood = Flood(servers, Address.parse(EVSE), 2000.0)
        pouring = asyncio.create_task(flood.run(h.run.clock.now(), 1))
        with anyio.fail_after(60):
            await eventually(lambda: flood.sent >= 4000)
            answer: object = None
            while not isinstance(answer, LimitAccepted):
                h.beat()
                answer = await h.limit(7_000.0)
        pouring.cancel()
        await asyncio.gather(pouring, return_exceptions=True)
        assert h.alive(CEM)
        assert h.alive(EVSE)
        gathered = await gather_at(servers, h.run.clock.now(), [], [])
        assert not [name for name in gathered.unread if "h07-" in name], "nobody reads the same words again and again"
        assert {letter.code for letter in gathered.letters} >= {"undecodable", "out_of_turn"}
        assert not [letter.error for letter in gathered.letters if letter.code == "handler_failed"]
        await h.holds(lambda: h.limit_a <= (7_000.0 - 900.0) / 690.0 + 0.05)
