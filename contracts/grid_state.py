"""The traffic light of an area, the request that goes with yellow, and whether an action worked."""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import CEM, DSO
from contracts.units import Instant, Percent, Seconds, V, W

Phase = Literal["green", "yellow", "red"]


class GridState(Message, frozen=True, kw_only=True):
    """The evaluated state of one area. After ``valid_until`` it says nothing any more."""

    topic = "grid_state"
    ttl_s = 60.0
    clause = "IEC-TLC; ENA-AMN. Area and validity are ours"

    area: str
    phase: Phase
    at: Instant
    valid_until: Instant
    loading_percent: Percent
    power_w: W
    forecast_phase: Phase | None = None
    reason: Reason


class AskAdjustment(Message, frozen=True, kw_only=True):
    """Yellow: a request without contract, which the customer may decline.

    ``change_w`` is the wanted change of power at the connection point: + draw more or feed in less, - the reverse.
    """

    topic = "grid_state"
    clause = "IEC-TLC yellow; ENA-AMN location, amount, immediacy"

    area: str
    change_w: W
    within_s: Seconds
    until: Instant
    reason: Reason


class AdjustmentAgreed(Message, frozen=True, kw_only=True):
    """What the site will do of it, by free will."""

    topic = "grid_state"

    change_w: W
    reason: Reason


class AdjustmentDeclined(Message, frozen=True, kw_only=True):
    """The site does nothing; this needs no excuse, but says one."""

    topic = "grid_state"

    reason: Reason


class ActionReport(Message, frozen=True, kw_only=True):
    """One action of the operator and what the meters showed afterwards."""

    topic = "grid_state"
    ttl_s = 300.0
    clause = "ENA-AMN effectiveness of actions is measured"

    action: str
    area: str
    kind: Literal["request", "order", "lift"]
    locations: tuple[str, ...]
    amount_w: W
    within_s: Seconds
    started: Instant
    before_w: W
    after_w: W
    worked: bool
    reason: Reason


class VoltageNotice(Message, frozen=True, kw_only=True):
    """A voltage beyond its limits, with the place; ``cleared`` once the same data show it back inside."""

    topic = "grid_state"
    clause = "ENA-07 acceptance 2; EN 50160 band"

    location: str
    at: Instant
    voltage_v: V
    lower_v: V
    upper_v: V
    cleared: bool


load_request = Conversation(
    "load_request",
    opener="operator",
    opened_by=(DSO,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "operator", AskAdjustment, "asked"),
        Turn("asked", "energy_manager", AdjustmentAgreed, END),
        Turn("asked", "energy_manager", AdjustmentDeclined, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IEC-TLC yellow",
    use_cases=("limits.grid-state",),
)
