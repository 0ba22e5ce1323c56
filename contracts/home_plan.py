"""The plan of a home as its people see it: proposed for their word, shown while in force, and what it cost and saved.

None of these words leaves the home.
"""

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import APP, CEM
from contracts.units import Eur, Instant, Seconds, Share, Wh


class PlanItem(msgspec.Struct, frozen=True, kw_only=True):
    """One device in a plan: its start, its power by slot, its cost and why."""

    device: str
    start: Instant | None = None
    power: tuple[PlannedPower, ...] = ()
    cost_eur: Eur | None = None
    reason: Reason


class ProposePlan(Message, frozen=True, kw_only=True):
    """What the CEM would do; nothing is commanded before the answer. IC-PT-HLUC1-PUC2; IEC-JWG1110."""

    topic = "customer"
    durable = True
    ttl_s = 6 * 3600.0
    clause = "IC-PT-HLUC1-PUC2; IEC-JWG1110"

    plan: str
    items: tuple[PlanItem, ...]
    cost_eur: Eur
    saves_eur: Eur | None = None
    confirm_by: Instant


class ConfirmPlan(Message, frozen=True, kw_only=True):
    """Do so."""

    topic = "customer"
    durable = True
    ttl_s = 300.0

    user: str


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """The user's own time for one device; None: leave it out."""

    device: str
    start: Instant | None


class ChangePlan(Message, frozen=True, kw_only=True):
    """Do so, but with these devices at the user's times."""

    topic = "customer"
    durable = True
    ttl_s = 300.0

    user: str
    moves: tuple[Move, ...]


class RejectPlan(Message, frozen=True, kw_only=True):
    """Do not."""

    topic = "customer"
    durable = True
    ttl_s = 300.0

    user: str


class PlanCommitted(Message, frozen=True, kw_only=True):
    """The changed plan holds."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    items: tuple[PlanItem, ...]
    cost_eur: Eur


class ChangeRefused(Message, frozen=True, kw_only=True):
    """The change cannot be kept, and names the constraint; nothing is committed."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


class PlanShown(Message, frozen=True, kw_only=True):
    """The plan in force, for display and console at home. ``gap_share``: how far it is from the optimum at most.

    Costs count what is stored less at the end than now, at what it is worth then, so that both can be compared.
    """

    topic = "customer"
    ttl_s = 3600.0

    plan: str
    at: Instant
    items: tuple[PlanItem, ...]
    gcp: tuple[PlannedPower, ...] = ()
    cost_eur: Eur
    unplanned_cost_eur: Eur
    gap_share: Share
    solved_in_s: Seconds
    found_by: str
    broken: tuple[Reason, ...] = ()


class Balance(Message, frozen=True, kw_only=True):
    """What the day has cost and used so far, metered and priced. IC-FR-HLUC1 and HLUC2, KPIs."""

    topic = "customer"
    ttl_s = 86_400.0
    clause = "IC-FR-HLUC2 KPI 1, 2; IC-FR-HLUC1 KPI 1, 3"

    since: Instant
    until: Instant
    cost_eur: Eur
    unplanned_cost_eur: Eur
    generated_wh: Wh
    self_consumed_wh: Wh
    import_wh: Wh
    export_wh: Wh
    activations_asked: int = 0
    activations_done: int = 0
    unplanned_import_wh: Wh = 0.0
    """What would have been bought without control: less what was bought it is the energy avoided (KPI 2)."""
    used_by_kind_wh: dict[str, float] = msgspec.field(default_factory=dict)
    """By device class, ``other`` for the rest of the household. IC-FR-PUC7-SC2 Inf.8."""


plan_proposal = Conversation(
    "plan_proposal",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="consumer",
    answered_by=(APP,),
    turns=[
        Turn("start", "energy_manager", ProposePlan, "proposed"),
        Turn("proposed", "consumer", ConfirmPlan, END),
        Turn("proposed", "consumer", RejectPlan, END),
        Turn("proposed", "consumer", ChangePlan, "changed"),
        Turn("changed", "energy_manager", PlanCommitted, END),
        Turn("changed", "energy_manager", ChangeRefused, END),
    ],
    lapses=[Lapse("proposed", after=6 * 3600.0), Lapse("changed", after=30.0)],
    deal=(ConfirmPlan, PlanCommitted),
    clause="IC-PT-HLUC1-PUC2; IEC-JWG1110",
    use_cases=("home.propose-confirm", "home.price-plan"),
)
