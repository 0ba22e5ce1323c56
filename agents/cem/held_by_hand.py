"""What the user's hand holds of each device: stored before it acts, so that it holds over restarts."""

from dataclasses import dataclass, field
from math import inf

import anyio
import msgspec
from msgspec.structs import replace

from agents.cem.hand import Hand, wish_of
from agents.cem.premises import Premises
from agents.cem.steer_devices import SteerDevices
from agents.cem.wishes import Wishes
from agents.kit.skill import restores
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.reasons import Reason


class Hands(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept. ``overrules``: devices whose next start may happen in spite of a warning."""

    devices: dict[str, Hand] = msgspec.field(default_factory=dict)
    overrules: tuple[str, ...] = ()


@dataclass
class HeldByHand:
    """Who takes, gives back or asks for a hand does it here; the fast loop is told by a wish."""

    clock: Clock
    state: State
    premises: Premises
    wishes: Wishes
    steer: SteerDevices
    kept: Hands = field(default_factory=Hands)
    ran: set[str] = field(default_factory=set)
    """Devices that have run since the hand took them."""
    _keeping: anyio.Lock = field(default_factory=anyio.Lock)

    @restores
    async def restore(self) -> None:
        self.kept = await self.state.get("hands", Hands) or Hands()
        for device in self.kept.devices:
            self._wish(device)

    def of(self, device: str) -> Hand | None:
        """What the hand holds of a device, also while it waits for its time."""
        return self.kept.devices.get(device)

    def paused(self, device: str) -> bool:
        hand = self.of(device)
        return hand is not None and hand.action == "pause"

    def overruled(self, device: str) -> bool:
        """Its next start may happen in spite of a warning. IEC-JWG4."""
        return device in self.kept.overrules

    async def use_overrule(self, device: str) -> None:
        """It has started: the next warning counts again. Raises NotStored."""
        await self._overrule(device, False)

    async def overrule(self, device: str) -> None:
        """Its next start is free. Raises NotStored."""
        await self._overrule(device, True)

    async def hold(self, device: str, hand: Hand | None) -> Reason | None:
        """Store what holds from now on, and act. Why it could not, else None."""
        async with self._keeping:
            devices = {name: one for name, one in self.kept.devices.items() if name != device}
            if hand is not None:
                devices[device] = hand
            hands = replace(self.kept, devices=devices)
            try:
                await self.state.put("hands", hands)
            except NotStored as problem:
                return Reason(code="not_stored", text=f"{problem}: nothing has changed, say it again.")
            self.kept = hands
        self.ran.discard(device)
        self.steer.refusals.pop(device, None)
        self._tell_anew(device)
        self._wish(device)
        return None

    def _tell_anew(self, name: str) -> None:
        """What it refused before says nothing about this; and what the hand held in a former life of ours ends now."""
        device = self.premises.by_name(name)
        if device is not None:
            device.stubborn_until = -inf
            if device.told is None:
                device.unsure_from = -inf

    def _wish(self, name: str) -> None:
        device, hand = self.premises.by_name(name), self.of(name)
        wish = wish_of(hand, device, self.clock.now()) if device is not None and hand is not None else None
        self.wishes.put(name, wish, "hand")

    async def _overrule(self, device: str, on: bool) -> None:
        async with self._keeping:
            rest = tuple(name for name in self.kept.overrules if name != device)
            hands = replace(self.kept, overrules=(*rest, device) if on else rest)
            await self.state.put("hands", hands)
            self.kept = hands
