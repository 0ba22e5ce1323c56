"""A device that falls silent is asked; no answer or an abnormal one is a warning at the display. IEC-JWG11."""

from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import every, skill, started
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from contracts.device import AskStatus, DeviceStatus, DeviceWarning, status_check
from contracts.kit import Lapsed
from contracts.reasons import Reason


@skill(says_home=(DeviceWarning,), says_grid=(DeviceWarning,), opens=(status_check,), use_cases=("ops.device-watch",))
@dataclass
class WatchDevices:
    """Every device is expected to speak; a warning stands until the device is normal again."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    warned: dict[Address, Reason] = field(default_factory=dict)
    _asking: set[Address] = field(default_factory=set)
    _normal_at: dict[Address, float] = field(default_factory=dict)
    _tasks: TaskGroup | None = None

    @started
    async def keep_asking(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            await anyio.sleep_forever()

    @every("watch_every_s")
    def look(self) -> None:
        now = self.clock.now()
        for device in self.premises.devices.values():
            reading = device.reading
            quiet_s = now - max(device.heard_at, device.known_since, self._normal_at.get(device.address, 0.0))
            if quiet_s > self.settings.missing_after_s:
                if device.address not in self._asking and self._tasks is not None:
                    self._asking.add(device.address)
                    self._tasks.start_soon(self._ask, device)
            elif reading is not None and reading.operating == "fault":
                self._warn(device, Reason(code="fault", text=f"{device.name} says fault: have it looked at."))
            elif device.address in self.warned and now - device.heard_at <= self.settings.missing_after_s:
                self._clear(device)

    async def _ask(self, device: Device) -> None:
        try:
            async with self.bus.talk(status_check, device.address) as talk:
                await talk.say(AskStatus())
                match await talk.hear(DeviceStatus, Lapsed):
                    case DeviceStatus(normal=True):
                        self._normal_at[device.address] = self.clock.now()
                    case DeviceStatus(reason=reason):
                        self._normal_at[device.address] = self.clock.now()
                        self._warn(device, reason)
                    case Lapsed():
                        text = f"{device.name} has said nothing and does not answer: check its power and its link."
                        self._warn(device, Reason(code="missing", text=text))
        finally:
            self._asking.discard(device.address)

    def _warn(self, device: Device, reason: Reason) -> None:
        before = self.warned.get(device.address)
        self.warned[device.address] = reason
        if before is None or before.code != reason.code:
            self._say(DeviceWarning(device=device.name, cleared=False, reason=reason))

    def _clear(self, device: Device) -> None:
        del self.warned[device.address]
        text = f"{device.name} is back and normal."
        self._say(DeviceWarning(device=device.name, cleared=True, reason=Reason(code="back", text=text)))

    def _say(self, warning: DeviceWarning) -> None:
        self.bus.say(warning, home=True)
        if self.settings.warn_third_party:
            self.bus.say(warning, home=False)
