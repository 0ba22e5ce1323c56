"""Our flexibility in the message shapes of S2 (EN 50491-12-2 as JSON), and back. Pure; a gateway to S2 devices uses it.

Names and fields are those of flexiblepower/s2-ws-json. Powers are W with our sign, which is S2's; durations there are
milliseconds. What S2 has no field for (a user's own delay, an incentive, who has to confirm) does not travel.
"""

from datetime import datetime
from typing import Any, get_args

from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    OperationMode,
    ProfileFlexibility,
    SequenceState,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.profiles import PowerSequence, PowerSlot
from contracts.s2_storage import heat_from_s2, heat_to_s2, storage_from_s2, storage_to_s2
from contracts.s2_words import QUANTITY, NotInS2, Words, find, ms, needed, power_range, shape, span

CONTROL_TYPES: dict[type, str] = {
    ProfileFlexibility: "POWER_PROFILE_BASED_CONTROL",
    EnvelopeFlexibility: "POWER_ENVELOPE_BASED_CONTROL",
    StorageFlexibility: "FILL_RATE_BASED_CONTROL",
    ThermalFlexibility: "FILL_RATE_BASED_CONTROL",
    ModesFlexibility: "OPERATION_MODE_BASED_CONTROL",
    DemandFlexibility: "DEMAND_DRIVEN_BASED_CONTROL",
}
SEQUENCE_STATES: dict[SequenceState, str] = {state: state.upper() for state in get_args(SequenceState)}


# -------------------------------------------------------------------- what a device can do


def to_s2(offer: Flexibility, at: datetime, id: str) -> Words:
    """The words that describe it, in the order in which a resource manager says them. ``id`` is the offer's."""
    match offer:
        case ProfileFlexibility():
            return _profile_out(offer, id)
        case EnvelopeFlexibility():
            return _envelope_out(offer, at, id)
        case StorageFlexibility():
            return storage_to_s2(offer, at, id)
        case ThermalFlexibility():
            return heat_to_s2(offer, at, id)
        case ModesFlexibility():
            return _modes_out(offer, at, id)
        case DemandFlexibility():
            return _demand_out(offer, at, id)


def from_s2(words: Words) -> Flexibility:
    """Raises NotInS2, KeyError when a word lacks what its schema requires."""
    if find(words, "PPBC.PowerProfileDefinition"):
        return _profile_in(words)
    if find(words, "PEBC.PowerConstraints"):
        return _envelope_in(words)
    if find(words, "FRBC.SystemDescription"):
        heat = needed(words, "FRBC.SystemDescription")["storage"].get("fill_level_label", "").startswith("degC")
        return heat_from_s2(words) if heat else storage_from_s2(words)
    if find(words, "OMBC.SystemDescription"):
        return _modes_in(words)
    if find(words, "DDBC.SystemDescription"):
        return _demand_in(words)
    raise NotInS2("no system description, profile or constraints among the words")


def _profile_out(offer: ProfileFlexibility, id: str) -> Words:
    sequences = [
        {
            "id": sequence.name,
            "elements": [
                {
                    "duration": ms(slot.duration_s),
                    "power_values": [
                        {
                            "value_expected": slot.power_w,
                            "commodity_quantity": QUANTITY,
                            **({} if slot.peak_w is None else {"value_upper_limit": slot.peak_w}),
                        }
                    ],
                }
                for slot in sequence.slots
            ],
            "is_interruptible": any(slot.interruptible for slot in sequence.slots),
            "max_pause_before": ms(sequence.pause_at_most_s),
            "abnormal_condition_only": False,
        }
        for sequence in offer.alternatives
    ]
    container = {"id": offer.job, "power_sequences": sequences}
    status = {"power_profile_id": id, "sequence_container_id": offer.job, "status": SEQUENCE_STATES[offer.state]}
    start, end = offer.earliest_start.isoformat(), offer.done_by.isoformat()
    definition = {"id": id, "start_time": start, "end_time": end, "power_sequences_containers": [container]}
    return [
        shape("PPBC.PowerProfileDefinition", id, **definition),
        shape("PPBC.PowerProfileStatus", f"{id}-status", sequence_container_status=[status]),
    ]


def _profile_in(words: Words) -> ProfileFlexibility:
    definition, status = needed(words, "PPBC.PowerProfileDefinition"), find(words, "PPBC.PowerProfileStatus")
    container = definition["power_sequences_containers"][0]
    state: SequenceState = "not_scheduled"
    if status is not None:
        said = status["sequence_container_status"][0]["status"]
        state = next(ours for ours, theirs in SEQUENCE_STATES.items() if theirs == said)
    return ProfileFlexibility(
        job=container["id"],
        alternatives=tuple(_sequence_in(sequence) for sequence in container["power_sequences"]),
        earliest_start=datetime.fromisoformat(definition["start_time"]),
        done_by=datetime.fromisoformat(definition["end_time"]),
        state=state,
    )


def _sequence_in(sequence: dict[str, Any]) -> PowerSequence:
    return PowerSequence(
        name=sequence["id"],
        slots=tuple(
            PowerSlot(
                duration_s=element["duration"] / 1000,
                power_w=sum(value["value_expected"] for value in element["power_values"]),
                peak_w=element["power_values"][0].get("value_upper_limit"),
                interruptible=sequence["is_interruptible"],
            )
            for element in sequence["elements"]
        ),
        pause_at_most_s=sequence.get("max_pause_before", 0) / 1000,
    )


def _envelope_out(offer: EnvelopeFlexibility, at: datetime, id: str) -> Words:
    def limit(kind: str, start: float, end: float) -> dict[str, Any]:
        boundary = {"limit_type": kind, "range_boundary": span(start, end), "abnormal_condition_only": False}
        return {"commodity_quantity": QUANTITY, **boundary}

    ranges = [
        limit("UPPER_LIMIT", offer.upper_from_w, offer.upper_to_w),
        limit("LOWER_LIMIT", offer.lower_from_w, offer.lower_to_w),
    ]
    fields = {"valid_from": at.isoformat(), "consequence_type": offer.consequence.upper()}
    return [shape("PEBC.PowerConstraints", id, id=id, **fields, allowed_limit_ranges=ranges)]


def _envelope_in(words: Words) -> EnvelopeFlexibility:
    said = needed(words, "PEBC.PowerConstraints")
    bounds = {one["limit_type"]: one["range_boundary"] for one in said["allowed_limit_ranges"]}
    upper, lower = bounds["UPPER_LIMIT"], bounds["LOWER_LIMIT"]
    return EnvelopeFlexibility(
        upper_from_w=upper["start_of_range"],
        upper_to_w=upper["end_of_range"],
        lower_from_w=lower["start_of_range"],
        lower_to_w=lower["end_of_range"],
        consequence="vanish" if said["consequence_type"] == "VANISH" else "defer",
    )


def _timers(modes: tuple[OperationMode, ...]) -> list[dict[str, Any]]:
    return [{"id": f"{mode.name}-minimum", "duration": ms(mode.minimum_s)} for mode in modes if mode.minimum_s]


def _minimum(timers: list[dict[str, Any]], name: str) -> float:
    return next((timer["duration"] / 1000 for timer in timers if timer["id"] == f"{name}-minimum"), 0.0)


def _modes_out(offer: ModesFlexibility, at: datetime, id: str) -> Words:
    per_w = offer.cost_eur_per_kwh / 3.6e6
    modes = [
        {
            "id": mode.name,
            "power_ranges": [power_range(mode.lower_w, mode.upper_w)],
            "running_costs": span(abs(mode.lower_w) * per_w, abs(mode.upper_w) * per_w),
            "abnormal_condition_only": False,
        }
        for mode in offer.modes
    ]
    fields = {"operation_modes": modes, "transitions": [], "timers": _timers(offer.modes)}
    return [
        shape("OMBC.SystemDescription", id, valid_from=at.isoformat(), **fields),
        shape("OMBC.Status", f"{id}-mode", active_operation_mode_id=offer.mode, operation_mode_factor=1.0),
    ]


def _modes_in(words: Words) -> ModesFlexibility:
    system = needed(words, "OMBC.SystemDescription")
    cost, modes = 0.0, []
    for mode in system["operation_modes"]:
        power, costs = mode["power_ranges"][0], mode.get("running_costs")
        lower, upper = power["start_of_range"], power["end_of_range"]
        modes.append(
            OperationMode(
                name=mode["id"], lower_w=lower, upper_w=upper, minimum_s=_minimum(system["timers"], mode["id"])
            )
        )
        if costs is not None and lower:
            cost = round(costs["start_of_range"] / abs(lower) * 3.6e6, 6)
    active = needed(words, "OMBC.Status")["active_operation_mode_id"]
    return ModesFlexibility(modes=tuple(modes), mode=active, cost_eur_per_kwh=cost)


def _demand_out(offer: DemandFlexibility, at: datetime, id: str) -> Words:
    modes = [
        {
            "Id": mode.name,
            "diagnostic_label": "active" if mode.name == offer.mode else "",
            "power_ranges": [power_range(mode.lower_w, mode.upper_w)],
            "supply_range": span(mode.lower_w * offer.cop_share, mode.upper_w * offer.cop_share),
            "abnormal_condition_only": False,
        }
        for mode in offer.modes
    ]
    # The schema itself spells the commodities of this actuator so.
    actuator = {"id": "actuator", "supported_commodites": ["ELECTRICITY"], "operation_modes": modes}
    actuator |= {"transitions": [], "timers": _timers(offer.modes)}
    demand = span(offer.demand_w, offer.demand_w)
    fields = {"actuators": [actuator], "present_demand_rate": demand, "provides_average_demand_rate_forecast": False}
    return [shape("DDBC.SystemDescription", id, valid_from=at.isoformat(), **fields)]


def _demand_in(words: Words) -> DemandFlexibility:
    system = needed(words, "DDBC.SystemDescription")
    actuator, cop, active, modes = system["actuators"][0], 1.0, "", []
    for mode in actuator["operation_modes"]:
        power, supply = mode["power_ranges"][0], mode["supply_range"]
        minimum = _minimum(actuator["timers"], mode["Id"])
        modes.append(
            OperationMode(
                name=mode["Id"], lower_w=power["start_of_range"], upper_w=power["end_of_range"], minimum_s=minimum
            )
        )
        active = mode["Id"] if mode.get("diagnostic_label") == "active" else active
        if power["end_of_range"]:
            cop = round(supply["end_of_range"] / power["end_of_range"], 6)
    demand = system["present_demand_rate"]["start_of_range"]
    return DemandFlexibility(demand_w=demand, modes=tuple(modes), mode=active or modes[0].name, cop_share=cop)
