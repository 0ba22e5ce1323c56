"""A PV plant behind its inverter: the sun offers, a limit may take less."""

import msgspec

FALL_SHARE_PER_S = 0.2
RISE_SHARE_PER_S = 0.1
"""How fast an inverter moves its ceiling, of its rating; our choice, makers let this be set."""


class PvState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``ceiling_w`` and ``fed_w`` are magnitudes of generation; the counter only rises."""

    ceiling_w: float
    fed_w: float = 0.0
    available_w: float = 0.0
    fed_wh: float = 0.0


def step(rating_w: float, state: PvState, dt_s: float, available_w: float, limit_w: float | None) -> PvState:
    """Feed in what the sun offers, under a ceiling that moves to ``limit_w`` (None: the rating) on a ramp."""
    target = rating_w if limit_w is None else min(max(limit_w, 0.0), rating_w)
    lowest = state.ceiling_w - FALL_SHARE_PER_S * rating_w * dt_s
    highest = state.ceiling_w + RISE_SHARE_PER_S * rating_w * dt_s
    ceiling = min(max(target, lowest), highest)
    fed = max(0.0, min(available_w, ceiling))
    return PvState(ceiling_w=ceiling, fed_w=fed, available_w=available_w, fed_wh=state.fed_wh + fed * dt_s / 3600)
