"""What third parties want of a connection point: envelopes, orders, advice. None of them is the grid's limit.

Bounds are signed: upper for consumption (+), lower for feed-in (-). An active limit of the grid goes first.
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import AGGREGATOR, BUILDING, CEM, DSO, ESP, RETAILER
from contracts.units import Eur, EurPerKwh, Instant, Seconds, W, Wh


class EnvelopeSlot(msgspec.Struct, frozen=True, kw_only=True):
    """The power that is possible in one period; None: not bounded on that side.

    ``wish_w``: inside the bounds, flexible devices are asked to bring the power up to here (0: use the own surplus).
    """

    start: Instant
    duration_s: Seconds
    upper_w: W | None = None
    lower_w: W | None = None
    wish_w: W | None = None


class SetEnvelope(Message, frozen=True, kw_only=True):
    """The power that is possible at the connection point, by period; empty: no longer bounded. It ends by itself.

    ``wish_more``: the site is asked to use what is possible, with what is flexible.
    """

    topic = "site_power"
    durable = True
    ttl_s = 300.0
    clause = "NG-16; IC-DE-PUC-GR-1; IC-BE-THOR-PEAK setpoints"

    slots: tuple[EnvelopeSlot, ...]
    wish_more: bool = False
    reason: Reason


class EnvelopeTaken(Message, frozen=True, kw_only=True):
    """Kept from the first slot on, as far as devices can."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    reason: Reason


class EnvelopeRefused(Message, frozen=True, kw_only=True):
    """The envelope before still holds."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    reason: Reason


class OrderFlexibility(Message, frozen=True, kw_only=True):
    """An aggregator's order under a contract for flexibility: a bound of the site or of one device, for a while."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0
    clause = "IC-FR-PUC-4; IC-FR-ORCH-PRIO"

    device: str | None = None
    upper_w: W | None = None
    lower_w: W | None = None
    start: Instant
    until: Instant
    reason: Reason


class OrderAccepted(Message, frozen=True, kw_only=True):
    """It will be kept."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0


class OrderRefused(Message, frozen=True, kw_only=True):
    """It will not: no contract, the user's hand, a limit that goes before it."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    reason: Reason


class Recommend(Message, frozen=True, kw_only=True):
    """Advice for one device or the whole site: the lowest in precedence, never a command. IC-FR-PUC-4."""

    topic = "site_power"
    ttl_s = 300.0
    clause = "IC-FR-PUC-4 advice; IC-FR-HLUC1"

    device: str | None = None
    slots: tuple[PlannedPower, ...]
    reason: Reason


class RecommendationFollowed(Message, frozen=True, kw_only=True):
    """Planned so."""

    topic = "site_power"

    reason: Reason


class RecommendationDeclined(Message, frozen=True, kw_only=True):
    """Not planned so, and why (comfort, need, precedence)."""

    topic = "site_power"

    reason: Reason


class ReportChange(Message, frozen=True, kw_only=True):
    """A directive was changed by hand, or an ad-hoc rule breaks the plan: the orchestrator is told the power only.

    No room temperature, no price: IC-FR-PUC7 R1, R2.
    """

    topic = "site_power"
    durable = True
    ttl_s = 300.0
    clause = "IC-FR-PUC7-SC1 Inf.5; IC-FR-PUC-4 ad-hoc rules; IC-FR-PUC6-SC2 Inf.3"

    kind: Literal["directive", "ad_hoc_rule", "business_as_usual", "back_to_plan"]
    device_class: str
    power_w: W
    rating_w: W | None = None


class ChangeFine(Message, frozen=True, kw_only=True):
    """It may stand."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0


class ReturnExcess(Message, frozen=True, kw_only=True):
    """It would overload: this much has to go. The CEM then restores the plan before. IC-FR-PUC7-SC1 Inf.6, 7."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    excess_w: W
    reason: Reason


class OfferToProvider(Message, frozen=True, kw_only=True):
    """What the household could give, after its user agreed to the plan. IC-PT-HLUC1-PUC2.

    ``less`` and ``more`` are changes against the plan per period, magnitudes in ``power_w``.
    """

    topic = "site_power"
    durable = True
    ttl_s = 3600.0
    clause = "IC-PT-HLUC1-PUC2 flexibility offer"

    plan: str
    planned: tuple[PlannedPower, ...]
    less: tuple[PlannedPower, ...] = ()
    more: tuple[PlannedPower, ...] = ()
    price_eur_per_kwh: EurPerKwh | None = None


class OfferNoted(Message, frozen=True, kw_only=True):
    """The provider has it."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0


class OfferDeclined(Message, frozen=True, kw_only=True):
    """The provider has no use for it."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    reason: Reason


class AskConnectionStatus(Message, frozen=True, kw_only=True):
    """The service provider asks the grid operator how it stands at its customers' connection points."""

    topic = "site_power"
    clause = "IC-DE-HLUC1 Seq 1.1"

    sites: tuple[str, ...] = ()


class ConnectionStatusIs(Message, frozen=True, kw_only=True):
    """The area's state, and its room in both directions (magnitudes)."""

    topic = "site_power"
    ttl_s = 60.0

    at: Instant
    color: Literal["green", "yellow", "red"]
    consumption_room_w: W
    feed_in_room_w: W


class NotifyCriticalLoad(Message, frozen=True, kw_only=True):
    """Load becomes critical, though not at once: adapt the tariff. IC-DE-HLUC1 Seq 2.2."""

    topic = "site_power"
    durable = True
    ttl_s = 300.0
    clause = "IC-DE-HLUC1 scenario 2"

    start: Instant
    duration_s: Seconds
    direction: Literal["consumption", "feed_in"]
    excess_w: W
    reason: Reason


class CriticalLoadNoted(Message, frozen=True, kw_only=True):
    """The tariff will change, or why not."""

    topic = "site_power"
    durable = True
    ttl_s = 60.0

    reason: Reason


class PerformanceReport(Message, frozen=True, kw_only=True):
    """How the day went against the contracted capacity. IC-BE-THOR-PEAK."""

    topic = "site_power"
    durable = True
    ttl_s = 7 * 86_400.0
    clause = "IC-BE-THOR-PEAK performance report"

    day: Instant
    contracted_w: W
    highest_w: W
    slots_above: int
    energy_wh: Wh
    penalty_eur: Eur = 0.0
    comfort: dict[str, int] = msgspec.field(default_factory=dict)


site_envelope = Conversation(
    "site_envelope",
    opener="provider",
    opened_by=(ESP, BUILDING),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "provider", SetEnvelope, "asked"),
        Turn("asked", "energy_manager", EnvelopeTaken, END),
        Turn("asked", "energy_manager", EnvelopeRefused, END),
    ],
    lapses=[Lapse("asked", after=60.0)],
    deal=(EnvelopeTaken,),
    clause="NG-16; IC-DE-PUC-GR-1; IC-BE-THOR-PEAK",
    use_cases=("limits.esp-envelope", "community.peak-shaving", "community.heatpump-peak"),
)

flexibility_order = Conversation(
    "flexibility_order",
    opener="aggregator",
    opened_by=(AGGREGATOR, ESP),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "aggregator", OrderFlexibility, "asked"),
        Turn("asked", "energy_manager", OrderAccepted, END),
        Turn("asked", "energy_manager", OrderRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(OrderAccepted,),
    clause="IC-FR-PUC-4; IC-FR-ORCH-PRIO",
    use_cases=("home.precedence",),
)

recommendation = Conversation(
    "recommendation",
    opener="orchestrator",
    opened_by=(BUILDING,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "orchestrator", Recommend, "advised"),
        Turn("advised", "energy_manager", RecommendationFollowed, END),
        Turn("advised", "energy_manager", RecommendationDeclined, END),
    ],
    lapses=[Lapse("advised", after=30.0)],
    clause="IC-FR-PUC-4",
    use_cases=("home.precedence", "home.self-consumption"),
)

change_report = Conversation(
    "change_report",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="orchestrator",
    answered_by=(BUILDING,),
    turns=[
        Turn("start", "energy_manager", ReportChange, "told"),
        Turn("told", "orchestrator", ChangeFine, END),
        Turn("told", "orchestrator", ReturnExcess, END),
    ],
    lapses=[Lapse("told", after=30.0)],
    clause="IC-FR-PUC7-SC1",
    use_cases=("tariffs.user-choice", "customer.override", "home.precedence"),
)

provider_offer = Conversation(
    "provider_offer",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="provider",
    answered_by=(RETAILER, AGGREGATOR, ESP),
    turns=[
        Turn("start", "energy_manager", OfferToProvider, "offered"),
        Turn("offered", "provider", OfferNoted, END),
        Turn("offered", "provider", OfferDeclined, END),
    ],
    lapses=[Lapse("offered", after=60.0)],
    clause="IC-PT-HLUC1-PUC2",
    use_cases=("home.propose-confirm",),
)

connection_status = Conversation(
    "connection_status",
    opener="provider",
    opened_by=(ESP,),
    answerer="operator",
    answered_by=(DSO,),
    turns=[
        Turn("start", "provider", AskConnectionStatus, "asked"),
        Turn("asked", "operator", ConnectionStatusIs, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IC-DE-HLUC1 Seq 1.1",
    use_cases=("tariffs.wind",),
)

critical_load = Conversation(
    "critical_load",
    opener="operator",
    opened_by=(DSO,),
    answerer="provider",
    answered_by=(ESP,),
    turns=[
        Turn("start", "operator", NotifyCriticalLoad, "told"),
        Turn("told", "provider", CriticalLoadNoted, END),
    ],
    lapses=[Lapse("told", after=60.0)],
    clause="IC-DE-HLUC1 Seq 2.2",
    use_cases=("tariffs.wind",),
)
