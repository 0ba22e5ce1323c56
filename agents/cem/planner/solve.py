"""From a problem to a plan: build, propose, search, check, read."""

import time
from dataclasses import replace

from agents.cem.planner.check import check
from agents.cem.planner.model import INF, Floats, Found, SolverFailed
from agents.cem.planner.plan import FoundBy, Plan
from agents.cem.planner.problem import Problem
from agents.cem.planner.program import Program
from agents.cem.planner.read import read


def solve(problem: Problem) -> Plan:
    """The cheapest plan within gap and time; always one that keeps what is hard.

    Pure but for the time it takes; deterministic for a seed as long as the time limit is not reached. It may run in a
    thread: the solver does not hold the interpreter.

    raises  BadProblem    the problem contradicts itself
            SolverFailed  neither search nor rule found a plan: a fault of this program, never of the input
    """
    began = time.monotonic()
    problem = check(problem)
    program, spent, searches = Program(problem), 0.0, 0
    while True:
        start = best_start(program)
        left = problem.effort.time_limit_s - (time.monotonic() - began)
        found = search(program, start, left)
        spent, searches = spent + found.seconds, searches + 1
        if program.everywhere or found.x is None or not program.does_both(found.x):
            break
        program = Program(problem, everywhere=True)
    by: FoundBy = "proof" if found.proven else "time_limit"
    x = found.x
    if x is None:
        if start is None:
            raise SolverFailed("no plan within the time limit, and none by rule: raise the time limit")
        by, x = "construction", start
    gap = found.gap if x is found.x else INF
    plan = read(program, x, by, gap)
    return replace(plan, seconds=time.monotonic() - began, solver_seconds=spent, searches=searches)


def best_start(program: Program) -> Floats | None:
    """The cheapest feasible plan by rule: the announced one carried on, or a new one."""
    starts = [program.by_rule(follow=follow) for follow in ((True, False) if program.before else (False,))]
    feasible = [x for x in starts if not program.frozen.fault(x)]
    return min(feasible, key=lambda x: float(program.frozen.cost @ x), default=None)


def search(program: Program, start: Floats | None, limit_s: float) -> Found:
    effort = program.problem.effort
    if limit_s <= 0:
        return Found(None, False, INF, 0.0)
    return program.frozen.solve(start, limit_s=limit_s, gap=effort.gap, gap_eur=effort.gap_eur, seed=effort.seed)
