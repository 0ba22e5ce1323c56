"""What an agent has in hand: words that are being worked on, each until its stored copy need not come again."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from anyio import CancelScope

from contracts.kit import Message

CANCEL_AGAIN_WALL_S = 0.2
KEEP_WALL_S = 1.0


class Hands:
    """``settled`` is set when a durable word has been dealt with whose stored copy is still to be acknowledged."""

    def __init__(self, acknowledge: Callable[[str], None]) -> None:
        self.running = 0
        """Tasks that are not done."""
        self.working: dict[str, int] = {}
        """Durable words by key, and how many work on each."""
        self.tokens: dict[str, str] = {}
        """How to acknowledge the stored copy of a word, by key."""
        self.settled = asyncio.Event()
        self._acknowledge = acknowledge
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeping: set[asyncio.Task[None]] = set()

    def do(self, work: Coroutine[Any, Any, None], *, keeps: bool = False) -> None:
        """Run as a task; whoever ends it counts ``running`` down. ``keeps``: it stores a deal and no more."""
        self.running += 1
        task = asyncio.get_running_loop().create_task(work)
        for tasks in (self._tasks, self._keeping) if keeps else (self._tasks,):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def kept(self) -> None:
        """Until every deal that has been heard is stored, as far as the store answers in time."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=KEEP_WALL_S)

    async def keep(self) -> None:
        """Until cancelled; then what is being worked on is cancelled and waited for.

        Plain tasks: a task group's own book-keeping for each would be a good part of what a short talk costs.
        """
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            with CancelScope(shield=True):
                while self._tasks:
                    for task in self._tasks:
                        task.cancel()
                    await asyncio.wait(self._tasks, timeout=CANCEL_AGAIN_WALL_S)

    def done(self, key: str, kind: type[Message]) -> None:
        """One of those who work on this word has ended."""
        left = self.working[key] - 1
        if left:
            self.working[key] = left
        else:
            del self.working[key]
            self.settle(key, kind)

    def settle(self, key: str, kind: type[Message]) -> None:
        """Nothing is left to do about this word: its stored copy, if there is one, need not come again."""
        token = self.tokens.pop(key, None)
        if token is not None:
            self._acknowledge(token)
        elif kind.durable:
            self.settled.set()
