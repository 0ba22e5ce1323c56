"""One line of the table: a figure, its target, and how they compare."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import ClassVar


@dataclass(frozen=True, kw_only=True)
class Figure:
    """``at_least`` or ``at_most`` is the target of design section 8; neither: for information only."""

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better than the target; below 1 it is missed."""
        if self.at_least is not None:
            return self.value / self.at_least
        if self.at_most is not None:
            return float(self.value <= 0) if self.at_most == 0 else self.at_most / max(self.value, 1e-9)
        return None

    @property
    def verdict(self) -> str:
        return "" if self.ratio is None else "meets" if self.ratio >= 1 else "misses"


@dataclass(frozen=True)
class Missing:
    """A benchmark that cannot run here, and why."""

    what: str
    why: str
    verdict: ClassVar[str] = ""


@dataclass(frozen=True)
class Failed:
    """A benchmark that should have run, and what went wrong."""

    what: str
    why: str
    verdict: ClassVar[str] = "failed"


Result = Figure | Missing | Failed


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


__all__ = ["Failed", "Figure", "Missing", "Result", "median", "percentile"]
