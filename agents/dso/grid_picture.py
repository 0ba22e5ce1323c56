"""What the meters say of the grid, with ages; loading, voltages and the traffic light. Pure."""

from dataclasses import dataclass, field, replace
from math import inf

from agents.kit.instants import newer
from contracts.grid_state import Phase
from contracts.metering import GcpReading
from contracts.power_limit import Direction


@dataclass(frozen=True)
class Loading:
    """Shares of the rating per direction of flow, worst of the three phases (a third each) and the sum."""

    power_w: float
    consumption: float
    production: float
    worst_phase: int
    """1 to 3."""

    @property
    def share(self) -> float:
        return max(self.consumption, self.production)

    def of(self, direction: Direction) -> float:
        return self.consumption if direction == "consumption" else self.production


def loading_of(reading: GcpReading, transformer_va: float) -> Loading:
    """How full the transformer is: per phase U x I, or the active power where no current is measured."""
    third = transformer_va / 3
    by_phase = [
        (max(abs(power_w), abs(current_a) * voltage_v) / third, power_w)
        for power_w, current_a, voltage_v in zip(
            reading.power_by_phase_w, reading.current_by_phase_a, reading.voltage_by_phase_v, strict=True
        )
    ]
    total = (reading.power_w**2 + reading.reactive_power_var**2) ** 0.5 / transformer_va
    drawn = [share for share, power_w in by_phase if power_w >= 0]
    fed = [share for share, power_w in by_phase if power_w < 0]
    if reading.power_w >= 0:
        drawn.append(total)
    else:
        fed.append(total)
    shares = [share for share, _ in by_phase]
    return Loading(
        power_w=reading.power_w,
        consumption=max(drawn, default=0.0),
        production=max(fed, default=0.0),
        worst_phase=shares.index(max(shares)) + 1,
    )


@dataclass
class Picture:
    """The last reading of each place, by address, with the instant of measuring (Unix seconds)."""

    stale_s: float
    readings: dict[str, GcpReading] = field(default_factory=dict)

    def take(self, place: str, reading: GcpReading, now: float) -> bool:
        """False when a younger one is known already, as words can overtake each other around a reconnect, and when it
        cannot have been measured yet."""
        known = self.readings.get(place)
        if not newer(reading.at.timestamp(), known.at.timestamp() if known is not None else -inf, now):
            return False
        self.readings[place] = reading
        return True

    def age_s(self, place: str, now: float) -> float | None:
        reading = self.readings.get(place)
        return None if reading is None else now - reading.at.timestamp()

    def young(self, place: str, now: float) -> GcpReading | None:
        """The reading if it may still decide something."""
        age = self.age_s(place, now)
        return self.readings[place] if age is not None and age <= self.stale_s else None


@dataclass(frozen=True)
class Thresholds:
    """Shares of the rating at which the light changes up; it changes down ``margin`` lower, held for a while."""

    yellow: float
    red: float
    margin: float
    clear_after_s: float


@dataclass(frozen=True)
class Light:
    """The traffic light's memory. ``calmer_since``: since when the grid has been calmer than the phase says."""

    phase: Phase | None = None
    calmer_since: float | None = None


_ORDER: tuple[Phase, ...] = ("green", "yellow", "red")


def judge(
    light: Light, now: float, loading: float, thresholds: Thresholds, *, orders_in_force: bool, voltage_beyond: bool
) -> Light:
    """Up at once, down one hysteresis later. While orders hold the grid within its limits it is red: without them it
    would be over."""
    up = _phase(loading, thresholds, 0.0, orders_in_force, voltage_beyond)
    if light.phase is None or _ORDER.index(up) > _ORDER.index(light.phase):
        return Light(phase=up)
    down = _phase(loading, thresholds, thresholds.margin, orders_in_force, voltage_beyond)
    if _ORDER.index(down) >= _ORDER.index(light.phase):
        return replace(light, calmer_since=None)
    since = light.calmer_since if light.calmer_since is not None else now
    if now - since >= thresholds.clear_after_s:
        return Light(phase=down)
    return replace(light, calmer_since=since)


def _phase(loading: float, thresholds: Thresholds, margin: float, orders: bool, voltage_beyond: bool) -> Phase:
    if orders or loading >= thresholds.red - margin:
        return "red"
    if voltage_beyond or loading >= thresholds.yellow - margin:
        return "yellow"
    return "green"


@dataclass(frozen=True)
class Band:
    """The lawful voltages, V; a place is back inside only ``clear_v`` within."""

    lower_v: float
    upper_v: float
    clear_v: float


def beyond(band: Band, voltages_v: tuple[float, float, float], was_beyond: bool) -> float | None:
    """The voltage that is furthest beyond the band, None when all are inside.

    Phases at 0 V count: a lost phase is a place that needs action.
    """
    inset = band.clear_v if was_beyond else 0.0
    lower, upper = band.lower_v + inset, band.upper_v - inset
    worst = max(voltages_v, key=lambda v: max(lower - v, v - upper))
    return worst if worst < lower or worst > upper else None
