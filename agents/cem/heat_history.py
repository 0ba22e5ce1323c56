"""What is drawn from a tank, or lost by a room, by quarter hour of the day, and what a heat pump makes of a Wh. Pure.

Nobody measures it: it is what is missing in the balance of heat made, heat lost and heat stored. A value is a guess of
one quarter hour with a sensor of tenths of kelvins, so it is the means over hours and days that are worth something.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

import msgspec

from agents.kit.local_day import local
from contracts.device import DeviceClass
from contracts.flexibility import ThermalFlexibility
from contracts.profiles import SLOT_S

DAYS = 2
"""Heat follows the weather: older days say less than they mislead."""
OFF_LASTS_S = 6 * 3600.0
"""So long a deviation from the last days' course is expected to go on: weather and guests change slowly."""
RECENT = 8
"""Deviations that are looked at; the highest and the lowest quarter of them do not count: a bath does not go on."""
KNOWN_AFTER = 8
"""Quarter hours from which on the own balance counts for all where a time of the day has not been seen yet."""
AROUND = 1
"""Quarter hours beside one that count with it: nobody showers at the same minute each day."""
DRAW_SHARE = 4.0
"""Nobody draws more, in a quarter hour's mean, than so many times the most heat that the device can make."""
GAP_S = 120.0
"""A silence longer than this makes a quarter hour's balance worthless."""
LEAST_COVERED_SHARE = 2 / 3
COP_PER_K = 0.02
"""Share per kelvin outdoors. Ruhnau, Hirth, Praktiknjo, Sci. Data 6:189 (2019): 6.08 - 0.09 d + 0.0005 d^2 for air to
water, at d = 38 K from 7 to 45 degC 1.5 %; the physics of a fixed share of Carnot's gives 2.6 %."""
COP_SHARES = (0.6, 1.5)
OUTDOORS_BELOW_C = 18.0
"""A device that says that its losses go to somewhere colder means the weather; a tank stands in a room."""


class HeatHistory(msgspec.Struct, kw_only=True):
    """One device's. ``quarters``: quarter hour of the local day -> values in W, newest first, at most ``DAYS``.

    ``recent`` holds the last hours' deviations from it, newest first, ``recent_at`` the instant of the
    first of them, ``last_at`` that of the newest value.
    ``cop_share`` is what the device last said, ``cop_at_c`` how warm it was outdoors when it first said that.
    """

    quarters: dict[int, list[float]] = {}
    recent: list[float] = []
    recent_at: float = 0.0
    last_at: float = 0.0
    cop_share: float = 0.0
    cop_at_c: float = 0.0

    def add(self, at: float, drawn_w: float, zone: str) -> None:
        """The quarter hour around ``at``. Cold that is drawn is negative."""
        expected = self._usual(at, zone)
        if expected is not None:
            going_on = self.recent if at - self.recent_at <= RECENT * SLOT_S else []
            self.recent, self.recent_at = [round(drawn_w - expected, 1), *going_on][:RECENT], at
        self.last_at, quarter = at, _quarter(at, zone)
        self.quarters[quarter] = [round(drawn_w, 1), *self.quarters.get(quarter, [])][:DAYS]

    def take(self, at: float, heat: ThermalFlexibility, drawn_w: float, zone: str) -> None:
        """As ``add``, where it can be; where not, a sensor has jumped, and the quarter hour before is as doubtful."""
        if possible(heat, drawn_w):
            self.add(at, drawn_w, zone)
        else:
            self._take_back(at - SLOT_S, zone)

    def _take_back(self, at: float, zone: str) -> None:
        if self.last_at != at:
            return
        quarter = _quarter(at, zone)
        values = self.quarters.pop(quarter)[1:]
        if values:
            self.quarters[quarter] = values
        if self.recent_at == at:
            self.recent = self.recent[1:]

    def demand(self, start: float, n: int, slot_s: float, zone: str, said_w: float) -> tuple[float, ...] | None:
        """Expected per slot, in W; ``said_w`` by the device itself counts as long as little is known. None: nothing is.

        What a day brings is expected again; what differs from that now fades.
        """
        if not self.quarters:
            return None
        everything = [value for values in self.quarters.values() for value in values]
        share = min(1.0, len(self.quarters) / KNOWN_AFTER)
        unseen = share * sum(everything) / len(everything) + (1 - share) * said_w
        off, found = self._off_w(), []
        for number in range(n):
            at = start + (number + 0.5) * slot_s
            usual = self._usual(at, zone)
            found.append((unseen if usual is None else usual) + off * _fade(at - self.recent_at))
        return tuple(found)

    def _off_w(self) -> float:
        drop = RECENT // 4
        if len(self.recent) <= 2 * drop:
            return 0.0
        middle = sorted(self.recent)[drop:-drop]
        return sum(middle) / len(middle)

    def _usual(self, at: float, zone: str) -> float | None:
        middle = _quarter(at, zone)
        near = [self.quarters.get((middle + step) % 96) for step in range(-AROUND, AROUND + 1)]
        if near[AROUND] is None:
            return None
        values = [value for some in near if some is not None for value in some]
        return sum(values) / len(values)

    def refer(self, cop_share: float, outdoor_c: float) -> None:
        """The device has said how well it works now; a device that always says the same means the first time."""
        if cop_share != self.cop_share:
            self.cop_share, self.cop_at_c = cop_share, outdoor_c


def cop(kind: DeviceClass, heat: ThermalFlexibility, known: HeatHistory, outdoor_c: Sequence[float]) -> list[float]:
    """Heat (or cold) per electric energy at these temperatures outdoors, from what the device said at one of them."""
    plain = max(heat.cop_share, 0.1)
    if kind not in ("heatpump", "hvac") or known.cop_share <= 0:
        return [plain] * len(outdoor_c)
    per_k = COP_PER_K if heat.heats else -COP_PER_K
    shares = (min(max(1 + per_k * (warm - known.cop_at_c), COP_SHARES[0]), COP_SHARES[1]) for warm in outdoor_c)
    return [max(min(plain, 1.0), plain * share) for share in shares]  # no pump is worse than a heating element


def surroundings_c(kind: DeviceClass, heat: ThermalFlexibility, outdoor_c: float) -> float:
    """Where its losses go: the weather, or the place that it said."""
    outdoors = kind in ("heatpump", "hvac") and heat.ambient_c < OUTDOORS_BELOW_C
    return outdoor_c if outdoors else heat.ambient_c


def drawn_w(heat: ThermalFlexibility, over: "Closed", cop_share: float, around_c: float) -> float:
    """What is missing in the balance of a time: made, less lost, less stored. What a cooler takes out came in: < 0."""
    made = (1.0 if heat.heats else -1.0) * over.power_w * cop_share
    lost = heat.loss_w_per_k * ((over.before_c + over.after_c) / 2 - around_c)
    return made - lost - heat.capacity_wh_per_k * (over.after_c - over.before_c) / over.hours


def possible(heat: ThermalFlexibility, drawn: float) -> bool:
    """Whether anybody can have drawn that: beyond it a sensor has jumped."""
    most = heat.upper_w * max(heat.cop_share, 1.0)
    taken = drawn if heat.heats else -drawn
    return -most <= taken <= DRAW_SHARE * most


@dataclass(slots=True)
class Balance:
    """One device's quarter hour under way: readings in, a balance out."""

    slot: float = -math.inf
    seen: list[tuple[float, float, float]] = field(default_factory=list)
    """(instant, W, degC) of each reading of the quarter hour, and the last one before."""

    def see(self, at: float, power_w: float, temperature_c: float) -> "Closed | None":
        """The quarter hour that ends with this reading, once there is one that can be balanced."""
        slot = at - at % SLOT_S
        if self.seen and at - self.seen[-1][0] > GAP_S:
            self.seen.clear()
        self.seen.append((at, power_w, temperature_c))
        if slot == self.slot:
            return None
        closed = self._closed()
        self.slot, self.seen = slot, self.seen[-3:]
        return closed

    def _closed(self) -> "Closed | None":
        first, last = self.seen[0][0], self.seen[-1][0]
        if last - first < LEAST_COVERED_SHARE * SLOT_S:
            return None
        # Power holds until the next reading; a single wrong temperature at an end does not count.
        energy = sum(a[1] * (b[0] - a[0]) for a, b in pairwise(self.seen))
        ends = [median(one[2] for one in part) for part in (self.seen[:3], self.seen[-3:])]
        span = median(one[0] for one in self.seen[-3:]) - median(one[0] for one in self.seen[:3])
        return Closed(self.slot + SLOT_S / 2, energy / (last - first), ends[0], ends[1], span / 3600)


@dataclass(frozen=True, slots=True)
class Closed:
    """A quarter hour around ``at``: mean power, temperatures at its ends, ``hours`` between them."""

    at: float
    power_w: float
    before_c: float
    after_c: float
    hours: float


def _fade(ahead_s: float) -> float:
    return math.exp(-max(0.0, ahead_s) / OFF_LASTS_S)


def _quarter(at: float, zone: str) -> int:
    here = local(at, zone)
    return here.hour * 4 + here.minute // 15
