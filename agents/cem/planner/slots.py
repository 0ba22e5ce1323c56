"""The slots as arrays, and what does not depend on any device: prices as the objective sees them. kW and kWh inside."""

from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.problem import Connection, Horizon, Prices, Series, Step


@dataclass(frozen=True)
class Slots:
    """``edges_s`` (n + 1) instants, ``hours`` (n) lengths."""

    horizon: Horizon

    @cached_property
    def edges_s(self) -> Floats:
        return np.array(self.horizon.edges_s())

    @cached_property
    def hours(self) -> Floats:
        return np.diff(self.edges_s) / 3600.0

    @property
    def n(self) -> int:
        return self.horizon.count

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.horizon.zone)

    def series(self, values: Series, scale: float = 1.0, empty: float = 0.0) -> Floats:
        return np.array(values, dtype=float) * scale if values else np.full(self.n, empty)

    def inside(self, from_s: float, until_s: float) -> Ints:
        """The slots that lie wholly in a time; the first slot also counts when it is under way."""
        edges = self.edges_s
        return np.flatnonzero((edges[:-1] >= min(from_s, until_s) - 1e-6) & (edges[1:] <= until_s + 1e-6))

    def touching(self, from_s: float, until_s: float) -> Ints:
        """The slots whose middle lies in a time."""
        middle = (self.edges_s[:-1] + self.edges_s[1:]) / 2
        return np.flatnonzero((middle >= from_s) & (middle < until_s))

    def edge_before(self, at_s: float) -> int:
        """The last edge that is not after ``at_s``; 0 when all are."""
        return max(0, int(np.searchsorted(self.edges_s, at_s + 1e-6, side="right")) - 1)

    def held_from(self, hold_s: float) -> Ints:
        """(n) the first slot whose start still forbids a change in slot i, when a state is held for ``hold_s``."""
        begins = self.edges_s[:-1]
        return np.minimum(np.searchsorted(begins, begins - hold_s + 1e-6, side="right"), np.arange(self.n))

    def profiles_kw(self, steps: tuple[Step, ...], starts_s: Floats) -> tuple[Floats, Floats]:
        """Mean and highest power of a sequence of steps in each slot, one row per start."""
        ends = np.cumsum([0.0, *(step.duration_s for step in steps)])
        energy = np.cumsum([0.0, *(step.duration_s * step.power_w for step in steps)])
        since = self.edges_s[None, :] - starts_s[:, None]
        mean = np.diff(np.interp(since, ends, energy), axis=1) / np.diff(self.edges_s) / 1000.0
        highest = np.zeros_like(mean)
        for step, begin, end in zip(steps, ends[:-1], ends[1:], strict=True):
            touched = (since[:, :-1] < end - 1e-6) & (since[:, 1:] > begin + 1e-6)
            np.maximum(highest, touched * max(step.power_w, step.maximum_w) / 1000.0, out=highest)
        return mean, highest


@dataclass(frozen=True)
class Tariff:
    """Prices per slot, EUR/kWh. ``weight``: what is added to buying that is not money (doubt, green)."""

    buy: Floats
    sell: Floats
    weight: Floats
    above: Floats
    threshold_kw: Floats
    grey: Floats
    """1 - green share."""

    @classmethod
    def of(cls, prices: Prices, slots: Slots) -> "Tariff":
        buy = slots.series(prices.buy_eur_per_kwh)
        doubt = 1.0 - slots.series(prices.confidence, empty=1.0)
        grey = 1.0 - slots.series(prices.green_share, empty=1.0)
        tiered = prices.threshold_wh is not None and prices.buy_above_eur_per_kwh
        threshold_kw = (prices.threshold_wh or 0.0) / slots.horizon.slot_s * 3.6 if tiered else np.inf
        return cls(
            buy=buy,
            sell=slots.series(prices.sell_eur_per_kwh),
            weight=prices.doubt_eur_per_kwh * doubt + prices.green_eur_per_kwh * grey,
            above=slots.series(prices.buy_above_eur_per_kwh) if tiered else buy,
            threshold_kw=np.full(slots.n, threshold_kw),
            grey=grey,
        )

    def money(self, power_kw: Floats, hours: Floats) -> float:
        """What a course of power at the connection point costs, EUR."""
        taken = np.maximum(power_kw, 0.0)
        above = np.maximum(taken - self.threshold_kw, 0.0)
        fed = np.maximum(-power_kw, 0.0)
        return float(((taken - above) * self.buy + above * self.above - fed * self.sell) @ hours)

    def refill_eur(self, load_kw: Floats, own_kw: Floats) -> float:
        """What a kWh costs in the cheapest tenth of the slots: from the grid, or from own generation that is left."""
        price = np.where(own_kw > load_kw, np.minimum(self.sell, self.buy), self.buy) + self.weight
        return float(np.quantile(price, 0.1))


def hard_base_kw(connection: Connection, slots: Slots) -> tuple[Floats, Floats]:
    """Base load as expected, and as the hard bounds count it."""
    load = slots.series(connection.load_w, 1e-3)
    high = slots.series(connection.load_high_w, 1e-3) if connection.load_high_w else load
    return load, load + connection.high_share * np.maximum(0.0, high - load)
