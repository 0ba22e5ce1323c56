"""Our flexibility in the message shapes of S2 (EN 50491-12-2 as JSON), and back. Pure; a gateway to S2 devices uses it.

Names and fields are those of flexiblepower/s2-ws-json. Powers are W with our sign, which is S2's; durations there are
milliseconds. What S2 has no field for (a user's own delay, an incentive, who has to confirm) does not travel.
"""

from datetime import datetime, timedelta
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
    StorageTarget,
    ThermalFlexibility,
)
from contracts.profiles import PowerSequence, PowerSlot

Words = list[dict[str, Any]]
QUANTITY = "ELECTRIC.POWER.3_PHASE_SYMMETRIC"
CONTROL_TYPES: dict[type, str] = {
    ProfileFlexibility: "POWER_PROFILE_BASED_CONTROL",
    EnvelopeFlexibility: "POWER_ENVELOPE_BASED_CONTROL",
    StorageFlexibility: "FILL_RATE_BASED_CONTROL",
    ThermalFlexibility: "FILL_RATE_BASED_CONTROL",
    ModesFlexibility: "OPERATION_MODE_BASED_CONTROL",
    DemandFlexibility: "DEMAND_DRIVEN_BASED_CONTROL",
}
SEQUENCE_STATES: dict[SequenceState, str] = {state: state.upper() for state in get_args(SequenceState)}


class NotInS2(ValueError):
    """Words that make no offer or instruction of ours: the text names what is missing."""


def shape(kind: str, message_id: str, /, **fields: Any) -> dict[str, Any]:
    return {"message_type": kind, "message_id": message_id, **fields}


def _range(start: float, end: float) -> dict[str, Any]:
    return {"start_of_range": start, "end_of_range": end}


def _power(lower: float, upper: float) -> dict[str, Any]:
    return {**_range(lower, upper), "commodity_quantity": QUANTITY}


def ms(seconds: float) -> int:
    return round(seconds * 1000)


def _find(words: Words, kind: str) -> dict[str, Any] | None:
    return next((one for one in words if one["message_type"] == kind), None)


def _needed(words: Words, kind: str) -> dict[str, Any]:
    found = _find(words, kind)
    if found is None:
        raise NotInS2(f"there is no {kind} among the words")
    return found


# -------------------------------------------------------------------- what a device can do


def to_s2(offer: Flexibility, at: datetime, id: str) -> Words:
    """The words that describe it, in the order in which a resource manager says them. ``id`` is the offer's."""
    match offer:
        case ProfileFlexibility():
            return _profile_out(offer, id)
        case EnvelopeFlexibility():
            return _envelope_out(offer, at, id)
        case StorageFlexibility():
            return _storage_out(offer, at, id)
        case ThermalFlexibility():
            return _thermal_out(offer, at, id)
        case ModesFlexibility():
            return _modes_out(offer, at, id)
        case DemandFlexibility():
            return _demand_out(offer, at, id)


def from_s2(words: Words) -> Flexibility:
    """Raises NotInS2, KeyError when a word lacks what its schema requires."""
    if _find(words, "PPBC.PowerProfileDefinition"):
        return _profile_in(words)
    if _find(words, "PEBC.PowerConstraints"):
        return _envelope_in(words)
    if _find(words, "FRBC.SystemDescription"):
        heat = _needed(words, "FRBC.SystemDescription")["storage"].get("fill_level_label", "").startswith("degC")
        return _thermal_in(words) if heat else _storage_in(words)
    if _find(words, "OMBC.SystemDescription"):
        return _modes_in(words)
    if _find(words, "DDBC.SystemDescription"):
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
    definition, status = _needed(words, "PPBC.PowerProfileDefinition"), _find(words, "PPBC.PowerProfileStatus")
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
        boundary = {"limit_type": kind, "range_boundary": _range(start, end), "abnormal_condition_only": False}
        return {"commodity_quantity": QUANTITY, **boundary}

    ranges = [
        limit("UPPER_LIMIT", offer.upper_from_w, offer.upper_to_w),
        limit("LOWER_LIMIT", offer.lower_from_w, offer.lower_to_w),
    ]
    fields = {"valid_from": at.isoformat(), "consequence_type": offer.consequence.upper()}
    return [shape("PEBC.PowerConstraints", id, id=id, **fields, allowed_limit_ranges=ranges)]


def _envelope_in(words: Words) -> EnvelopeFlexibility:
    said = _needed(words, "PEBC.PowerConstraints")
    bounds = {one["limit_type"]: one["range_boundary"] for one in said["allowed_limit_ranges"]}
    upper, lower = bounds["UPPER_LIMIT"], bounds["LOWER_LIMIT"]
    return EnvelopeFlexibility(
        upper_from_w=upper["start_of_range"],
        upper_to_w=upper["end_of_range"],
        lower_from_w=lower["start_of_range"],
        lower_to_w=lower["end_of_range"],
        consequence="vanish" if said["consequence_type"] == "VANISH" else "defer",
    )


def _actuator(modes: list[dict[str, Any]], timers: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "id": "actuator",
        "supported_commodities": ["ELECTRICITY"],
        "operation_modes": modes,
        "transitions": [],
        "timers": timers or [],
    }


def _rate_mode(name: str, level: dict[str, Any], lower: float, upper: float, per_w: float) -> dict[str, Any]:
    """Watts and what they do to the fill level per second."""
    element = {
        "fill_level_range": level,
        "fill_rate": _range(lower * per_w, upper * per_w),
        "power_ranges": [_power(lower, upper)],
    }
    return {"id": name, "elements": [element], "abnormal_condition_only": False}


def _frbc(at: datetime, id: str, label: str, level: dict[str, Any], modes: list[dict[str, Any]], **more: Any) -> Words:
    storage = {
        "fill_level_label": label,
        "provides_leakage_behaviour": True,
        "provides_fill_level_target_profile": bool(more.get("targets")),
        "provides_usage_forecast": False,
        "fill_level_range": level,
    }
    system = shape(
        "FRBC.SystemDescription",
        id,
        valid_from=at.isoformat(),
        actuators=[_actuator(modes, more.get("timers"))],
        storage=storage,
    )
    status = shape("FRBC.StorageStatus", f"{id}-level", present_fill_level=more["present"])
    leakage = shape("FRBC.LeakageBehaviour", f"{id}-leak", valid_from=at.isoformat(), elements=more["leakage"])
    return [system, status, leakage]


def _storage_out(offer: StorageFlexibility, at: datetime, id: str) -> Words:
    per_w = 100 / offer.capacity_wh / 3600
    level = _range(offer.lowest_percent, offer.highest_percent)
    modes = [_rate_mode("off", level, 0.0, 0.0, per_w)]
    modes.append(_rate_mode("fill", level, offer.fill_least_w, offer.fill_upper_w, per_w * offer.efficiency_share))
    if offer.empty_lower_w < 0:
        modes.append(_rate_mode("empty", level, 0.0, offer.empty_lower_w, per_w))
    leak = [{"fill_level_range": level, "leakage_rate": offer.loss_per_day_percent / 86_400}]
    label = f"percent of {offer.capacity_wh:g} Wh"
    words = _frbc(at, id, label, level, modes, present=offer.level_percent, leakage=leak, targets=offer.targets)
    if offer.targets:
        elements, before = [], at
        for target in offer.targets:
            wished = _range(target.lower_percent, target.upper_percent)
            elements.append({"duration": ms((target.at - before).total_seconds()), "fill_level_range": wished})
            before = target.at
        words.append(shape("FRBC.FillLevelTargetProfile", f"{id}-target", start_time=at.isoformat(), elements=elements))
    return words


def modes_of(words: Words) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    system = _needed(words, "FRBC.SystemDescription")
    return system, {mode["id"]: mode["elements"][0] for mode in system["actuators"][0]["operation_modes"]}


def _storage_in(words: Words) -> StorageFlexibility:
    system, modes = modes_of(words)
    capacity = float(system["storage"]["fill_level_label"].split()[2])
    fill, level = modes["fill"], system["storage"]["fill_level_range"]
    power, rate = fill["power_ranges"][0], fill["fill_rate"]
    targets, profile = [], _find(words, "FRBC.FillLevelTargetProfile")
    if profile is not None:
        at = datetime.fromisoformat(profile["start_time"])
        for element in profile["elements"]:
            at += timedelta(milliseconds=element["duration"])
            wished = element["fill_level_range"]
            targets.append(
                StorageTarget(at=at, lower_percent=wished["start_of_range"], upper_percent=wished["end_of_range"])
            )
    leak = _needed(words, "FRBC.LeakageBehaviour")["elements"][0]["leakage_rate"]
    return StorageFlexibility(
        capacity_wh=capacity,
        level_percent=_needed(words, "FRBC.StorageStatus")["present_fill_level"],
        lowest_percent=level["start_of_range"],
        highest_percent=level["end_of_range"],
        fill_upper_w=power["end_of_range"],
        fill_least_w=power["start_of_range"],
        empty_lower_w=modes["empty"]["power_ranges"][0]["end_of_range"] if "empty" in modes else 0.0,
        efficiency_share=round(rate["end_of_range"] / power["end_of_range"] * capacity * 36, 6),
        loss_per_day_percent=round(leak * 86_400, 6),
        targets=tuple(targets),
    )


def _thermal_out(offer: ThermalFlexibility, at: datetime, id: str) -> Words:
    """The temperature is the fill level; losses grow along a line, so two stretches say it."""
    sign, capacity = (1.0 if offer.heats else -1.0), offer.capacity_wh_per_k
    per_w = sign * offer.cop_share / capacity / 3600
    level, middle = _range(offer.lowest_c, offer.highest_c), (offer.lowest_c + offer.highest_c) / 2
    steps = offer.steps_w or (offer.upper_w,)
    modes = [_rate_mode("off", level, 0.0, 0.0, per_w)]
    for n, step in enumerate(steps):
        least = step if offer.steps_w else offer.least_w
        modes.append(_rate_mode(f"on-{n}", level, least, step, per_w))
    leak = [
        {
            "fill_level_range": _range(low, high),
            "leakage_rate": (offer.loss_w_per_k * ((low + high) / 2 - offer.ambient_c) + sign * offer.demand_w)
            / capacity
            / 3600,
        }
        for low, high in ((offer.lowest_c, middle), (middle, offer.highest_c))
    ]
    timers = [
        {"id": "minimum-on", "duration": ms(offer.minimum_on_s)},
        {"id": "minimum-off", "duration": ms(offer.minimum_off_s)},
    ]
    label = f"degC, {capacity:g} Wh/K, ambient {offer.ambient_c:g}"
    return _frbc(at, id, label, level, modes, present=offer.temperature_c, leakage=leak, timers=timers)


def _thermal_in(words: Words) -> ThermalFlexibility:
    system, modes = modes_of(words)
    label = system["storage"]["fill_level_label"].replace(",", "").split()
    capacity, ambient, level = float(label[1]), float(label[4]), system["storage"]["fill_level_range"]
    lowest, highest = level["start_of_range"], level["end_of_range"]
    powers = [mode["power_ranges"][0] for name, mode in modes.items() if name != "off"]
    fixed = all(power["start_of_range"] == power["end_of_range"] for power in powers)
    full = powers[-1]["end_of_range"]
    rate = next(mode["fill_rate"]["end_of_range"] for name, mode in reversed(modes.items()) if name != "off")
    sign = 1.0 if rate >= 0 else -1.0
    cold, warm = (e["leakage_rate"] * capacity * 3600 for e in _needed(words, "FRBC.LeakageBehaviour")["elements"])
    loss = (warm - cold) / ((highest - lowest) / 2)
    demand = sign * (cold - loss * (lowest + (highest - lowest) / 4 - ambient))
    timers = {timer["id"]: timer["duration"] / 1000 for timer in system["actuators"][0]["timers"]}
    return ThermalFlexibility(
        temperature_c=_needed(words, "FRBC.StorageStatus")["present_fill_level"],
        lowest_c=lowest,
        highest_c=highest,
        capacity_wh_per_k=capacity,
        loss_w_per_k=round(loss, 6),
        ambient_c=ambient,
        heats=sign > 0,
        cop_share=round(abs(rate) / full * capacity * 3600, 6),
        demand_w=round(demand, 6) + 0.0,
        upper_w=full,
        least_w=powers[0]["start_of_range"],
        steps_w=tuple(power["end_of_range"] for power in powers) if fixed else (),
        minimum_on_s=timers.get("minimum-on", 0.0),
        minimum_off_s=timers.get("minimum-off", 0.0),
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
            "power_ranges": [_power(mode.lower_w, mode.upper_w)],
            "running_costs": _range(abs(mode.lower_w) * per_w, abs(mode.upper_w) * per_w),
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
    system = _needed(words, "OMBC.SystemDescription")
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
    active = _needed(words, "OMBC.Status")["active_operation_mode_id"]
    return ModesFlexibility(modes=tuple(modes), mode=active, cost_eur_per_kwh=cost)


def _demand_out(offer: DemandFlexibility, at: datetime, id: str) -> Words:
    modes = [
        {
            "Id": mode.name,
            "diagnostic_label": "active" if mode.name == offer.mode else "",
            "power_ranges": [_power(mode.lower_w, mode.upper_w)],
            "supply_range": _range(mode.lower_w * offer.cop_share, mode.upper_w * offer.cop_share),
            "abnormal_condition_only": False,
        }
        for mode in offer.modes
    ]
    # The schema itself spells the commodities of this actuator so.
    actuator = {"id": "actuator", "supported_commodites": ["ELECTRICITY"], "operation_modes": modes}
    actuator |= {"transitions": [], "timers": _timers(offer.modes)}
    demand = _range(offer.demand_w, offer.demand_w)
    fields = {"actuators": [actuator], "present_demand_rate": demand, "provides_average_demand_rate_forecast": False}
    return [shape("DDBC.SystemDescription", id, valid_from=at.isoformat(), **fields)]


def _demand_in(words: Words) -> DemandFlexibility:
    system = _needed(words, "DDBC.SystemDescription")
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
