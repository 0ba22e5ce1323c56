"""What the home did before, by quarter hour of the day: what it will probably do again. Pure."""

from itertools import accumulate

import msgspec

from agents.kit.local_day import local
from agents.kit.typical import SPREAD_SHARE, DayType, day_type, household_w
from contracts.profiles import SLOT_S

DAYS = 10
"""Values that a quarter hour remembers; each counts for less than the one after it."""
DECAY_SHARE = 0.85
SURE_AFTER = 4
"""Days from which on the own history counts for all, not the typical household."""


class Cell(msgspec.Struct, array_like=True):
    """Values of one quarter hour of the day, newest first."""

    values: list[float] = []

    def add(self, value: float) -> None:
        self.values = [round(value, 1), *self.values][:DAYS]

    def quantiles(self, shares: tuple[float, ...]) -> tuple[float, ...]:
        """Of the values weighted by age."""
        ordered = sorted((value, DECAY_SHARE**age) for age, value in enumerate(self.values))
        total, found = sum(weight for _, weight in ordered), []
        for share in shares:
            passed = accumulate(weight for _, weight in ordered)
            found.append(next(v for (v, _), p in zip(ordered, passed, strict=True) if p >= share * total - 1e-9))
        return tuple(found)

    def mean(self) -> float:
        weights = [DECAY_SHARE**age for age in range(len(self.values))]
        return sum(v * w for v, w in zip(self.values, weights, strict=True)) / sum(weights)


class History(msgspec.Struct, kw_only=True):
    """Load by kind of day and quarter hour, PV by quarter hour alone."""

    load: dict[str, Cell] = {}
    pv: dict[int, Cell] = {}

    def add_load(self, at: float, power_w: float, zone: str) -> None:
        self.load.setdefault(_key(at, zone), Cell()).add(power_w)

    def add_pv(self, at: float, power_w: float) -> None:
        self.pv.setdefault(_quarter(at), Cell()).add(power_w)

    def expected_load(self, at: float, zone: str, yearly_wh: float) -> tuple[float, float, float]:
        """(expected, 10 %, 90 %); of a typical household until the own history is long enough."""
        typical = household_w(at, zone, yearly_wh)
        prior = (typical, typical * SPREAD_SHARE[0], typical * SPREAD_SHARE[1])
        cell = self.load.get(_key(at, zone)) or self._other_day(at, zone)
        if cell is None:
            return prior
        own_share = min(1.0, len(cell.values) / SURE_AFTER)
        low, high = cell.quantiles((0.1, 0.9))
        own = (cell.mean(), low, high)
        blend = [own_share * o + (1 - own_share) * p for o, p in zip(own, prior, strict=True)]
        return blend[0], min(blend[1], blend[0]), max(blend[2], blend[0])

    def _other_day(self, at: float, zone: str) -> Cell | None:
        """Another kind of day tells more of a home than the typical household does."""
        kinds: tuple[DayType, ...] = ("workday", "sunday", "saturday")
        found = (self.load.get(f"{kind}-{_local_quarter(at, zone)}") for kind in kinds)
        return next((cell for cell in found if cell is not None), None)

    def expected_pv(self, at: float) -> tuple[float, float, float]:
        """(expected, lower, upper), <= 0: as the last days were at this time; 0 where nothing is known."""
        cell = self.pv.get(_quarter(at))
        if cell is None:
            return 0.0, 0.0, 0.0
        return cell.mean(), min(cell.values), max(cell.values)


def _quarter(at: float) -> int:
    return int(at % 86_400 // SLOT_S)


def _local_quarter(at: float, zone: str) -> int:
    here = local(at, zone)
    return here.hour * 4 + here.minute // 15


def _key(at: float, zone: str) -> str:
    return f"{day_type(at, zone)}-{_local_quarter(at, zone)}"
