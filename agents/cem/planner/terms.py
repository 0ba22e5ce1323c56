"""A power course as a sum over columns, and the surroundings in which devices enter the program."""

from dataclasses import dataclass, field

import numpy as np

from agents.cem.planner.model import Floats, Ints, Model, Values
from agents.cem.planner.problem import Stability
from agents.cem.planner.slots import Slots, Tariff

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
