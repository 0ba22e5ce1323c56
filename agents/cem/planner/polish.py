"""Small changes of a whole plan, each tried with a warm relaxation: runs dropped, joined, begun or ended otherwise."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from agents.cem.planner.dive import Relaxation
from agents.cem.planner.jobs import JobPart
from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.program import Program
from agents.cem.planner.switch import Switch

WORTH = 1e-4
"""A change that gains less than this share is not made."""


def polish(program: Program, lp: Relaxation, x: Floats, spare: Callable[[], bool], goal: float) -> Floats:
    """The best that single changes lead to, until ``goal`` or while there is time to ``spare``; ``x`` stays whole."""
    frozen = program.frozen
    whole = np.flatnonzero(frozen.whole)
    lp.fix(whole, x[whole])
    best = frozen.objective(x)
    switches = [(part.name, switch) for part in program.parts if (switch := part.switched()) is not None]
    tried: set[tuple[str, bytes]] = set()
    improved = True
    while improved and best > goal:
        improved = False
        for name, switch in switches:
            for pattern in list(_neighbours(switch, x, program.world.slots.edges_s)):
                if not spare() or best <= goal:
                    return x
                key = (name, pattern.tobytes())
                if key in tried:
                    continue
                tried.add(key)
                if (better := _try(lp, switch.on, pattern, x, best)) is not None:
                    x, best, improved = better, frozen.objective(better), True
                    tried.clear()
                    break
        for part in program.parts:
            if isinstance(part, JobPart) and len(part.choice) > 1:
                for pattern in _other_starts(part, x):
                    if not spare() or best <= goal:
                        return x
                    if (better := _try(lp, part.choice, pattern, x, best)) is not None:
                        x, best, improved = better, frozen.objective(better), True
    return x


def _try(lp: Relaxation, columns: Ints, pattern: Floats, x: Floats, best: float) -> Floats | None:
    lp.fix(columns, pattern)
    after = lp.solve(below=best - WORTH * abs(best))
    if after is not None and lp.frozen.objective(after) < best - WORTH * abs(best):
        return after
    lp.fix(columns, np.round(x[columns]))
    return None


def _neighbours(switch: Switch, x: Floats, edges_s: Floats) -> Iterator[Floats]:
    """Patterns one change away that keep the minimum times."""
    now = np.round(x[switch.on])
    n = len(now)
    window = np.arange(n)
    edge = np.flatnonzero(np.diff(np.concatenate(([0.0], now, [0.0]))))
    runs = edge.reshape(-1, 2)
    changes: list[tuple[int, int, float]] = []
    changes += [(a, b, 0.0) for a, b in runs]
    changes += [(b, c, 1.0) for (_, b), (c, _) in pairwise(runs)]
    for a, b in runs:
        changes += [(a - 1, a, 1.0), (b, b + 1, 1.0), (a, a + 1, 0.0), (b - 1, b, 0.0)]
        changes += [(a - 2, a, 1.0), (b, b + 2, 1.0), (a, a + 2, 0.0), (b - 2, b, 0.0)]
    for begin, end, value in changes:
        begin, end = max(0, begin), min(n, end)
        pattern = now.copy()
        pattern[begin:end] = value
        if begin < end and np.array_equal(
            switch.lawful(pattern, window, switch.was_on, switch.since_s, edges_s), pattern
        ):
            yield pattern
    for a, b in runs:  # the same run a little earlier or later
        for shift in (-4, -2, -1, 1, 2, 4):
            if a + shift >= 0 and b + shift <= n:
                pattern = now.copy()
                pattern[a:b] = 0.0
                pattern[a + shift : b + shift] = 1.0
                if np.array_equal(switch.lawful(pattern, window, switch.was_on, switch.since_s, edges_s), pattern):
                    yield pattern


def _other_starts(part: JobPart, x: Floats) -> Iterator[Floats]:
    chosen = int(x[part.choice].argmax())
    for step in (-8, -4, -2, -1, 1, 2, 4, 8):
        if 0 <= chosen + step < len(part.choice):
            pattern = np.zeros(len(part.choice))
            pattern[chosen + step] = 1.0
            yield pattern
