"""One job that was agreed, as it is kept, and what it asks of the hardware at an instant. Pure."""

import msgspec

from agents.kit.bargain import Terms, bounds_of, slot_at
from agents.kit.hardware import Envelope
from contracts.instructions import OVER, InstructionState


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """``instruction`` is the talk in which it was agreed; None: nobody agreed it, the device decided.

    energy_wh   the device's register when it began
    ran         it was seen at work
    silent      it is over because its hardware fell silent: it may run on all the same
    """

    instruction: str | None
    terms: Terms
    state: InstructionState = "accepted"
    started_at: float | None = None
    energy_wh: float | None = None
    ran: bool = False
    paused: bool = False
    silent: bool = False


def envelope_at(job: Job, now: float) -> Envelope | None:
    """What the confirmed profile allows now; None: it says nothing about now."""
    terms = job.terms
    if not job.terms.by_power or job.state in OVER:
        return None
    if now < terms.begins:
        # Waiting for its time; without a start of its own the profile just has not begun.
        return None if terms.start is None else Envelope(setpoint_w=0.0, upper_w=0.0)
    slot = slot_at(terms.power, now)
    if slot is None:
        return None
    lower, upper, value = bounds_of(slot)
    return Envelope(lower_w=lower, upper_w=upper, setpoint_w=value)


def next_instant(job: Job, now: float) -> float | None:
    """When something has to be done next."""
    edges = [job.terms.begins]
    for slot in job.terms.power:
        edges += [slot.start.timestamp(), slot.start.timestamp() + slot.duration_s]
    return min((edge for edge in edges if edge > now), default=None)
