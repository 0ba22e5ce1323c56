"""What comes out: per device and slot a power and its reason, what it costs, which wishes stay unmet. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agents.cem.planner.problem import Horizon, Series
from contracts.reasons import Reason

NEGATIVE_PRICE = "negative_price"
"""The reason's code where own generation is held back because feeding in costs something."""
FoundBy = Literal["proof", "time_limit", "construction"]
"""``proof``: within the gap of the optimum; ``time_limit``: the best found so far; ``construction``: nothing was
found in time, so a simple plan was built by rule and held to the same hard constraints."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A time in which a job runs; an uninterrupted job has one."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Course:
    """One device over the horizon.

    power_w         (n)       slot means, signed
    maximum_w       (n)       highest in the slot (a job's short steps): what the bounds were held with
    on              (n)       running; for on/off devices
    why             (n)       each slot's reason
    energy_wh       (n + 1)   stored at the edges; batteries and cars, else empty
    temperature_c   (n + 1)   thermal devices, else empty
    programme, runs           jobs: what was chosen; empty when left undone
    """

    name: str
    power_w: Series
    maximum_w: Series
    on: tuple[bool, ...]
    why: tuple[Reason, ...]
    energy_wh: Series = ()
    temperature_c: Series = ()
    programme: str = ""
    runs: tuple[Run, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A constraint or wish that this plan cannot keep.

    ``code``: ``grid_limit`` (or what the bound is called), ``contract``, ``fuse_l1``..``fuse_l3``, ``feed_in_limit``
    (all hard: the base load alone breaks them); ``departure``, ``target``, ``comfort``, ``job``, ``reserve``,
    ``fixed_by_user`` (wishes). ``where``: the device or ``connection``; ``amount``: the worst shortfall in ``unit``.
    """

    where: str
    code: str
    hard: bool
    amount: float
    unit: str
    from_s: float
    until_s: float
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A device that could not be planned at all (a job whose window is too short); the rest was."""

    where: str
    reason: Reason


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """EUR. ``energy`` + ``peak`` + ``fuel`` is money; the others are what the objective weighs besides.

    ``stored`` is the worth of what is stored at the end (a gain, so <= 0).
    """

    energy: float = 0.0
    peak: float = 0.0
    fuel: float = 0.0
    wear: float = 0.0
    switching: float = 0.0
    wishes: float = 0.0
    stored: float = 0.0

    @property
    def money(self) -> float:
        return self.energy + self.peak + self.fuel

    @property
    def total(self) -> float:
        return self.money + self.wear + self.switching + self.wishes + self.stored


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The answer of ``solve``.

    power_w         (n)   expected at the connection point
    costs                 of this plan; ``baseline`` of everything at once and at its earliest
    objective_eur         what was minimised (stability and tie-breaking included), ``gap`` its relative distance from
                          the proven bound; ``inf`` when nothing is proven
    seconds               wall time; ``solver_seconds`` of it in the solver
    """

    horizon: Horizon
    devices: Mapping[str, Course]
    power_w: Series
    costs: Costs
    baseline: Costs
    objective_eur: float
    gap: float
    seconds: float
    solver_seconds: float
    found_by: FoundBy
    broken: tuple[Broken, ...] = ()
    refused: tuple[Refused, ...] = ()
    searches: int = field(default=1)
