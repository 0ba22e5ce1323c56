"""Where all devices meet: the balance, what energy costs, and the bounds that are hard."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.cem.planner.batteries import BatteryPart
from agents.cem.planner.model import INF, Floats, Ints
from agents.cem.planner.part import Part, Room
from agents.cem.planner.problem import Connection
from agents.cem.planner.slots import hard_base_kw
from agents.cem.planner.supply import GeneratorPart
from agents.cem.planner.terms import World

BREAK_EUR_PER_KWH = 200.0
"""What a kWh beyond a hard bound counts for, there where the base load alone breaks it."""
NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Bound:
    """One hard bound, kW: of the whole (``phase`` 0) or of a phase; ``side`` +1 for taking, -1 for feeding in."""

    code: str
    phase: int
    side: int
    limit: Floats
    base: Floats
    excess: Floats
    """(n) what the base load and running devices exceed it by whatever is planned."""
    slots: Ints
    """Where it has a row at all."""
    broken_at: Ints
    columns: Ints
    """What it is exceeded by, at ``broken_at``."""

    def share(self, part: Part) -> float:
        if not self.phase:
            return 1.0
        return (self.phase in part.phases) / len(part.phases)

    def load(self, parts: Sequence[Part], x: Floats) -> Floats:
        """(n) what is held against the limit."""
        out = self.base.copy()
        for part in parts:
            if share := self.share(part):
                out += share * (part.highest.at(x) * part.sure if self.side > 0 else part.power.at(x))
        return out


class ConnectionPart:
    def __init__(self, world: World, connection: Connection, parts: Sequence[Part], one_way: Ints) -> None:
        """``one_way``: slots in which a binary forbids taking and feeding in at once."""
        self.connection, self.parts, self.world = connection, parts, world
        model, tariff, n = world.model, world.tariff, world.slots.n
        self.hours = world.slots.hours
        self.base, self.hard_base = hard_base_kw(connection, world.slots)
        self.bounds: list[Bound] = []
        self.to = np.full(n, INF)
        for code, phase, side, limit in limits(connection, world):
            self._bound(code, phase, side, limit)
        ceiling = np.maximum(0.0, self.base + sum((np.maximum(0.0, p.most) for p in parts), np.zeros(n)))
        depth = np.maximum(0.0, -self.base - sum((np.minimum(0.0, p.least) for p in parts), np.zeros(n)))
        self.taken, self.fed = model.columns(n, 0.0, ceiling), model.columns(n, 0.0, depth)
        rows = model.rows("balance", n, self.base, self.base)
        model.put(rows, self.taken, 1.0)
        model.put(rows, self.fed, -1.0)
        for part in parts:
            part.power.put(model, rows, -1.0)
            model.row_lower[-1] += part.power.constant
            model.row_upper[-1] += part.power.constant
        model.cost("energy", self.taken, tariff.buy * self.hours)
        model.cost("energy", self.fed, -tariff.sell * self.hours)
        model.cost("wishes", self.taken, tariff.weight * self.hours)
        self._tiers(ceiling)
        self.one_way, self.taking = one_way, model.columns(len(one_way), 0.0, 1.0, whole=True)
        self._one_way(ceiling, depth)
        self.peak = NONE
        if connection.peak is not None:
            self.peak = model.columns(1, connection.peak.seen_w / 1000.0)
            rows = model.rows("peak", n, -np.inf, 0.0)
            model.put(rows, self.taken, 1.0)
            model.put(rows, self.peak[0], -1.0)
            model.cost("peak", self.peak, connection.peak.eur_per_kw)
            model.offset("peak", -connection.peak.eur_per_kw * connection.peak.seen_w / 1000.0)
        self._share_surplus()

    def _bound(self, code: str, phase: int, side: int, limit: Floats) -> None:
        model, n = self.world.model, self.world.slots.n
        base = self.hard_base if side > 0 else self.base
        base = base * (self.connection.phase_share[phase - 1] if phase else 1.0)
        probe = Bound(code, phase, side, limit, base, limit, NONE, NONE, NONE)
        worst, forced = base.copy(), base.copy()
        for part in self.parts:
            share = probe.share(part)
            if side > 0:
                worst += share * np.maximum(part.least, part.most) * part.sure
                forced += share * _held(part)
            else:
                worst += share * np.minimum(part.least, part.most)
                forced += share * np.minimum(0.0, part.most)
        slots = np.flatnonzero(side * (worst - limit) > 1e-9)
        excess = np.maximum(0.0, side * (forced - limit))
        broken_at = np.flatnonzero(excess > 1e-9)
        columns = model.columns(len(broken_at), 0.0, excess[broken_at])
        model.cost("broken", columns, BREAK_EUR_PER_KWH * self.hours[broken_at])
        bound = Bound(code, phase, side, limit, base, excess, slots, broken_at, columns)
        self.bounds.append(bound)
        if not len(slots):
            return
        lower, upper = (-np.inf, limit - base) if side > 0 else (limit - base, np.inf)
        rows = np.full(n, -1, dtype=np.int64)
        rows[slots] = model.rows(code, len(slots), *(np.asarray(b)[slots] if np.ndim(b) else b for b in (lower, upper)))
        for part in self.parts:
            share = bound.share(part)
            if not share:
                continue
            terms, scale = (part.highest, part.sure * share) if side > 0 else (part.power, np.full(n, share))
            terms.put(model, rows, scale)
            model.row_lower[-1] -= (terms.constant * scale)[slots]
            model.row_upper[-1] -= (terms.constant * scale)[slots]
        has_row = rows[broken_at] >= 0
        model.put(rows[broken_at][has_row], columns[has_row], -float(side))

    def _tiers(self, ceiling: Floats) -> None:
        """Above the threshold a kWh costs something else; where it is cheaper a binary keeps the order."""
        model, tariff = self.world.model, self.world.tariff
        self.tier = np.flatnonzero((tariff.threshold_kw < ceiling) & (np.abs(tariff.above - tariff.buy) > 1e-9))
        k, t = len(self.tier), self.tier
        self.above, self.over = model.columns(k, 0.0, ceiling[t]), NONE
        if not k:
            return
        threshold = tariff.threshold_kw[t]
        model.cost("energy", self.above, (tariff.above - tariff.buy)[t] * self.hours[t])
        rows = model.rows("price level", k, -np.inf, threshold)  # taken - above <= threshold
        model.put(rows, self.taken[t], 1.0)
        model.put(rows, self.above, -1.0)
        self.cheaper = np.flatnonzero((tariff.above < tariff.buy)[t])
        if len(c := self.cheaper):
            self.over = model.columns(len(c), 0.0, 1.0, whole=True)
            rows = model.rows("cheaper price level", len(c), -np.inf, 0.0)  # above only when over
            model.put(rows, self.above[c], 1.0)
            model.put(rows, self.over, -(ceiling[t] - threshold)[c])
            rows = model.rows("cheaper price level", len(c), 0.0, np.inf)  # taken - above >= threshold when over
            model.put(rows, self.taken[t][c], 1.0)
            model.put(rows, self.above[c], -1.0)
            model.put(rows, self.over, -threshold[c])

    def _one_way(self, ceiling: Floats, depth: Floats) -> None:
        model, t = self.world.model, self.one_way
        if not len(t):
            return
        for columns, most, side in ((self.taken, ceiling, 1.0), (self.fed, depth, -1.0)):
            rows = model.rows("taking or feeding in", len(t), -np.inf, 0.0 if side > 0 else most[t])
            model.put(rows, columns[t], 1.0)
            model.put(rows, self.taking, -side * most[t])

    def _share_surplus(self) -> None:
        """Cuts, one row per slot: what exceeds the own surplus by its least power takes the rest from somewhere.

        Without them the relaxation runs such a device at a fraction, just on the surplus. What is taken and discharged
        is at least f(load) = max(0, load - surplus); f is convex and f(0) = 0, so f of all loads is at least the
        sum of f of each; and f of a device in lumps is linear in its binary: ``(least - surplus) on + above``.
        """
        model, n = self.world.model, len(self.base)
        surplus = -self.base.copy()
        givers: list[tuple[Ints, float]] = []
        lumps: list[tuple[Ints, Ints, Floats]] = []
        for part in self.parts:
            if isinstance(part, BatteryPart):
                givers.append((part.discharge, 1.0))
            elif isinstance(part, GeneratorPart):
                givers += [(part.on, part.low_kw), (part.extra, 1.0)]
            else:
                surplus -= np.minimum(0.0, part.least)
        for part in self.parts:
            if (entries := part.lumps()) is None:
                continue
            slot, column, kw, lump = entries
            beyond = np.where(lump, kw - surplus[slot], kw)
            biggest = np.full(n, -np.inf)
            np.maximum.at(biggest, slot, np.where(lump, beyond, -np.inf))
            keep = (surplus[slot] > 0) & (beyond > 0) & (biggest[slot] > 0)
            lumps.append((slot[keep], column[keep], beyond[keep]))
        useful = np.unique(np.concatenate([slot for slot, _, _ in lumps] or [NONE]))
        if not len(useful):
            return
        rows = np.full(n, -1, dtype=np.int64)
        rows[useful] = model.rows("beyond the own surplus", len(useful), 0.0, np.inf)
        model.put(rows[useful], self.taken[useful], 1.0)
        for columns, scale in givers:
            model.put(rows[useful], columns[useful], scale)
        for slot, column, beyond in lumps:
            model.put(rows[slot], column, -beyond)

    def guard_batteries(self) -> None:
        """In ``one_way`` slots a battery may not charge from the grid or give to it, where it must not."""
        model, t = self.world.model, self.one_way
        for part in self.parts:
            if not isinstance(part, BatteryPart) or not len(t):
                continue
            if part.battery.no_grid_charge:
                most = part.battery.charge_w / 1000.0
                rows = model.rows(f"{part.name}: own surplus only", len(t), -np.inf, most)
                model.put(rows, part.charge[t], 1.0)
                model.put(rows, self.taking, most)
            if part.battery.no_export:
                rows = model.rows(f"{part.name}: not into the grid", len(t), -np.inf, 0.0)
                model.put(rows, part.discharge[t], 1.0)
                model.put(rows, self.taking, -part.battery.discharge_w / 1000.0)

    def room(self, *, eager: bool) -> Room:
        n = self.world.slots.n
        free, spare = np.full((4, n), 1e6), np.full((4, n), 1e6)
        for bound in self.bounds:
            left = bound.side * (bound.limit - bound.base) + bound.excess
            rows = free if bound.side > 0 else spare
            rows[bound.phase] = np.minimum(rows[bound.phase], left)
        return Room(self.base.copy(), free, spare, self.world.tariff, self.hours, eager)

    def net(self, x: Floats) -> Floats:
        return self.base + sum((part.power.at(x) for part in self.parts), np.zeros(len(self.base)))

    def settle(self, x: Floats) -> None:
        """The own columns of a solution whose devices are known."""
        net = self.net(x)
        net[np.abs(net) < 1e-9] = 0.0
        x[self.taken], x[self.fed] = np.maximum(net, 0.0), np.maximum(-net, 0.0)
        x[self.above] = np.maximum(0.0, x[self.taken] - self.world.tariff.threshold_kw)[self.tier]
        if len(self.over):
            x[self.over] = x[self.above][self.cheaper] > 0
        if len(self.one_way):
            gives = sum((x[p.discharge] for p in self.parts if isinstance(p, BatteryPart)), np.zeros(len(net)))
            x[self.taking] = ((net > 1e-7) | ((net > -1e-7) & (gives > 0)))[self.one_way]
        if len(self.peak):
            x[self.peak] = max(self.world.model.lower[-1][0], float(x[self.taken].max()))
        for bound in self.bounds:
            if len(bound.broken_at):
                over = bound.side * (bound.load(self.parts, x) - bound.limit)
                x[bound.columns] = np.maximum(0.0, over)[bound.broken_at]

    def does_both(self, x: Floats) -> Ints:
        """Slots in which a solution takes and feeds in at once."""
        return np.flatnonzero(np.minimum(x[self.taken], x[self.fed]) > 1e-4)


def _held(part: Part) -> Floats:
    """(n) what a device takes whatever is planned."""
    return np.where(part.least > 0, part.least, np.minimum(0.0, part.most) * part.sure)


def limits(connection: Connection, world: World) -> list[tuple[str, int, int, Floats]]:
    slots, out = world.slots, []
    if connection.upper_w:
        out.append((connection.upper_why, 0, 1, slots.series(connection.upper_w, 1e-3)))
    if connection.contracted_w:
        contracted = slots.series(connection.contracted_w, 1e-3) * (1.0 - connection.contracted_band)
        out.append(("contract", 0, 1, contracted))
    if connection.lower_w:
        out.append((connection.lower_why, 0, -1, slots.series(connection.lower_w, 1e-3)))
    if connection.fuse_w is not None:
        for phase in (1, 2, 3):
            fuse = np.full(slots.n, connection.fuse_w / 1000.0)
            out += [(f"fuse_l{phase}", phase, 1, fuse), (f"fuse_l{phase}", phase, -1, -fuse)]
    return out
