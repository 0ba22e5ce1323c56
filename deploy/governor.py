"""Holds the run's clock at a speed that all processes can follow, and says by how much they could not."""

from bisect import insort
from dataclasses import dataclass, field

PERIOD_S = 5.0
"""An agent's shortest period, run seconds: the device reading. Who is later than that misses one."""
_CALM_S = 1.5
_LATE_LOOKS = 2
_CALM_LOOKS = 4
_SLOWER, _FASTER = 0.75, 1.2
_SLOWEST = 1.0


@dataclass
class Governor:
    """Pure: lags in, speed out. Called once a wall second."""

    wanted: float
    speed: float = 0.0
    held_back: int = 0
    p99_s: float = 0.0
    _late: int = 0
    _calm: int = 0
    _all: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.speed = self.wanted

    def look(self, lags: list[float]) -> float:
        """The speed to go on with, from each process's worst lag since the last look, run seconds."""
        self.p99_s = percentile(sorted(lags), 0.99)
        for lag in lags:
            insort(self._all, lag)
        if self.p99_s > PERIOD_S:
            self._late, self._calm = self._late + 1, 0
        elif self.p99_s < _CALM_S:
            self._late, self._calm = 0, self._calm + 1
        else:
            self._late = self._calm = 0
        if self._late >= _LATE_LOOKS and self.speed > _SLOWEST:
            self.speed = max(_SLOWEST, self.speed * _SLOWER)
            self.held_back += 1
            self._late = 0
        elif self._calm >= _CALM_LOOKS and self.speed < self.wanted:
            self.speed = min(self.wanted, self.speed * _FASTER)
            self._calm = 0
        return self.speed

    def summary(self) -> dict[str, float]:
        """p50, p99 and the worst of all lags so far, run seconds."""
        return {
            "p50": percentile(self._all, 0.5),
            "p99": percentile(self._all, 0.99),
            "max": self._all[-1] if self._all else 0.0,
        }


def percentile(ordered: list[float], share: float) -> float:
    """Of an ordered list; 0 for an empty one."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
