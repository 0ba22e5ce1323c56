"""Room for a new operation: what the house takes and may take, and the warning that goes round when it is too much.

IEC-JWG2113-S1: a device that thinks estimates itself and warns; for one that is only switched the CEM does both.
IEC-JWG4: inside the user's window the limit is the own production; the user may overrule it for one start.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import time

from agents.cem.held_by_hand import HeldByHand
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wishes
from agents.kit.announce_start import room_for
from agents.kit.skill import answers, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceWarning
from contracts.emergency import DisplayNotice
from contracts.kit import Lapsed
from contracts.own_plans import AnnounceStart, HousePower, StartClear, StartWarning, start_check
from contracts.reasons import Reason

GENERATORS = ("pv", "fuelcell")
REMOTE_CONTROLLED = ("switch", "hvac")
"""Without a mind of their own: relays, and air conditioners as the source's own example. IEC-JWG211x-ROLES."""


def inside(start: time, end: time, now: time) -> bool:
    """A window of the local day; one that ends before it starts runs over midnight."""
    return start <= now < end if start <= end else now >= start or now < end


@skill(says_home=(DeviceWarning, DisplayNotice), use_cases=("limits.start-warning", "limits.own-production"))
@dataclass
class AnswerStart:
    """Figures for who asks; warnings passed on to the other devices and the display."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    preferences: Preferences
    wishes: Wishes
    hand: HeldByHand
    warned: dict[str, Reason] = field(default_factory=dict)
    _import_wh: tuple[str, float] | None = None

    def __post_init__(self) -> None:
        self.wishes.on_change.append(self._watch_switches)
        self.premises.on_meter.append(self._count)

    # ------------------------------------------------------------ what the house says

    def house(self, device: str) -> HousePower:
        """The house as ``device`` has to see it."""
        now, s = self.clock.now(), self.settings
        taken_w = self._taken_w()
        window = self.preferences.own_production
        exempt = self.hand.overruled(device)
        if window is not None and inside(window.start, window.end, self.preferences.local(now).time()):
            made_w = self._made_w()
            return HousePower(
                at=instant(now),
                total_w=taken_w + made_w,
                subscribed_w=made_w,
                limited_by="own_production",
                exempt=exempt or device in window.exempt,
                after_warning=s.after_start_warning,
            )
        energy = s.energy_limit_wh is not None
        return HousePower(
            at=instant(now),
            total_w=taken_w,
            subscribed_w=s.nominal_w("consumption") if not s.contract_consumption_w else s.contract_consumption_w,
            limited_by="energy" if energy else "contract",
            lower_w=s.usual_rest_w,
            left_wh=self._left_wh(),
            exempt=exempt,
            after_warning=s.after_start_warning,
        )

    def _taken_w(self) -> float:
        """At the connection point; what the meter does not tell is what the devices say, and a reserve."""
        gcp = self.premises.gcp
        if gcp is not None and self.premises.meter_fresh:
            return gcp.power_w
        known = (d.reading.power_w for d in self.premises.devices.values() if d.reading is not None)
        return sum(known) + self.settings.household_reserve_w

    def _made_w(self) -> float:
        """Own generation now, and what storage gives beside it."""
        made = 0.0
        for device in self.premises.devices.values():
            if device.reading is not None and device.announce.device_class in (*GENERATORS, "battery"):
                made += max(-device.reading.power_w, 0.0)
        return made

    def _count(self) -> None:
        gcp = self.premises.gcp
        if gcp is None:
            return
        today = self.preferences.local(self.premises.gcp_at).date().isoformat()
        if self._import_wh is None or self._import_wh[0] != today:
            self._import_wh = today, gcp.import_wh

    def _left_wh(self) -> float | None:
        limit, gcp = self.settings.energy_limit_wh, self.premises.gcp
        if limit is None:
            return None
        used = 0.0 if gcp is None or self._import_wh is None else gcp.import_wh - self._import_wh[1]
        return max(limit - used, 0.0)

    # ------------------------------------------------------------ a device asks

    @answers(start_check)
    async def on_announce(self, talk: Talk, _word: AnnounceStart) -> None:
        assert talk.peer is not None  # the bus carries it
        device = f"{talk.peer.role}.{talk.peer.name}"
        await talk.say(self.house(device))
        match await talk.hear(StartClear, StartWarning, Lapsed):
            case StartWarning(reason=reason):
                self._warn(device, reason)
            case StartClear():
                self._clear(device)
                if self.hand.overruled(device):
                    with suppress(NotStored):
                        await self.hand.use_overrule(device)
            case Lapsed():
                pass

    # ------------------------------------------------------------ a device that only is switched

    def check(self, device: Device) -> Reason | None:
        """For a remote-controllable device: would its start be too much? Then the warning goes round."""
        room = room_for(device.announce.nominal_upper_w, None, self.house(device.name))
        if room.reason is None:
            self._clear(device.name)
        else:
            self._warn(device.name, room.reason)
        return room.reason

    def _watch_switches(self, name: str) -> None:
        device, wish = self.premises.by_name(name), self.wishes.of(name)
        if device is None or device.announce.device_class not in REMOTE_CONTROLLED:
            return
        if wish is None or wish.off or max(wish.setpoint_w or 0.0, wish.lower_w or 0.0) <= 0:
            self._clear(device.name)  # nobody wants it on any more
        elif not device.on:
            self.check(device)

    # ------------------------------------------------------------ telling

    def _warn(self, device: str, reason: Reason) -> None:
        before = self.warned.get(device)
        self.warned[device] = reason
        if before is None or before.code != reason.code:
            self.bus.say(DeviceWarning(device=device, cleared=False, reason=reason), home=True)
            self.bus.say(DisplayNotice(kind="warning", text=reason.text, device=device), home=True)

    def _clear(self, device: str) -> None:
        if self.warned.pop(device, None) is not None:
            reason = Reason(code="room", text=f"{device} has the room it needs")
            self.bus.say(DeviceWarning(device=device, cleared=True, reason=reason), home=True)
