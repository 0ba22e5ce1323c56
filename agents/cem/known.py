"""What is known of a home when it is planned: its devices, and what surrounds them by slot of the horizon."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from agents.cem.planner.problem import Pin, Series
from contracts.device import Announce, DeviceReading
from contracts.flexibility import Flexibility
from contracts.preferences import DevicePreferences
from contracts.profiles import PlannedPower

Band = tuple[float, float, float]
"""Expected, lower, upper."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One device: what it said, what is wanted of it, what it does anyway. ``pinned`` comes from the user's hand."""

    name: str
    announce: Announce
    reading: DeviceReading | None
    flexibility: Flexibility | None
    preferences: DevicePreferences = field(default_factory=DevicePreferences)
    switched_at: float | None = None
    started_at: float | None = None
    """Of an agreed job that runs."""
    running: str = ""
    start_at: float | None = None
    """A user's own start."""
    pinned: tuple[Pin, ...] = ()
    own_plan: tuple[PlannedPower, ...] = ()
    demand_w: Series = ()
    """Heat that will be drawn, by slot; empty: as the device says."""
    cop: Series = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Everything by slot of the horizon: prices, forecasts and bounds of the connection point."""

    buy: Sequence[float | None]
    sell: Sequence[float | None]
    green: Sequence[float | None] = ()
    binding: Sequence[bool] = ()
    beyond: Sequence[tuple[float, float] | None] = ()
    load: Sequence[Band] = ()
    pv: Sequence[Band] = ()
    outdoor_c: Sequence[float] = ()
    upper_w: Sequence[float] = ()
    upper_why: str = "grid_limit"
    lower_w: Sequence[float] = ()
    lower_why: str = "feed_in_limit"
    away: bool = False
    season: str | None = None
