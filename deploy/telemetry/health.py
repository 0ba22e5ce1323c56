"""``GET /healthz``, for whoever keeps agents running: 200 while one is connected and hears, 503 with the cause else.

``GET /livez`` gives 200 as long as it answers at all: one that waits for its server is not helped by being killed.
``GET /metrics`` gives the process's figures as Prometheus reads them.
"""

from collections.abc import Callable

import anyio
from anyio.abc import SocketStream

from bus import metrics

PATIENCE_WALL_S = 5.0
LONGEST = 8192
FIGURES = "text/plain; version=0.0.4; charset=utf-8"
"""The type of Prometheus' text format."""


async def serve_health(host: str, port: int, ailment: Callable[[], str | None]) -> None:
    """Answer until cancelled. ``ailment`` says what is wrong, None for nothing. Raises OSError: the port is taken."""

    async def one(stream: SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(PATIENCE_WALL_S):
                try:
                    await stream.send(_answer(await _request(stream), ailment()))
                except (anyio.BrokenResourceError, anyio.EndOfStream):
                    return  # whoever asked has gone

    listener = await anyio.create_tcp_listener(local_host=host, local_port=port)
    async with listener:
        await listener.serve(one)


async def _request(stream: SocketStream) -> bytes:
    got = b""
    while b"\r\n\r\n" not in got and len(got) < LONGEST:
        got += await stream.receive(LONGEST)
    return got


def _answer(request: bytes, cause: str | None) -> bytes:
    method, path = [*request.split(b" ", 2)[:2], b""][:2]
    status, body, kind = _found(path if method in (b"GET", b"HEAD") else b"", cause)
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if method == b"HEAD" else body)


def _found(path: bytes, cause: str | None) -> tuple[str, bytes, str]:
    """Status, body and its type."""
    match path:
        case b"/metrics" if metrics.on():
            return "200 OK", metrics.scrape(), FIGURES
        case b"/healthz" if cause is not None:
            return "503 Service Unavailable", f"{cause}\n".encode(), "text/plain"
        case b"/healthz" | b"/livez":
            return "200 OK", b"well\n", "text/plain"
    return "404 Not Found", b"ask for GET /healthz, /livez or, where figures are kept, /metrics\n", "text/plain"
