"""What stores energy, as S2 says it (FRBC): a fill level, and what each power does to it. Batteries, cars, heat."""

from datetime import datetime, timedelta
from typing import Any

from contracts.flexibility import StorageFlexibility, StorageTarget, ThermalFlexibility
from contracts.s2_words import Words, find, ms, needed, power_range, shape, span


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
        "fill_rate": span(lower * per_w, upper * per_w),
        "power_ranges": [power_range(lower, upper)],
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


def storage_to_s2(offer: StorageFlexibility, at: datetime, id: str) -> Words:
    per_w = 100 / offer.capacity_wh / 3600
    level = span(offer.lowest_percent, offer.highest_percent)
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
            wished = span(target.lower_percent, target.upper_percent)
            elements.append({"duration": ms((target.at - before).total_seconds()), "fill_level_range": wished})
            before = target.at
        words.append(shape("FRBC.FillLevelTargetProfile", f"{id}-target", start_time=at.isoformat(), elements=elements))
    return words


def modes_of(words: Words) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The system's description, and its modes by name. Raises NotInS2."""
    system = needed(words, "FRBC.SystemDescription")
    return system, {mode["id"]: mode["elements"][0] for mode in system["actuators"][0]["operation_modes"]}


def storage_from_s2(words: Words) -> StorageFlexibility:
    system, modes = modes_of(words)
    capacity = float(system["storage"]["fill_level_label"].split()[2])
    fill, level = modes["fill"], system["storage"]["fill_level_range"]
    power, rate = fill["power_ranges"][0], fill["fill_rate"]
    targets, profile = [], find(words, "FRBC.FillLevelTargetProfile")
    if profile is not None:
        at = datetime.fromisoformat(profile["start_time"])
        for element in profile["elements"]:
            at += timedelta(milliseconds=element["duration"])
            wished = element["fill_level_range"]
            targets.append(
                StorageTarget(at=at, lower_percent=wished["start_of_range"], upper_percent=wished["end_of_range"])
            )
    leak = needed(words, "FRBC.LeakageBehaviour")["elements"][0]["leakage_rate"]
    return StorageFlexibility(
        capacity_wh=capacity,
        level_percent=needed(words, "FRBC.StorageStatus")["present_fill_level"],
        lowest_percent=level["start_of_range"],
        highest_percent=level["end_of_range"],
        fill_upper_w=power["end_of_range"],
        fill_least_w=power["start_of_range"],
        empty_lower_w=modes["empty"]["power_ranges"][0]["end_of_range"] if "empty" in modes else 0.0,
        efficiency_share=round(rate["end_of_range"] / power["end_of_range"] * capacity * 36, 6),
        loss_per_day_percent=round(leak * 86_400, 6),
        targets=tuple(targets),
    )


def heat_to_s2(offer: ThermalFlexibility, at: datetime, id: str) -> Words:
    """The temperature is the fill level; losses grow along a line, so two stretches say it."""
    sign, capacity = (1.0 if offer.heats else -1.0), offer.capacity_wh_per_k
    per_w = sign * offer.cop_share / capacity / 3600
    level, middle = span(offer.lowest_c, offer.highest_c), (offer.lowest_c + offer.highest_c) / 2
    steps = offer.steps_w or (offer.upper_w,)
    modes = [_rate_mode("off", level, 0.0, 0.0, per_w)]
    for n, step in enumerate(steps):
        least = step if offer.steps_w else offer.least_w
        modes.append(_rate_mode(f"on-{n}", level, least, step, per_w))
    leak = [
        {
            "fill_level_range": span(low, high),
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


def heat_from_s2(words: Words) -> ThermalFlexibility:
    system, modes = modes_of(words)
    label = system["storage"]["fill_level_label"].replace(",", "").split()
    capacity, ambient, level = float(label[1]), float(label[4]), system["storage"]["fill_level_range"]
    lowest, highest = level["start_of_range"], level["end_of_range"]
    powers = [mode["power_ranges"][0] for name, mode in modes.items() if name != "off"]
    fixed = all(power["start_of_range"] == power["end_of_range"] for power in powers)
    full = powers[-1]["end_of_range"]
    rate = next(mode["fill_rate"]["end_of_range"] for name, mode in reversed(modes.items()) if name != "off")
    sign = 1.0 if rate >= 0 else -1.0
    cold, warm = (e["leakage_rate"] * capacity * 3600 for e in needed(words, "FRBC.LeakageBehaviour")["elements"])
    loss = (warm - cold) / ((highest - lowest) / 2)
    demand = sign * (cold - loss * (lowest + (highest - lowest) / 4 - ambient))
    timers = {timer["id"]: timer["duration"] / 1000 for timer in system["actuators"][0]["timers"]}
    return ThermalFlexibility(
        temperature_c=needed(words, "FRBC.StorageStatus")["present_fill_level"],
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
