"""A house as one thermal mass, and its appliances with programmes."""

import msgspec

CAPACITY_WH_PER_K = 8000.0
"""A solid single-family house of some 140 m2 (about 50 Wh/(K m2) effective, plus furniture); our choice."""
COMFORT_C = 20.5

PROGRAMMES: dict[str, tuple[tuple[float, float], ...]] = {
    # (duration in s, power in W) per section: a heating section, working, heating again; our choice, about 1 kWh each
    "dishwasher": ((300, 60), (1020, 2050), (1800, 70), (780, 2050), (1500, 20)),
    "washing_machine": ((420, 120), (1260, 2000), (2400, 150), (600, 420)),
}


class HouseState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    temperature_c: float = COMFORT_C


def step(state: HouseState, dt_s: float, heat_w: float, demand_w: float, outdoor_c: float) -> HouseState:
    """Heat in, loss out.

    demand_w  the loss at comfort temperature: what keeps the house as it is. The loss follows the inside temperature.
    """
    span = max(COMFORT_C - outdoor_c, 1.0)
    loss = demand_w * max(state.temperature_c - outdoor_c, 0.0) / span
    return HouseState(temperature_c=state.temperature_c + (heat_w - loss) * dt_s / 3600 / CAPACITY_WH_PER_K)


def programme_power_w(programme: str, elapsed_s: float) -> float | None:
    """Power of a programme that has run for ``elapsed_s``; None when it is over."""
    for duration, power in PROGRAMMES[programme]:
        if elapsed_s < duration:
            return power
        elapsed_s -= duration
    return None
