"""A household of 2016 by quarter hours: what it takes, what its roof gives, what it pays, and what is known ahead.

Profiles are SimBench's (world/data/README.md), scaled. Row k begins at ``FIRST_INSTANT + 900 k``. Prices are a model:
no licence-free year of market prices is in this repository. ``market`` says what it is held to.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import time, timedelta
from functools import cache

import numpy as np
from numpy.typing import NDArray

from agents.kit.local_day import instant_of, local
from agents.kit.typical import outdoor_c
from agents.whitegoods.programmes import TYPICAL, Kind
from world.physics import battery as batteries
from world.physics.driver import visits
from world.physics.heatpump import cop
from world.physics.tank import WATER_WH_PER_L_K
from world.profiles import FIRST_INSTANT, Profile, profile_names

Row = NDArray[np.float64]

QUARTER_S = 900.0
HOURS = 0.25
ZONE = "Europe/Berlin"
SEED = 1

LOAD_WH, SUN_WH, HEAT_EL_WH = 4_000_000.0, 8_000_000.0, 3_000_000.0
"""Of the year: household, roof of 8 kWp, and what the heat pump draws if it never stores."""
SUN_RATING_W = 8000.0
GRID_EUR_PER_KWH = 0.20
"""Grid fee and levies on each bought kWh; feeding in pays ``SELL_EUR_PER_KWH``, whatever the market says."""
SELL_EUR_PER_KWH = 0.08
CONTRACT_W = 14_500.0
"""What the household may take at once by its contract, as in the street of ``deploy``."""
CAR_W, CAR_LEAST_W = 11_000.0, 4140.0
PUMP_W = 3500.0
TANK_WH_PER_K = 500.0 * WATER_WH_PER_L_K
TANK_LOSS_W_PER_K, CELLAR_C = 1.8, 20.0
COLDEST_C, SET_C, RAISED_C, HOTTEST_C = 43.0, 45.0, 50.0, 55.0
"""The comfort band of the tank, and where a thermostat holds it (SG-Ready raised: 50)."""
BATTERY = batteries.Battery(rating_w=5000.0, capacity_wh=10_000.0)
HEAT_IS_EVEN_OVER = 24
"""Quarter hours. The profile is a pump's on and off; the house behind it takes that heat evenly."""


@dataclass(frozen=True, slots=True)
class Stay:
    """A car from row ``come`` until row ``leave``, which wants ``energy_wh``."""

    come: int
    leave: int
    energy_wh: float


@dataclass(frozen=True, slots=True)
class Errand:
    """A programme filled in at row ``armed`` that has to be through at row ``until``; powers by quarter hour."""

    armed: int
    until: int
    kind: Kind
    programme: str
    powers_w: tuple[float, ...]

    @property
    def starts(self) -> range:
        return range(self.armed, self.until - len(self.powers_w) + 1)


@dataclass(frozen=True, slots=True)
class Household:
    """Rows of the year; sun and its forecast <= 0. ``heat_w`` is what the house draws from the tank."""

    load_w: Row
    sun_w: Row
    sun_forecast_w: Row
    outdoor_c: Row
    heat_w: Row
    cop: Row
    buy: Row
    stays: tuple[Stay, ...]
    errands: tuple[Errand, ...]

    def __len__(self) -> int:
        return len(self.load_w)


@cache
def household(seed: int = SEED) -> Household:
    """Always the same for a seed."""
    n = len(_profile("H0-A"))
    starts = FIRST_INSTANT + QUARTER_S * np.arange(n)
    outdoor = np.array([outdoor_c(at) for at in starts + QUARTER_S / 2])
    performance = np.array([cop(t) for t in outdoor])
    sun = -_scaled("PV5", SUN_WH)
    drawn = _smooth(_scaled("Air_Parallel_2", HEAT_EL_WH) * performance, HEAT_IS_EVEN_OVER)
    return Household(
        load_w=_scaled("H0-A", LOAD_WH),
        sun_w=sun,
        sun_forecast_w=sun_forecast(sun, seed),
        outdoor_c=outdoor,
        heat_w=np.minimum(drawn, 0.95 * PUMP_W * performance),
        cop=performance,
        buy=np.repeat(market(seed), 4)[:n] + GRID_EUR_PER_KWH,
        stays=tuple(_stays(seed)),
        errands=tuple(_errands(n)),
    )


def _profile(name: str) -> Row:
    return np.array(Profile(name).ahead(FIRST_INSTANT), dtype=np.float64)


def _scaled(name: str, year_wh: float) -> Row:
    shares = _profile(name)
    return shares * (year_wh / float(shares.sum() * HOURS))


def _smooth(values: Row, over: int) -> Row:
    around = np.concatenate([values[-over:], values, values[:over]])
    result: Row = np.convolve(around, np.ones(over) / over, mode="same")[over:-over]
    return result


def _stays(seed: int) -> list[Stay]:
    shares = Profile("HLS_A_11.0").ahead(FIRST_INSTANT)
    found: list[Stay] = []
    for visit in visits(shares, CAR_W, FIRST_INSTANT, seed, "year"):
        come, leave = (int((at - FIRST_INSTANT) // QUARTER_S) for at in (visit.comes_at, visit.leaves_at))
        if found and come < found[-1].leave:  # the next driver needs the place: the last one left before
            last = found.pop()
            found.append(Stay(last.come, come, min(last.energy_wh, (come - last.come) * CAR_W * HOURS)))
        found.append(Stay(come, min(leave, len(shares)), visit.energy_wh))
    return found


def _errands(n: int) -> list[Errand]:
    """A dishwasher filled at 20:00, due at 6:30; the next day a washing machine filled at 8:00, due at 18:00."""
    found = []
    plans: tuple[tuple[Kind, str, float, float], ...] = (
        ("dishwasher", "eco_50", 20.0, 10.5),
        ("washing_machine", "cotton_60", 8.0, 10.0),
    )
    for day in range(n // 96):
        kind, programme, at_h, within_h = plans[day % 2]
        armed = round(day * 96 + at_h * 4)
        here = local(FIRST_INSTANT + armed * QUARTER_S, ZONE)
        armed += round((at_h - here.hour - here.minute / 60) * 4)  # summer time
        until = armed + round(within_h * 4)
        if until <= n:
            found.append(Errand(armed, until, kind, programme, quarters_w(kind, programme)))
    return found


@cache
def quarters_w(kind: Kind, programme: str) -> tuple[float, ...]:
    """A programme's mean powers by quarter hour from its start."""
    minutes = [slot.power_w for slot in TYPICAL[kind][programme] for _ in range(round(slot.duration_s / 60))]
    return tuple(sum(minutes[at : at + 15]) / 15 for at in range(0, len(minutes), 15))


# -------------------------------------------------------------------- weather and its forecast

BLOCK = 12
"""Quarter hours for which the weather service says one clearness."""
CLEARNESS_ERROR, ERROR_LASTS_BLOCKS = 0.33, 3.0


def clear_sky(sun_w: Row) -> Row:
    """The most that the roof gave at this time of day within 15 days: a plant's own record of clear skies."""
    days = -sun_w[: len(sun_w) // 96 * 96].reshape(-1, 96)
    most = np.array([days[max(0, d - 15) : d + 16].max(axis=0) for d in range(len(days))])
    return -np.concatenate([most.ravel(), most[-1][: len(sun_w) - most.size]])


def sun_forecast(sun_w: Row, seed: int) -> Row:
    """Clear sky times the clearness that a weather service announces, in blocks of three hours, once for each time.

    The error of the announced clearness is seeded, lasts for some blocks and does not shrink towards the present:
    nearer to it only the CEM's own comparison with its meter helps. Its size makes the day-ahead error that is
    published for single plants: root mean square 10.3 to 14.0 % of the rating (Larson, Nonnenmacher, Coimbra,
    Renewable Energy 91, 2016). ``forecast_error`` tells what it is here.
    """
    clear, rng = clear_sky(sun_w), np.random.default_rng((seed, 2))
    blocks = math.ceil(len(sun_w) / BLOCK)
    edges = [slice(b * BLOCK, (b + 1) * BLOCK) for b in range(blocks)]
    truth = np.array([sun_w[e].sum() / clear[e].sum() if clear[e].sum() < 0 else 0.6 for e in edges])
    error, keeps = np.zeros(blocks), math.exp(-1 / ERROR_LASTS_BLOCKS)
    for b in range(1, blocks):
        error[b] = keeps * error[b - 1] + math.sqrt(1 - keeps**2) * CLEARNESS_ERROR * rng.standard_normal()
    said = np.clip(truth + error, 0.05, 1.0)
    middles = (np.arange(blocks) + 0.5) * BLOCK
    result: Row = clear * np.interp(np.arange(len(sun_w)) + 0.5, middles, said)
    return result


def forecast_error(home: Household) -> tuple[float, float]:
    """(mean absolute, root mean square) error by daylight, as a share of the rating."""
    off = (home.sun_forecast_w - home.sun_w)[clear_sky(home.sun_w) < -0.02 * SUN_RATING_W] / SUN_RATING_W
    return float(np.abs(off).mean()), float(np.sqrt((off**2).mean()))


# -------------------------------------------------------------------- the market

WIND_SHARE, SUN_SHARE = 0.31, 0.15
"""Of a year's load. SMARD, Der Strommarkt im Jahr 2024: wind 25.9 % of generation on land alone, 63.3 TWh of sun."""
ORDER: Sequence[tuple[float, float]] = (
    # Share of the year's hours with less residual load, EUR/kWh.
    (0.0, -0.10), (0.01, -0.03), (0.05, -0.001), (0.08, 0.005), (0.15, 0.042), (0.30, 0.066), (0.50, 0.081),
    (0.70, 0.097), (0.85, 0.115), (0.95, 0.145), (0.99, 0.21), (1.0, 0.45),
)  # fmt: skip
"""Held to what is published of 2024 in Germany: a mean of 78.5 EUR/MWh (SMARD) and some 460 negative hours (FfE)."""
GAS_SWING_EUR = 0.008
"""What moves all prices for days; ours."""


@cache
def market(seed: int) -> Row:
    """Hourly prices of a modelled day-ahead market, EUR/kWh: the rank of the residual load, by an order of merit.

    Residual load is households (SimBench) and an even industry that rests at weekends, less SimBench's sun, less a
    seeded wind of some two days' memory that is stronger in winter.
    """
    n = len(_profile("H0-A")) // 4
    homes = _hourly(np.array([_profile(f"H0-{k}") for k in "ABC"]).mean(axis=0))
    sun = _hourly(np.array([_profile(p) for p in profile_names() if p.startswith("PV")]).mean(axis=0))
    moments = [local(FIRST_INSTANT + 3600.0 * h, ZONE) for h in range(n)]
    works = np.array([1.0 if m.weekday() < 5 and 6 <= m.hour < 20 else 0.82 for m in moments])
    load = 0.35 * homes / homes.mean() + 0.65 * works / works.mean()
    residual = load - SUN_SHARE * sun / sun.mean() - WIND_SHARE * _wind(n, seed)
    rank = np.argsort(np.argsort(residual)) / (n - 1)
    price = np.interp(rank, [r for r, _ in ORDER], [p for _, p in ORDER])
    swing = _memory(n, 24 * 10.0, np.random.default_rng((seed, 4)))
    result: Row = price + np.where(price > 0.02, GAS_SWING_EUR * swing, 0.0)
    return result


def _hourly(quarters: Row) -> Row:
    result: Row = quarters[: len(quarters) // 4 * 4].reshape(-1, 4).mean(axis=1)
    return result


def _wind(n: int, seed: int) -> Row:
    season = 1 + 0.35 * np.cos(2 * np.pi * (np.arange(n) / 24 - 15) / 366)
    blows = np.exp(0.6 * _memory(n, 30.0, np.random.default_rng((seed, 3)))) * season
    result: Row = np.minimum(blows, 3.2 * blows.mean()) / np.minimum(blows, 3.2 * blows.mean()).mean()
    return result


def _memory(n: int, hours: float, rng: np.random.Generator) -> Row:
    """A process of unit variance that forgets within ``hours``."""
    keeps = math.exp(-1 / hours)
    values = np.zeros(n)
    for h in range(1, n):
        values[h] = keeps * values[h - 1] + math.sqrt(1 - keeps**2) * rng.standard_normal()
    return values


def at(row: int) -> float:
    """The instant at which a row begins."""
    return FIRST_INSTANT + QUARTER_S * row


def known_until(row: int) -> int:
    """The first row whose price is not known: at 13:00 local time the next day's are."""
    here = local(at(row), ZONE)
    end = here.date() + timedelta(days=2 if here.hour >= 13 else 1)
    return round((instant_of(end, time(), ZONE) - FIRST_INSTANT) / QUARTER_S)
