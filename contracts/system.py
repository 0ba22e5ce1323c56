"""Words that every agent understands: presence, refusals, group messages."""

from typing import Literal

from contracts.kit import Message
from contracts.reasons import Reason
from contracts.roles import APP, CEM, DSO, GATEWAY, HES, METER
from contracts.units import Instant, Seconds


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


GROUP_SENDERS = (DSO, HES)
GROUP_MEMBERS = (METER, CEM, GATEWAY, APP)
