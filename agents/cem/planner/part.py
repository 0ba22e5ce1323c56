"""What every device brings into the program: columns, its power as a sum over them, and a first proposal."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from agents.cem.planner.model import Floats, Ints, Model, Values
from agents.cem.planner.problem import Pin, Stability
from agents.cem.planner.slots import Slots, Tariff

PIN_EUR_PER_KWH = 20.0
"""The user's hand: above every wish, below hard bounds."""
TIE_EUR = 1e-5
"""Among equals the earlier: what it costs to be at the end of the horizon instead of its beginning."""


@dataclass
class Terms:
    """A power course as a sum: ``constant`` (n) kW plus ``kw`` times a column in a slot."""

    constant: Floats
    slot: list[Ints] = field(default_factory=list)
    column: list[Ints] = field(default_factory=list)
    kw: list[Floats] = field(default_factory=list)

    def add(self, slots: Ints, columns: Ints, kw: Values) -> None:
        s, c, k = np.broadcast_arrays(slots, columns, np.asarray(kw, dtype=float))
        self.slot.append(s.ravel())
        self.column.append(c.ravel())
        self.kw.append(k.ravel())

    def flat(self) -> tuple[Ints, Ints, Floats]:
        if not self.slot:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        return np.concatenate(self.slot), np.concatenate(self.column), np.concatenate(self.kw)

    def at(self, x: Floats) -> Floats:
        """The course in kW for a solution."""
        slot, column, kw = self.flat()
        return self.constant + np.bincount(slot, kw * x[column], len(self.constant))

    def put(self, model: Model, rows: Ints, scale: Values = 1.0) -> None:
        """Into one row per slot; a row of -1 is left out."""
        slot, column, kw = self.flat()
        row, by = rows[slot], np.broadcast_to(np.asarray(scale, dtype=float), len(self.constant))[slot]
        keep = row >= 0
        model.put(row[keep], column[keep], kw[keep] * by[keep])


@dataclass
class World:
    """What a device needs to know to enter the program."""

    model: Model
    slots: Slots
    tariff: Tariff
    stability: Stability
    refill_eur: float
    """What a stored kWh of electricity is worth at the end."""
    lower_matters: bool
    """Feed-in is bounded, or costs something: curtailing may be worth it."""

    def tie(self) -> Floats:
        return TIE_EUR * np.arange(self.slots.n) / max(1, self.slots.n)


@dataclass
class Room:
    """What is left at the connection point while a plan is built device by device. kW.

    ``net`` is what is expected so far; ``free`` (4, n) what may still be taken: in all, and on each phase; ``spare``
    the same for what may still be given.
    """

    net: Floats
    free: Floats
    spare: Floats
    tariff: Tariff
    hours: Floats
    eager: bool = False
    """Everything at once and at its earliest."""
    follow: dict[str, Floats] = field(default_factory=dict)
    """By device, (n) kW to be kept where it is possible; NaN: free."""
    heat: dict[str, Floats] = field(default_factory=dict)
    """What generators give, kW of heat, by the name of the thermal device."""

    def fits(self, phases: Sequence[int]) -> Floats:
        """(n) how much a device on these phases may take."""
        free: Floats = np.minimum(self.free[0], self.free[list(phases)].min(axis=0) * len(phases))
        return np.maximum(0.0, free)

    def gives(self, phases: Sequence[int]) -> Floats:
        """(n) how much a device on these phases may give; < 0: so much must be taken still."""
        spare: Floats = np.minimum(self.spare[0], self.spare[list(phases)].min(axis=0) * len(phases))
        return spare

    def reserve(self, highest: Floats, phases: Sequence[int]) -> None:
        self.free[0] -= highest
        self.free[list(phases)] -= highest / len(phases)

    def take(self, mean: Floats, highest: Floats, phases: Sequence[int]) -> None:
        self.net = self.net + mean
        self.reserve(highest, phases)
        self.spare[0] += mean
        self.spare[list(phases)] += mean / len(phases)

    def price(self) -> Floats:
        """(n) of the next kWh taken."""
        return np.where(self.net < -0.05, np.minimum(self.tariff.sell, self.tariff.buy), self.tariff.buy)


class Part(ABC):
    """A device in the program. ``power`` is its mean per slot, ``highest`` what bounds count (the same by default)."""

    name: str
    phases: tuple[int, ...]
    power: Terms
    highest: Terms
    sure: Floats
    """(n) the share of its power that bounds on taking count: below 1 for generation that may stay out."""
    least: Floats
    most: Floats
    """(n) its range in kW, for bounds that can never bind and for those that are broken from the start."""
    pins: tuple[Pin, ...] = ()
    pinned: Ints
    pin_kw: Floats
    pin_columns: Ints

    def begin(self, world: World, name: str, phases: tuple[int, ...], pins: tuple[Pin, ...]) -> None:
        n = world.slots.n
        self.name, self.phases, self.pins = name, phases, pins
        self.power = self.highest = Terms(np.zeros(n))
        self.sure = np.ones(n)
        self.least, self.most = np.zeros(n), np.zeros(n)

    def hold_pins(self, world: World) -> None:
        """The user's hand as a soft equality; two columns, one row per pinned slot."""
        wanted = np.full(world.slots.n, np.nan)
        for pin in self.pins:
            wanted[world.slots.touching(pin.from_s, pin.until_s)] = pin.power_w / 1000.0
        self.pinned = np.flatnonzero(~np.isnan(wanted))
        self.pin_kw = wanted[self.pinned]
        k, model = len(self.pinned), world.model
        self.pin_columns = model.columns(2 * k).reshape(2, k) if k else np.zeros((2, 0), np.int64)
        if not k:
            return
        target = self.pin_kw - self.power.constant[self.pinned]
        rows = np.full(world.slots.n, -1, dtype=np.int64)
        rows[self.pinned] = model.rows(f"{self.name}: fixed by the user", k, target, target)
        self.power.put(model, rows)
        model.put(rows[self.pinned], self.pin_columns[0], 1.0)
        model.put(rows[self.pinned], self.pin_columns[1], -1.0)
        model.cost("wishes", self.pin_columns, PIN_EUR_PER_KWH * world.slots.hours[self.pinned])

    def wanted(self, room: Room) -> Floats:
        """(n) power to be proposed: pinned, or to be kept; NaN where it is free."""
        out = room.follow.get(self.name, np.full(len(room.net), np.nan)).copy()
        out[self.pinned] = self.pin_kw
        return out

    def settle_pins(self, x: Floats) -> None:
        """The pin columns of a solution whose power is known."""
        if len(self.pinned):
            missing = self.pin_kw - self.power.at(x)[self.pinned]
            x[self.pin_columns[0]] = np.maximum(0.0, missing)
            x[self.pin_columns[1]] = np.maximum(0.0, -missing)

    @abstractmethod
    def propose(self, x: Floats, room: Room) -> None:
        """Fill the own columns of ``x`` with a plan that fits into ``room``, and take it from there."""


@dataclass
class Switch:
    """Binary on-state per slot with minimum times, as turn-on inequalities (Rajan and Takriti 2005)."""

    on: Ints
    starts: Ints
    was_on: bool
    forced: Floats
    """(n) 1 where it must be on still, 0 where it must be off still, NaN where it is free."""

    @classmethod
    def add(
        cls,
        world: World,
        name: str,
        on: Ints,
        *,
        was_on: bool,
        since_s: float | None,
        min_on_s: float,
        min_off_s: float,
        start_eur: float,
        allowed: Floats,
    ) -> "Switch":
        """``on`` are existing columns in 0..1; ``allowed`` (n) is 0 where it cannot be on at all."""
        model, slots, n = world.model, world.slots, world.slots.n
        forced = np.full(n, np.nan)
        held_s = min_on_s if was_on else min_off_s
        if since_s is not None and held_s > 0:
            forced[slots.edges_s[:-1] < since_s + held_s - 1e-6] = float(was_on)
        forced[allowed == 0] = 0.0
        lower, upper = model.bounds_of(on)
        lower[forced == 1.0] = 1.0
        upper[forced == 0.0] = 0.0
        if not (min_on_s > 0 or min_off_s > 0 or start_eur > 0):
            return cls(on, np.zeros(0, np.int64), was_on, forced)
        starts = model.columns(n, 0.0, 1.0)
        model.cost("switching", starts, start_eur + 1e-6)
        rise = model.rows(f"{name}: start", n, -np.eye(1, n)[0] * was_on, np.inf)  # start >= on - on before
        model.put(rise, starts, 1.0)
        model.put(rise, on, -1.0)
        model.put(rise[1:], on[:-1], 1.0)
        own = np.arange(n)
        on_from, off_from = slots.held_from(min_on_s), slots.held_from(min_off_s)
        if min_on_s > 0:
            rows = model.rows(f"{name}: minimum time on", n, -np.inf, 0.0)
            # Where the minimum time ends with what it may do (the car leaves), nothing is held.
            stays = np.where(allowed == 0, own + 1, on_from)
            r, c = _windows(stays, own)
            model.put(rows[r], starts[c], 1.0)
            model.put(rows, on, -1.0)
        if min_off_s > 0:
            before = off_from - 1
            rows = model.rows(f"{name}: minimum time off", n, -np.inf, 1.0 - (before < 0) * float(was_on))
            r, c = _windows(off_from, own)
            model.put(rows[r], starts[c], 1.0)
            inside = before >= 0
            model.put(rows[inside], on[before[inside]], 1.0)
        return cls(on, starts, was_on, forced)

    def settle(self, x: Floats) -> None:
        if len(self.starts):
            on = x[self.on]
            x[self.starts] = np.maximum(0.0, on - np.concatenate(([float(self.was_on)], on[:-1])))


def _windows(first: Ints, last: Ints) -> tuple[Ints, Ints]:
    """Pairs (i, k) for all k in first[i]..last[i]."""
    sizes = np.maximum(0, last - first + 1)
    row = np.repeat(np.arange(len(first)), sizes)
    offset = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return row, np.repeat(first, sizes) + offset
