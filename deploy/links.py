"""The links between the sites' leaves and the hub: a forwarder per site that can be cut and mended."""

import asyncio
import contextlib
from collections.abc import Mapping

HOST = "127.0.0.1"
_CHUNK = 65536


class _Link:
    """One site's way to the hub."""

    def __init__(self, port: int, hub_port: int) -> None:
        self.port, self.hub_port = port, hub_port
        self.cut = False
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.Task[None]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open.add(task)
        try:
            if not self.cut:
                await self._both_ways(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the far end went away, or the link was cut
        finally:
            self.open.discard(task)
            writer.close()

    async def _both_ways(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(HOST, self.hub_port)
        ways = [
            asyncio.ensure_future(_pump(reader, far_writer)),
            asyncio.ensure_future(_pump(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            far_writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()


class Links:
    """Forwards each site's port to the hub's leaf port. Cut means: what is open is dropped, what is new is refused."""

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

    async def cut(self, site: str) -> None:
        """Raises KeyError for a site that has no link."""
        link = self._links[site]
        link.cut = True
        await _drop(link)

    async def mend(self, site: str) -> None:
        """The leaf finds the hub again by itself, within about a second."""
        self._links[site].cut = False

    def is_cut(self, site: str) -> bool:
        return self._links[site].cut


async def _drop(link: _Link) -> None:
    tasks = list(link.open)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
