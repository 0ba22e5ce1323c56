"""PV power from the sky, by pvlib: sun, split of irradiance, tilted plane, cell temperature. Pure; pvlib loads late.

Powers are shares of the plant's rating, positive here; the sign is put on by who answers.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from agents.forecaster.settings import Plant
from agents.forecaster.weather import CLEARNESS, Weather

GAMMA_PER_K = -0.004
"""Power of crystalline silicon per degree above 25 degC."""
ALBEDO = 0.2


class Place(NamedTuple):
    latitude_deg: float
    longitude_deg: float


class Sky(NamedTuple):
    """Shares of the rating: as expected, and under a clear sky."""

    expected: list[float]
    clear: list[float]


def shares(times: Sequence[float], weather: Sequence[Weather], place: Place, plant: Plant, loss_share: float) -> Sky:
    """At each instant (unix seconds). Takes a second the first time: call it off the loop."""
    import pandas
    import pvlib

    index = pandas.DatetimeIndex([datetime.fromtimestamp(at, UTC) for at in times])
    sun = pvlib.solarposition.get_solarposition(index, place.latitude_deg, place.longitude_deg)
    clear = pvlib.clearsky.haurwitz(sun["apparent_zenith"])["ghi"]
    usual = pandas.Series([CLEARNESS[at.month - 1] for at in index], index) * clear
    known = pandas.Series([w.ghi_w_per_m2 for w in weather], index, dtype=float)
    warm = pandas.Series([w.temperature_c for w in weather], index)
    wind = pandas.Series([w.wind_m_per_s for w in weather], index)
    days = pandas.Series(index.day_of_year, index)

    def power(ghi: "pandas.Series[float]") -> list[float]:
        split = pvlib.irradiance.erbs(ghi, sun["zenith"], days)
        plane = pvlib.irradiance.get_total_irradiance(
            plant.tilt_deg,
            plant.azimuth_deg,
            sun["apparent_zenith"],
            sun["azimuth"],
            split["dni"],
            ghi,
            split["dhi"],
            albedo=ALBEDO,
            model="isotropic",
        )["poa_global"].fillna(0.0)
        cell = pvlib.temperature.faiman(plane, warm, wind)
        made = plane / 1000.0 * (1.0 + GAMMA_PER_K * (cell - 25.0)) * (1.0 - loss_share)
        return [float(share) for share in made.clip(0.0, 1.0)]

    return Sky(power(known.fillna(usual)), power(clear))
