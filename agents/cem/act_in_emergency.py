"""Grid emergency: every device into its preset mode at once by order of actor A or B, and back. IEC-JWG8."""

from dataclasses import dataclass
from math import isfinite

import msgspec

from agents.cem.obey_limit import ObeyLimit
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import answers, every, restores, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.emergency import (
    BeginEmergency,
    DisplayNotice,
    EmergencyConfirmed,
    EmergencyRefused,
    EndEmergency,
    emergency_begin,
    emergency_end,
)
from contracts.reasons import Reason


class Emergency(msgspec.Struct, frozen=True, kw_only=True):
    """What was ordered. ``ends`` None: only the end message ends it; ``announced``: a scheduled blackout."""

    severe: bool
    starts: float
    ends: float | None
    announced: bool
    reason: Reason

    def runs(self, now: float) -> bool:
        return self.starts <= now and not self.over(now)

    def over(self, now: float) -> bool:
        return self.ends is not None and now >= self.ends


@skill(says_home=(DisplayNotice,), use_cases=("limits.emergency",))
@dataclass
class ActInEmergency:
    """Stored before it is confirmed, so that it holds over restarts; it ends by itself or by the end message."""

    bus: Bus
    clock: Clock
    state: State
    settings: CemSettings
    premises: Premises
    obey: ObeyLimit
    emergency: Emergency | None = None
    _running: bool = False

    def __post_init__(self) -> None:
        self.premises.on_fleet.append(self._impose)

    @restores
    async def restore(self) -> None:
        stored = await self.state.get("emergency", list[Emergency]) or []
        self.emergency = stored[0] if stored else None
        self._impose()

    @answers(emergency_begin)
    async def on_begin(self, talk: Talk, order: BeginEmergency) -> None:
        now = self.clock.now()
        duration = order.duration_s
        if duration is not None and not (isfinite(duration) and duration > 0):
            text = "A duration is positive; leave it out when the end will be told."
            await talk.say(EmergencyRefused(reason=Reason(code="bad_duration", text=text)))
            return
        starts = max(now, order.starts.timestamp()) if order.starts is not None else now
        emergency = Emergency(
            severe=order.level == "severe",
            starts=starts,
            ends=None if duration is None else (starts + duration),
            announced=order.starts is not None and starts > now,
            reason=msgspec.structs.replace(order.reason, talk=talk.id),
        )
        refusal = await self._keep(emergency)
        if refusal is not None:
            await talk.say(EmergencyRefused(reason=refusal))
            return
        change = self._expected_change_w() if order.confirm else None
        self._impose()
        await talk.say(EmergencyConfirmed(change_w=change, exempt=self._exempt()))

    @answers(emergency_end)
    async def on_end(self, talk: Talk, end: EndEmergency) -> None:
        before = self.emergency
        refusal = await self._keep(None)
        if refusal is not None:
            self.emergency = before
            await talk.say(EmergencyRefused(reason=refusal))
            return
        self._impose()
        await talk.say(EmergencyConfirmed(change_w=0.0 if end.confirm else None, exempt=self._exempt()))

    async def _keep(self, emergency: Emergency | None) -> Reason | None:
        try:
            await self.state.put("emergency", [emergency] if emergency is not None else [])
        except NotStored as problem:
            return Reason(code="not_stored", text=f"{problem}: nothing has changed, order it again.")
        self.emergency = emergency
        return None

    @every("tick_s")
    async def watch_time(self) -> None:
        if self.emergency is None:
            return
        if self.emergency.over(self.clock.now()):
            announced = self.emergency.announced
            if await self._keep(None) is None:
                self._impose()
                if announced:
                    self.obey.soft_start()  # supply is back after the scheduled blackout (NG-01)
        elif self.emergency.runs(self.clock.now()) != self._running:
            self._impose()

    def _exempt(self) -> tuple[str, ...]:
        """By the agreed profile: the devices that say so and those that the settings name."""
        named = self.settings.exempt
        devices = self.premises.devices.values()
        return tuple(sorted(d.name for d in devices if d.announce.essential or d.name in named))

    def _impose(self) -> None:
        now, emergency = self.clock.now(), self.emergency
        running = emergency is not None and emergency.runs(now)
        exempt = set(self._exempt())
        first = emergency is not None and emergency.severe
        standby: dict[str, Reason] = {}
        if emergency is not None and running:
            why = Reason(code="emergency", text=emergency.reason.text, binding="emergency", talk=emergency.reason.talk)
            standby = {
                d.name: why
                for d in self.premises.devices.values()
                if d.name not in exempt and not (first and d.announce.device_class == "battery")
            }
        if running != self._running:
            self._running = running
            kind = "Grid emergency: devices go to standby." if running else "The grid emergency is over."
            self.bus.say(DisplayNotice(kind="emergency" if running else "clearance", text=kind), home=True)
        if standby != self.premises.standby or first != self.premises.charge_first:
            self.premises.standby, self.premises.charge_first = standby, first
            self.premises.changed()

    def _expected_change_w(self) -> float:
        """Devices that go to standby stop taking or giving what they take or give now."""
        exempt = set(self._exempt())
        readings = [d.reading for d in self.premises.devices.values() if d.name not in exempt]
        return -sum(r.power_w for r in readings if r is not None)
