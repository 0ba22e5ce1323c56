"""See the grid through its meters and say its state: green, yellow or red, and which voltage is beyond its band where.

ENA-AMN, ENA-07.
A stale picture claims nothing: without a young reading of the substation no state is said, and none is improved.
"""

from dataclasses import dataclass, field

from agents.dso.grid_picture import Band, Light, Loading, Picture, Thresholds, beyond, judge, loading_of
from agents.dso.settings import DsoSettings
from agents.kit.agent import Peers
from agents.kit.skill import every, hears, skill
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from contracts.grid_state import GridState, Phase, VoltageNotice
from contracts.metering import GcpReading, NearRealTime, SitePower
from contracts.reasons import Reason
from contracts.roles import CEM, METER

_QUARTER_S = 900.0
_AHEAD = 4  # quarter hours that a forecast of the state looks at


@skill(says_grid=(GridState, VoltageNotice), use_cases=("limits.grid-state", "metering.gcp-push", "metering.nrtd"))
@dataclass
class WatchGrid:
    """``orders_in_force`` and ``shortfall`` are told by who steers."""

    bus: Bus
    clock: Clock
    settings: DsoSettings
    peers: Peers
    picture: Picture = field(init=False)
    light: Light = field(default_factory=Light)
    orders_in_force: bool = False
    shortfall: Reason | None = None
    site_power: dict[str, SitePower] = field(default_factory=dict)
    _judged_at: dict[str, float] = field(default_factory=dict)
    _beyond: dict[str, float] = field(default_factory=dict)
    _said: tuple[float, Phase] | None = None

    def __post_init__(self) -> None:
        s = self.settings
        self.picture = Picture(s.stale_s)
        reach = s.nominal_voltage_v * s.voltage_band_percent / 100
        self._band = Band(s.nominal_voltage_v - reach, s.nominal_voltage_v + reach, s.voltage_clear_v)
        self._thresholds = Thresholds(
            yellow=s.yellow_percent / 100,
            red=s.red_percent / 100,
            margin=s.clear_margin_percent / 100,
            clear_after_s=s.clear_after_s,
        )
        self._meters = {address.site: str(address) for address in self.peers.of(METER)}

    # ---------------------------------------------------------------- hearing

    @hears(GcpReading, of=(METER,), where="grid")
    def take_reading(self, reading: GcpReading, heard: Heard) -> None:
        place = str(heard.sender)
        if str(heard.sender) != self.settings.substation:
            self._meters.setdefault(heard.sender.site, place)
        now = self.clock.now()
        if self.picture.take(place, reading, now) and self.picture.young(place, now) is not None:
            self._check_voltage(place, reading.at.timestamp(), reading.voltage_by_phase_v)

    @hears(NearRealTime, of=(METER,), where="grid")
    def take_block(self, block: NearRealTime, heard: Heard) -> None:
        end = block.start.timestamp() + block.period_s
        if self.clock.now() - end <= block.period_s:
            self._check_voltage(str(heard.sender), end, block.voltage_by_phase_v)

    @hears(SitePower, of=(CEM,), where="grid")
    def take_site(self, power: SitePower, heard: Heard) -> None:
        self.site_power[heard.sender.site] = power

    # ---------------------------------------------------------------- what is known

    def loading(self) -> Loading | None:
        """How full the transformer is; None when nothing young tells."""
        reading = self.picture.young(self.settings.substation, self.clock.now())
        return None if reading is None else loading_of(reading, self.settings.transformer_va)

    def power_of(self, site: str) -> float | None:
        """Signed power of a site, W, by its meter, else by what its CEM passed on; None when nothing young tells."""
        now = self.clock.now()
        reading = self.picture.young(self._meters.get(site, ""), now)
        if reading is not None:
            return reading.power_w
        passed = self.site_power.get(site)
        if passed is not None and now - passed.at.timestamp() <= self.settings.stale_s:
            return passed.power_w
        return None

    @property
    def phase(self) -> Phase | None:
        return self.light.phase

    # ---------------------------------------------------------------- saying

    @every("decide_s")
    def look(self) -> None:
        """Judge once per period, not per reading; say changes at once and the rest regularly."""
        loading, now = self.loading(), self.clock.now()
        if loading is None:
            self.light = Light(phase=self.light.phase)
            return
        self.light = judge(
            self.light,
            now,
            loading.share,
            self._thresholds,
            orders_in_force=self.orders_in_force,
            voltage_beyond=bool(self._beyond),
        )
        phase = self.light.phase
        assert phase is not None
        if self._said is None or self._said[1] != phase or now - self._said[0] >= self.settings.state_every_s:
            self._said = (now, phase)
            self.bus.say(self._state(phase, loading, now), home=False)

    def _state(self, phase: Phase, loading: Loading, now: float) -> GridState:
        return GridState(
            area=self.settings.area,
            phase=phase,
            at=instant(now),
            valid_until=instant(now + self.settings.state_valid_s),
            loading_percent=round(100 * loading.share, 2),
            power_w=loading.power_w,
            forecast_phase=self._forecast(now),
            reason=self._reason(phase, loading),
        )

    def _reason(self, phase: Phase, loading: Loading) -> Reason:
        if self.shortfall is not None:
            return self.shortfall
        inputs = {"loading_percent": round(100 * loading.share, 2), "power_w": loading.power_w}
        way = "feed-in" if loading.production >= loading.consumption else "consumption"
        text = f"The transformer is {loading.share:.0%} full by {way}, worst on phase L{loading.worst_phase}"
        if self._beyond and phase != "green":
            place = next(iter(self._beyond))
            return Reason(
                code="voltage",
                text=f"{text}; the voltage at {place} is beyond its band.",
                binding="voltage",
                inputs=inputs,
            )
        if self.orders_in_force:
            return Reason(code="limits_in_force", text=f"{text}; limits hold it.", binding="transformer", inputs=inputs)
        return Reason(code="loading", text=f"{text}.", binding="transformer", inputs=inputs)

    def _forecast(self, now: float) -> Phase | None:
        """Worst phase of the next hour if every site's CEM has told its forecast; None where one has not."""
        sites = {address.site for address in self.peers.of(CEM)}
        young = [self.site_power[s] for s in sites if s in self.site_power]
        young = [p for p in young if p.forecast and now - p.at.timestamp() <= p.ttl_s]
        if not sites or len(young) < len(sites):
            return None
        worst = max(abs(sum(_at(p, now + (n + 0.5) * _QUARTER_S) for p in young)) for n in range(_AHEAD))
        share = worst / self.settings.transformer_va
        return "red" if share >= self._thresholds.red else "yellow" if share >= self._thresholds.yellow else "green"

    def _check_voltage(self, place: str, at: float, voltages_v: tuple[float, float, float]) -> None:
        if at <= self._judged_at.get(place, 0.0):
            return
        self._judged_at[place] = at
        worst_v = beyond(self._band, voltages_v, place in self._beyond)
        if (worst_v is None) == (place not in self._beyond):
            return
        if worst_v is None:
            del self._beyond[place]
        else:
            self._beyond[place] = worst_v
        self.bus.say(
            VoltageNotice(
                location=place,
                at=instant(at),
                voltage_v=max(voltages_v) if worst_v is None else worst_v,
                lower_v=self._band.lower_v,
                upper_v=self._band.upper_v,
                cleared=worst_v is None,
            ),
            home=False,
        )


def _at(power: SitePower, moment: float) -> float:
    """A site's expected power at a moment, W; what it draws now where its forecast does not reach."""
    for slot in power.forecast:
        if slot.start.timestamp() <= moment < slot.start.timestamp() + slot.duration_s:
            return slot.power_w
    return power.power_w
