"""A link is as bad as it is told to be, and loses and disorders nothing unless it is cut."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deploy.nats.links import HOST, WHOLE, Links, LinkState
from deploy.nats.ports import free_ports

pytestmark = pytest.mark.anyio
PIECES = [bytes([n]) * (n + 1) for n in range(40)]


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Links, int]]:
    """A hub that says everything back, and a link to it."""
    hub_port, port = free_ports(2)

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(4096):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    hub = await asyncio.start_server(back, HOST, hub_port)
    links = Links({"h07": port}, hub_port)
    await links.start()
    try:
        yield links, port
    finally:
        await links.stop()
        hub.close()


async def to_and_fro(port: int, pieces: list[bytes]) -> float:
    """Wall time until everything that was said has come back, whole and in order."""
    reader, writer = await asyncio.open_connection(HOST, port)
    began = asyncio.get_running_loop().time()
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    whole = b"".join(pieces)
    assert await reader.readexactly(len(whole)) == whole
    writer.close()
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize(
    ("state", "at_least_s"),
    [
        (WHOLE, 0.0),
        (LinkState(delay_s=0.1), 0.2),
        (LinkState(delay_s=0.05, jitter_s=0.05), 0.1),
        (LinkState(bytes_per_s=4000.0), 0.2),
    ],
    ids=["whole", "slow", "uneven", "narrow"],
)
async def test_what_is_said_arrives_in_order_and_not_before_its_time(state: LinkState, at_least_s: float) -> None:
    async with echo() as (links, port):
        await links.put("h07", state)
        assert links.state("h07") == state
        assert await to_and_fro(port, PIECES) >= at_least_s


async def test_nothing_comes_through_a_black_hole_and_all_of_it_when_it_has_closed() -> None:
    async with echo() as (links, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        await links.put("h07", LinkState(hole=True))
        writer.write(b"within")
        late_reader, late_writer = await asyncio.open_connection(HOST, port)
        late_writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        assert not links.is_cut("h07")
        await links.mend("h07")
        assert await reader.readexactly(6) == b"within"
        assert await late_reader.readexactly(4) == b"late"
        writer.close()
        late_writer.close()


async def test_who_is_on_a_link_that_is_cut_is_told_and_a_mended_one_carries_again() -> None:
    async with echo() as (links, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"x")
        await reader.readexactly(1)
        await links.cut("h07")
        assert links.is_cut("h07")
        assert await reader.read() == b""
        writer.close()
        refused, other = await asyncio.open_connection(HOST, port)
        assert await refused.read() == b""
        other.close()
        await links.mend("h07")
        await to_and_fro(port, PIECES)


async def test_from_slow_to_whole_nothing_overtakes() -> None:
    async with echo() as (links, port):
        reader, writer = await asyncio.open_connection(HOST, port)
        await links.put("h07", LinkState(delay_s=0.2))
        writer.write(b"first")
        await asyncio.sleep(0)
        await links.put("h07", WHOLE)
        writer.write(b"second")
        assert await reader.readexactly(11) == b"firstsecond"
        writer.close()
