"""A good plan in tens of milliseconds: the relaxation is rounded hour by hour, and solved again after each.

The relaxation is nearly whole (profiles per start, turn-on inequalities, the cuts on own surplus), so that what it
costs is a bound that this plan often reaches within the gap; then no tree needs to be searched.
"""

from math import ceil
from typing import Any

import numpy as np

from agents.cem.planner.jobs import JobPart
from agents.cem.planner.model import INF, Floats, Ints
from agents.cem.planner.part import Part
from agents.cem.planner.program import Program
from agents.cem.planner.switch import Switch

WINDOW = 4
"""Slots that are rounded at once: an hour, in which the price is mostly one."""
CHEAP = 3e-4
"""A step of the dive that costs less than this share is taken as it is."""


class Relaxation:
    """The linear program without whole columns, kept warm while columns are fixed one after the other."""

    def __init__(self, program: Program, limit_s: float) -> None:
        import highspy

        self._ok = highspy.HighsModelStatus.kOptimal
        self.frozen = program.frozen
        self._solver: Any = self.frozen.solver(whole=False, presolve=False, options={"time_limit": max(1e-3, limit_s)})

    def solve(self, below: float = INF) -> Floats | None:
        """None when there is no solution cheaper than ``below``, or no time left."""
        self._solver.setOptionValue("objective_bound", below)
        self._solver.run()
        if self._solver.getModelStatus() != self._ok:
            return None
        return np.array(self._solver.getSolution().col_value)

    def fix(self, columns: Ints, values: Floats) -> None:
        self.bound(columns, values, values)

    def free(self, columns: Ints) -> None:
        self.bound(columns, self.frozen.lower[columns], self.frozen.upper[columns])

    def bound(self, columns: Ints, lower: Floats, upper: Floats) -> None:
        if len(columns):
            self._solver.changeColsBounds(len(columns), columns.astype(np.int32), lower, upper)


def dive(program: Program, lp: Relaxation, x: Floats) -> Floats | None:
    """From the relaxed solution to a whole one; None when it ran into a corner or out of time."""
    now: Floats | None = x
    for part in program.parts:
        if isinstance(part, JobPart) and len(part.choice) and now is not None:
            now = _settle_job(lp, part, now)
    switched = [(part, switch) for part in program.parts if (switch := part.switched()) is not None]
    slots = program.world.slots
    for first in range(0, slots.n, WINDOW):
        window = np.arange(first, min(slots.n, first + WINDOW))
        for part, switch in switched:
            if now is None:
                return None
            now = _settle_window(lp, part, switch, window, now, slots.edges_s)
    return _round_rest(program, lp, now)


def _settle_window(
    lp: Relaxation, part: Part, switch: Switch, window: Ints, x: Floats, edges_s: Floats
) -> Floats | None:
    """The pattern after which the relaxation is cheapest; a second is tried only where the first costs something."""
    columns = switch.on[window]
    before = lp.frozen.objective(x)
    best: tuple[float, Floats, Floats] | None = None
    for to in _patterns(part, switch, window, x, edges_s):
        lp.fix(columns, to)
        if np.abs(x[columns] - to).max() < 1e-9:
            return x
        after = lp.solve()
        if after is None:
            continue
        cost = lp.frozen.objective(after)
        if best is None or cost < best[0]:
            best = cost, to, after
        if cost - before < CHEAP * abs(before):
            break
    if best is None:
        lp.free(columns)  # what is left loose is settled at the end
        return lp.solve()
    lp.fix(columns, best[1])
    return best[2]


def _settle_job(lp: Relaxation, part: JobPart, x: Floats) -> Floats | None:
    value = x[part.choice]
    if value.max() > 1 - 1e-9 or value.sum() < 1e-9:
        return x
    to = np.zeros(len(value))
    to[int(value.argmax())] = 1.0
    lp.fix(part.choice, to)
    return lp.solve()


def _patterns(part: Part, switch: Switch, window: Ints, x: Floats, edges_s: Floats) -> list[Floats]:
    """The likeliest first: the state goes on as long as the relaxation leans to it, or as much as it leans to."""
    leaning = part.leaning(x)[window]
    on, since = switch.state_before(x, int(window[0]), edges_s)
    drag = np.full(len(window), 0.3 if on else 0.7)
    nearness = 1e-6 * np.arange(len(window)) * (-1.0 if on else 1.0)
    order = np.argsort(-(leaning + nearness), kind="stable")
    counted = np.zeros((2, len(window)))
    counted[0, order[: int(leaning.sum() + 0.5)]] = 1.0
    counted[1, order[: ceil(leaning.sum() - 1e-6)]] = 1.0
    wanted = [leaning > 1 - 1e-9 if np.isin(leaning, (0.0, 1.0)).all() else leaning > drag, *counted]
    wanted += [np.zeros(len(window)), np.ones(len(window))]
    out: list[Floats] = []
    for want in wanted:
        to = switch.lawful(np.asarray(want, dtype=float), window, on, since, edges_s)
        if not any(np.array_equal(to, other) for other in out):
            out.append(to)
    return out


def _round_rest(program: Program, lp: Relaxation, x: Floats | None) -> Floats | None:
    """Whatever whole columns are left, the most decided first."""
    whole = np.flatnonzero(program.frozen.whole)
    for _ in range(len(whole)):
        if x is None:
            return None
        away = np.abs(x[whole] - np.round(x[whole]))
        loose = np.flatnonzero(away > 1e-6)
        if not len(loose):
            break
        lp.fix(whole[away <= 1e-6], np.round(x[whole[away <= 1e-6]]))
        pick = whole[loose[int(x[whole[loose]].argmax())]]
        lp.fix(np.array([pick]), np.array([1.0]))
        x = lp.solve()
    if x is None:
        return None
    x[whole] = np.round(x[whole])
    return x
