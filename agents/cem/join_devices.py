"""Devices join the home: they say what they can, are managed by their kind, and may be exchanged. IEC-JWG9."""

import logging
from dataclasses import dataclass
from math import isfinite

from agents.cem.household_budget import Kind, Steerable
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.skill import answers, rejoined, restores, skill, started
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import Announce, DeviceClass, Inventory, TurnedAway, Welcome, device_join
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
ACTIONS: dict[DeviceClass, tuple[str, ...]] = {
    "evse": ("limit consumption", "switch off", "absorb surplus"),
    "heatpump": ("limit consumption", "switch off", "absorb surplus"),
    "waterheater": ("limit consumption", "switch off", "absorb surplus"),
    "whitegoods": ("choose the start", "limit consumption", "switch off"),
    "hvac": ("limit consumption", "switch off", "absorb surplus"),
    "fuelcell": ("generate by price", "limit feed-in", "switch off"),
    "switch": ("switch on and off",),
    "submeter": (),
    "battery": ("charge surplus", "discharge for own load", "limit consumption", "limit feed-in"),
    "pv": ("limit feed-in",),
}
BUDGET_KINDS: dict[DeviceClass, Kind] = {"evse": "charging", "heatpump": "heatpump", "battery": "storage"}


@skill(says_home=(Inventory,), use_cases=("ops.connect-device",))
@dataclass
class JoinDevices:
    """Keeps the inventory over restarts and says it at every change."""

    bus: Bus
    address: Address
    clock: Clock
    state: State
    settings: CemSettings
    peers: Peers
    premises: Premises
    preferences: Preferences

    @restores
    async def restore(self) -> None:
        for text, announce in (await self.state.get("inventory", dict[str, Announce]) or {}).items():
            address = Address.parse(text)
            device = self.premises.devices[address] = self._device(address, announce)
            device.unsure_from = self._settled_at()

    @started
    async def show(self) -> None:
        self._say()
        self.premises.fleet_changed()

    @rejoined
    async def show_again(self) -> None:
        self._say()

    def _say(self) -> None:
        self.bus.say(Inventory(devices=self._inventory()), home=True)

    def _inventory(self) -> dict[str, Announce]:
        return {str(address): device.announce for address, device in self.premises.devices.items()}

    @answers(device_join)
    async def on_announce(self, talk: Talk, announce: Announce) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        wrong = self._objection(peer, announce)
        if wrong is None:
            try:
                await self.state.put("inventory", {**self._inventory(), str(peer): announce})
            except NotStored as problem:
                wrong = Reason(code="not_stored", text=f"{problem}: announce again when the site's server is back.")
        if wrong is not None:
            await talk.say(TurnedAway(reason=wrong))
            return
        self._take(peer, announce)
        await talk.say(Welcome(reading_every_s=self.settings.reading_every_s, actions=ACTIONS[announce.device_class]))
        self._say()
        self.premises.fleet_changed()

    def _objection(self, peer: Address, announce: Announce) -> Reason | None:
        figures = (announce.nominal_lower_w, announce.nominal_upper_w, announce.minimum_run_w)
        if peer.site != self.address.site:
            return Reason(code="not_at_home", text=f"{peer} is not at {self.address.site}: join your own CEM.")
        if not self.settings.plug_and_play and peer not in self.peers.addresses:
            return Reason(code="unknown_device", text="Plug and play is off: have the installer list the device.")
        if not all(isfinite(f) for f in figures) or not announce.nominal_lower_w <= 0 <= announce.nominal_upper_w:
            return Reason(code="bad_range", text="The nominal range has to include 0: lower <= 0 <= upper.")
        if not announce.phases or len(set(announce.phases)) < len(announce.phases):
            return Reason(code="bad_phases", text="Name each phase that the device uses once.")
        return None

    def _take(self, address: Address, announce: Announce) -> None:
        known = self.premises.devices.get(address)
        if known is None:
            self.premises.devices[address] = self._device(address, announce)
            return
        if (known.announce.maker, known.announce.model) != (announce.maker, announce.model):
            log.info("%s was exchanged: %s %s now", address, announce.maker, announce.model)
        # A new life or another product of the same ability: what it was told holds on, so it is told again.
        known.announce, known.told, known.stubborn_until = announce, None, float("-inf")
        known.unsure_from = min(known.unsure_from, self._settled_at())
        self.premises.changed()

    def _settled_at(self) -> float:
        """When what holds a device is known anew: by then there is a plan again. Its last order bridges the time."""
        return self.clock.now() + self.settings.hold_s / 2

    def _device(self, address: Address, announce: Announce) -> Device:
        made = Device(address, announce, self.clock.now())
        made.consented = self.preferences.controlled(made.name, announce.device_class)
        return made

    def steerables(self) -> list[Steerable]:
        """The devices that fall under grid-oriented control, for the household's budget."""
        return [
            Steerable(d.name, BUDGET_KINDS[d.announce.device_class], d.announce.nominal_upper_w)
            for d in self.premises.devices.values()
            if d.announce.steerable and d.announce.device_class in BUDGET_KINDS
        ]
