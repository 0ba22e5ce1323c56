"""How warm or cold people want it, and when that goes before any plan. Pure."""

from contracts.flexibility import ThermalFlexibility
from contracts.preferences import DevicePreferences

FROST_C = 8.0
"""What a home keeps while everybody is away."""
SEASON_SHIFT_K = {"winter": 1.0, "autumn": 0.5, "spring": 0.0, "summer": -1.0}
"""A season that is felt shifts the lower comfort bound of heaters (IC-FR-PUC2 Inf.1A: by need, not by calendar)."""
UNDER_K = 0.5
"""A plan runs along the edge of comfort, a forecast and a sensor beside it: so far below, comfort goes first."""


def comfort_c(
    heat: ThermalFlexibility,
    wanted: DevicePreferences,
    *,
    away: bool,
    season: str | None,
    set_point_c: float | None = None,
) -> tuple[float, float]:
    """Between which temperatures it has to stay: (lowest, highest).

    ``set_point_c`` is what the household's programme wants now: at least that where it heats, at most where it cools.
    """
    lowest = heat.lowest_c if wanted.lowest_c is None else wanted.lowest_c
    highest = heat.highest_c if wanted.highest_c is None else wanted.highest_c
    if heat.heats and season is not None:
        lowest += SEASON_SHIFT_K[season]
    if set_point_c is not None:
        lowest, highest = (set_point_c, highest) if heat.heats else (min(lowest, set_point_c), set_point_c)
    if away:
        lowest, highest = (FROST_C, highest) if heat.heats else (lowest, highest + 20.0)
    return lowest, max(highest, lowest)


def for_comfort(temperature_c: float, band_c: tuple[float, float], *, heats: bool, already: bool) -> bool:
    """Whether a device must be free to heat (or cool) by itself, whatever the plan says of it.

    ``already``: it is; it stays so until the temperature is as far inside the band.
    """
    lowest, highest = band_c
    slack = -min(UNDER_K, (highest - lowest) / 4) if already else UNDER_K
    return temperature_c < lowest - slack if heats else temperature_c > highest + slack
