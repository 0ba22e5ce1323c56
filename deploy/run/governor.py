"""Holds the run's clock at a speed that all processes can follow, and says by how much they could not."""

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

PERIOD_S = 5.0
"""An agent's shortest period, run seconds: the device reading. Who is later than that misses one."""
_CALM_S = 1.5
_LOOKS = 4  # the 99th percentile of four looks at sixty processes leaves out the two worst: one stumble slows nobody
_SLOWER, _FASTER = 0.75, 1.25
_SLOWEST = 1.0
_FIRST = 10.0  # a run begins with everybody meeting everybody: that takes wall time, whatever the clock says
_WARMER = 1.6
_BRAKE = 0.4
_STUMBLES = 1  # of the first process, within four looks, that slow nobody


@dataclass
class Governor:
    """Pure: lags in, speed out. Called once a wall second.

    A run starts slowly and warms up while nobody is late. After that one stumbling process slows nobody, a few late
    ones slow the clock within four looks, and a stall of most of them at once. The first process is the world's, where
    there is one: everybody lives in it, so its lag counts as much as all others' together.

    ``speed``: of a run that goes on already.
    """

    wanted: float
    speed: float = 0.0
    held_back: int = 0
    p99_s: float = 0.0
    _recent: deque[list[float]] = field(default_factory=lambda: deque(maxlen=_LOOKS))
    _all: list[float] = field(default_factory=list)
    _warming: bool = True

    def __post_init__(self) -> None:
        self._warming = self.speed == 0.0
        if self._warming:
            self.speed = min(self.wanted, _FIRST)

    def look(self, lags: list[float]) -> float:
        """The speed to go on with, from each process's worst lag since the last look, run seconds."""
        for lag in lags:
            insort(self._all, lag)
        self._recent.append(lags)
        first = sorted(look[0] for look in self._recent if look)
        self.p99_s = max(
            percentile(sorted(lag for look in self._recent for lag in look), 0.99),
            first[-1 - _STUMBLES] if len(first) > _STUMBLES else 0.0,
        )
        if self._warming:
            self._warming = self.speed < self.wanted and self.p99_s < PERIOD_S
            if self.p99_s < _CALM_S:
                self._go(min(self.wanted, self.speed * _WARMER))
        elif percentile(sorted(lags), 0.5) > PERIOD_S and self.speed > _SLOWEST:
            self.held_back += 1
            self._go(max(_SLOWEST, self.speed * _BRAKE))
        elif len(self._recent) == _LOOKS:
            if self.p99_s > PERIOD_S and self.speed > _SLOWEST:
                self.held_back += 1
                self._go(max(_SLOWEST, self.speed * _SLOWER))
            elif self.p99_s < _CALM_S and self.speed < self.wanted:
                self._go(min(self.wanted, self.speed * _FASTER))
        return self.speed

    def _go(self, speed: float) -> None:
        self.speed = speed
        self._recent.clear()  # what was seen at another speed says nothing of this one

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
