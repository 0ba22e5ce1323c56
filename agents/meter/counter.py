"""An energy register that only counts up, whatever the device shows. Pure."""

import msgspec

RESOLUTION_WH = 100.0
"""Coarsest step of a register in the device files, with room: a kWh counter with one decimal."""


class Counter(msgspec.Struct, frozen=True, kw_only=True):
    """``said_wh`` is what is told; ``raw_wh`` what the device showed last at ``at`` (run clock)."""

    said_wh: float
    raw_wh: float
    at: float


def step(before: Counter | None, raw_wh: float, at: float, most_w: float) -> tuple[Counter, bool]:
    """The counter after a reading, and whether the device's own register jumped.

    Backwards (reset, exchange) or further forward than ``most_w`` can count since then is a jump: the telling goes on
    from where it was, and what was counted meanwhile is lost rather than made up.
    """
    if before is None:
        return Counter(said_wh=max(raw_wh, 0.0), raw_wh=raw_wh, at=at), False
    moved = raw_wh - before.raw_wh
    possible = most_w * max(at - before.at, 0.0) / 3600 + RESOLUTION_WH
    if 0 <= moved <= possible:
        return Counter(said_wh=before.said_wh + moved, raw_wh=raw_wh, at=at), False
    return Counter(said_wh=before.said_wh, raw_wh=raw_wh, at=at), True
