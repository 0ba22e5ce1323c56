"""The links between the sites' leaves and the hub: a forwarder per site, as good or as bad as it is told to be."""

import asyncio
import contextlib
import random
from collections.abc import Mapping

import msgspec

HOST = "127.0.0.1"
_CHUNK = 65536
_UNDER_WAY = 64
"""Chunks that a slow link carries at once, each way; who sends more has to wait, as on a real one."""


class LinkState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How good a link is. Wall time: wires do not go faster when the run does.

    cut          what is open is dropped, what is new is refused
    hole         half open: nothing comes through either way and nobody is told; it comes when the hole has closed
    delay_s      each way; jitter_s   up to so much more, drawn per chunk, never overtaking
    bytes_per_s  each way; 0: as fast as it goes
    """

    cut: bool = False
    hole: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bytes_per_s: float = 0.0


WHOLE = LinkState()


class _Link:
    """One site's way to the hub."""

    def __init__(self, port: int, hub_port: int) -> None:
        self.port, self.hub_port = port, hub_port
        self.state = WHOLE
        self.passes = asyncio.Event()
        self.passes.set()
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.Task[None]] = set()

    def put(self, state: LinkState) -> None:
        self.state = state
        if state.hole:
            self.passes.clear()
        else:
            self.passes.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            if not self.state.cut:
                await self.passes.wait()
                await self._both_ways(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the far end went away, or the link was cut
        finally:
            self.open.discard(task)
            writer.close()

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self.hub_port)
        ways = [
            asyncio.ensure_future(self._pump(reader, far_writer)),
            asyncio.ensure_future(self._pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until one end is closed; then what is still under way has arrived."""
        slow = _Slow(self, writer)
        try:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(_CHUNK):
                    if self.state == WHOLE and not slow.flying:
                        writer.write(chunk)
                        await writer.drain()
                    elif not await slow.send(chunk):
                        return
            await slow.empty()
        finally:
            await slow.close()


class _Slow:
    """One way of a bad link: what is under way, in order, each with the instant at which it may arrive."""

    def __init__(self, link: _Link, writer: asyncio.StreamWriter) -> None:
        self._link, self._writer = link, writer
        self._under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_UNDER_WAY)
        self._arriving: asyncio.Task[None] | None = None
        self._due = 0.0
        self.flying = 0

    async def send(self, chunk: bytes) -> bool:
        """False when the far end is gone."""
        state, now = self._link.state, asyncio.get_running_loop().time()
        self._due = max(self._due, now + state.delay_s + random.random() * state.jitter_s)
        if state.bytes_per_s > 0:
            self._due += len(chunk) / state.bytes_per_s
        if self._arriving is None:
            self._arriving = asyncio.create_task(self._arrive())
        self.flying += 1
        putting = asyncio.ensure_future(self._under_way.put((self._due, chunk)))
        await asyncio.wait([putting, self._arriving], return_when=asyncio.FIRST_COMPLETED)
        if self._arriving.done():
            putting.cancel()
            return False
        return True

    async def _arrive(self) -> None:
        now = asyncio.get_running_loop().time
        with contextlib.suppress(OSError):
            while True:
                due, chunk = await self._under_way.get()
                if due > now():
                    await asyncio.sleep(due - now())
                await self._link.passes.wait()
                self._writer.write(chunk)
                await self._writer.drain()
                self.flying -= 1
                self._under_way.task_done()

    async def empty(self) -> None:
        """Until all has arrived, or the far end is gone."""
        if self._arriving is not None:
            rest = asyncio.ensure_future(self._under_way.join())
            await asyncio.wait([rest, self._arriving], return_when=asyncio.FIRST_COMPLETED)
            rest.cancel()

    async def close(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            await asyncio.gather(self._arriving, return_exceptions=True)


class Links:
    """Forwards each site's port to the hub's leaf port."""

    def __init__(self, ports: Mapping[str, int], hub_port: int) -> None:
        self._links = {site: _Link(port, hub_port) for site, port in ports.items()}

    async def start(self) -> None:
        for link in self._links.values():
            link.server = await asyncio.start_server(link.carry, HOST, link.port)

    async def stop(self) -> None:
        for link in self._links.values():
            if link.server is not None:
                link.server.close()
            await _drop(link)

    async def put(self, site: str, state: LinkState) -> None:
        """From now on the link is like that; what is under way keeps its delay. Raises KeyError for a site without a
        link."""
        link = self._links[site]
        link.put(state)
        if state.cut:
            await _drop(link)

    async def cut(self, site: str) -> None:
        """Raises KeyError for a site that has no link."""
        await self.put(site, LinkState(cut=True))

    async def mend(self, site: str) -> None:
        """Whole and fast again. The leaf finds the hub again by itself, within about a second."""
        await self.put(site, WHOLE)

    def is_cut(self, site: str) -> bool:
        return self._links[site].state.cut

    def state(self, site: str) -> LinkState:
        return self._links[site].state


async def _drop(link: _Link) -> None:
    tasks = list(link.open)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
