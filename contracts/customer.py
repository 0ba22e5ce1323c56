"""Between people and their energy manager: preferences, the user's hand, proposals, rules, questions, reasons.

The app speaks for a person (``user``); the CEM knows who may do what at its home. Temperatures, presence and wishes are
private: none of these words leaves the home.
"""

from datetime import date, time
from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM, DEVICES, ESP, GATEWAY
from contracts.units import Celsius, Eur, EurPerKwh, Instant, OffsetS, Percent, Seconds, Share, W, Wh

Season = Literal["spring", "summer", "autumn", "winter"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class DevicePreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of one device. None: as it was. IC-FR-PUC2 Inf.1-4; IEC-JWG18; IEC-RG-CONSUMER-CONTROL.

    ``ready_by`` and ``not_before`` are local times of day; thresholds are prices at which it starts or stops.
    """

    controlled: bool | None = None
    """Consent: without it the device is never told anything."""
    lowest_c: Celsius | None = None
    highest_c: Celsius | None = None
    target_c: Celsius | None = None
    charge_lower_percent: Percent | None = None
    charge_upper_percent: Percent | None = None
    reserve_percent: Percent | None = None
    ready_by: time | None = None
    not_before: time | None = None
    delay_at_most_s: Seconds | None = None
    start_above_eur_per_kwh: EurPerKwh | None = None
    start_below_eur_per_kwh: EurPerKwh | None = None
    step_w: W | None = None
    green_above_percent: Percent | None = None
    incentive: Literal["cheapest", "greenest"] | None = None
    from_grid: bool | None = None
    plans_itself: bool | None = None
    """It is given prices or PV power and commanded nothing (home.incentive-device)."""
    peak_window: tuple[time, time] | None = None
    """A generator's alternative to a price: run between these times (IEC-JWG16)."""
    forget: tuple[str, ...] = ()
    """Names of preferences that no longer hold."""


class OwnProductionLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Consume no more than is produced, inside a window of the local day. IEC-JWG4."""

    start: time
    end: time
    exempt: tuple[str, ...] = ()


class SetPreferences(Message, frozen=True, kw_only=True):
    """A person's preferences, by device (``evse.1``) or class (``hvac``); only what is named changes.

    ``vacation`` are first and last day away: heaters are then not needed. ``season`` is felt, not the calendar's.
    """

    topic = "customer"
    durable = True
    ttl_s = 300.0
    clause = "IC-FR-PUC2; IC-PT-HLUC1-PUC3"

    user: str
    devices: dict[str, DevicePreferences] = msgspec.field(default_factory=dict)
    season: Season | None = None
    vacation: tuple[date, date] | None = None
    vacation_off: bool = False
    own_production: OwnProductionLimit | None = None
    own_production_off: bool = False
    plans: Literal["automatic", "confirm", "off"] | None = None
    """Whether a plan acts by itself, after confirmation only, or not at all."""
    service: bool | None = None
    """False: stop all device control; nothing automatic acts until it is True again."""
    flexibility: bool | None = None
    """False: no third party's order acts on this home."""
    consents: dict[str, tuple[str, ...]] | None = None
    """Address of a party -> purposes for which personal data may leave the home (``forecast``, ``comfort``)."""


class PreferencesTaken(Message, frozen=True, kw_only=True):
    """Stored and taken into account from the next plan on. ``effect`` says what each device does about it."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    effect: dict[str, str] = msgspec.field(default_factory=dict)


class PreferencesRefused(Message, frozen=True, kw_only=True):
    """Nothing changed."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


HandAction = Literal[
    "on",
    "off",
    "dim",
    "power",
    "start_now",
    "start_at",
    "pause",
    "resume",
    "abort",
    "hot_water",
    "business_as_usual",
    "overrule",
    "release",
]


class TakeControl(Message, frozen=True, kw_only=True):
    """The user's hand on one device, or on all (``device=None``). ``release`` gives it back.

    ``on`` with ``target_c`` sets the temperature at the device's own thermostat.
    ``business_as_usual`` runs heaters plainly and ends by itself after 12 h (IC-FR-PUC6-SC2). ``overrule`` lets one
    start happen in spite of a warning (IEC-JWG4). ``until=None``: until released, or until the job is over.
    """

    topic = "customer"
    durable = True
    ttl_s = 60.0
    clause = "IC-FR-PUC-6; IC-GR-HLUC1-MAN; IEC-JWG1121; IEC-JWG5"

    user: str
    device: str | None = None
    action: HandAction
    power_w: W | None = None
    dim_percent: Percent | None = None
    target_c: Celsius | None = None
    at: Instant | None = None
    until: Instant | None = None


class ControlTaken(Message, frozen=True, kw_only=True):
    """The device did it (its state came back), or will ``at`` the given instant. ``until``: it then ends by itself."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    state: str
    at: Instant | None = None
    until: Instant | None = None
    reason: Reason


class ControlRefused(Message, frozen=True, kw_only=True):
    """Nothing changed: not allowed, not possible, or a limit goes first."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


class AskWhy(Message, frozen=True, kw_only=True):
    """Why does it do what it does?"""

    topic = "customer"
    clause = "NG-08; IC-FR-PUC7-SC2"

    device: str | None = None


class Because(Message, frozen=True, kw_only=True):
    """What the device does, why, and what comes next, newest reason first."""

    topic = "customer"

    device: str
    doing: str
    power_w: W | None = None
    reasons: tuple[Reason, ...]
    next: tuple[PlannedPower, ...] = ()
    plan: str | None = None


class NothingKnown(Message, frozen=True, kw_only=True):
    """No such device here, or nothing was ever decided about it."""

    topic = "customer"

    reason: Reason


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


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """When a rule acts: at a time of the local day, relative to sunset or sunrise, or when a value passes a bound."""

    at: time | None = None
    sun: Literal["sunset", "sunrise"] | None = None
    offset_s: OffsetS = 0.0
    sensed: str | None = None
    """The device that a temperature, level or power is of; none: the connection point."""
    temperature_above_c: Celsius | None = None
    temperature_below_c: Celsius | None = None
    level_above_percent: Percent | None = None
    level_below_percent: Percent | None = None
    power_above_w: W | None = None
    power_below_w: W | None = None
    price_above_eur_per_kwh: EurPerKwh | None = None
    price_below_eur_per_kwh: EurPerKwh | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """On ``trigger`` do ``action`` with ``device``. IC-GR-HLUC1-AUTO; IC-FR-HLUC1-STORIES."""

    name: str
    device: str
    trigger: Trigger
    action: HandAction
    power_w: W | None = None
    for_s: Seconds | None = None


class SetRules(Message, frozen=True, kw_only=True):
    """The rules kept in the home; they replace those of the same owner. A third party's need the user's agreement."""

    topic = "customer"
    durable = True
    ttl_s = 300.0
    clause = "IC-GR-HLUC1-AUTO"

    user: str
    rules: tuple[Rule, ...]


class RulesTaken(Message, frozen=True, kw_only=True):
    """They run here from now on, also without the link."""

    topic = "customer"
    durable = True
    ttl_s = 60.0


class RulesRefused(Message, frozen=True, kw_only=True):
    """The rules before still run."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


class AskQuestion(Message, frozen=True, kw_only=True):
    """A customer's free question to the service provider. Only what the customer writes leaves the home."""

    topic = "question"
    durable = True
    ttl_s = 7 * 86_400.0
    clause = "IC-FR-PUC7-SC2 Inf.9"

    text: str


class Answer(Message, frozen=True, kw_only=True):
    """The provider's answer."""

    topic = "question"
    durable = True
    ttl_s = 86_400.0

    text: str


class ComfortFeedback(Message, frozen=True, kw_only=True):
    """How it feels, for whom the user has consented to tell. IC-BE-THOR-PEAK."""

    topic = "question"
    durable = True
    ttl_s = 86_400.0
    clause = "IC-BE-THOR-PEAK comfort feedback"

    comfort: Literal["too_cold", "good", "too_warm", "car_not_ready", "other"]
    text: str = ""


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


_AT_HOME = (CEM, GATEWAY)

preferences = Conversation(
    "preferences",
    opener="consumer",
    opened_by=(APP, BUILDING),
    answerer="energy_manager",
    answered_by=(*_AT_HOME, BUILDING),
    turns=[
        Turn("start", "consumer", SetPreferences, "asked"),
        Turn("asked", "energy_manager", PreferencesTaken, END),
        Turn("asked", "energy_manager", PreferencesRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(PreferencesTaken,),
    clause="IC-FR-PUC2; IC-PT-HLUC1-PUC3",
    use_cases=("customer.preferences",),
)

take_control = Conversation(
    "take_control",
    opener="consumer",
    opened_by=(APP, CEM),
    answerer="controller",
    answered_by=(CEM, GATEWAY, *DEVICES),
    turns=[
        Turn("start", "consumer", TakeControl, "asked"),
        Turn("asked", "controller", ControlTaken, END),
        Turn("asked", "controller", ControlRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(ControlTaken,),
    clause="IC-FR-PUC-6; IC-GR-HLUC1-MAN",
    use_cases=("customer.override", "customer.manual-switch", "home.hot-water"),
)

why = Conversation(
    "why",
    opener="consumer",
    opened_by=(APP,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "consumer", AskWhy, "asked"),
        Turn("asked", "energy_manager", Because, END),
        Turn("asked", "energy_manager", NothingKnown, END),
    ],
    lapses=[Lapse("asked", after=15.0)],
    clause="NG-08",
    use_cases=("tariffs.user-choice",),
)

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

rules_write = Conversation(
    "rules_write",
    opener="consumer",
    opened_by=(APP, ESP),
    answerer="gateway",
    answered_by=_AT_HOME,
    turns=[
        Turn("start", "consumer", SetRules, "asked"),
        Turn("asked", "gateway", RulesTaken, END),
        Turn("asked", "gateway", RulesRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(RulesTaken,),
    clause="IC-GR-HLUC1-AUTO",
    use_cases=("home.rules",),
)

question = Conversation(
    "question",
    opener="consumer",
    opened_by=(APP,),
    answerer="provider",
    answered_by=(ESP,),
    turns=[
        Turn("start", "consumer", AskQuestion, "asked"),
        Turn("asked", "provider", Answer, END),
    ],
    lapses=[Lapse("asked", after=86_400.0)],
    clause="IC-FR-PUC7-SC2",
    use_cases=("tariffs.user-choice",),
)
