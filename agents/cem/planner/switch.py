"""Being on or off, with minimum times."""

from dataclasses import dataclass

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.terms import World

LEAST_SHARE = 0.02
"""A device without a least power that is switched nevertheless takes at least this share of its highest while on."""


def least_kw(min_power_w: float, max_power_w: float, *, switched: bool) -> float:
    return max(min_power_w, LEAST_SHARE * max_power_w if switched else 0.0) / 1000.0


@dataclass
class Switch:
    """Binary on-state per slot with minimum times, as turn-on inequalities (Rajan and Takriti 2005)."""

    on: Ints
    starts: Ints
    was_on: bool
    since_s: float
    min_on_s: float
    min_off_s: float
    least_kw: float
    """Its power while it is on is at least this."""
    forced: Floats
    """(n) 1 where it must be on still, 0 where it must be off still, NaN where it is free."""

    @classmethod
    def add(
        cls,
        world: World,
        name: str,
        on: Ints,
        *,
        least_kw: float,
        was_on: bool,
        since_s: float | None,
        min_on_s: float,
        min_off_s: float,
        start_eur: float,
        allowed: Floats,
    ) -> "Switch":
        """``on`` are existing columns in 0..1; ``allowed`` (n) is 0 where it cannot be on at all."""
        model, slots, n = world.model, world.slots, world.slots.n
        since = -np.inf if since_s is None else since_s
        forced = np.full(n, np.nan)
        held_s = min_on_s if was_on else min_off_s
        forced[slots.edges_s[:-1] < since + held_s - 1e-6] = float(was_on)
        forced[allowed == 0] = 0.0
        lower, upper = model.bounds_of(on)
        lower[forced == 1.0] = 1.0
        upper[forced == 0.0] = 0.0
        if not (min_on_s > 0 or min_off_s > 0 or start_eur > 0):
            return cls(on, np.zeros(0, np.int64), was_on, since, min_on_s, min_off_s, least_kw, forced)
        starts = model.columns(n, 0.0, 1.0)
        model.cost("switching", starts, start_eur + 1e-6)
        rise = model.rows(
            f"{name}: start", n, np.array([-float(was_on)] + [0.0] * (n - 1)), np.inf
        )  # start >= on - on before
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
            rows = model.rows(f"{name}: minimum time off", n, -np.inf, np.where(before < 0, 1.0 - float(was_on), 1.0))
            r, c = _windows(off_from, own)
            model.put(rows[r], starts[c], 1.0)
            inside = before >= 0
            model.put(rows[inside], on[before[inside]], 1.0)
        return cls(on, starts, was_on, since, min_on_s, min_off_s, least_kw, forced)

    def state_before(self, x: Floats, slot: int, edges_s: Floats) -> tuple[bool, float]:
        """On or off just before a slot, and since when."""
        states = x[self.on[:slot]] > 0.5
        if not slot:
            return self.was_on, self.since_s
        changes = np.flatnonzero(np.diff(np.concatenate(([self.was_on], states)).astype(int)))
        return bool(states[-1]), float(edges_s[changes[-1]]) if len(changes) else self.since_s

    def lawful(self, want: Floats, window: Ints, on: bool, since: float, edges_s: Floats) -> Floats:
        """What comes next to ``want`` in a window and keeps the minimum times."""
        out = want.copy()
        for i, t in enumerate(window):
            if not np.isnan(self.forced[t]):
                out[i] = self.forced[t]
            elif edges_s[t] < since + (self.min_on_s if on else self.min_off_s) - 1e-6:
                out[i] = float(on)
            if bool(out[i]) != on:
                on, since = bool(out[i]), float(edges_s[t])
        return out

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
