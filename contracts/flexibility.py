"""What a device can do for its CEM.

A device offers its flexibility in one of five kinds, which are S2's control types (EN 50491-12-2): power profile
(PPBC), power envelope (PEBC), fill rate (FRBC), operation modes (OMBC), demand driven (DDBC). What the CEM makes of it
is in ``contracts/instructions.py``.
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower, PowerSequence
from contracts.reasons import Reason
from contracts.roles import CEM, DEVICES
from contracts.units import Celsius, Eur, EurPerKwh, Instant, Percent, Seconds, Share, W, Wh, WhPerK, WPerK

SequenceState = Literal["not_scheduled", "scheduled", "executing", "interrupted", "finished", "aborted"]


class ProfileFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="profile"):
    """A job that may start between two instants: white goods, a charge with a profile. S2 PPBC; IEC-JWG1101.

    The receiver chooses one of ``alternatives``. ``done_by`` binds: start + duration <= done_by.
    """

    job: str
    alternatives: tuple[PowerSequence, ...]
    earliest_start: Instant
    done_by: Instant
    latest_start: Instant | None = None
    state: SequenceState = "not_scheduled"
    delay_at_most_s: Seconds | None = None
    """A maximum delay that the user set; it wins over the plan."""
    confirm: bool = False
    """The user wants to confirm the schedule himself."""
    incentive: Literal["cheapest", "greenest"] | None = None
    """None: what is stored for it at the CEM."""


class EnvelopeFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="envelope"):
    """It can be bounded within ranges; what is cut is lost (``vanish``) or comes later (``defer``). S2 PEBC."""

    upper_from_w: W
    upper_to_w: W
    lower_from_w: W
    lower_to_w: W
    consequence: Literal["vanish", "defer"]
    expected: tuple[PlannedPower, ...] = ()


class StorageTarget(msgspec.Struct, frozen=True, kw_only=True):
    """The fill level that is wished at an instant."""

    at: Instant
    lower_percent: Percent
    upper_percent: Percent = 100.0


class StorageFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="storage"):
    """It fills and empties: battery, car. S2 FRBC.

    ``fill_*_w`` bound the power while it fills (+) and empties (-); between 0 and ``fill_least_w`` it can only be off.
    """

    capacity_wh: Wh
    level_percent: Percent
    lowest_percent: Percent = 0.0
    highest_percent: Percent = 100.0
    fill_upper_w: W
    fill_least_w: W = 0.0
    empty_lower_w: W = 0.0
    efficiency_share: Share = 1.0
    """Of the energy that goes in and comes out again: the whole round."""
    loss_per_day_percent: Percent = 0.0
    targets: tuple[StorageTarget, ...] = ()
    from_grid: bool = True
    """May be filled from the grid, not only with own generation."""
    to_grid: bool = False
    leaves_at: Instant | None = None
    """A car's departure; afterwards there is nothing to fill."""
    incentive: Literal["cheapest", "greenest"] | None = None


class ThermalFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="thermal"):
    """It stores heat (or cold) in a tank or a room. S2 FRBC with the temperature as fill level.

    Between 0 and ``least_w`` it can only be off; ``steps_w`` lists the powers of a device that cannot modulate.
    """

    temperature_c: Celsius
    lowest_c: Celsius
    highest_c: Celsius
    capacity_wh_per_k: WhPerK
    loss_w_per_k: WPerK
    ambient_c: Celsius
    heats: bool = True
    """False: it cools."""
    cop_share: Share = 1.0
    """Heat (or cold) per electric energy."""
    demand_w: W = 0.0
    """Heat that is drawn on average."""
    upper_w: W
    least_w: W = 0.0
    steps_w: tuple[W, ...] = ()
    minimum_on_s: Seconds = 0.0
    minimum_off_s: Seconds = 0.0
    on: bool = False
    target_c: Celsius | None = None
    target_at: Instant | None = None


class OperationMode(msgspec.Struct, frozen=True, kw_only=True):
    """One way to run, with its power range; ``minimum_s`` it stays in it."""

    name: str
    lower_w: W
    upper_w: W
    minimum_s: Seconds = 0.0


class ModesFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="modes"):
    """It runs in one of several modes: generator, fuel cell, switch. S2 OMBC."""

    modes: tuple[OperationMode, ...]
    mode: str
    ready: bool = True
    cost_eur_per_kwh: EurPerKwh = 0.0
    """What a generated kWh costs in fuel."""


class DemandFlexibility(msgspec.Struct, frozen=True, kw_only=True, tag="demand"):
    """A demand that has to be met, by the mode that suits: hybrid heat pump. S2 DDBC."""

    demand_w: W
    modes: tuple[OperationMode, ...]
    mode: str
    cop_share: Share = 1.0


Flexibility = (
    ProfileFlexibility
    | EnvelopeFlexibility
    | StorageFlexibility
    | ThermalFlexibility
    | ModesFlexibility
    | DemandFlexibility
)


class OfferFlexibility(Message, frozen=True, kw_only=True):
    """What the device can do from now on; it replaces the offer before it. ``None``: nothing any more.

    ``offer`` numbers the device's offers: an instruction names the offer that it is made from.
    """

    topic = "flexibility"
    durable = True
    ttl_s = 300.0
    clause = "IEC-JWG1101; EN 50491-12-2"

    offer: int
    flexibility: Flexibility | None
    controllable: bool = True
    """False: S2 NOT_CONTROLABLE, it only lets itself be measured."""
    reason: Reason


class FlexibilityTaken(Message, frozen=True, kw_only=True):
    """The CEM plans with it."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    offer: int
    cost_eur: Eur | None = None
    """Expected running cost, where the CEM can tell."""


class FlexibilityRefused(Message, frozen=True, kw_only=True):
    """The offer cannot be planned with; the one before it is void as well."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    offer: int
    reason: Reason


flexibility_offer = Conversation(
    "flexibility_offer",
    opener="device",
    opened_by=DEVICES,
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "device", OfferFlexibility, "offered"),
        Turn("offered", "energy_manager", FlexibilityTaken, END),
        Turn("offered", "energy_manager", FlexibilityRefused, END),
    ],
    lapses=[Lapse("offered", after=30.0)],
    clause="IEC-JWG1101; EN 50491-12-2",
    use_cases=("home.flexible-start",),
)
