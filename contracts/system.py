"""Words that every agent understands: presence, refusals, group messages."""

from typing import Literal

import msgspec

from contracts.device import Operating
from contracts.home_plan import PlanItem
from contracts.instructions import InstructionState
from contracts.kit import Message
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.roles import APP, CEM, DSO, GATEWAY, HES, METER
from contracts.units import EurPerKwh, Instant, Percent, Seconds, W


class Hello(Message, frozen=True, kw_only=True):
    """Presence: said on start and then regularly; ``leaving`` on an orderly stop."""

    topic = "system"
    ttl_s = 120.0
    clause = "IEC-COMM COMM-3"

    role: str
    software: str
    use_cases: tuple[str, ...] = ()
    every_s: Seconds = 30.0
    leaving: bool = False
    clock_lag_s: Seconds = 0.0


class Refusal(Message, frozen=True, kw_only=True):
    """Your word changed nothing here. Never answered, so refusals cannot echo."""

    topic = "system"

    of: str
    """The id of the refused word; empty when it could not be read."""
    subject: str
    reason: Reason


class NoDeal(Message, frozen=True, kw_only=True):
    """The word that would have made the deal of this talk was never stored and never will be: nothing binds.

    Said by who was about to close when it comes back, in that word's own place in the stream: of the two, one is there.
    """

    topic = "system"
    durable = True
    ttl_s = 60.0

    table: str
    talk: str


class GroupMessage(Message, frozen=True, kw_only=True):
    """One message to all members of a group; the infrastructure knows the members, the sender need not."""

    topic = "system"
    durable = True
    ttl_s = 86_400.0
    clause = "ETSI-5.3.4 R5.3.4-1; IEC-COMM COMM-13"

    kind: Literal["notice", "display", "maintenance"]
    text: str
    valid_until: Instant | None = None


class GroupAcknowledged(Message, frozen=True, kw_only=True):
    """A member has it; stored, so that it reaches a sender that is away."""

    topic = "system"
    durable = True
    ttl_s = 86_400.0
    clause = "ETSI-5.3.4 R5.3.4-2"

    group: str
    of: str


class ShownJob(msgspec.Struct, frozen=True, kw_only=True):
    """A device's job on the display: when it runs, and how far it is."""

    job: str
    state: InstructionState
    start: Instant | None = None
    ends: Instant | None = None


class Shown(Message, frozen=True, kw_only=True):
    """What the consumer's display shows now, said at home at every change, so that it can be checked on the bus.

    ``notices`` are the latest messages, newest first; ``warnings`` maps a device to why it is missing or abnormal;
    ``contract`` maps a direction to the level of its last contract notice; ``emergency`` is the text that stands until
    its clearance; ``states`` are the devices' own words for what they do; ``prices`` are those to come, in order.
    """

    topic = "system"
    ttl_s = 60.0
    clause = "IEC-JWG3032 step 4b; IEC-JWG2113-S2 step 7; IC-PT-PUC-MGCP"

    power_w: W | None = None
    metered_at: Instant | None = None
    contract: dict[str, str] = msgspec.field(default_factory=dict)
    emergency: str | None = None
    warnings: dict[str, str] = msgspec.field(default_factory=dict)
    devices: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    states: dict[str, Operating] = msgspec.field(default_factory=dict)
    charged_wh: dict[str, float] = msgspec.field(default_factory=dict)
    """Since the car was plugged in, by charging point."""
    price_eur_per_kwh: EurPerKwh | None = None
    prices: tuple[PriceSlot, ...] = ()
    plan: tuple[PlanItem, ...] = ()
    proposal: str | None = None
    """The plan that waits for the user's word until ``confirm_by``; ``proposed`` is what it would do."""
    proposed: tuple[PlanItem, ...] = ()
    confirm_by: Instant | None = None
    green_percent: Percent | None = None
    jobs: dict[str, ShownJob] = msgspec.field(default_factory=dict)
    """The last job of each device, as the device itself shows it."""
    used_by_kind_wh: dict[str, float] = msgspec.field(default_factory=dict)
    """Today, by device class; ``other`` is the rest of the household. IC-FR-PUC7-SC2 Inf.8."""


GROUP_SENDERS = (DSO, HES)
GROUP_MEMBERS = (METER, CEM, GATEWAY, APP)
