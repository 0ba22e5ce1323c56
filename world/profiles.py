"""What the street does when nobody interferes: SimBench's quarter hours at any instant, with small seeded noise.

Between quarter hours:

- PV (``PV*``) is piecewise linear: the sun moves steadily, and SimBench's own values are hourly ones joined by lines.
- Everything else holds its value for the quarter hour: appliances, heat pumps and cars switch, they do not glide, and a
  quarter hour's energy stays exact.

Noise is a relative deviation with mean zero over each quarter hour that fades to zero at its ends, so that a run can be
compared with SimBench quarter by quarter. The sky is shared: most of a PV plant's noise is the street's.
"""

import zlib
from datetime import UTC, datetime
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

QUARTER_S = 900
FIRST_INSTANT = datetime(2015, 12, 31, 23, tzinfo=UTC).timestamp()
"""Row 0. SimBench's stamps are German local time: 2016-01-01 00:00 there."""

_KNOT_S = 10
_KNOTS = QUARTER_S // _KNOT_S + 1
_SHARED_SKY_SHARE = 0.8
CLOUD_AMPLITUDE = 0.05
"""Typical relative deviation of a PV plant within a quarter hour; our choice, SimBench has no finer data."""
FLICKER_AMPLITUDE = 0.12
"""The same for a household's base load; our choice."""


class InstantError(Exception):
    """An instant outside the profiles."""

    def __init__(self, instant: float) -> None:
        self.instant = instant
        super().__init__(f"{datetime.fromtimestamp(instant, UTC)} is outside the profiles: choose an instant in 2016")


class UnknownProfileError(Exception):
    """A profile that the extract does not have."""

    def __init__(self, profile: str, known: list[str]) -> None:
        self.profile, self.known = profile, known
        super().__init__(f"there is no profile {profile!r}: choose one of {', '.join(known)}")


@cache
def _columns() -> dict[str, NDArray[np.float64]]:
    with resources.files("world").joinpath("data/profiles.npz").open("rb") as file, np.load(file) as stored:
        counts = np.cumsum(stored["deltas"], axis=1, dtype=np.int16)
        return {
            str(name): row * scale for name, row, scale in zip(stored["names"], counts, stored["scale"], strict=True)
        }


def profile_names() -> list[str]:
    """Every profile that has active power."""
    return sorted(name.removesuffix(".p") for name in _columns() if name.endswith(".p"))


class Profile:
    """One SimBench profile, as a share of the peak (0..1; reactive shares may be negative)."""

    def __init__(self, name: str) -> None:
        columns = _columns()
        if f"{name}.p" not in columns:
            raise UnknownProfileError(name, profile_names())
        self.name = name
        self._active = columns[f"{name}.p"]
        self._reactive = columns.get(f"{name}.q")
        self._linear = name.startswith("PV")

    def active_share(self, instant: float) -> float:
        """At ``instant`` (unix seconds). Raises InstantError outside 2016."""
        row, rest = _row(instant, len(self._active))
        here = float(self._active[row])
        if not self._linear or row + 1 == len(self._active):
            return here
        return here + (float(self._active[row + 1]) - here) * rest / QUARTER_S

    def reactive_share(self, instant: float) -> float:
        """At ``instant``, share of the load's own reactive peak; 0 for profiles without reactive data."""
        if self._reactive is None:
            return 0.0
        return float(self._reactive[_row(instant, len(self._reactive))[0]])

    def ahead(self, instant: float) -> list[float]:
        """Active shares from the quarter hour of ``instant`` to the end of the year."""
        return [float(share) for share in self._active[_row(instant, len(self._active))[0] :]]


def _row(instant: float, rows: int) -> tuple[int, float]:
    row, rest = divmod(instant - FIRST_INSTANT, QUARTER_S)
    if not 0 <= row < rows:
        raise InstantError(instant)
    return int(row), rest


class Noise:
    """A relative deviation, a function of the seed, the name and the instant alone.

    amplitude  standard deviation before fading; cut off at three times
    shared     name of a source that most of the deviation is taken from
    """

    def __init__(self, seed: int, name: str, amplitude: float, shared: "Noise | None" = None) -> None:
        self._key = (seed, zlib.crc32(name.encode()))
        self._amplitude = amplitude
        self._shared = shared
        self._quarter = -1
        self._knots: list[float] = []

    def at(self, instant: float) -> float:
        quarter, rest = divmod(instant, QUARTER_S)
        if quarter != self._quarter:
            self._quarter, self._knots = int(quarter), _fading(self._key, int(quarter), self._amplitude)
        place = rest / _KNOT_S
        left = int(place)
        own = self._knots[left] + (self._knots[left + 1] - self._knots[left]) * (place - left)
        if self._shared is None:
            return own
        return _SHARED_SKY_SHARE * self._shared.at(instant) + (1 - _SHARED_SKY_SHARE) * own


def _fading(key: tuple[int, int], quarter: int, amplitude: float) -> list[float]:
    draws = np.random.default_rng((*key, quarter)).standard_normal(_KNOTS + 4)
    smooth = np.convolve(draws, (0.2, 0.4, 0.6, 0.4, 0.2), mode="valid") / 0.8718  # unit variance again
    window = np.sin(np.linspace(0, np.pi, _KNOTS)) ** 0.5
    knots = np.clip(smooth, -3, 3) * window
    knots -= window * (knots.sum() / window.sum())
    return [float(knot) for knot in knots * amplitude]
