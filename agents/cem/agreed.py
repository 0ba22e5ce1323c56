"""What was agreed with a device: what it was asked, what it confirmed, how far it is; and as it is written down."""

from dataclasses import dataclass

import msgspec

from bus.address import Address
from contracts.instructions import CounterInstruction, Instruct, InstructionState
from contracts.profiles import PlannedPower


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """What the deal is about, written down before it is asked for; ``said`` is run time."""

    instruct: Instruct
    said: float
    counter: CounterInstruction | None = None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One agreement over restarts."""

    talk: str
    device: str
    instruct: Instruct
    power: tuple[PlannedPower, ...]
    start: float | None
    state: InstructionState

    def agreed(self) -> "Agreed":
        """As it stands."""
        return Agreed(
            talk=self.talk,
            device=Address.parse(self.device),
            instruct=self.instruct,
            power=self.power,
            start=self.start,
            state=self.state,
        )


@dataclass(frozen=True, kw_only=True)
class Agreed:
    """A standing instruction. ``power`` is what the device confirmed, moved when it began at another instant, raised
    where it was seen to take more; ``start`` in run seconds."""

    talk: str
    device: Address
    instruct: Instruct
    power: tuple[PlannedPower, ...]
    start: float | None
    state: InstructionState

    def kept(self) -> Kept:
        """As it is written down."""
        return Kept(
            talk=self.talk,
            device=str(self.device),
            instruct=self.instruct,
            power=self.power,
            start=self.start,
            state=self.state,
        )
