"""While the heat pump makes the hot water that somebody asked for, the battery helps. IEC-JWG1122, IEC-JWG1123.

The source gives neither power nor time nor stop: it gives what the heat pump says that it takes, as long as it says so.
"""

from dataclasses import dataclass, field

from agents.cem.held_by_hand import HeldByHand
from agents.cem.premises import Device, Premises
from agents.cem.wishes import Wish, Wishes
from agents.kit.skill import every, hears, skill
from bus.bus import Heard
from bus.clock import Clock
from contracts.device import DeviceReading
from contracts.reasons import Reason
from contracts.roles import HEATPUMP

RUNS_W = 50.0
STEP_W = 100.0
"""A change that is worth telling the battery."""
HOLDS_S = 60.0
"""A heat pump that says nothing more gets no more help."""


@skill(use_cases=("home.hot-water",))
@dataclass
class HelpHotWater:
    """Acts on the heat pump's own broadcast, never on the request."""

    clock: Clock
    premises: Premises
    wishes: Wishes
    hand: HeldByHand
    _given: dict[str, float] = field(default_factory=dict)
    _heard_at: float = 0.0

    @hears(DeviceReading, of=(HEATPUMP,), where="home")
    def hear(self, reading: DeviceReading, heard: Heard) -> None:
        pump = self.premises.devices.get(heard.sender)
        if pump is None:
            return
        held = self.hand.of(pump.name)
        if held is None or held.action != "hot_water" or self.premises.standby:
            self._stop()
        elif reading.operating == "running" and reading.power_w > RUNS_W:
            self._heard_at = self.clock.now()
            self._help(pump, reading.power_w)

    def _help(self, pump: Device, power_w: float) -> None:
        batteries = [d for d in self.premises.devices.values() if d.announce.device_class == "battery"]
        able = sum(-d.announce.nominal_lower_w for d in batteries)
        for battery in batteries:
            if self.hand.of(battery.name) is not None or able <= 0:
                continue  # the user's own word about it goes first
            give = max(battery.announce.nominal_lower_w, -power_w * -battery.announce.nominal_lower_w / able)
            if abs(give - self._given.get(battery.name, 0.0)) < STEP_W:
                continue
            self._given[battery.name] = give
            text = f"It helps {pump.name}, which makes extra hot water: {-give:.0f} W."
            reason = Reason(code="hot_water", text=text, binding="hand", inputs={"pump_w": power_w})
            self.wishes.put(battery.name, Wish(source="hand", reason=reason, setpoint_w=give), "hand")

    def _stop(self) -> None:
        for name in list(self._given):
            del self._given[name]
            if self.hand.of(name) is None:
                self.wishes.put(name, None, "hand")

    @every("watch_every_s")
    def watch(self) -> None:
        if self._given and self.clock.now() - self._heard_at > HOLDS_S:
            self._stop()
