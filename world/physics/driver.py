"""Who drives the cars: SimBench's charging profiles read as visits.

A run of quarter hours with power is one visit: the car comes at its start and wants its energy. Left alone it draws the
profile; held back it stays behind and then takes all it may, until it has its energy or leaves.
"""

import bisect
import random
import zlib

import msgspec

from world.physics.evse import MIN_CURRENT_A, Car

QUARTER_S = 900
_NOMINAL_V = 230.0
_BEHIND_WH = 30.0
CAPACITY_WH = 60_000.0
"""A middle-sized battery; our choice, SimBench has none."""
STAYS_S = (1800.0, 10800.0)
"""How long a car stays after its profile has ended; our choice."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """``powers_w`` is per quarter hour from ``comes_at`` (unix seconds) on."""

    comes_at: float
    ends_at: float
    leaves_at: float
    powers_w: tuple[float, ...]

    @property
    def energy_wh(self) -> float:
        return sum(self.powers_w) / 4

    def power_w(self, instant: float) -> float:
        place = int((instant - self.comes_at) // QUARTER_S)
        return self.powers_w[place] if 0 <= place < len(self.powers_w) else 0.0

    def left_wh(self, instant: float) -> float:
        """What the profile still brings from ``instant`` on."""
        place, rest = divmod(instant - self.comes_at, QUARTER_S)
        if place >= len(self.powers_w):
            return 0.0
        whole = sum(self.powers_w[int(place) + 1 :]) / 4
        return whole + self.powers_w[int(place)] * (QUARTER_S - rest) / 3600

    def car(self, instant: float) -> Car:
        needed = self.left_wh(max(instant, self.comes_at))
        full = 0.8 * CAPACITY_WH
        return Car(
            capacity_wh=max(CAPACITY_WH, needed / 0.7),
            energy_wh=max(full - needed, 0.1 * CAPACITY_WH),
            needed_wh=needed,
            leaves_at=self.leaves_at,
        )


def visits(shares: list[float], peak_w: float, first_instant: float, seed: int, name: str) -> list[Visit]:
    """Every visit of a profile.

    shares         per quarter hour from ``first_instant`` (a full quarter hour) on
    seed, name     decide how long each car stays afterwards
    """
    found: list[Visit] = []
    start: int | None = None
    for row, share in enumerate([*shares, 0.0]):
        if share > 0 and start is None:
            start = row
        elif share <= 0 and start is not None:
            comes, ends = first_instant + start * QUARTER_S, first_instant + row * QUARTER_S
            stays = random.Random(zlib.crc32(f"{seed}.{name}.{int(comes)}".encode())).uniform(*STAYS_S)
            found.append(
                Visit(
                    comes_at=comes,
                    ends_at=ends,
                    leaves_at=ends + stays,
                    powers_w=tuple(peak_w * one for one in shares[start:row]),
                )
            )
            start = None
    return found


class Driver:
    """One box's visits, by instant."""

    def __init__(self, planned: list[Visit]) -> None:
        self._visits = planned
        self._starts = [visit.comes_at for visit in planned]

    def visit_at(self, instant: float) -> Visit | None:
        """The visit that is charging by its profile at ``instant``."""
        place = bisect.bisect_right(self._starts, instant) - 1
        if place < 0 or instant >= self._visits[place].ends_at:
            return None
        return self._visits[place]


def wanted_w(car: Car, visit: Visit | None, instant: float, phases: int) -> float:
    """What a car takes if nobody holds it back.

    visit  None: a car that came by itself wants all it can get. A profile under the 6 A that a car needs at least is
           taken as 6 A for the fitting share of the quarter hour.
    """
    if visit is None or car.needed_wh - visit.left_wh(instant) > _BEHIND_WH:
        return float("inf")
    power = visit.power_w(instant)
    least = MIN_CURRENT_A * _NOMINAL_V * phases
    if power >= least or power <= 0:
        return power
    return least if (instant - visit.comes_at) % QUARTER_S < QUARTER_S * power / least else 0.0
