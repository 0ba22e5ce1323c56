"""A listener in the middle of a connection: it sees every byte, and may alter some."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Tap:
    """``seen`` is what went through, both ways. ``alter`` flips one bit of what the client sends next.

    While ``passes`` is not set nothing comes through and nobody is told: a black hole.
    """

    def __init__(self, to_port: int) -> None:
        self.seen = bytearray()
        self.alter = False
        self.passes = asyncio.Event()
        self.passes.set()
        self.altered = 0
        self.connections = 0
        self.port = 0
        self._to_port = to_port
        self._open: set[asyncio.Task[None]] = set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self.connections += 1
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            ways = [
                asyncio.ensure_future(self._pump(reader, far_writer, True)),
                asyncio.ensure_future(self._pump(far_reader, writer, False)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                far_writer.close()
        except (OSError, asyncio.CancelledError):
            pass  # an end went away, or the test is over
        finally:
            self._open.discard(task)
            writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_client: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                self.seen += chunk
                if from_client and self.alter:
                    self.alter, self.altered = False, self.altered + 1
                    chunk = chunk[:-1] + bytes([chunk[-1] ^ 1])
                await self.passes.wait()
                writer.write(chunk)
                await writer.drain()

    async def close(self) -> None:
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)


@asynccontextmanager
async def tap(to_port: int, port: int = 0) -> AsyncIterator[Tap]:
    """Listen at ``port`` (default: a free one) and pass everything on to ``to_port``."""
    made = Tap(to_port)
    server = await asyncio.start_server(made.carry, "127.0.0.1", port)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await made.close()
