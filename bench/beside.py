"""A part of a benchmark in a process of its own, as agents of a street are."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

READY = "ready"
_RUN = """
import importlib, sys, uvloop
module, part, *arguments = sys.argv[1:]
uvloop.run(getattr(importlib.import_module(module), part)(*arguments))
"""


@asynccontextmanager
async def beside(part: Callable[..., Awaitable[None]], *arguments: str, within_s: float = 60.0) -> AsyncIterator[int]:
    """Run ``part(*arguments)``, a coroutine function of a module, until the block ends; yields its process id.

    The block begins when the part calls ``serve``. Raises RuntimeError when it ends before.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _RUN,
        part.__module__,
        part.__name__,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path) or "."},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with anyio.fail_after(within_s):
            if (await process.stdout.readline()).strip() != READY.encode():
                raise RuntimeError(f"{part.__module__}.{part.__name__} ended before it was ready")
        yield process.pid
    finally:
        with anyio.CancelScope(shield=True):
            process.stdin.close()
            with anyio.move_on_after(1):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()


async def serve() -> None:
    """Say that this part is ready, and return when the benchmark is over."""
    print(READY, flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
