"""Expected powers with their bands: PV, household, wind; and temperatures. Pure but for pvlib's time."""

import math
from dataclasses import dataclass

from agents.forecaster.pv_model import Place, shares
from agents.forecaster.settings import ForecasterSettings, Plant
from agents.forecaster.weather import Forecasts
from agents.kit.typical import SPREAD_SHARE, household_w

CUT_IN, RATED, CUT_OUT = 3.0, 12.0, 25.0
"""Of a usual wind turbine, m/s at the hub."""
ROUGHNESS_M, MEASURED_AT_M = 0.1, 10.0
BAND_AT_ONCE, BAND_PER_DAY, BAND_MOST = 0.08, 0.25, 0.6
"""How far off a forecast of sky or wind is in one of ten cases to each side, as a share, growing with its age."""
CLIMATE_BAND = (0.35, 1.5)
"""Of a climate's mean day, where nobody knows the weather."""

Band = tuple[float, float, float]
"""(expected, lower, upper) in W, signed."""


@dataclass(frozen=True)
class Asked:
    """The middles of the slots, and when it is now."""

    times: tuple[float, ...]
    now: float


def pv(asked: Asked, forecasts: Forecasts, settings: ForecasterSettings, plant: Plant, rating_w: float) -> list[Band]:
    """All <= 0."""
    weather = [forecasts.at(at, asked.now) for at in asked.times]
    place = Place(settings.latitude_deg, settings.longitude_deg)
    sky = shares(asked.times, weather, place, plant, settings.loss_share)
    found = []
    for here, expected, clear in zip(weather, sky.expected, sky.clear, strict=True):
        low, high = _spread(here.lead_s)
        strong = max(min(expected * high, clear), expected)
        found.append((-expected * rating_w, -strong * rating_w, -expected * low * rating_w))
    return found


def wind(asked: Asked, forecasts: Forecasts, settings: ForecasterSettings, rating_w: float) -> list[Band]:
    """All <= 0, of turbines with this rating together."""
    found = []
    for at in asked.times:
        weather = forecasts.at(at, asked.now)
        high_up = weather.wind_m_per_s * math.log(settings.hub_height_m / ROUGHNESS_M)
        speed = high_up / math.log(MEASURED_AT_M / ROUGHNESS_M)
        # A mean says little of a cube: without a forecast it is the mean over the speeds that a month has.
        share = _turbine(speed) if weather.lead_s is not None else _over_the_month(speed)
        low, high = _spread(weather.lead_s)
        found.append((-share * rating_w, -min(1.0, share * high) * rating_w, -share * low * rating_w))
    return found


def load(asked: Asked, settings: ForecasterSettings, yearly_wh: float) -> list[Band]:
    """One typical household, >= 0."""
    expected = [household_w(at, settings.time_zone, yearly_wh) for at in asked.times]
    return [(w, w * SPREAD_SHARE[0], w * SPREAD_SHARE[1]) for w in expected]


def outdoor(asked: Asked, forecasts: Forecasts) -> list[float]:
    return [forecasts.at(at, asked.now).temperature_c for at in asked.times]


def _spread(lead_s: float | None) -> tuple[float, float]:
    if lead_s is None:
        return CLIMATE_BAND
    share = min(BAND_AT_ONCE + BAND_PER_DAY * max(0.0, lead_s) / 86_400.0, BAND_MOST)
    return 1.0 - share, 1.0 + share


def _turbine(speed: float) -> float:
    if speed < CUT_IN or speed >= CUT_OUT:
        return 0.0
    return min(1.0, (speed**3 - CUT_IN**3) / (RATED**3 - CUT_IN**3))


def _over_the_month(mean: float) -> float:
    """Speeds of a month are spread as by Rayleigh around their mean."""
    steps = [0.5 + n for n in range(30)]
    weights = [math.pi * v / (2 * mean**2) * math.exp(-math.pi / 4 * (v / mean) ** 2) for v in steps]
    return sum(w * _turbine(v) for w, v in zip(weights, steps, strict=True)) / sum(weights)
