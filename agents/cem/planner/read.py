"""A solution read back as a plan."""

import numpy as np

from agents.cem.planner.batteries import BatteryPart
from agents.cem.planner.broken import broken, refused
from agents.cem.planner.charges import ChargePart
from agents.cem.planner.heat import ThermalPart
from agents.cem.planner.jobs import JobPart, PausingJobPart
from agents.cem.planner.model import Floats
from agents.cem.planner.part import Part
from agents.cem.planner.plan import Costs, Course, FoundBy, Plan, Run
from agents.cem.planner.problem import Series
from agents.cem.planner.program import Program
from agents.cem.planner.reasons import Explainer


def read(program: Program, x: Floats, by: FoundBy, gap: float) -> Plan:
    explainer = Explainer(program, x)
    return Plan(
        broken=broken(explainer),
        refused=refused(explainer),
        horizon=program.problem.horizon,
        devices={part.name: course(explainer, part) for part in program.parts},
        power_w=series(program.connection.net(x) * 1000.0),
        costs=costs(program, x),
        baseline=costs(program, program.by_rule(eager=True)),
        objective_eur=program.frozen.objective(x),
        gap=gap,
        seconds=0.0,
        solver_seconds=0.0,
        found_by=by,
    )


def series(values: Floats) -> Series:
    return tuple(round(v, 3) + 0.0 for v in values.tolist())


def costs(program: Program, x: Floats) -> Costs:
    by = program.world.model.cost_of(x)
    names = ("energy", "peak", "fuel", "wear", "switching", "stored")
    wishes = by.get("wishes", 0.0) + by.get("broken", 0.0)
    return Costs(wishes=wishes, **{name: by.get(name, 0.0) for name in names})


def course(explainer: Explainer, part: Part) -> Course:
    x = explainer.x
    power = part.power.at(x) * 1000.0
    highest = part.highest.at(x) * 1000.0
    energy: Series = ()
    temperature: Series = ()
    programme = ""
    runs: tuple[Run, ...] = ()
    match part:
        case JobPart() | PausingJobPart():
            programme, runs = part.chosen(x)
        case ChargePart() | BatteryPart():
            energy = series(part.stored_kwh(x) * 1000.0)
        case ThermalPart():
            temperature = series(part.temperatures_c(x))
    return Course(
        name=part.name,
        power_w=series(power),
        maximum_w=series(highest),
        on=tuple((np.abs(highest) > 0.5).tolist()),
        why=explainer.explain(part),
        energy_wh=energy,
        temperature_c=temperature,
        programme=programme,
        runs=runs,
    )
