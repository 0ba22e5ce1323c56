"""Weather forecasts for a simulated run: made from the very day that the world plays, and realistically wrong.

The sky is what makes SimBench's PV profile what it is, by the forecaster's own model of a plant; each forecast is off
by a seeded error that grows with its lead time and lasts for hours, as real ones are.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.forecaster.pv_model import Place, shares
from agents.forecaster.settings import ForecasterSettings
from agents.forecaster.weather import WIND_M_PER_S, Weather
from agents.kit.typical import outdoor_c
from contracts.roles import FORECASTER
from deploy.topology import Topology
from deploy.world_spec import has_world
from world.profiles import FIRST_INSTANT, Profile

STEP_S = 900.0
ISSUED_EVERY_S = 6 * 3600.0
AHEAD_S = 48 * 3600.0
SUN_PROFILE = "PV5"
_LAST_INSTANT = datetime(2016, 12, 31, 22, tzinfo=UTC).timestamp()
_LASTS_S = 3 * 3600.0
"""An error fades with this time constant."""
_SKY_OFF = (0.04, 0.22, 0.40)
_WIND_OFF = (0.08, 0.20, 0.40)
"""Standard deviation as a share: at once, more per day of lead time, at most."""
_WARM_OFF_K = (0.3, 1.2, 3.0)
_LEVELS = np.linspace(0.0, 1.4, 8)
_DARK_W_PER_M2 = 15.0

YEAR = 2016
"""Of the profiles that the world plays."""

Floats = NDArray[np.float64]


def write_weather(
    path: Path, start: datetime, until: datetime, *, seed: int = 1, settings: ForecasterSettings | None = None
) -> Path:
    """Write the file that ``ForecasterSettings.weather`` names, for a run of the simulated street in 2016.

    ``settings`` are the forecaster's: place and plant that the sky is told from. The same seed gives the same file.
    """
    first = start.timestamp() - start.timestamp() % ISSUED_EVERY_S - ISSUED_EVERY_S
    first, last = max(first, FIRST_INSTANT), min(until.timestamp() + AHEAD_S, _LAST_INSTANT)
    times = np.arange(first, last, STEP_S)
    sky, clear = _sky(times, settings or ForecasterSettings())
    random = np.random.default_rng((seed, 4711))
    wind = _wind(times, random)
    warm = np.array([outdoor_c(at) for at in times])
    rows = ["issued,time,ghi,temp,wind"]
    for issue in np.arange(first, min(until.timestamp(), last), ISSUED_EVERY_S):
        ahead = (times >= issue) & (times < issue + AHEAD_S)
        lead = times[ahead] - issue
        ghi = np.clip(sky[ahead] * np.exp(_off(_SKY_OFF, lead, random)), 0.0, np.maximum(1.15 * clear[ahead], 0.0))
        degrees = warm[ahead] + _off(_WARM_OFF_K, lead, random)
        speeds = np.maximum(0.0, wind[ahead] * (1.0 + _off(_WIND_OFF, lead, random)))
        said = _text(float(issue))
        rows += [
            f"{said},{_text(float(at))},{g:.1f},{t:.2f},{w:.2f}"
            for at, g, t, w in zip(times[ahead], ghi, degrees, speeds, strict=True)
        ]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _sky(times: Floats, settings: ForecasterSettings) -> tuple[Floats, Floats]:
    """(irradiance that gives SimBench's power, clear-sky irradiance), W/m2 on the horizontal."""
    import pandas
    import pvlib

    middles = times + STEP_S / 2
    index = pandas.DatetimeIndex([datetime.fromtimestamp(at, UTC) for at in middles])
    sun = pvlib.solarposition.get_solarposition(index, settings.latitude_deg, settings.longitude_deg)
    clear = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"].to_numpy(dtype=float)
    place, found = Place(settings.latitude_deg, settings.longitude_deg), np.zeros(len(times))
    day = np.flatnonzero(clear >= _DARK_W_PER_M2)
    asked = [float(middles[k]) for k in day]
    powers = []
    for level in _LEVELS:
        weather = [Weather(float(level * clear[k]), outdoor_c(middles[k]), 3.0, 0.0) for k in day]
        powers.append(shares(asked, weather, place, settings.plant, settings.loss_share).expected)
    by_level, profile = np.array(powers), Profile(SUN_PROFILE)
    for n, k in enumerate(day):
        found[k] = np.interp(profile.active_share(asked[n]), by_level[:, n], _LEVELS) * clear[k]
    return found, clear


def _off(grows: tuple[float, float, float], lead_s: Floats, random: np.random.Generator) -> Floats:
    """An error that lasts for hours, its spread growing with the lead time."""
    keeps = np.exp(-STEP_S / _LASTS_S)
    draws = random.standard_normal(len(lead_s))
    error = np.empty(len(lead_s))
    state = random.standard_normal()
    for k, draw in enumerate(draws):
        state = keeps * state + np.sqrt(1 - keeps**2) * draw
        error[k] = state
    at_once, per_day, most = grows
    return np.minimum(at_once + per_day * lead_s / 86_400.0, most) * error


def _wind(times: Floats, random: np.random.Generator) -> Floats:
    """Speeds around the month's mean that change over half a day."""
    usual = np.array([WIND_M_PER_S[datetime.fromtimestamp(at, UTC).month - 1] for at in times])
    keeps, state, made = np.exp(-STEP_S / (4 * _LASTS_S)), random.standard_normal(), np.empty(len(times))
    for k in range(len(times)):
        state = keeps * state + np.sqrt(1 - keeps**2) * random.standard_normal()
        made[k] = state
    return np.maximum(0.2, usual * (1.0 + 0.45 * made))


def _text(at: float) -> str:
    return f"{datetime.fromtimestamp(0, UTC) + timedelta(seconds=at):%Y-%m-%dT%H:%MZ}"


def with_weather(topology: Topology, folder: Path) -> Topology:
    """The topology with a weather file for each forecaster of a simulated run that has none of its own."""
    if not has_world(topology) or topology.run.start.year != YEAR:
        return topology
    agents = []
    for entry in topology.grid.agents:
        settings = topology.settings_of(entry)
        if entry.role == FORECASTER.name and not settings.get("weather"):
            path = folder / f"weather-{entry.name}.csv"
            chosen = msgspec.convert(settings, ForecasterSettings)
            write_weather(path, topology.run.start, topology.run.until, seed=topology.run.seed, settings=chosen)
            entry = msgspec.structs.replace(entry, settings={**entry.settings, "weather": str(path)})
        agents.append(entry)
    return msgspec.structs.replace(topology, grid=msgspec.structs.replace(topology.grid, agents=tuple(agents)))
