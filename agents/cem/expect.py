"""What this home will take and generate, and how warm it will be outside: forecasts asked for, history learned."""

import logging
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from agents.cem.history import History
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.skill import every, restores, skill, started
from agents.kit.typical import outdoor_c
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.transport import NotStored
from contracts.forecast import AskForecast, ForecastIs, ForecastUnknown, Quantity, forecast
from contracts.kit import Lapsed
from contracts.profiles import SLOT_S
from contracts.roles import FORECASTER

log = logging.getLogger("gridparley.cem")
Band = tuple[float, float, float]
HORIZON_S = 48 * 3600.0
LOAD_LASTS_S, SKY_LASTS_S = 1800.0, 7200.0
"""A deviation from what was expected fades with these time constants."""
SKY_SHARES = (0.3, 2.0)
SEEN_W = 50.0
"""Below this a comparison of generation with its forecast says nothing."""


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A forecast as it was answered: starts ascending, (expected, lower, upper) each."""

    starts: tuple[float, ...]
    slot_s: float
    values: tuple[Band, ...]
    issued: float

    def at(self, instant_s: float) -> Band | None:
        n = bisect_right(self.starts, instant_s) - 1
        inside = n >= 0 and instant_s < self.starts[n] + self.slot_s
        return self.values[n] if inside else None


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up."""

    history: History = msgspec.field(default_factory=History)
    forecasts: dict[str, Known] = {}


@skill(opens=(forecast,), use_cases=("home.self-consumption",))
@dataclass
class Expect:
    """Three series at any instant; none of them ever raises or is empty. Instants are of the process's clock."""

    bus: Bus
    clock: Clock
    address: Address
    state: State
    settings: CemSettings
    peers: Peers
    premises: Premises
    on_change: list[Callable[[], None]] = field(default_factory=list)
    history: History = field(default_factory=History)
    forecasts: dict[str, Known] = field(default_factory=dict)
    _slot: float = float("-inf")
    _seen_at: float = float("-inf")
    _energy: float = 0.0
    _pv_energy: float = 0.0
    _seconds: float = 0.0
    _load_off_w: float = 0.0
    _sky_share: float = 1.0
    _off_at: float = float("-inf")
    _asked_rating_w: float = 0.0
    _unanswered: bool = False

    def __post_init__(self) -> None:
        self.premises.on_meter.append(self._learn)

    # ---------------------------------------------------------------- what others ask

    def load(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[Band, ...]:
        """(expected, 10 %, 90 %) of what is not steered, per slot."""
        zone, yearly, now = self.settings.time_zone, self.settings.yearly_wh, self.clock.now()
        found = []
        for number in range(n):
            at = start + (number + 0.5) * slot_s
            expected, low, high = self.history.expected_load(at, zone, yearly)
            off = self._load_off_w * _fade(at - now, LOAD_LASTS_S) if at > now else 0.0
            found.append((max(0.0, expected + off), max(0.0, low + min(off, 0.0)), max(0.0, high + max(off, 0.0))))
        return tuple(found)

    def pv(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[Band, ...]:
        """(expected, strongest, weakest) generation of all the site's PV, each <= 0; zeros without PV."""
        if self._rating_w() <= 0:
            return ((0.0, 0.0, 0.0),) * n
        now, known = self.clock.now(), self.forecasts.get("pv")
        found = []
        for number in range(n):
            at = start + (number + 0.5) * slot_s
            band = (known.at(at) if known is not None else None) or self.history.expected_pv(at)
            share = 1.0 + (self._sky_share - 1.0) * _fade(at - now, SKY_LASTS_S)
            expected, strong, weak = (max(-self._rating_w(), min(0.0, value * share)) for value in band)
            found.append((expected, min(strong, expected), max(weak, expected)))
        return tuple(found)

    def outdoor_c(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[float, ...]:
        """As forecast, else the time of year with what a device of this home measures now."""
        known, now = self.forecasts.get("outdoor"), self.clock.now()
        sensed = [
            device.reading.outdoor_temperature_c
            for device in self.premises.devices.values()
            if device.reading is not None and device.reading.outdoor_temperature_c is not None
        ]
        off = sum(sensed) / len(sensed) - outdoor_c(now) if sensed else 0.0
        found = []
        for number in range(n):
            at = start + (number + 0.5) * slot_s
            band = known.at(at) if known is not None else None
            found.append(band[0] if band is not None else outdoor_c(at) + off * _fade(at - now, 12 * 3600.0))
        return tuple(found)

    def _rating_w(self) -> float:
        plants = [d.announce for d in self.premises.devices.values() if d.announce.device_class == "pv"]
        return sum(-announce.nominal_lower_w for announce in plants)

    # ---------------------------------------------------------------- learning

    def _learn(self) -> None:
        gcp, at = self.premises.gcp, self.premises.gcp_at
        if gcp is None:
            return
        load, sun = gcp.power_w, 0.0
        for device in self.premises.devices.values():
            if device.reading is None:
                continue
            if device.announce.device_class == "pv":
                sun += min(device.potential_w, device.reading.power_w)
            if device.steered or device.announce.device_class == "pv":
                load -= device.reading.power_w
        passed = min(at - self._seen_at, 60.0) if self._seen_at > 0 else 0.0
        self._seen_at = at
        slot = at - at % SLOT_S
        if slot != self._slot:
            self._close_slot()
            self._slot = slot
        self._energy += load * passed
        self._pv_energy += sun * passed
        self._seconds += passed
        self._note_deviation(at, load, sun, passed)

    def _note_deviation(self, at: float, load_w: float, sun_w: float, passed_s: float) -> None:
        """How far the present is from what was expected of it, smoothed over a few minutes."""
        gain = 1 - math.exp(-passed_s / 300.0)
        expected, _, _ = self.history.expected_load(at, self.settings.time_zone, self.settings.yearly_wh)
        self._load_off_w += gain * (load_w - expected - self._load_off_w)
        known = self.forecasts.get("pv")
        band = known.at(at) if known is not None else None
        if band is not None and band[0] < -SEEN_W:
            share = min(max(sun_w / band[0], SKY_SHARES[0]), SKY_SHARES[1])
            self._sky_share += gain * (share - self._sky_share)

    def _close_slot(self) -> None:
        if self._seconds >= SLOT_S / 3:
            middle = self._slot + SLOT_S / 2
            self.history.add_load(middle, max(0.0, self._energy / self._seconds), self.settings.time_zone)
            if self._rating_w() > 0:
                self.history.add_pv(middle, min(0.0, self._pv_energy / self._seconds))
        self._energy = self._pv_energy = self._seconds = 0.0

    # ---------------------------------------------------------------- asking

    @started
    async def ask_first(self) -> None:
        await self.ask()

    @every("forecast_every_s")
    async def ask_again(self) -> None:
        await self.ask()
        try:
            await self.state.put("expect", Kept(history=self.history, forecasts=self.forecasts))
        except NotStored as problem:
            log.info("%s learns on without having kept it: %s", self.address, problem)

    @every(60.0)
    async def ask_for_what_is_missing(self) -> None:
        """A PV plant that has joined since is worth a question of its own, and so is what was not answered."""
        if self._unanswered or self._rating_w() != self._asked_rating_w:
            await self.ask()

    async def ask(self) -> None:
        """All that matters here; silence and "unknown" leave what is known as it is."""
        forecaster = self.peers.one(FORECASTER)
        if forecaster is None:
            return
        answers = [await self._ask(forecaster, "outdoor", None)]
        self._asked_rating_w = rating = self._rating_w()
        if rating > 0:
            answers.append(await self._ask(forecaster, "pv", rating))
        self._unanswered = any(isinstance(answer, Lapsed) for answer in answers)
        if any(isinstance(answer, ForecastIs) for answer in answers):
            for act in self.on_change:
                act()

    async def _ask(
        self, forecaster: Address, quantity: Quantity, rating_w: float | None
    ) -> ForecastIs | ForecastUnknown | Lapsed:
        now = self.clock.now()
        start = now - now % SLOT_S
        ask = AskForecast(
            quantity=quantity,
            start=instant(start),
            horizon_s=HORIZON_S,
            slot_s=SLOT_S,
            site=self.address.site,
            rating_w=rating_w,
        )
        async with self.bus.talk(forecast, forecaster) as talk:
            await talk.say(ask)
            answer = await talk.hear(ForecastIs, ForecastUnknown, Lapsed)
        match answer:
            case ForecastIs():
                self.forecasts[quantity] = _known(answer)
            case ForecastUnknown(reason=reason):
                log.info("%s has no %s forecast: %s", forecaster, quantity, reason.text)
        return answer

    @restores
    async def take_up(self) -> None:
        kept = await self.state.get("expect", Kept)
        if kept is not None:
            self.history, self.forecasts = kept.history, dict(kept.forecasts)


def _known(answer: ForecastIs) -> Known:
    if answer.temperatures:
        warm = [(t.start.timestamp(), t.duration_s, (t.temperature_c,) * 3) for t in answer.temperatures]
    else:
        warm = [
            (
                v.start.timestamp(),
                v.duration_s,
                (
                    v.power_w,
                    v.power_w if v.lower_w is None else v.lower_w,
                    v.power_w if v.upper_w is None else v.upper_w,
                ),
            )
            for v in answer.values
        ]
    slot_s = warm[0][1] if warm else SLOT_S
    return Known(
        starts=tuple(start for start, _, _ in warm),
        slot_s=slot_s,
        values=tuple(band for _, _, band in warm),
        issued=answer.issued.timestamp(),
    )


def _fade(ahead_s: float, lasts_s: float) -> float:
    return math.exp(-max(0.0, ahead_s) / lasts_s)
