"""From a problem to a plan: build, propose, search, check, read."""

import time
from dataclasses import replace

from agents.cem.planner.check import check
from agents.cem.planner.dive import Relaxation, dive
from agents.cem.planner.model import INF, Floats, Found, SolverFailed
from agents.cem.planner.plan import FoundBy, Plan
from agents.cem.planner.polish import polish
from agents.cem.planner.problem import Effort, Problem
from agents.cem.planner.program import Program
from agents.cem.planner.read import read

POLISH_S, POLISH_SHARE = 0.4, 0.5
"""At most so much processor time, and so much of the time limit, goes by before the proof is sought."""


def solve(problem: Problem) -> Plan:
    """The cheapest plan within gap and time; always one that keeps what is hard.

    Pure but for the time it takes; deterministic for a seed as long as the time limit is not reached. It may run in a
    thread: the solver does not hold the interpreter.

    raises  BadProblem    the problem contradicts itself
            SolverFailed  neither search nor rule found a plan: a fault of this program, never of the input
    """
    began = time.monotonic()
    check(problem)
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
    return min(feasible, key=lambda x: program.frozen.objective(x), default=None)


def search(program: Program, start: Floats | None, limit_s: float) -> Found:
    """Relaxation for the bound, a dive from it for the plan, and a tree only for what is left of the gap."""
    began, effort, frozen = time.monotonic(), program.problem.effort, program.frozen

    def left() -> float:
        return limit_s - (time.monotonic() - began)

    if limit_s <= 0:
        return Found(None, False, INF, 0.0)
    if not frozen.whole.any():
        return frozen.solve(None, limit_s=left(), gap=effort.gap, gap_eur=effort.gap_eur, seed=effort.seed)
    lp = Relaxation(program, limit_s)
    relaxed = lp.solve()
    bound, best = -INF, None
    if relaxed is not None:
        bound, dived = frozen.objective(relaxed), dive(program, lp, relaxed)
        candidates = [x for x in (dived, start) if x is not None and not frozen.fault(x)]
        best = min(candidates, key=frozen.objective, default=None)
        if dived is not None and best is dived and not near(frozen.objective(best), bound, effort):
            spent = time.thread_time()
            polished = polish(
                program,
                lp,
                best,
                lambda: time.thread_time() - spent < POLISH_S and left() > (1 - POLISH_SHARE) * limit_s,
                bound + allowed(frozen.objective(best), effort),
            )
            best = best if frozen.fault(polished) else polished
    if best is not None and near(frozen.objective(best), bound, effort):
        return Found(best, True, gap_of(frozen.objective(best), bound), time.monotonic() - began, bound)
    found = frozen.solve(
        start if best is None else best, limit_s=left(), gap=effort.gap, gap_eur=effort.gap_eur, seed=effort.seed
    )
    x, bound = best if found.x is None else found.x, max(bound, found.bound)
    gap = INF if x is None else gap_of(frozen.objective(x), bound)
    return Found(x, found.proven, gap, time.monotonic() - began, bound)


def allowed(objective: float, effort: Effort) -> float:
    return max(effort.gap_eur, effort.gap * abs(objective))


def near(objective: float, bound: float, effort: Effort) -> bool:
    return objective - bound <= allowed(objective, effort)


def gap_of(objective: float, bound: float) -> float:
    return max(0.0, objective - bound) / max(1e-9, abs(objective))
