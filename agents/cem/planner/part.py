"""What every device brings into the program: columns, its power as a sum over them, and a first proposal."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.problem import Pin
from agents.cem.planner.slots import Tariff
from agents.cem.planner.switch import Switch
from agents.cem.planner.terms import Terms, World

PIN_EUR_PER_KWH = 20.0
"""The user's hand: above every wish, below hard bounds."""


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


Lumps = tuple[Ints, Ints, Floats, NDArray[np.bool_]]
"""Entries (slot, column, kW, whole) of a device's power. Of the whole ones at most one of a slot is 1; the others
come on top, where one is."""


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

    def lumps(self) -> Lumps | None:
        """What can only be taken in lumps; None: nothing."""
        return None

    def switched(self) -> Switch | None:
        """Its on-state, if that is whole."""
        return None

    def leaning(self, x: Floats) -> Floats:
        """(n) how much of its least power a relaxed solution runs: from 1 on it can be run as it is."""
        switch = self.switched()
        assert switch is not None
        power = np.abs(self.power.at(x))
        return np.minimum(1.0, power / max(1e-9, switch.least_kw))

    @abstractmethod
    def propose(self, x: Floats, room: Room) -> None:
        """Fill the own columns of ``x`` with a plan that fits into ``room``, and take it from there."""
