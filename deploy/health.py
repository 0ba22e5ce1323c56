"""``GET /healthz``, for whoever keeps agents running: 200 while one is connected and hears, 503 with the cause else.

``GET /livez`` gives 200 as long as it answers at all: one that waits for its server is not helped by being killed.
"""

from collections.abc import Callable

import anyio
from anyio.abc import SocketStream

PATIENCE_WALL_S = 5.0
LONGEST = 8192


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
    if method not in (b"GET", b"HEAD") or path not in (b"/healthz", b"/livez"):
        status, text = "404 Not Found", "ask for GET /healthz"
    elif cause is None or path == b"/livez":
        status, text = "200 OK", "well"
    else:
        status, text = "503 Service Unavailable", cause
    body = text.encode() + b"\n"
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + (b"" if request.startswith(b"HEAD") else body)
