"""The CEM's picture of its home: what the meter says, what each device says, and what bounds the connection point."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf

from agents.cem.allocate import Base, Unit
from agents.cem.household import Household
from agents.cem.settings import CemSettings
from agents.cem.shape import Order
from agents.kit.agent import Peers
from agents.kit.instants import newer
from agents.kit.skill import hears, skill
from bus.address import Address
from bus.bus import Heard
from bus.clock import Clock
from contracts.device import Announce, DeviceReading
from contracts.metering import GcpReading
from contracts.reasons import Reason
from contracts.roles import DEVICES, METER

ON_W = 50.0
WAITS_AT_MOST_S = 120.0
"""A car that may charge and does not for so long is full: nothing is reserved for it."""
FOLLOWS_S = 12.0
"""An inverter is where it was told to be after so long."""
RANKS = {
    "heatpump": 1,
    "waterheater": 1,
    "hvac": 1,
    "whitegoods": 1,
    "switch": 1,
    "evse": 2,
    "battery": 3,
    "pv": 0,
    "fuelcell": 0,
    "submeter": 0,
}
"""Cars are reduced before heat, heat before anything is switched off."""
GRID_SIDE = ("grid_limit", "failsafe")
STEERED = {"limit_upper", "limit_lower", "setpoint", "standby"}


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's bounds of the connection point, + consumed. ``trace`` is where they came from."""

    why: str
    upper_w: float = inf
    lower_w: float = -inf
    soft_lower_w: float = -inf
    urgent: bool = False
    trace: str | None = None


@dataclass(slots=True)
class Device:
    """One managed device. Instants are run seconds."""

    address: Address
    announce: Announce
    known_since: float
    reading: DeviceReading | None = None
    read_at: float = -inf
    heard_at: float = -inf
    on: bool = False
    switched_at: float = -inf
    waiting_since: float | None = None
    told: Order | None = None
    stubborn_until: float = -inf
    unsure_from: float = inf
    """From then on it is told also that it is free: what it was told before may still hold it."""
    potential_w: float = 0.0
    """PV: what it could feed in, <= 0, remembered while it is curtailed."""
    consented: bool = True
    """Without the household's consent it is never told anything; what it takes is household load then."""

    @property
    def name(self) -> str:
        return f"{self.address.role}.{self.address.name}"

    @property
    def steered(self) -> bool:
        return self.consented and bool(STEERED.intersection(self.announce.functions))

    def take(self, reading: DeviceReading, now: float) -> None:
        on = abs(reading.power_w) > ON_W
        if on != self.on:
            self.on, self.switched_at = on, now
        waits = reading.operating == "waiting" and not on
        self.waiting_since = (self.waiting_since or now) if waits else None
        self.reading, self.read_at, self.heard_at = reading, reading.at.timestamp(), now
        if self.announce.device_class == "pv":
            self._remember_potential(reading.power_w, now)

    def _remember_potential(self, power_w: float, now: float) -> None:
        told = self.told
        cap = told.lower_w if told is not None else None
        follows = told is not None and now - told.since < FOLLOWS_S  # it may still be where an order before left it
        held = follows or (cap is not None and power_w <= 0.97 * cap + ON_W)
        seen = min(power_w, 0.0)
        self.potential_w = min(self.potential_w, seen) if held else seen

    def unit(self, now: float, settings: CemSettings, wish_w: float) -> Unit:
        """As the allocator sees it; ``wish_w`` is what a battery should do if it is free."""
        a, r = self.announce, self.reading
        rank = settings.priorities.get(self.name, RANKS[a.device_class])
        fresh = r is not None and now - self.read_at <= settings.stale_after_s
        if r is None or not fresh:
            granted = self.told.upper_w if self.told is not None and now - self.told.at < settings.hold_s else None
            upper = a.nominal_upper_w if granted is None else min(a.nominal_upper_w, granted)
            return self._as(a.nominal_lower_w, upper, 0.0, rank, power_w=0.0, fresh=False)
        if now < self.stubborn_until:
            return self._as(min(0.0, r.power_w), max(0.0, r.power_w), 0.0, rank, power_w=r.power_w, fresh=False)
        upper, lower, wants = r.upper_w, r.lower_w, 0.0
        if a.device_class == "battery":
            wants = min(max(wish_w, lower), upper)
        elif a.device_class == "pv":
            lower = wants = min(self.potential_w, 0.0)
        elif a.device_class == "fuelcell":
            lower = wants = min(r.power_w, 0.0)
        elif r.operating in ("running", "waiting", "paused") and not self._waits_in_vain(now):
            wants = upper
        return self._as(lower, upper, wants, rank, power_w=r.power_w, fresh=True, now=now)

    @property
    def _switched_off(self) -> bool:
        """By us: whoever rests by itself keeps its minimum off time by itself."""
        return self.told is not None and self.told.off_since is not None

    def _waits_in_vain(self, now: float) -> bool:
        return self.waiting_since is not None and now - self.waiting_since > WAITS_AT_MOST_S

    def _as(
        self, lower: float, upper: float, wants: float, rank: int, *, power_w: float, fresh: bool, now: float = 0.0
    ) -> Unit:
        a, since = self.announce, now - self.switched_at
        return Unit(
            name=self.name,
            kind="pv" if a.device_class == "fuelcell" else a.device_class,  # both generate, and are held back last
            power_w=power_w,
            lower_w=max(lower, a.nominal_lower_w),
            upper_w=min(upper, a.nominal_upper_w) if fresh else upper,
            nominal_lower_w=a.nominal_lower_w,
            nominal_upper_w=a.nominal_upper_w,
            wants_w=min(wants, a.nominal_upper_w),
            minimum_run_w=a.minimum_run_w,
            phases=a.phases,
            fresh=fresh,
            keep_on=fresh and self.on and since < a.minimum_on_s,
            keep_off=fresh and not self.on and since < a.minimum_off_s and self._switched_off,
            rank=rank,
            can_absorb="absorb" in a.functions,
        )


@skill(use_cases=("metering.gcp-to-cem",))
@dataclass
class Premises:
    """Holds the picture. Others put claims in and are called when the meter has spoken or a claim has changed."""

    address: Address
    clock: Clock
    settings: CemSettings
    peers: Peers
    devices: dict[Address, Device] = field(default_factory=dict)
    claims: dict[str, Claim] = field(default_factory=dict)
    standby: dict[str, Reason] = field(default_factory=dict)
    device_upper_w: dict[str, tuple[float, Reason]] = field(default_factory=dict)
    charge_first: bool = False
    gcp: GcpReading | None = None
    gcp_at: float = -inf
    household: Household = field(default_factory=Household)
    on_meter: list[Callable[[], None]] = field(default_factory=list)
    on_claim: list[Callable[[], None]] = field(default_factory=list)
    on_fleet: list[Callable[[], None]] = field(default_factory=list)
    _meter: Address | None = None

    def __post_init__(self) -> None:
        # The substation's meter can be in reach too: only its own site's is this home's.
        self._meter = next((meter for meter in self.peers.of(METER) if meter.site == self.address.site), None)

    @hears(GcpReading, of=(METER,), where="home")
    def hear_meter(self, reading: GcpReading, heard: Heard) -> None:
        if self._meter is None:
            self._meter = heard.sender
        at = reading.at.timestamp()
        if heard.sender != self._meter or at == self.gcp_at or not newer(at, self.gcp_at, self.clock.now()):
            return
        self.gcp, self.gcp_at = reading, at
        self._estimate(reading, at)
        for act in self.on_meter:
            act()

    @hears(DeviceReading, of=DEVICES, where="home")
    def hear_device(self, reading: DeviceReading, heard: Heard) -> None:
        device = self.devices.get(heard.sender)
        now = self.clock.now()
        if device is not None and newer(reading.at.timestamp(), device.read_at, now):
            if device.reading is None:
                self.household = Household()  # what it draws has been taken for household load until now
            device.take(reading, now)

    def claim(self, key: str, claim: Claim | None) -> None:
        """Put in, replace or take back; everybody who acts on claims is called when that changes anything."""
        if self.claims.get(key) == claim:
            return
        if claim is None:
            del self.claims[key]
        else:
            self.claims[key] = claim
        self.changed()

    def changed(self) -> None:
        for act in self.on_claim:
            act()

    def fleet_changed(self) -> None:
        for act in self.on_fleet:
            act()

    def by_name(self, name: str) -> Device | None:
        """By ``role.name`` or by its whole address."""
        return next((d for d in self.devices.values() if name in (d.name, str(d.address))), None)

    @property
    def meter_fresh(self) -> bool:
        return self.clock.now() - self.gcp_at <= self.settings.stale_after_s

    def bounding(self) -> list[Claim]:
        """The claims as they bind the connection point: household load is on top where only devices are limited."""
        claims = list(self.claims.values())
        if self.settings.limit_covers == "connection":
            return claims
        top_w = max(0.0, self.household.total.low or 0.0)
        return [replace(c, upper_w=c.upper_w + top_w) if c.why in GRID_SIDE else c for c in claims]

    def upper_w(self) -> float:
        return min((c.upper_w for c in self.bounding()), default=inf)

    def lower_w(self) -> float:
        return max((c.lower_w for c in self.claims.values()), default=-inf)

    def _estimate(self, reading: GcpReading, at: float) -> None:
        power, phases = reading.power_w, list(_phase_powers(reading))
        settled = True
        for device in self.devices.values():
            if not device.steered or device.reading is None:
                continue
            power -= device.reading.power_w
            for n in range(3):
                phases[n] -= device.reading.power_by_phase_w[n]
            if device.told is not None and at - device.told.since < self.settings.response_s:
                settled = False
        self.household.feed(
            at,
            power,
            (phases[0], phases[1], phases[2]),
            settled=settled,
            too_high=reading.power_w > self.upper_w(),
            too_low=reading.power_w < self.lower_w(),
        )

    def base(self) -> Base:
        """Everything that is not steered. Without a young meter value: the reserve, and no help from anybody."""
        total, phases = self.household.total, self.household.phases
        if self.meter_fresh and total.high is not None and total.low is not None:
            high = (phases[0].high or 0.0, phases[1].high or 0.0, phases[2].high or 0.0)
            return Base(total.high, total.low, high, total.sure, (phases[0].sure, phases[1].sure, phases[2].sure))
        reserve = self.settings.household_reserve_w
        return Base(max(total.high or 0.0, reserve), min(total.low or 0.0, 0.0), (reserve, reserve, reserve))


def _phase_powers(reading: GcpReading) -> tuple[float, float, float]:
    """Apparent power per phase, signed like the current: what a fuse feels."""
    i, u = reading.current_by_phase_a, reading.voltage_by_phase_v
    return (i[0] * u[0], i[1] * u[1], i[2] * u[2])
