"""Storage that gives back."""

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.part import PIN_EUR_PER_KWH, Part, Room
from agents.cem.planner.problem import UNMET_EUR_PER_KWH, Battery
from agents.cem.planner.terms import World

RESERVE_EUR_PER_KWH_H = UNMET_EUR_PER_KWH / 24
"""What a kWh below the lowest level counts for an hour: back within the day."""


class BatteryPart(Part):
    def __init__(self, world: World, battery: Battery, *, may_charge: Floats) -> None:
        """``may_charge`` (n) is 0 where own generation can never be left for a battery that takes nothing else."""
        self.begin(world, battery.name, battery.phases, battery.fixed)
        self.battery, self.slots = battery, world.slots
        model, slots, n = world.model, world.slots, world.slots.n
        self.hours = hours = slots.hours
        self.keep = (1.0 - min(1.0, battery.self_discharge_per_day)) ** (hours / 24.0)
        now = battery.energy_wh / 1000.0
        idle = now * np.cumprod(self.keep)
        self.floor = np.minimum(battery.minimum_wh / 1000.0, idle)
        self.lowest = self.floor.copy()  # from which it also stays above the floor when nothing is done
        for t in range(n - 2, -1, -1):
            self.lowest[t] = max(self.floor[t], self.lowest[t + 1] / self.keep[t + 1])
        self.reserve_kwh = battery.minimum_wh / 1000.0
        self.top = np.maximum(battery.maximum_wh / 1000.0, idle)
        charge_kw = battery.charge_w / 1000.0 * (may_charge if battery.no_grid_charge else np.ones(n))
        self.charge = model.columns(n, 0.0, charge_kw)
        self.discharge = model.columns(n, 0.0, battery.discharge_w / 1000.0)
        self.stored = model.columns(n, self.floor, self.top)
        begin = np.eye(1, n)[0] * now * self.keep[0]
        rows = model.rows(f"{battery.name}: energy", n, begin, begin)
        model.put(rows, self.stored, 1.0)
        model.put(rows[1:], self.stored[:-1], -self.keep[1:])
        model.put(rows, self.charge, -battery.charge_efficiency * hours)
        model.put(rows, self.discharge, hours / battery.discharge_efficiency)
        own = np.arange(n)
        self.power.add(own, self.charge, 1.0)
        self.power.add(own, self.discharge, -1.0)
        self.most, self.least = charge_kw, np.full(n, -battery.discharge_w / 1000.0)
        for columns in (self.charge, self.discharge):
            model.cost("wear", columns, battery.wear_eur_per_kwh * hours)
            model.cost("ties", columns, 1e-6 * hours)
        model.cost("ties", self.charge, world.tie() * hours)
        value = battery.end_value_eur_per_kwh
        if value is None:
            value = max(0.0, world.refill_eur / battery.charge_efficiency)
        model.cost("stored", self.stored[-1], -value)
        model.offset("stored", value * battery.energy_wh / 1000.0)
        self._wish(world)
        self.exclusive: Ints = np.zeros(0, np.int64)
        self.charging: Ints = np.zeros(0, np.int64)
        self.hold_pins(world)
        self._hold_direction(world)

    def _hold_direction(self, world: World) -> None:
        """Who is to charge does not give first, to have something to take: the way back costs what it is off, again."""
        for columns, pinned in (
            (self.discharge, self.pinned[self.pin_kw > 0]),
            (self.charge, self.pinned[self.pin_kw < 0]),
        ):
            world.model.cost("wishes", columns[pinned], PIN_EUR_PER_KWH * self.hours[pinned])

    def _wish(self, world: World) -> None:
        model, battery = world.model, self.battery
        short = np.flatnonzero(self.floor < self.reserve_kwh - 1e-9)
        self.short, self.lacking = short, model.columns(len(short))
        if len(short):
            rows = model.rows(f"{battery.name}: reserve", len(short), self.reserve_kwh, np.inf)
            model.put(rows, self.stored[short], 1.0)
            model.put(rows, self.lacking, 1.0)
            model.cost("wishes", self.lacking, RESERVE_EUR_PER_KWH_H * self.hours[short])
        edges = world.slots.edges_s
        self.targets = [
            (target, edge)
            for target in battery.targets
            if target.by_s <= edges[-1] + 1e-6 and (edge := world.slots.edge_before(target.by_s)) > 0
        ]
        self.unmet = model.columns(len(self.targets))
        for column, (target, edge) in zip(self.unmet, self.targets, strict=True):
            row = model.rows(f"{battery.name}: energy by a time", 1, target.energy_wh / 1000.0, np.inf)
            model.put(row[0], self.stored[edge - 1], 1.0)
            model.put(row[0], column, 1.0)
            model.cost("wishes", column, target.unmet_eur_per_kwh)

    def exclude(self, world: World, slots: Ints) -> None:
        """Binaries that forbid charging and discharging in the same slot."""
        if not len(slots):
            return
        model, battery = world.model, self.battery
        self.exclusive, self.charging = slots, model.columns(len(slots), 0.0, 1.0, whole=True)
        rows = model.rows(f"{battery.name}: charge or discharge", len(slots), -np.inf, 0.0)
        model.put(rows, self.charge[slots], 1.0)
        model.put(rows, self.charging, -battery.charge_w / 1000.0)
        rows = model.rows(f"{battery.name}: charge or discharge", len(slots), -np.inf, battery.discharge_w / 1000.0)
        model.put(rows, self.discharge[slots], 1.0)
        model.put(rows, self.charging, battery.discharge_w / 1000.0)

    def does_both(self, x: Floats) -> Ints:
        """The slots in which a solution charges and discharges."""
        return np.flatnonzero(np.minimum(x[self.charge], x[self.discharge]) > 1e-4)

    def propose(self, x: Floats, room: Room) -> None:
        """What any battery does by itself: take what is left over, give what is missing; a pin first."""
        battery, n = self.battery, self.slots.n
        charge, discharge, stored = np.zeros(n), np.zeros(n), np.zeros(n)
        limit, gives = np.minimum(room.fits(self.phases), self.most), room.gives(self.phases)
        pinned, level = self.wanted(room), battery.energy_wh / 1000.0
        for t in range(n):
            level *= self.keep[t]
            want = -room.net[t] if np.isnan(pinned[t]) else pinned[t]
            if battery.no_grid_charge:
                want = min(want, max(0.0, -room.net[t]))
            if battery.no_export or np.isnan(pinned[t]):
                want = max(want, -max(0.0, room.net[t]))
            want = max(want, -max(0.0, gives[t]))
            if want > 0:
                space = (self.top[t] - level) / battery.charge_efficiency / self.hours[t]
                charge[t] = max(0.0, min(want, limit[t], space))
            else:
                spare = (level - self.lowest[t]) * battery.discharge_efficiency / self.hours[t]
                discharge[t] = max(0.0, min(-want, battery.discharge_w / 1000.0, spare))
            level += self.hours[t] * (
                charge[t] * battery.charge_efficiency - discharge[t] / battery.discharge_efficiency
            )
            stored[t] = level
        self._fill(x, charge, discharge, stored)
        power = charge - discharge
        room.take(power, power, self.phases)

    def _fill(self, x: Floats, charge: Floats, discharge: Floats, stored: Floats) -> None:
        x[self.charge], x[self.discharge], x[self.stored] = charge, discharge, stored
        x[self.lacking] = np.maximum(0.0, self.reserve_kwh - stored[self.short])
        x[self.unmet] = [max(0.0, t.energy_wh / 1000.0 - stored[edge - 1]) for t, edge in self.targets]
        x[self.charging] = charge[self.exclusive] > 0

    def stored_kwh(self, x: Floats) -> Floats:
        return np.concatenate(([self.battery.energy_wh / 1000.0], x[self.stored]))
