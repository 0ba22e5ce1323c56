"""A scripted energy guard and the questions that any controllable system answers: over the bus, nothing else.

Another implementation is tested by naming it where ``system`` starts ours; the guard knows only its address.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from bus.address import Address
from bus.bus import Bus
from contracts.kit import Lapsed
from contracts.power_limit import (
    Direction,
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    LimitRefused,
    LimitSlot,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from tests.support.grid import Grid, Words, grid

GUARD, SYSTEM = "grid.dso.north", "h07.cem.main"
WHY = Reason(code="conformance", text="the test specification asks for it")
FAILSAFE_W: dict[str, float] = {"consumption": 5_000.0, "production": -3_000.0}
LIMIT_W: dict[str, float] = {"consumption": 7_000.0, "production": -2_000.0}


@dataclass
class ScriptedGuard:
    """Says what the test wants, when it wants; hears by the log only. Times are run time."""

    run: Grid
    bus: Bus
    words: Words
    system: Address
    beats: bool = False
    seen: int = 0
    """How many states were said before the one that was waited for last."""

    # ------------------------------------------------------------ saying

    def beat(self) -> None:
        self.bus.tell(self.system, Heartbeat(every_s=60.0))

    async def keep_beating(self) -> None:
        """While ``beats`` is set: every 50 s."""
        while True:
            if self.beats:
                self.beat()
            await self.run.clock.sleep(50.0)

    async def write(
        self, direction: Direction, limit_w: float | None, **more: Any
    ) -> LimitAccepted | LimitRefused | Lapsed:
        """Scenario 1; None deactivates the limit."""
        word = SetLimit(direction=direction, active=limit_w is not None, limit_w=limit_w, reason=WHY, **more)
        async with self.bus.talk(limit_write, self.system) as talk:
            await talk.say(word)
            return await talk.hear(LimitAccepted, LimitRefused, Lapsed)

    async def write_profile(self, direction: Direction, *slots: LimitSlot) -> LimitAccepted | LimitRefused | Lapsed:
        """Scenario 1 as a profile over time."""
        word = SetLimit(direction=direction, active=True, profile=slots, reason=WHY)
        async with self.bus.talk(limit_write, self.system) as talk:
            await talk.say(word)
            return await talk.hear(LimitAccepted, LimitRefused, Lapsed)

    async def write_failsafe(
        self, duration_s: float = 7_200.0, **values_w: float
    ) -> FailsafeAccepted | FailsafeRefused | Lapsed:
        """Scenario 2; values are signed."""
        values = FAILSAFE_W | values_w
        word = SetFailsafe(
            consumption_w=values["consumption"], production_w=values["production"], duration_s=duration_s
        )
        async with self.bus.talk(failsafe_write, self.system) as talk:
            await talk.say(word)
            return await talk.hear(FailsafeAccepted, FailsafeRefused, Lapsed)

    async def take_charge(self, direction: Direction) -> None:
        """Heartbeat, failsafe values and an inactive limit in both directions: unlimited/controlled."""
        self.beats = True
        self.beat()
        assert isinstance(await self.write_failsafe(), FailsafeAccepted)
        for each in ("consumption", "production"):
            assert isinstance(await self.write(each, None), LimitAccepted)
        await self.until("unlimited_controlled", direction, None)

    # ------------------------------------------------------------ hearing

    def states(self) -> list[dict[str, Any]]:
        return [envelope["body"] for _, envelope in self.words.of("limit_state")]

    async def until(self, state: str, direction: Direction, bound_w: float | None) -> dict[str, Any]:
        """Until the system says this state and bound, from what was waited for last on."""

        def there(_: Words) -> dict[str, Any] | None:
            for number, said in enumerate(self.states()[self.seen :], self.seen):
                if said["state"] == state and said[f"{direction}_w"] == bound_w:
                    self.seen = number
                    return said
            return None

        try:
            found: dict[str, Any] = await self.words.until(there)
        except TimeoutError as problem:
            raise TimeoutError(f"wanted {state} {bound_w}; said was {self.states()[-3:]}; {problem}") from None
        return found

    async def stays(self, state: str, seconds: float) -> None:
        """For that long nothing else is said."""
        before = len(self.states())
        assert self.states()[-1]["state"] == state
        await self.run.clock.sleep(seconds)
        assert [s["state"] for s in self.states()[before:] if s["state"] != state] == []


@asynccontextmanager
async def system(
    *, speed: float = 120.0, controlled: Direction | None = None, **settings: Any
) -> AsyncIterator[ScriptedGuard]:
    """Our CEM with both failsafe values of the test specification, and its guard."""
    async with grid(GUARD, SYSTEM, speed=speed) as run, anyio.create_task_group() as tasks:
        words = await run.words()
        bus = await run.bus(GUARD, lambda made: made.on(Heartbeat, lambda _m, _h: None))
        guard = ScriptedGuard(run, bus, words, Address.parse(SYSTEM))
        fixed = {"failsafe_consumption_w": 5_000.0, "failsafe_production_w": -3_000.0}
        await run.start(SYSTEM, fixed | settings)
        tasks.start_soon(guard.keep_beating)
        if controlled is not None:
            await guard.take_charge(controlled)
        yield guard
        tasks.cancel_scope.cancel()
