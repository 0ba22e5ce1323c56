"""A mixed-integer program in blocks of columns and rows, and its way through the solver. Knows nothing of energy."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Values = float | Floats | Sequence[float]

INF = float("inf")
TOLERANCE = 1e-6
"""The solver's own feasibility tolerance; a given start is held to ten times of it."""

WITHOUT_HEURISTICS = {
    "mip_heuristic_effort": 0.0,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_allow_restart": False,
}


class SolverFailed(RuntimeError):
    """The solver answered with what a well-formed problem cannot cause."""


@dataclass(frozen=True)
class Found:
    """``x`` is None when nothing was found in time; ``gap`` relative, inf when unproven."""

    x: Floats | None
    proven: bool
    gap: float
    seconds: float
    bound: float = -INF
    """No solution is cheaper than this."""


@dataclass
class Model:
    """Minimise. Columns and rows are only ever added; a cost belongs to a category, so that it can be told apart."""

    lower: list[Floats] = field(default_factory=list)
    upper: list[Floats] = field(default_factory=list)
    whole: list[NDArray[np.bool_]] = field(default_factory=list)
    row_lower: list[Floats] = field(default_factory=list)
    row_upper: list[Floats] = field(default_factory=list)
    entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    costs: list[tuple[str, Ints, Floats]] = field(default_factory=list)
    offsets: dict[str, float] = field(default_factory=dict)
    names: list[tuple[int, str]] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def columns(self, n: int, lower: Values = 0.0, upper: Values = INF, *, whole: bool = False) -> Ints:
        self.lower.append(np.broadcast_to(np.asarray(lower, dtype=float), n).copy())
        self.upper.append(np.broadcast_to(np.asarray(upper, dtype=float), n).copy())
        self.whole.append(np.full(n, whole))
        self.width += n
        return np.arange(self.width - n, self.width)

    def bounds_of(self, columns: Ints) -> tuple[Floats, Floats]:
        """Views of the bounds of columns that were added last, to be narrowed."""
        if len(self.lower[-1]) != len(columns) or columns[-1] != self.width - 1:
            raise IndexError("only the block that was added last can be narrowed")
        return self.lower[-1], self.upper[-1]

    def rows(self, name: str, n: int, lower: Values = -INF, upper: Values = INF) -> Ints:
        self.row_lower.append(np.broadcast_to(np.asarray(lower, dtype=float), n).copy())
        self.row_upper.append(np.broadcast_to(np.asarray(upper, dtype=float), n).copy())
        self.names.append((self.height, name))
        self.height += n
        return np.arange(self.height - n, self.height)

    def put(self, rows: Ints | int, columns: Ints | int, values: Values) -> None:
        """Entries; what meets in one place is added."""
        r, c, v = np.broadcast_arrays(rows, columns, np.asarray(values, dtype=float))
        self.entries.append((r.ravel(), c.ravel(), v.ravel()))

    def cost(self, category: str, columns: Ints | int, values: Values) -> None:
        c, v = np.broadcast_arrays(columns, np.asarray(values, dtype=float))
        self.costs.append((category, c.ravel(), v.ravel()))

    def offset(self, category: str, value: float) -> None:
        """A constant of the objective."""
        self.offsets[category] = self.offsets.get(category, 0.0) + value

    def cost_of(self, x: Floats) -> dict[str, float]:
        """The objective by category."""
        out = dict(self.offsets)
        for category, columns, values in self.costs:
            out[category] = out.get(category, 0.0) + float(values @ x[columns])
        return out

    def row_name(self, row: int) -> str:
        return next(name for first, name in reversed(self.names) if first <= row)

    def frozen(self) -> "Frozen":
        cost = np.zeros(self.width)
        for _, columns, values in self.costs:
            np.add.at(cost, columns, values)
        rows, columns, values = (np.concatenate(part) for part in zip(*self.entries, strict=True))
        key = rows * self.width + columns
        order = np.argsort(key, kind="stable")
        key, first = np.unique(key[order], return_index=True)
        values = np.add.reduceat(values[order], first)
        start = np.searchsorted(key, np.arange(self.height + 1) * self.width)
        return Frozen(
            self,
            cost,
            np.concatenate(self.lower),
            np.concatenate(self.upper),
            np.concatenate(self.whole),
            np.concatenate(self.row_lower),
            np.concatenate(self.row_upper),
            start.astype(np.int32),
            (key % self.width).astype(np.int32),
            values,
        )


@dataclass
class Frozen:
    """The same as arrays, row by row."""

    model: Model
    cost: Floats
    lower: Floats
    upper: Floats
    whole: NDArray[np.bool_]
    row_lower: Floats
    row_upper: Floats
    start: NDArray[np.int32]
    index: NDArray[np.int32]
    value: Floats

    def objective(self, x: Floats) -> float:
        return float(self.cost @ x) + self.offset

    @property
    def offset(self) -> float:
        return sum(self.model.offsets.values())

    def fault(self, x: Floats) -> str:
        """The first block that ``x`` breaks, with how much; empty when it is feasible."""
        slack = 10 * TOLERANCE
        out = np.maximum(self.lower - x, x - self.upper)
        if out.max(initial=0.0) > slack:
            return f"column {int(out.argmax())} is {out.max():.3g} outside its bounds"
        if np.abs(x - np.round(x))[self.whole].max(initial=0.0) > slack:
            return "a whole column is not whole"
        sums = np.add.reduceat(np.append(self.value * x[self.index], 0.0), self.start[:-1])
        sums[self.start[:-1] == self.start[1:]] = 0.0
        out = np.maximum(self.row_lower - sums, sums - self.row_upper)
        if out.max(initial=0.0) > slack:
            worst = int(out.argmax())
            return f"{self.model.row_name(worst)} (row {worst}) is broken by {out.max():.3g}"
        return ""

    def solver(
        self, *, whole: bool = True, presolve: bool = True, options: Mapping[str, bool | int | float] = {}
    ) -> Any:
        """A solver with this model in it: one thread, silent."""
        import highspy  # costs memory and time: only who plans loads it

        solver = highspy._core._Highs()
        for name, value in {
            "output_flag": False,
            "threads": 1,
            "presolve": "on" if presolve else "off",
            **options,
        }.items():
            solver.setOptionValue(name, value)
        kinds = self.whole.astype(np.int32) if whole else np.zeros(len(self.cost), np.int32)
        status = solver.passModel(
            len(self.cost),
            len(self.row_lower),
            len(self.value),
            int(highspy.MatrixFormat.kRowwise),
            int(highspy.ObjSense.kMinimize),
            self.offset,
            self.cost,
            self.lower,
            self.upper,
            self.row_lower,
            self.row_upper,
            self.start[:-1],
            self.index,
            self.value,
            kinds,
        )
        if status == highspy.HighsStatus.kError:
            raise SolverFailed("the solver does not take the model: a coefficient is not finite or absurdly large")
        return solver

    def solve(self, start: Floats | None, *, limit_s: float, gap: float, gap_eur: float, seed: int) -> Found:
        """The interpreter's lock is free while the solver runs."""
        import highspy

        began = time.monotonic()
        begun = start is not None and self.whole.any()
        # With a good start the solver's own search for one takes more time than the proof.
        effort = WITHOUT_HEURISTICS if begun else {}
        options = {"time_limit": max(limit_s, 1e-3), "mip_rel_gap": gap, "mip_abs_gap": gap_eur}
        solver = self.solver(options={"random_seed": seed % 2**31, **options, **effort})
        if start is not None and self.whole.any():
            solver.setSolution(len(start), np.arange(len(start), dtype=np.int32), start)
        solver.run()
        status, info = solver.getModelStatus(), solver.getInfo()
        seconds = time.monotonic() - began
        kinds = highspy.HighsModelStatus
        if status in (kinds.kInfeasible, kinds.kUnbounded, kinds.kUnboundedOrInfeasible):
            raise SolverFailed(f"the model is {solver.modelStatusToString(status).lower()}: this must not happen")
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return Found(None, False, INF, seconds)
        x = np.array(solver.getSolution().col_value)
        proven = status == kinds.kOptimal
        if not self.whole.any():
            return Found(x, proven, 0.0 if proven else INF, seconds, self.objective(x) if proven else -INF)
        return Found(x, proven, float(info.mip_gap), seconds, float(info.mip_dual_bound))
