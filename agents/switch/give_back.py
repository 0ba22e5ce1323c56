"""What a bound took off comes back when it ends, also when the agent was killed meanwhile."""

import logging
from dataclasses import dataclass, field

from agents.kit.skill import every, restores, skill
from agents.switch.terminals import SwitchTerminals
from bus.bus import Bus
from bus.store import State
from bus.transport import NotStored
from contracts.device_form import Value

log = logging.getLogger("gridparley.device")


@skill()
@dataclass
class GiveBack:
    """Keeps what the terminals remember."""

    bus: Bus
    state: State
    terminals: SwitchTerminals
    kept: dict[str, Value] = field(default_factory=dict)

    @restores
    async def take_up(self) -> None:
        self.kept = await self.state.get("taken", dict[str, Value]) or {}
        self.terminals.taken = dict(self.kept) or None

    @every("reading_every_s")
    async def keep(self) -> None:
        taken = self.terminals.taken or {}
        if taken == self.kept:
            return
        try:
            await self.state.put("taken", taken)
        except NotStored as problem:
            log.warning("%s: what has to come back could not be stored: %s", self.bus.address, problem)
            return
        self.kept = dict(taken)
