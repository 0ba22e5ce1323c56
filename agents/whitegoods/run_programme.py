"""A start by hand waits for its time; how far a machine is survives a restart of its agent."""

import logging
from dataclasses import dataclass, field
from typing import Literal

from agents.kit.hardware import Impossible, Plan, Values
from agents.kit.obey import ObeyOrders
from agents.kit.readings import SayReadings
from agents.kit.skill import every, restores, skill
from agents.whitegoods.run import Run
from agents.whitegoods.terminals import WhitegoodsSettings, WhitegoodsTerminals
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.device import DeviceEvent
from contracts.reasons import Reason

log = logging.getLogger("gridparley.device")
KEPT_EVERY_S = 300.0
"""How much of a run may be counted twice after a kill."""


@skill(says_home=(DeviceEvent,), use_cases=("home.flexible-start",))
@dataclass
class RunProgramme:
    """Hold what was started by hand, start what has waited too long, and remember.

    Whoever negotiates writes the plans of the terminals; this skill sees their effect in the readings like anybody.
    """

    bus: Bus
    clock: Clock
    state: State
    settings: WhitegoodsSettings
    terminals: WhitegoodsTerminals
    orders: ObeyOrders
    readings: SayReadings
    kept: Run = field(default_factory=Run)

    @restores
    async def take_up(self) -> None:
        self.kept = self.terminals.run = await self.state.get("run", Run) or Run()

    @every("reading_every_s")
    async def watch(self) -> None:
        run, values = self.terminals.run, self.readings.values
        if values is None or self.readings.writing != self.orders.hardware.writing:
            return  # what was done since shows in the next look only
        if run.phase == "caught":
            text = "it was started by hand and waits for its time"
            await self._do(self.terminals.hold(values), values, "switched", Reason(code="start_held", text=text))
        elif run.phase == "waiting" and self.clock.now() - run.since >= self._waits_s:
            text = "nobody has given it a time for so long that it starts by itself"
            await self._start(values, Reason(code="waited_long_enough", text=text))
        await self._keep()

    @property
    def _waits_s(self) -> float:
        """One that need not wait for its time waits for the end of a bound only."""
        return self.settings.longest_wait_s if self.settings.holds_start else 0.0

    async def _start(self, values: Values, reason: Reason) -> None:
        try:
            plan = self.terminals.start(values)
        except Impossible as problem:
            log.debug("%s waits on: %s", self.bus.address, problem)
            return
        await self._do(plan, values, "released", reason)

    async def _do(self, plan: Plan, values: Values, kind: Literal["switched", "released"], reason: Reason) -> None:
        trouble = await self.orders.put(plan, values)
        if trouble is not None:
            log.info("%s: %s", self.bus.address, trouble.text)  # the next look tries again
            return
        self.bus.say(DeviceEvent(kind=kind, by=str(self.bus.address), reason=reason), home=True)

    async def _keep(self) -> None:
        run, kept = self.terminals.run, self.kept
        if (run.phase, run.halted) == (kept.phase, kept.halted) and run.elapsed_s - kept.elapsed_s < KEPT_EVERY_S:
            return
        try:
            await self.state.put("run", run)
        except NotStored as problem:
            log.warning("%s: how far it is could not be stored: %s", self.bus.address, problem)
            return
        self.kept = run
