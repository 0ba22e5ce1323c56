"""What is to be planned: one grid connection, its prices, bounds and devices. Plain data, no solver.

Instants are unix seconds, durations seconds. Powers in W, + is taken from the grid (consumed), - is generated.
A ``Series`` has one value per slot of the horizon; where it may be empty, empty means "none". What physics demands is
hard; what somebody wishes has a price and may stay unmet, which the plan then reports.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agents.cem.planner.plan import Plan

Series = tuple[float, ...]

UNMET_EUR_PER_KWH = 5.0
"""What a kWh that a user needs and does not get counts for: far above any price of energy."""


class BadProblem(ValueError):
    """The problem contradicts itself; ``where`` names the device (or ``connection``) and the field."""

    def __init__(self, where: str, sentence: str) -> None:
        super().__init__(f"{where}: {sentence}")
        self.where = where
        self.sentence = sentence


@lru_cache(maxsize=16)
def _edges_s(start_s: float, first_s: float, slot_s: float, count: int) -> Series:
    return (start_s, *(start_s + first_s + slot_s * i for i in range(count)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """``count`` slots of ``slot_s`` from ``start_s``; the first may be what is left of a slot (``first_s``).

    A local day with a clock change has 92 or 100 quarter hours: that is only another ``count``. ``zone`` is for the
    clock times in sentences.
    """

    start_s: float
    count: int
    slot_s: float = 900.0
    first_s: float | None = None
    zone: str = "UTC"

    def edges_s(self) -> Series:
        """``count + 1`` instants: slot i lasts from edge i to edge i + 1."""
        return _edges_s(self.start_s, self.slot_s if self.first_s is None else self.first_s, self.slot_s, self.count)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """What energy costs at the connection point, already summed over the components of all issuers.

    buy_eur_per_kwh      (n)  taken from the grid
    sell_eur_per_kwh     (n)  paid for what is fed in; empty: nothing
    threshold_wh              energy of one slot; for what is above it ``buy_above_eur_per_kwh`` (n) holds
    confidence           (n)  0..1, empty: all binding. ``doubt_eur_per_kwh`` times (1 - confidence) is added to buying
    green_share          (n)  0..1 of the grid's energy; ``green_eur_per_kwh`` times (1 - share) is added to buying: a
                              weight for the incentive "greenest", not money
    """

    buy_eur_per_kwh: Series
    sell_eur_per_kwh: Series = ()
    threshold_wh: float | None = None
    buy_above_eur_per_kwh: Series = ()
    confidence: Series = ()
    doubt_eur_per_kwh: float = 0.0
    green_share: Series = ()
    green_eur_per_kwh: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Peak:
    """A price on the highest slot mean of the billing period: only what exceeds ``seen_w`` costs."""

    eur_per_kw: float
    seen_w: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """The grid connection and what the home takes that nobody steers.

    load_w        (n)     expected base load
    load_high_w   (n)     upper estimate; empty: ``load_w``. Hard bounds count load + ``high_share`` x (high - load)
    phase_share           base load on L1, L2, L3; sums to 1
    upper_w       (n)     hard bound of the power at the connection point (the slot's highest); empty: none
    lower_w       (n)     the same for feed-in (<= 0 as a rule)
    upper_why             name of that bound in reasons, e.g. ``grid_limit``, ``failsafe``
    fuse_w                hard bound per phase, W, both directions
    contracted_w  (n)     contracted power, hard less ``contracted_band`` (share of it kept free); empty: none
    peak                  a priced peak
    """

    load_w: Series
    load_high_w: Series = ()
    high_share: float = 1.0
    phase_share: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    upper_w: Series = ()
    upper_why: str = "grid_limit"
    lower_w: Series = ()
    lower_why: str = "feed_in_limit"
    fuse_w: float | None = None
    contracted_w: Series = ()
    contracted_band: float = 0.0
    peak: Peak | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """The user's hand: this power from ``from_s`` until ``until_s``; the rest is planned around it.

    It yields to hard bounds and physics only; the plan reports it as broken then.
    """

    from_s: float
    until_s: float
    power_w: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """A part of a programme: mean power over its duration; ``maximum_w`` (0: the mean) counts for bounds."""

    duration_s: float
    power_w: float
    maximum_w: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Programme:
    """One way to do a job, in order."""

    name: str
    steps: tuple[Step, ...]

    @property
    def duration_s(self) -> float:
        return sum(step.duration_s for step in self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A shiftable programme, or one of several.

    earliest_s, latest_end_s   the window; it must end in it
    interruptible              may pause between slots, at most ``max_pause_s`` at a time (0: as long as wanted)
    must_run                   left undone it counts ``unmet_eur`` and is reported; else doing it is worth ``value_eur``
    later_eur_per_h            price of each hour that it starts later than it could (< 0: it prefers late)
    green_eur_per_kwh          times (1 - green share) is added: this job follows the greenest slots
    started_s, programme       it runs since then with that programme: the remainder is fixed
    """

    name: str
    programmes: tuple[Programme, ...]
    earliest_s: float
    latest_end_s: float
    interruptible: bool = False
    max_pause_s: float = 0.0
    must_run: bool = True
    unmet_eur: float = 50.0
    value_eur: float = 0.0
    later_eur_per_h: float = 0.0
    green_eur_per_kwh: float = 0.0
    started_s: float | None = None
    programme: str = ""
    phases: tuple[int, ...] = (1,)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """A car: power 0 or between ``min_power_w`` and ``max_power_w`` while it is plugged in.

    energy_wh, maximum_wh      in its battery now, and at most
    minimum_wh, target_wh      needed and wished at departure. A missing kWh below the minimum counts
                               ``unmet_eur_per_kwh``, one between minimum and target ``wish_eur_per_kwh``, one above the
                               target is worth ``extra_eur_per_kwh``
    arrival_s, departure_s     plugged in between; a departure after the horizon asks for its share of the time only
    efficiency                 of what is taken this part is stored
    on, since_s                it charges now / has been in this state since that instant
    switch_eur                 price of each start
    green_eur_per_kwh          times (1 - green share) is added: this car follows the greenest slots
    """

    name: str
    energy_wh: float
    target_wh: float
    minimum_wh: float = 0.0
    maximum_wh: float
    arrival_s: float
    departure_s: float
    min_power_w: float = 4140.0
    max_power_w: float
    efficiency: float = 0.9
    min_on_s: float = 0.0
    on: bool = False
    since_s: float | None = None
    switch_eur: float = 0.0
    unmet_eur_per_kwh: float = UNMET_EUR_PER_KWH
    wish_eur_per_kwh: float = 1.0
    extra_eur_per_kwh: float = 0.0
    green_eur_per_kwh: float = 0.0
    phases: tuple[int, ...] = (1, 2, 3)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyTarget:
    """At ``by_s`` at least ``energy_wh`` are stored; a missing kWh counts ``unmet_eur_per_kwh``."""

    by_s: float
    energy_wh: float
    unmet_eur_per_kwh: float = UNMET_EUR_PER_KWH


@dataclass(frozen=True, kw_only=True, slots=True)
class Battery:
    """Storage that gives back.

    energy_wh                  stored now; it stays within ``minimum_wh`` and ``maximum_wh`` (below the minimum not
                               under what it has now, and the missing is reported)
    charge_w, discharge_w      highest powers, both >= 0, at the AC side
    self_discharge_per_day     share lost in a day
    no_grid_charge             charges only while nothing is taken from the grid
    no_export                  discharges only while nothing is fed in
    wear_eur_per_kwh           per kWh charged or discharged (AC)
    end_value_eur_per_kwh      what a stored kWh is worth at the end; None: what refilling costs in the cheapest slots
    """

    name: str
    energy_wh: float
    maximum_wh: float
    minimum_wh: float = 0.0
    charge_w: float
    discharge_w: float
    charge_efficiency: float = 0.95
    discharge_efficiency: float = 0.95
    self_discharge_per_day: float = 0.0
    targets: tuple[EnergyTarget, ...] = ()
    no_grid_charge: bool = False
    no_export: bool = False
    wear_eur_per_kwh: float = 0.0
    end_value_eur_per_kwh: float | None = None
    phases: tuple[int, ...] = (1, 2, 3)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HeatTarget:
    """At ``by_s`` at least (cooling: at most) ``temperature_c``; a missing kelvin counts ``unmet_eur_per_k``."""

    by_s: float
    temperature_c: float
    unmet_eur_per_k: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Thermal:
    """A heated or cooled mass: house with heat pump, water tank, room with air conditioner.

    temperature_c              now
    capacity_wh_per_k, loss_w_per_k, ambient_c (n)
    minimum_c, maximum_c (n)   comfort band at the slots' ends; a kelvin outside counts ``comfort_eur_per_k_h`` an hour.
                               Empty: none
    cop (n)                    heat moved per electric energy; ``cools``: it takes heat out
    demand_w (n)               heat drawn (hot water) or, when < 0, gained (sun, people); empty: none
    min_power_w, max_power_w   electric, while it is on
    levels_w                   it is off or at exactly one of these powers (SG-Ready, relays); instead of min and max
    on, since_s                its state now, and since when; ``min_on_s`` and ``min_off_s`` hold across the start
    switch_eur                 price of each start
    targets                    finish temperatures
    end_value_eur_per_kwh      what stored heat (cold) within the comfort band is worth at the end, per kWh of heat;
                               None: what making it costs in the cheapest slots
    """

    name: str
    temperature_c: float
    capacity_wh_per_k: float
    loss_w_per_k: float
    ambient_c: Series
    minimum_c: Series = ()
    maximum_c: Series = ()
    comfort_eur_per_k_h: float = 1.0
    cop: Series = ()
    cools: bool = False
    demand_w: Series = ()
    min_power_w: float = 0.0
    max_power_w: float = 0.0
    levels_w: tuple[float, ...] = ()
    on: bool = False
    since_s: float | None = None
    min_on_s: float = 0.0
    min_off_s: float = 0.0
    switch_eur: float = 0.0
    targets: tuple[HeatTarget, ...] = ()
    end_value_eur_per_kwh: float | None = None
    phases: tuple[int, ...] = (1, 2, 3)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Generator:
    """A fuel cell or micro-CHP: 0 or between ``min_power_w`` and ``max_power_w`` generated (figures >= 0).

    eur_per_kwh        fuel per electric kWh
    ready              may be started at all; a running one goes on
    heat_to            name of the ``Thermal`` that takes its heat: ``heat_per_power`` W of heat per W electric
    """

    name: str
    min_power_w: float
    max_power_w: float
    eur_per_kwh: float
    ready: bool = True
    on: bool = False
    since_s: float | None = None
    min_on_s: float = 0.0
    min_off_s: float = 0.0
    start_eur: float = 0.0
    heat_to: str = ""
    heat_per_power: float = 0.0
    phases: tuple[int, ...] = (1, 2, 3)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Pv:
    """Own generation.

    forecast_w (n)             expected, <= 0
    sure_w (n)                 what hard bounds on taking may count on, between forecast and 0; empty: the forecast
    can_curtail                may be held to less, at ``curtail_eur_per_kwh``
    """

    name: str
    forecast_w: Series
    sure_w: Series = ()
    can_curtail: bool = True
    curtail_eur_per_kwh: float = 0.0
    phases: tuple[int, ...] = (1, 2, 3)
    fixed: tuple[Pin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """A device that plans itself, or cannot be steered: its announced power."""

    name: str
    power_w: Series
    phases: tuple[int, ...] = (1, 2, 3)


Device = Job | Charge | Battery | Thermal | Generator | Pv | Fixed


@dataclass(frozen=True, kw_only=True, slots=True)
class Stability:
    """Changing what was announced costs something, so that planning at each event does not saw.

    per_start_eur      a job's start that moves
    per_switch_eur     each slot in which a car, heat pump or generator is on instead of off, or off instead of on
    """

    per_start_eur: float = 0.02
    per_switch_eur: float = 0.005


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How long and how exactly. ``gap`` is relative to the objective, ``gap_eur`` absolute: the first ends it."""

    time_limit_s: float = 2.0
    gap: float = 0.01
    gap_eur: float = 0.002
    seed: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """All of it. ``previous`` is the plan that holds now: a start for the search, and what ``stability`` guards."""

    horizon: Horizon
    prices: Prices
    connection: Connection
    devices: tuple[Device, ...] = ()
    previous: "Plan | None" = None
    stability: Stability = field(default_factory=Stability)
    effort: Effort = field(default_factory=Effort)
