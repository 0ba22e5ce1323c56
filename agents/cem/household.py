"""What the home takes besides its steered devices, from readings that are never of the same instant. Pure.

A rise counts at once when the bound is already broken and otherwise when a second reading confirms it, so that a device
that starts between two readings is not taken for household load; a fall counts slowly, so that nothing saws.
"""

from dataclasses import dataclass, field

SETTLE_S = 30.0
"""Time constant with which the cautious estimates follow back."""
PATIENCE_S = 16.0
"""Readings that disturb each other longer than this are taken as they are."""


@dataclass
class Track:
    """A cautious upper and lower estimate of one quantity."""

    high: float | None = None
    low: float | None = None
    sure: float = 0.0
    """Like ``high``, but only what two readings show: enough to switch something off for."""
    _last: float = 0.0

    def feed(self, value: float, dt_s: float, *, high_now: bool, low_now: bool) -> None:
        if self.high is None or self.low is None:
            self.high = self.low = self.sure = self._last = value
            return
        back = min(1.0, max(0.0, dt_s) / SETTLE_S)
        sure_high = value if high_now else min(value, self._last)
        self.high = sure_high if sure_high > self.high else self.high + min(0.0, value - self.high) * back
        confirmed = min(value, self._last)
        self.sure = confirmed if confirmed > self.sure else self.sure + min(0.0, value - self.sure) * back
        sure_low = value if low_now else max(value, self._last)
        self.low = sure_low if sure_low < self.low else self.low + max(0.0, value - self.low) * back
        self._last = value


@dataclass
class Household:
    """Totals and phases, fed with each reading of the connection point."""

    total: Track = field(default_factory=Track)
    phases: tuple[Track, Track, Track] = field(default_factory=lambda: (Track(), Track(), Track()))
    at: float = 0.0

    def feed(
        self,
        at: float,
        rest_w: float,
        rest_by_phase_w: tuple[float, float, float],
        *,
        settled: bool,
        too_high: bool,
        too_low: bool,
    ) -> bool:
        """``rest`` is what the meter shows less what the devices show. False when it was not usable."""
        if not settled and self.total.high is not None and at - self.at < PATIENCE_S:
            return False
        dt = at - self.at if self.at else SETTLE_S
        self.at = at
        self.total.feed(rest_w, dt, high_now=too_high, low_now=too_low)
        for track, value in zip(self.phases, rest_by_phase_w, strict=True):
            track.feed(value, dt, high_now=too_high, low_now=too_low)
        return True
