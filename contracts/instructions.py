"""What a CEM instructs of a device's offer, and how it goes: accepted, countered, revoked, reported.

Instructions are deals: on when the last word is stored. The life cycle is that of S2 (EN 50491-12-2).
"""

from typing import Literal

from contracts.flexibility import SequenceState
from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import CEM, DEVICES
from contracts.units import Eur, Instant, Seconds, Wh

InstructionState = Literal["new", "accepted", "rejected", "revoked", "started", "succeeded", "aborted"]
"""S2's instruction life cycle."""
OVER: tuple[InstructionState, ...] = ("succeeded", "aborted", "revoked", "rejected")
"""Where it ends."""


class Instruct(Message, frozen=True, kw_only=True):
    """Do this: a start, a profile, a mode. It replaces the instruction ``replaces`` if accepted.

    ``start`` absolute, or ``start_in_s`` relative to the word's instant, or both empty where only power is given.
    The device does not exceed ``power`` in any slot.
    """

    topic = "flexibility"
    durable = True
    ttl_s = 60.0
    clause = "IEC-JWG1102; IEC-JWG1103; EN 50491-12-2 instructions"

    offer: int
    sequence: str | None = None
    start: Instant | None = None
    start_in_s: Seconds | None = None
    power: tuple[PlannedPower, ...] = ()
    mode: str | None = None
    replaces: str | None = None
    """Talk id of the instruction that this one replaces."""
    cost_eur: Eur | None = None
    reason: Reason


class InstructionAccepted(Message, frozen=True, kw_only=True):
    """It will be done. ``power`` is the confirmed profile."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    power: tuple[PlannedPower, ...] = ()


class InstructionRejected(Message, frozen=True, kw_only=True):
    """It will not be done; what was agreed before still holds."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    reason: Reason


class CounterInstruction(Message, frozen=True, kw_only=True):
    """Not so, but this could be done."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    start: Instant | None = None
    power: tuple[PlannedPower, ...] = ()
    mode: str | None = None
    reason: Reason


class CounterAccepted(Message, frozen=True, kw_only=True):
    """Then so."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0


class CounterRejected(Message, frozen=True, kw_only=True):
    """Then not at all; what was agreed before still holds."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    reason: Reason


class RevokeInstruction(Message, frozen=True, kw_only=True):
    """Do not, please. ``instruction`` is the talk in which it was agreed."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    instruction: str
    reason: Reason


class InstructionRevoked(Message, frozen=True, kw_only=True):
    """It is taken back."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0


class RevokeRefused(Message, frozen=True, kw_only=True):
    """Too late: it runs, it is over, or nobody knows of it."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0

    reason: Reason


class ReportProgress(Message, frozen=True, kw_only=True):
    """How it goes with what was agreed. ``instruction`` is the id of the talk in which it was; None: by hand."""

    topic = "flexibility"
    durable = True
    ttl_s = 3600.0
    clause = "EN 50491-12-2 instruction status; IEC-JWG1100 completion notice"

    instruction: str | None
    state: InstructionState
    sequence_state: SequenceState | None = None
    remaining_s: Seconds | None = None
    energy_wh: Wh | None = None
    reason: Reason


class ProgressNoted(Message, frozen=True, kw_only=True):
    """The CEM knows."""

    topic = "flexibility"
    durable = True
    ttl_s = 60.0


class ShowSchedule(Message, frozen=True, kw_only=True):
    """What a device's own display shows of its job: the agreed start, then that it runs, then how it ended.

    ``instruction`` is the talk in which it was agreed; None: by hand, or by the device itself.
    """

    topic = "flexibility"
    ttl_s = 86_400.0
    clause = "IEC-JWG1100 steps 7 and 8"

    job: str
    state: InstructionState
    start: Instant | None = None
    ends: Instant | None = None
    instruction: str | None = None
    cost_eur: Eur | None = None
    reason: Reason


instruction = Conversation(
    "instruction",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="device",
    answered_by=DEVICES,
    turns=[
        Turn("start", "energy_manager", Instruct, "instructed"),
        Turn("instructed", "device", InstructionAccepted, END),
        Turn("instructed", "device", InstructionRejected, END),
        Turn("instructed", "device", CounterInstruction, "countered"),
        Turn("countered", "energy_manager", CounterAccepted, END),
        Turn("countered", "energy_manager", CounterRejected, END),
    ],
    lapses=[Lapse("instructed", after=30.0), Lapse("countered", after=30.0)],
    deal=(InstructionAccepted, CounterAccepted),
    clause="IEC-JWG1102; IEC-JWG1103; EN 50491-12-2",
    use_cases=("home.flexible-start", "home.reschedule", "mobility.start-time"),
)


instruction_revocation = Conversation(
    "instruction_revocation",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="device",
    answered_by=DEVICES,
    turns=[
        Turn("start", "energy_manager", RevokeInstruction, "asked"),
        Turn("asked", "device", InstructionRevoked, END),
        Turn("asked", "device", RevokeRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(InstructionRevoked,),
    clause="EN 50491-12-2 instruction revoked",
    use_cases=("home.reschedule",),
)


instruction_progress = Conversation(
    "instruction_progress",
    opener="device",
    opened_by=DEVICES,
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "device", ReportProgress, "told"),
        Turn("told", "energy_manager", ProgressNoted, END),
    ],
    lapses=[Lapse("told", after=30.0)],
    clause="EN 50491-12-2 instruction status",
    use_cases=("home.flexible-start",),
)
