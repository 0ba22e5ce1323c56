"""The car follows its charge and says how it goes. IC-DE-PUC-EM-5, IC-DE-PUC-SOC."""

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import anyio
import msgspec

from agents.ev.charge import Level, missing_wh
from agents.ev.settings import EvSettings
from agents.kit.skill import every, hears, restores, skill
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.charging import ChargingStatus
from contracts.device import DeviceReading
from contracts.roles import EVSE

FLOWS_W = 50.0
ChargeState = Literal["plugged", "charging", "paused", "finished", "gone"]


class Plugged(msgspec.Struct, frozen=True, kw_only=True):
    """Over restarts: since when it stands there and where its level began."""

    since: float
    began_percent: float
    began_wh: float | None = None


@skill(says_home=(ChargingStatus,), use_cases=("mobility.monitor",))
@dataclass
class WatchCharge:
    """Follows the station's readings; says its status regularly while plugged in, and at each change."""

    bus: Bus
    clock: Clock
    state: State
    settings: EvSettings
    plugged: Plugged | None = None
    level: Level | None = None
    reading: DeviceReading | None = None
    shown: ChargeState = "gone"
    news: anyio.Event = field(default_factory=anyio.Event)
    _kept: Plugged | None = None

    @restores
    async def take_up(self) -> None:
        self._kept = self.plugged = await self.state.get("plugged", Plugged)
        if self.plugged is not None:
            self.level = self._level(self.plugged)

    def _level(self, plugged: Plugged) -> Level:
        return Level(plugged.began_percent, began_percent=plugged.began_percent, began_wh=plugged.began_wh)

    @property
    def missing_wh(self) -> float:
        s = self.settings
        if self.level is None:
            return 0.0
        return missing_wh(self.level.soc_percent, s.target_percent, s.capacity_wh, s.efficiency_share)

    @hears(DeviceReading, of=(EVSE,), where="home")
    def hear(self, reading: DeviceReading, heard: Heard) -> None:
        if f"{heard.sender.role}.{heard.sender.name}" != self.settings.evse:
            return
        self.reading = reading
        there = reading.operating in ("waiting", "running", "paused", "finished")
        if there and self.plugged is None:
            began = self.settings.arrives_percent if reading.soc_percent is None else reading.soc_percent
            session = reading.session_wh or 0.0
            register = None if reading.energy_wh is None else reading.energy_wh - session
            self.plugged = Plugged(since=self.clock.now(), began_percent=began, began_wh=register)
            self.level = self._level(self.plugged)
            self.news.set()
        elif not there and self.plugged is not None and reading.operating != "fault":
            self.plugged = None
        if self.level is not None:
            s = self.settings
            self.level = self.level.after(reading, s.capacity_wh, s.efficiency_share)
        state = self._state(reading)
        if state != self.shown:
            self.shown = state
            self.say()
        if self.plugged is None:
            self.level = None

    def _state(self, reading: DeviceReading) -> ChargeState:
        if self.plugged is None:
            return "gone"
        if self.missing_wh <= 0.0 or reading.operating == "finished":
            return "finished"
        if reading.power_w > FLOWS_W:
            return "charging"
        return "paused" if self.shown in ("charging", "paused") else "plugged"

    @every("status_every_s")
    def repeat(self) -> None:
        if self.plugged is not None:
            self.say()

    def say(self) -> None:
        reading, level = self.reading, self.level
        if reading is None:
            return
        self.bus.say(
            ChargingStatus(
                at=reading.at,
                evse=self.settings.evse,
                state=self.shown,
                power_w=reading.power_w,
                energy_wh=0.0 if level is None else level.energy_wh,
                soc_percent=None if level is None else level.soc_percent,
                quality="measured" if level is not None and level.measured else "estimated",
            ),
            home=True,
        )

    @every("status_every_s")
    async def keep(self) -> None:
        if self.plugged != self._kept:
            with suppress(NotStored):
                await self.state.put("plugged", self.plugged)
                self._kept = self.plugged
