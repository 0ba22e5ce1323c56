"""Every plan keeps what is hard or reports it, whatever the home and however little time there was."""

from dataclasses import replace

import pytest

from agents.cem.planner.plan import Plan
from agents.cem.planner.program import Program
from agents.cem.planner.read import read
from agents.cem.planner.solve import solve
from tests.cem.planner.instances import wild
from tests.cem.planner.lawful import faults


def said(plan: Plan) -> str:
    return f"{plan.found_by}, gap {plan.gap:.3f}, {[b.reason.text for b in plan.broken]}"


@pytest.mark.parametrize("seed", range(60))
def test_every_plan_is_lawful(seed: int) -> None:
    problem = wild(seed)
    plan = solve(problem)
    assert faults(problem, plan) == [], said(plan)


@pytest.mark.parametrize("seed", range(60))
def test_a_plan_by_rule_is_lawful(seed: int) -> None:
    problem = wild(seed)
    for eager in (False, True):
        program = Program(problem)
        x = program.by_rule(eager=eager)
        assert program.frozen.fault(x) == ""
        assert faults(problem, read(program, x, "construction", 0.0)) == []


@pytest.mark.parametrize("seed", range(60, 70))
def test_without_time_a_plan_is_built_by_rule(seed: int) -> None:
    problem = wild(seed)
    problem = replace(problem, effort=replace(problem.effort, time_limit_s=1e-9))
    plan = solve(problem)
    assert plan.found_by == "construction"
    assert faults(problem, plan) == []


@pytest.mark.parametrize("seed", range(100, 115))
def test_a_plan_carried_on_is_lawful(seed: int) -> None:
    problem = wild(seed)
    before = solve(problem)
    later = replace(problem, previous=before)
    assert faults(later, solve(later)) == []
