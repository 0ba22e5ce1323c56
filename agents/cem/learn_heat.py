"""What will be drawn from each tank and lost by each room, and how well its pump will work: learned from readings.

Devices say one figure of each, if any. What the CEM sees of them says how it goes over the day.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from agents.cem.expect import Expect
from agents.cem.heat_history import (
    Balance,
    Closed,
    HeatHistory,
    cop,
    drawn_w,
    surroundings_c,
)
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import every, restores, skill
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.flexibility import ThermalFlexibility
from contracts.profiles import SLOT_S

log = logging.getLogger("gridparley.cem")
MOST_DEVICES = 16
"""That are remembered; the ones that are here go first."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up, by device (``heatpump.1``)."""

    histories: dict[str, HeatHistory] = {}


@skill(use_cases=("home.self-consumption", "home.price-plan"))
@dataclass
class LearnHeat:
    """One history for each device that offers heat or cold, says its temperature and has its power measured."""

    clock: Clock
    address: Address
    state: State
    settings: CemSettings
    premises: Premises
    flexibility: KnowFlexibility
    expect: Expect
    histories: dict[str, HeatHistory] = field(default_factory=dict)
    _balances: dict[str, Balance] = field(default_factory=dict)
    _seen_at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.premises.on_meter.append(self._learn)

    # ---------------------------------------------------------------- what others ask

    def demand(self, device: Device, start: float, n: int, slot_s: float = SLOT_S) -> tuple[float, ...] | None:
        """Heat drawn per slot in W, < 0 where it is gained. None: nothing is known beyond what the device says."""
        heat, known = self._heat(device), self.histories.get(device.name)
        if heat is None or known is None:
            return None
        said = heat.demand_w if heat.heats else -heat.demand_w
        found = known.demand(start, n, slot_s, self.settings.time_zone, said)
        if found is None or device.announce.device_class == "hvac":
            return found
        return tuple(max(0.0, value) for value in found)  # a room gains warmth of the sun, a tank does not

    def cop(self, device: Device, outdoor_c: Sequence[float], heat: ThermalFlexibility) -> tuple[float, ...]:
        """Heat or cold per electric energy at these temperatures outdoors."""
        known = self.histories.get(device.name) or HeatHistory()
        return tuple(cop(device.announce.device_class, heat, known, outdoor_c))

    # ---------------------------------------------------------------- learning

    def _heat(self, device: Device) -> ThermalFlexibility | None:
        offer = self.flexibility.offers.get(device.address)
        return offer.flexibility if offer is not None and isinstance(offer.flexibility, ThermalFlexibility) else None

    def _learn(self) -> None:
        for device in self.premises.devices.values():
            heat, reading = self._heat(device), device.reading
            if heat is None or reading is None or reading.temperature_c is None or reading.quality != "measured":
                continue
            if device.read_at <= self._seen_at.get(device.name, 0.0):
                continue
            self._seen_at[device.name] = device.read_at
            known = self.histories.setdefault(device.name, HeatHistory())
            if heat.cop_share != known.cop_share:
                known.refer(heat.cop_share, self._outdoor_c(device.read_at))
            balance = self._balances.setdefault(device.name, Balance())
            closed = balance.see(device.read_at, reading.power_w, reading.temperature_c)
            if closed is not None:
                self._take(device, heat, known, closed)

    def _take(self, device: Device, heat: ThermalFlexibility, known: HeatHistory, closed: Closed) -> None:
        kind, outdoor = device.announce.device_class, self._outdoor_c(closed.at)
        performance = cop(kind, heat, known, (outdoor,))[0]
        known.take(
            closed.at,
            heat,
            drawn_w(heat, closed, performance, surroundings_c(kind, heat, outdoor)),
            self.settings.time_zone,
        )

    def _outdoor_c(self, at: float) -> float:
        return self.expect.outdoor_c(at - SLOT_S / 2, 1)[0]

    # ---------------------------------------------------------------- kept

    @every("forecast_every_s")
    async def keep(self) -> None:
        here = {device.name for device in self.premises.devices.values()}
        ordered = sorted(self.histories, key=lambda name: name not in here)
        self.histories = {name: self.histories[name] for name in ordered[:MOST_DEVICES]}
        try:
            await self.state.put("heat", Kept(histories=self.histories))
        except NotStored as problem:
            log.info("%s learns on without having kept it: %s", self.address, problem)

    @restores
    async def take_up(self) -> None:
        kept = await self.state.get("heat", Kept)
        if kept is not None:
            self.histories = dict(kept.histories)
