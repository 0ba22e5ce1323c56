"""The household's temperature programme, told to each device's own thermostat when a set point begins. IEC-JWG1110.

A set point is told once. What a person sets at the device or by hand in between holds until the next one begins, and
changes nothing of the rest of the day or week (IEC-ROLE-SMART-THERMOSTAT).
"""

import logging
from dataclasses import dataclass, field

import anyio
import msgspec
from anyio.abc import TaskGroup

from agents.cem.ask_device import ask_device
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.set_points import in_force
from agents.cem.settings import CemSettings
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import every, restores, skill, started
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.emergency import DisplayNotice
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
THERMOSTATS = ("waterheater", "hvac")
"""Heat pumps are not told by a temperature of a room: the plan keeps theirs."""
AGAIN_S = 300.0
"""A device that was not reached, or refused, is asked again so much later, as long as the set point holds."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The set point that a device has taken last. ``since`` is when it began (run seconds)."""

    since: float
    target_c: float


@skill(opens=(take_control,), says_home=(DisplayNotice,), use_cases=("home.price-plan",))
@dataclass
class KeepSetPoints:
    """Looks regularly, and at once when people have changed what they want."""

    bus: Bus
    clock: Clock
    state: State
    deals: Deals
    settings: CemSettings
    premises: Premises
    preferences: Preferences
    told: dict[str, Told] = field(default_factory=dict)
    _warned: dict[str, Told] = field(default_factory=dict)
    _not_before: dict[str, float] = field(default_factory=dict)
    _talking: set[str] = field(default_factory=set)
    _tasks: TaskGroup | None = None
    _restored: bool = False

    def __post_init__(self) -> None:
        self.preferences.on_change.append(self._changed)

    @restores
    async def restore(self) -> None:
        self.told = await self.state.get("set_points", dict[str, Told]) or {}
        self._restored = True

    @started
    async def keep_telling(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    def _changed(self) -> None:
        self._not_before.clear()
        self.look()

    @every("watch_every_s")
    def look(self) -> None:
        if not self._restored or self._tasks is None or not self.preferences.service:
            return
        now = self.clock.now()
        for device in self.premises.devices.values():
            name, kind = device.name, device.announce.device_class
            points = self.preferences.of(name, kind).set_points if kind in THERMOSTATS else None
            if not points or not self.preferences.controlled(name, kind) or self.preferences.away(now):
                continue
            holds = in_force(points, now, self.settings.time_zone)
            if holds is None or name in self._talking or now < self._not_before.get(name, 0.0):
                continue
            point = Told(since=holds[0], target_c=holds[1])
            if point != self.told.get(name):
                self._talking.add(name)
                self._tasks.start_soon(self._tell, device, point)

    async def _tell(self, device: Device, point: Told) -> None:
        name = device.name
        try:
            refusal = await self._ask(device, point)
            if refusal is None:
                self.told[name] = point
                await self.state.put("set_points", self.told)
                text = f"{name} keeps {point.target_c:g} degC from now on, by the household's programme."
                self.bus.say(DisplayNotice(kind="info", text=text, device=name), home=True)
                return
        except (NotStored, TooManyDeals) as problem:
            refusal = Reason(code="not_stored", text=str(problem))
        finally:
            self._talking.discard(name)
        self._not_before[name] = self.clock.now() + AGAIN_S
        if self._warned.get(name) != point:
            self._warned[name] = point
            text = f"{name} does not take its set point of {point.target_c:g} degC: {refusal.text}"
            log.info("%s: %s", self.bus.address, text)
            self.bus.say(DisplayNotice(kind="warning", text=text, device=name), home=True)

    async def _ask(self, device: Device, point: Told) -> Reason | None:
        """Why it does not keep it; None: it does."""
        word = TakeControl(user="set points", device=device.name, action="resume", target_c=point.target_c)
        match await ask_device(self.bus, self.deals, device, word):
            case ControlTaken():
                return None
            case ControlRefused(reason=reason):
                return reason
            case Lapsed():
                return Reason(code="no_answer", text="it did not answer, check its link")
