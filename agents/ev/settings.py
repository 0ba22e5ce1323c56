"""What a car knows of itself and of its driver's wish."""

from datetime import time
from typing import Literal

from agents.kit.agent import Settings


class EvSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``evse`` is the charging point of the home that it is plugged into, ``leaves_at`` a local time of day.

    arrives_percent   its level when it comes, where neither car nor station tells
    efficiency_share  of what is drawn, what gets into the battery
    plan_every_s      it asks again so often while it is plugged in, and at new prices
    """

    evse: str = "evse.1"
    capacity_wh: float = 50_000.0
    arrives_percent: float = 40.0
    target_percent: float = 80.0
    leaves_at: time | None = None
    not_before: time | None = None
    time_zone: str = "Europe/Berlin"
    incentive: Literal["cheapest", "greenest"] | None = None
    least_a: float = 6.0
    most_a: float = 16.0
    phases: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    efficiency_share: float = 0.92
    plan_every_s: float = 900.0
    status_every_s: float = 60.0
