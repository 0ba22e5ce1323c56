"""Prices and own generation for devices that plan themselves: an encouragement, no command. IC-DE-PUC-INCENTIVE-HP."""

import logging
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from agents.cem.comfort import comfort_c
from agents.cem.expect import Expect
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import KnowPrices
from agents.cem.own_plans import OwnPlans
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.set_points import set_point_c
from agents.cem.settings import CemSettings
from agents.kit.local_day import next_local
from agents.kit.skill import every, skill, started
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from contracts.flexibility import ThermalFlexibility
from contracts.kit import Lapsed
from contracts.own_plans import GiveIncentive, IncentiveDeclined, OwnPlan, incentive
from contracts.profiles import SLOT_S, PlannedPower
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
SUN_SHARE, SUN_W = 0.2, 200.0
"""A change of own generation that is worth telling at once."""


@skill(opens=(incentive,), use_cases=("home.incentive-device",))
@dataclass
class EncourageDevices:
    """To each device whose user lets it plan itself: regularly, at new prices, and when the sun has changed."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    prices: KnowPrices
    expect: Expect
    preferences: Preferences
    flexibility: KnowFlexibility
    own: OwnPlans
    _told_at: dict[str, float] = field(default_factory=dict)
    _told_w: dict[str, float] = field(default_factory=dict)
    _talking: set[str] = field(default_factory=set)
    _tasks: TaskGroup | None = None

    def __post_init__(self) -> None:
        self.prices.on_change.append(self._told_at.clear)
        self.preferences.on_change.append(self._told_at.clear)

    @started
    async def keep_talking(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    def generation_w(self) -> float:
        """Now, <= 0."""
        pv = (d for d in self.premises.devices.values() if d.announce.device_class == "pv")
        return sum(min(d.reading.power_w, 0.0) for d in pv if d.reading is not None)

    @every("reading_every_s")
    def look(self) -> None:
        now, sun_w = self.clock.now(), self.generation_w()
        for device in self.premises.devices.values():
            name, kind = device.name, device.announce.device_class
            if not self.preferences.of(name, kind).plans_itself or not self.preferences.controlled(name, kind):
                if name in self._told_at:
                    self._forget(name)
                continue
            due = now - self._told_at.get(name, float("-inf")) >= self.settings.incentive_every_s
            before = self._told_w.get(name, 0.0)
            moved = abs(sun_w - before) > max(SUN_W, SUN_SHARE * abs(before))
            if (due or moved) and name not in self._talking and self._tasks is not None:
                self._told_at[name], self._told_w[name] = now, sun_w
                self._talking.add(name)
                self._tasks.start_soon(self._give, device, sun_w)

    def _forget(self, name: str) -> None:
        del self._told_at[name]
        self.own.put(name, (), Reason(code="planned_for", text="it is planned for again"))

    def word(self, device: Device, sun_w: float) -> GiveIncentive:
        """Prices and sun are the home's; how warm and by when is what its user has said of this device."""
        now = self.clock.now()
        wanted = self.preferences.of(device.name, device.announce.device_class)
        ready = None if wanted.ready_by is None else next_local(wanted.ready_by, now, self.settings.time_zone)
        lowest, highest = self._band(device)
        start, n = now - now % SLOT_S, int(self.settings.incentive_horizon_s / SLOT_S)
        has_pv = any(d.announce.device_class == "pv" for d in self.premises.devices.values())
        expected = self.expect.pv(start, n) if has_pv else ()
        return GiveIncentive(
            prices=self.prices.slots(start, n),
            pv_power_w=sun_w if has_pv else None,
            pv_expected=tuple(
                PlannedPower(start=instant(start + k * SLOT_S), duration_s=SLOT_S, power_w=band[0])
                for k, band in enumerate(expected)
            ),
            lowest_c=lowest,
            highest_c=highest,
            target_c=wanted.target_c if ready is not None else None,
            charge_lower_percent=wanted.charge_lower_percent if ready is not None else None,
            ready_at=instant(ready) if ready is not None else None,
        )

    def _band(self, device: Device) -> tuple[float, float] | tuple[None, None]:
        """As the home's plan would keep it, by what people want and whether they are there."""
        offer = self.flexibility.offers.get(device.address)
        heat = offer.flexibility if offer is not None else None
        if not isinstance(heat, ThermalFlexibility):
            return None, None
        wanted = self.preferences.of(device.name, device.announce.device_class)
        now = self.clock.now()
        point, away = set_point_c(wanted.set_points, now, self.settings.time_zone), self.preferences.away(now)
        return comfort_c(heat, wanted, away=away, season=self.preferences.season, set_point_c=point)

    async def _give(self, device: Device, sun_w: float) -> None:
        try:
            async with self.bus.talk(incentive, device.address) as talk:
                await talk.say(self.word(device, sun_w))
                match await talk.hear(OwnPlan, IncentiveDeclined, Lapsed):
                    case OwnPlan(power=power, reason=reason):
                        self.own.put(device.name, power, reason)
                    case IncentiveDeclined(reason=reason):
                        log.info("%s does not plan itself: %s", device.name, reason.text)
                        self.own.put(device.name, (), reason)
                    case Lapsed():
                        pass
        finally:
            self._talking.discard(device.name)
