"""What a problem must be before it is planned: series of one length, finite figures, ranges that are ranges."""

from dataclasses import fields, is_dataclass
from math import isfinite
from typing import Any

from agents.cem.planner.problem import BadProblem, Battery, Charge, Generator, Job, Problem, Thermal

PER_SLOT_NOT = {"phases", "phase_share", "levels_w"}
"""Tuples of figures that have no value per slot."""


def check(problem: Problem) -> None:
    """Raises BadProblem, which names the device and the field."""
    horizon = problem.horizon
    if horizon.count < 1 or not isfinite(horizon.start_s):
        raise BadProblem(
            "horizon", f"{horizon.count} slots from {horizon.start_s}: at least one slot from a finite instant"
        )
    if horizon.slot_s <= 0 or not (horizon.first_s is None or 0 < horizon.first_s <= horizon.slot_s):
        raise BadProblem("horizon", "slots last longer than 0 s, and the first not longer than the others")
    if not problem.prices.buy_eur_per_kwh:
        raise BadProblem("prices", "buy_eur_per_kwh is empty: one price per slot is needed")
    _figures("prices", problem.prices, horizon.count)
    _figures("connection", problem.connection, horizon.count)
    if not problem.connection.load_w:
        raise BadProblem("connection", "load_w is empty: one value per slot is needed")
    if abs(sum(problem.connection.phase_share) - 1.0) > 1e-6:
        raise BadProblem("connection", f"phase_share sums to {sum(problem.connection.phase_share):g}, not to 1")
    names: set[str] = {"connection"}
    for device in problem.devices:
        if device.name in names:
            raise BadProblem(device.name, "the name is taken twice")
        names.add(device.name)
        _figures(device.name, device, horizon.count)
        if not device.phases or not set(device.phases) <= {1, 2, 3} or len(set(device.phases)) < len(device.phases):
            raise BadProblem(device.name, f"phases {device.phases}: name one to three of 1, 2, 3")
        _device(device)
    heated = {d.name for d in problem.devices if isinstance(d, Thermal)}
    for device in problem.devices:
        if isinstance(device, Generator) and device.heat_to and device.heat_to not in heated:
            raise BadProblem(device.name, f"heat_to {device.heat_to}: there is no such thermal device")


def _device(device: Any) -> None:
    def must(holds: bool, sentence: str) -> None:
        if not holds:
            raise BadProblem(device.name, sentence)

    match device:
        case Job():
            must(bool(device.programmes), "it has no programme")
            for p in device.programmes:
                must(bool(p.steps), f"programme {p.name} has no step")
                must(
                    all(s.duration_s > 0 and s.power_w >= 0 for s in p.steps),
                    f"a step of {p.name} is negative or empty",
                )
        case Charge():
            must(0 <= device.min_power_w <= device.max_power_w, "min_power_w is not within 0 and max_power_w")
            must(0 < device.efficiency <= 1, "efficiency is not within 0 and 1")
        case Battery():
            must(0 <= device.minimum_wh <= device.maximum_wh, "minimum_wh is not within 0 and maximum_wh")
            must(device.energy_wh >= 0, "energy_wh is negative")
            must(device.charge_w >= 0 and device.discharge_w >= 0, "charge_w and discharge_w are figures >= 0")
            good = 0 < device.charge_efficiency <= 1 and 0 < device.discharge_efficiency <= 1
            must(good, "an efficiency is not within 0 and 1")
        case Thermal():
            must(device.capacity_wh_per_k > 0, "capacity_wh_per_k is not positive")
            must(device.loss_w_per_k >= 0, "loss_w_per_k is negative")
            must(bool(device.ambient_c), "ambient_c is empty: one value per slot is needed")
            must(0 <= device.min_power_w <= device.max_power_w, "min_power_w is not within 0 and max_power_w")
            must(all(c > 0 for c in device.cop), "a cop is not positive")
        case Generator():
            must(0 <= device.min_power_w <= device.max_power_w, "min_power_w is not within 0 and max_power_w")
        case _:
            pass


def _figures(where: str, thing: Any, count: int) -> None:
    """Every figure finite, every series one value per slot or empty."""
    for entry in fields(thing):
        value = getattr(thing, entry.name)
        if isinstance(value, tuple) and value and all(isinstance(v, int | float) for v in value):
            if entry.name in PER_SLOT_NOT:
                continue
            if len(value) not in (0, count):
                raise BadProblem(where, f"{entry.name} has {len(value)} values for {count} slots")
            if not all(map(isfinite, value)):
                raise BadProblem(where, f"{entry.name} has a value that is not finite: leave out what is not bounded")
        elif isinstance(value, float) and not isfinite(value):
            raise BadProblem(where, f"{entry.name} is {value}")
        elif is_dataclass(value):
            _figures(where, value, count)
        elif isinstance(value, tuple):
            for item in value:
                if is_dataclass(item):
                    _figures(where, item, count)
