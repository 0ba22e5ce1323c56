"""How a process is: what it waits for, what ails it, and whether it was told to stop."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio
import uvloop

from bus.transport import FIRST_CONNECT_S, BusUnavailable, NotStored
from deploy.telemetry.health import serve_health

log = logging.getLogger("gridparley.process")
STOP_WALL_S = 5.0
TELL_WALL_S = 10.0
AGAIN_WALL_S = 1.0


class CannotRun(Exception):
    """A process cannot run as configured, and ends with code 2. The sentence names cause and remedy."""


class GivenUp(Exception):
    """A process ends with code 1, as what it needs did not come. The sentence names cause and remedy."""


class Condition:
    """``look`` says what ails a process that is ready; None for nothing."""

    def __init__(self) -> None:
        self.stop, self.became_ready = anyio.Event(), anyio.Event()
        self.look: Callable[[], str | None] = lambda: None
        self.scraped = False
        """There is a port where somebody may ask for figures."""
        self._waits_for = "not ready: it does not hear everything yet"
        self._told = -TELL_WALL_S

    @property
    def is_ready(self) -> bool:
        return self.became_ready.is_set()

    def ready(self) -> None:
        self._waits_for = ""
        self.became_ready.set()

    def tell(self, what: str) -> None:
        """Why it is not ready yet; in the log once in ten seconds."""
        self._waits_for = what
        now = asyncio.get_running_loop().time()
        if now - self._told >= TELL_WALL_S:
            self._told = now
            log.warning("waiting: %s", what)

    def ailment(self) -> str | None:
        """What ``GET /healthz`` is told; None for nothing."""
        return "stopping" if self.stop.is_set() else self.look() or self._waits_for or None


async def attended(main: Callable[[Condition], Awaitable[None]], health: tuple[str, int] | None = None) -> None:
    """Run ``main``, and give it up when it goes on for four seconds after a signal, at once where it never was ready.

    health   host and port where the process tells whether it is well
    """
    condition = Condition()
    condition.scraped = health is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # Ctrl-C is for a launcher that ignores it for its children
            asyncio.get_running_loop().add_signal_handler(number, condition.stop.set)

    async def give_up() -> None:
        await condition.stop.wait()
        await anyio.sleep(STOP_WALL_S - 1 if condition.is_ready else 0)
        group.cancel_scope.cancel()

    try:
        async with anyio.create_task_group() as group:
            if health is not None:
                group.start_soon(serve_health, *health, condition.ailment)
            group.start_soon(give_up)
            await main(condition)
            group.cancel_scope.cancel()
    except BaseExceptionGroup as several:
        raise only(several) from None


def only(several: BaseException) -> BaseException:
    """What was raised inside of task groups, where that is one thing."""
    while isinstance(several, BaseExceptionGroup) and len(several.exceptions) == 1:
        several = several.exceptions[0]
    return several


async def patiently(condition: Condition, life: Callable[[], Awaitable[None]]) -> None:
    """Begin anew as long as the server or its streams are not there yet: they may come up later than this process.

    Raises BusUnavailable for a refused credential, and whatever ends a process that was ready once.
    """
    loop = asyncio.get_running_loop()

    async def tell() -> None:
        tries = logging.getLogger("gridparley.bus")
        tries.setLevel(logging.WARNING)  # several a second, of each process, and all say the same
        try:
            while not condition.is_ready:
                with anyio.move_on_after(TELL_WALL_S):
                    await condition.became_ready.wait()
                if not condition.is_ready and (cause := condition.look()):
                    condition.tell(cause)
        finally:
            tries.setLevel(logging.NOTSET)

    async def begin() -> None:
        while True:
            began = loop.time()
            try:
                await life()
                break
            except Exception as problem:
                cause = only(problem)
                # Who is not up yet is tried for so long; what comes sooner is an answer.
                refused = isinstance(cause, BusUnavailable) and loop.time() - began < FIRST_CONNECT_S
                if condition.is_ready or refused or not isinstance(cause, (BusUnavailable, NotStored)):
                    raise cause from None
                condition.look = lambda: None  # the next life says what it is
                provided = isinstance(cause, BusUnavailable)
                condition.tell(f"{cause}" if provided else f"{cause} Has `gridparley provision` made its streams?")
            await anyio.sleep(AGAIN_WALL_S)

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(tell)
            await begin()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as several:
        raise only(several) from None


def live(name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> int:
    """Run a process's main in its own loop; its exit code. 0 in order, 2 cannot run as configured, 1 anything else."""
    try:
        uvloop.run(main())
        return 0
    except Exception as problem:
        match only(problem):
            case BusUnavailable() | NotStored() | GivenUp() as cause:
                log.error("%s: %s", name, cause)
                return 1
            case CannotRun() as cause:
                log.error("%s: %s", name, cause)
                return 2
            case ValueError() | LookupError() | TypeError():
                log.exception("%s cannot run as configured", name)
                return 2
        log.exception("%s ended", name)
        return 1


def stop_event() -> asyncio.Event:
    """Set by SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop
