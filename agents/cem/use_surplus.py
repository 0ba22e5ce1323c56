"""What a battery does when nothing binds: charge from own surplus, discharge for own load."""

from dataclasses import dataclass, field

from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import skill
from bus.clock import Clock


def surplus_wishes(rest_w: float, batteries: list[tuple[str, float, float]]) -> dict[str, float]:
    """Setpoint per battery that brings the connection point to zero, shared by what each can do now.

    ``rest_w`` is the connection point's power without batteries; each battery is (name, lower_w, upper_w).
    """
    can = sum(-lower if rest_w > 0 else upper for _, lower, upper in batteries)
    if can <= 0:
        return {name: 0.0 for name, _, _ in batteries}
    share = min(1.0, abs(rest_w) / can)
    return {name: share * (lower if rest_w > 0 else upper) for name, lower, upper in batteries}


@skill()
@dataclass
class UseSurplus:
    """Wishes that the allocator clips; renewed seldom, so that setpoints do not chatter."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: dict[str, float] = field(default_factory=dict)
    _at: float = float("-inf")

    def refresh(self) -> dict[str, float]:
        """The present wish of each battery, + charging."""
        now, gcp = self.clock.now(), self.premises.gcp
        if not self.settings.use_surplus or gcp is None or not self.premises.meter_fresh:
            self.wishes = {}
        elif now - self._at >= self.settings.surplus_every_s:
            self._at = now
            self._renew(gcp.power_w, now)
        return self.wishes

    def _renew(self, gcp_w: float, now: float) -> None:
        batteries = [d for d in self.premises.devices.values() if _usable(d, now, self.settings)]
        rest = gcp_w - sum(d.reading.power_w for d in batteries if d.reading is not None)
        ranges = [(d.name, d.reading.lower_w, d.reading.upper_w) for d in batteries if d.reading is not None]
        for name, wish in surplus_wishes(rest, ranges).items():
            before = self.wishes.get(name)
            if before is None or abs(wish - before) >= self.settings.surplus_deadband_w:
                self.wishes[name] = wish


def _usable(device: Device, now: float, settings: CemSettings) -> bool:
    return device.announce.device_class == "battery" and now - device.read_at <= settings.stale_after_s
