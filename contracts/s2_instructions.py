"""Instructions and how they go in the message shapes of S2, and back. Pure; see ``contracts/s2.py``."""

from datetime import datetime, timedelta
from typing import Any, get_args

from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.instructions import Instruct, InstructionState
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.s2 import to_s2
from contracts.s2_storage import modes_of
from contracts.s2_words import QUANTITY, NotInS2, Words, ms, shape

INSTRUCTION_STATES: dict[InstructionState, str] = {state: state.upper() for state in get_args(InstructionState)}


def instruction_to_s2(word: Instruct, offer: Flexibility, at: datetime, id: str) -> Words:
    """One instruction; of a power by slot one for each slot, as S2 tells a fill rate. Raises NotInS2."""
    begins = word.start or (word.power[0].start if word.power else at + timedelta(seconds=word.start_in_s or 0.0))
    same = {"execution_time": begins.isoformat(), "abnormal_condition": False}
    match offer:
        case ProfileFlexibility():
            sequence = word.sequence or offer.alternatives[0].name
            ids = {
                "power_profile_id": str(word.offer),
                "sequence_container_id": offer.job,
                "power_sequence_id": sequence,
            }
            return [shape("PPBC.ScheduleInstruction", id, id=id, **ids, **same)]
        case EnvelopeFlexibility():
            elements = [
                {
                    "duration": ms(slot.duration_s),
                    "upper_limit": slot.power_w if slot.upper_w is None else slot.upper_w,
                    "lower_limit": slot.power_w if slot.lower_w is None else slot.lower_w,
                }
                for slot in word.power
            ]
            envelope = {"id": f"{id}-envelope", "commodity_quantity": QUANTITY, "power_envelope_elements": elements}
            constraints = {"power_constraints_id": str(word.offer), "power_envelopes": [envelope]}
            return [shape("PEBC.Instruction", id, id=id, **constraints, **same)]
        case StorageFlexibility() | ThermalFlexibility():
            return [_fill_rate(slot, offer, f"{id}-{n}") for n, slot in enumerate(word.power)]
        case ModesFlexibility() | DemandFlexibility():
            mode = next((m for m in offer.modes if m.name == word.mode), None)
            if mode is None:
                raise NotInS2(f"there is no mode {word.mode} in the offer")
            watts = word.power[0].power_w if word.power else mode.upper_w
            told = {"operation_mode_id": mode.name, "operation_mode_factor": _factor(watts, mode.lower_w, mode.upper_w)}
            if isinstance(offer, DemandFlexibility):
                return [shape("DDBC.Instruction", id, id=id, actuator_id="actuator", **told, **same)]
            return [shape("OMBC.Instruction", id, id=id, **told, **same)]


def _factor(watts: float, lower: float, upper: float) -> float:
    return 1.0 if upper == lower else (watts - lower) / (upper - lower)


def _fill_rate(slot: PlannedPower, offer: StorageFlexibility | ThermalFlexibility, id: str) -> dict[str, Any]:
    words = to_s2(offer, slot.start, id)
    for name, mode in modes_of(words)[1].items():
        lower, upper = (mode["power_ranges"][0][key] for key in ("start_of_range", "end_of_range"))
        if min(lower, upper) <= slot.power_w <= max(lower, upper):
            factor = _factor(slot.power_w, lower, upper)
            told = {"actuator_id": "actuator", "operation_mode": name, "operation_mode_factor": factor}
            times = {"execution_time": slot.start.isoformat(), "abnormal_condition": False}
            return shape("FRBC.Instruction", id, id=id, **told, **times)
    raise NotInS2(f"{slot.power_w:g} W is in none of its modes")


def instruction_from_s2(words: Words, offer: Flexibility, number: int, until: datetime) -> Instruct:
    """``until``: the end of the last slot, which S2 leaves open. Raises NotInS2."""
    reason, first = Reason(code="s2", text="instructed over S2"), words[0]
    begins = datetime.fromisoformat(first["execution_time"])
    match first["message_type"]:
        case "PPBC.ScheduleInstruction":
            return Instruct(offer=number, sequence=first["power_sequence_id"], start=begins, reason=reason)
        case "PEBC.Instruction":
            power, at = [], begins
            for element in first["power_envelopes"][0]["power_envelope_elements"]:
                lower, upper, seconds = element["lower_limit"], element["upper_limit"], element["duration"] / 1000
                watts = lower if lower < 0 else upper
                power.append(PlannedPower(start=at, duration_s=seconds, power_w=watts, lower_w=lower, upper_w=upper))
                at += timedelta(seconds=seconds)
            return Instruct(offer=number, power=tuple(power), reason=reason)
        case "FRBC.Instruction":
            if not isinstance(offer, StorageFlexibility | ThermalFlexibility):
                raise NotInS2("a fill rate for what stores nothing")
            return Instruct(offer=number, power=_fill_rates_in(words, offer, until), reason=reason)
        case "OMBC.Instruction" | "DDBC.Instruction":
            return Instruct(offer=number, mode=first["operation_mode_id"], start=begins, reason=reason)
    raise NotInS2(f"{first['message_type']} is no instruction")


def _fill_rates_in(
    words: Words, offer: StorageFlexibility | ThermalFlexibility, until: datetime
) -> tuple[PlannedPower, ...]:
    modes = modes_of(to_s2(offer, until, "x"))[1]
    starts = [datetime.fromisoformat(word["execution_time"]) for word in words]
    power = []
    for word, start, end in zip(words, starts, [*starts[1:], until], strict=True):
        bounds = modes[word["operation_mode"]]["power_ranges"][0]
        lower, upper = bounds["start_of_range"], bounds["end_of_range"]
        watts = lower + word["operation_mode_factor"] * (upper - lower)
        power.append(PlannedPower(start=start, duration_s=(end - start).total_seconds(), power_w=watts))
    return tuple(power)


def status_to_s2(instruction: str, state: InstructionState, at: datetime, id: str) -> dict[str, Any]:
    fields = {"instruction_id": instruction, "status_type": INSTRUCTION_STATES[state], "timestamp": at.isoformat()}
    return shape("InstructionStatusUpdate", id, **fields)


def status_from_s2(word: dict[str, Any]) -> tuple[str, InstructionState]:
    """(instruction, state). Raises NotInS2."""
    for state, theirs in INSTRUCTION_STATES.items():
        if theirs == word["status_type"]:
            return word["instruction_id"], state
    raise NotInS2(f"{word['status_type']} is no state of an instruction")


def revocation_to_s2(instruction: str, kind: str, id: str) -> dict[str, Any]:
    """``kind`` is the instruction's message type."""
    return shape("RevokeObject", id, object_type=kind, object_id=instruction)
