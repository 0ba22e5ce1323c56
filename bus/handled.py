"""Which durable words have been dealt with, over a crash."""

import asyncio

from bus.store import State

KEEP = 512
"""At least what can be dealt with before its stored copy is acknowledged."""


class Handled:
    """Keys of words in the agent's own state. Many words that end at once are written down at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._keys: dict[str, None] = {}
        self._wanted = self._stored = 0
        self._writing: asyncio.Event | None = None

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    async def restore(self) -> None:
        """Raises NotStored."""
        self._keys = dict.fromkeys(await self._state.get("handled", list[str]) or [])

    async def add(self, key: str) -> None:
        """Returns when it is written down. Raises NotStored."""
        self._keys[key] = None
        if len(self._keys) > KEEP:
            self._keys = dict.fromkeys(list(self._keys)[-KEEP // 2 :])
        self._wanted += 1
        mine = self._wanted
        while self._stored < mine:
            if self._writing is not None:
                await self._writing.wait()
                continue
            self._writing, upto = asyncio.Event(), self._wanted
            try:
                await self._state.put("handled", list(self._keys))
                self._stored = upto
            finally:
                self._writing.set()
                self._writing = None
