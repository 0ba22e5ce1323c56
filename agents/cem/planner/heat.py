"""Heated and cooled masses: one temperature, exact between slot edges for constant power."""

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.part import Lumps, Part, Room
from agents.cem.planner.problem import HeatTarget, Thermal
from agents.cem.planner.switch import Switch, least_kw
from agents.cem.planner.terms import World


class ThermalPart(Part):
    def __init__(self, world: World, device: Thermal, heaters: list[tuple[Part, float]]) -> None:
        """``heaters``: generators whose heat it takes, with heat per electric power."""
        self.begin(world, device.name, device.phases, device.fixed)
        self.device, self.slots, self.heaters = device, world.slots, heaters
        slots, n = world.slots, world.slots.n
        self.hours = hours = slots.hours
        self.sign = -1.0 if device.cools else 1.0
        self.cop = slots.series(device.cop, empty=1.0)
        loss, capacity = device.loss_w_per_k / 1000.0, device.capacity_wh_per_k / 1000.0
        self.keep = np.exp(-hours * loss / capacity) if loss > 0 else np.ones(n)
        self.gain = (1.0 - self.keep) / loss if loss > 0 else hours / capacity
        """K at the slot's end per kW of heat in it."""
        ambient, demand = slots.series(device.ambient_c), slots.series(device.demand_w, 1e-3)
        self.drift = (1.0 - self.keep) * ambient - self.gain * demand
        self.low = slots.series(device.minimum_c, empty=-np.inf)
        self.high = slots.series(device.maximum_c, empty=np.inf)
        self._power(world)
        self._temperature(world)
        self.hold_pins(world)

    def _power(self, world: World) -> None:
        model, device, n = world.model, self.device, world.slots.n
        own = np.arange(n)
        held = device.min_on_s > 0 or device.min_off_s > 0 or device.switch_eur > 0
        self.levels_kw = sorted(level / 1000.0 for level in device.levels_w if level > 0)
        low, high = (
            (self.levels_kw[0], self.levels_kw[-1])
            if self.levels_kw
            else (least_kw(device.min_power_w, device.max_power_w, switched=held), device.max_power_w / 1000.0)
        )
        self.low_kw, self.high_kw = low, high
        self.gradual = not self.levels_kw and low <= 0
        self.on = model.columns(n, 0.0, 1.0, whole=not self.gradual)
        self.switch = Switch.add(
            world,
            device.name,
            self.on,
            least_kw=low,
            was_on=device.on,
            since_s=device.since_s,
            min_on_s=device.min_on_s,
            min_off_s=device.min_off_s,
            start_eur=device.switch_eur,
            allowed=np.ones(n),
        )
        if low > 0:
            self.power.add(own, self.on, low)
        self.above: list[Ints] = []  # above the least power: one binary per further level, or a range
        if self.levels_kw:
            for level in self.levels_kw[1:]:
                self.above.append(model.columns(n, 0.0, 1.0, whole=True))
                self.power.add(own, self.above[-1], level - low)
            if self.above:
                rows = model.rows(f"{device.name}: one level", n, -np.inf, 0.0)
                model.put(rows, self.on, -1.0)
                for columns in self.above:
                    model.put(rows, columns, 1.0)
        else:
            self.above.append(model.columns(n, 0.0, high - low))
            self.power.add(own, self.above[0], 1.0)
            if not self.gradual:
                rows = model.rows(f"{device.name}: power only while on", n, -np.inf, 0.0)
                model.put(rows, self.above[0], 1.0)
                model.put(rows, self.on, low - high)
        model.cost("ties", self.on, world.tie() * max(low, 0.1))
        for columns in self.above:
            model.cost("ties", columns, world.tie())
        self.most = np.where(self.switch.forced == 0.0, 0.0, high)
        self.least = np.where(self.switch.forced == 1.0, low, 0.0)

    def _temperature(self, world: World) -> None:
        model, device, n = world.model, self.device, world.slots.n
        self.temperature = model.columns(n, -np.inf, np.inf)
        begin = self.drift + np.eye(1, n)[0] * self.keep[0] * device.temperature_c
        rows = model.rows(f"{device.name}: temperature", n, begin, begin)
        model.put(rows, self.temperature, 1.0)
        model.put(rows[1:], self.temperature[:-1], -self.keep[1:])
        self.power.put(model, rows, -self.sign * self.cop * self.gain)
        for part, heat in self.heaters:
            part.power.put(model, rows, heat * self.gain)  # generation is negative power: the sign turns twice
        self.cold_at, self.hot_at = np.flatnonzero(self.low > -np.inf), np.flatnonzero(self.high < np.inf)
        self.cold, self.hot = model.columns(len(self.cold_at)), model.columns(len(self.hot_at))
        price = device.comfort_eur_per_k_h
        if len(self.cold_at):
            rows = model.rows(f"{device.name}: comfort", len(self.cold_at), self.low[self.cold_at], np.inf)
            model.put(rows, self.temperature[self.cold_at], 1.0)
            model.put(rows, self.cold, 1.0)
            model.cost("wishes", self.cold, price * self.hours[self.cold_at])
        if len(self.hot_at):
            rows = model.rows(f"{device.name}: comfort", len(self.hot_at), -np.inf, self.high[self.hot_at])
            model.put(rows, self.temperature[self.hot_at], 1.0)
            model.put(rows, self.hot, -1.0)
            model.cost("wishes", self.hot, price * self.hours[self.hot_at])
        edges = world.slots.edges_s
        self.targets = [
            (target, edge)
            for target in device.targets
            if target.by_s <= edges[-1] + 1e-6 and (edge := world.slots.edge_before(target.by_s)) > 0
        ]
        self.unmet = model.columns(len(self.targets))
        for column, (target, edge) in zip(self.unmet, self.targets, strict=True):
            row = model.rows(f"{device.name}: finish temperature", 1, self.sign * target.temperature_c, np.inf)
            model.put(row[0], self.temperature[edge - 1], self.sign)
            model.put(row[0], column, 1.0)
            model.cost("wishes", column, target.unmet_eur_per_k)
        wanted = self.high if device.cools else self.low
        if wanted[-1] > -np.inf and wanted[-1] < np.inf:
            value = device.end_value_eur_per_kwh
            if value is None:
                value = max(0.0, world.refill_eur) / max(0.1, float(self.cop.mean()))
            per_k = value * device.capacity_wh_per_k / 1000.0
            model.cost("stored", self.temperature[-1], -self.sign * per_k)
            model.offset("stored", self.sign * per_k * device.temperature_c)

    def course(self, power: Floats, heat: Floats) -> Floats:
        """(n) temperatures at the slots' ends."""
        out, now = np.zeros(self.slots.n), self.device.temperature_c
        for t in range(self.slots.n):
            now = self._next(t, now, power[t], heat[t])
            out[t] = now
        return out

    def _next(self, t: int, now: float, power: float, heat: float) -> float:
        warmed = self.sign * float(self.cop[t]) * power + heat
        return float(self.keep[t]) * now + float(self.drift[t]) + float(self.gain[t]) * warmed

    def lumps(self) -> Lumps | None:
        if self.low_kw <= 0:
            return None
        slot, column, kw = self.power.flat()
        return slot, column, kw, np.isin(column, self.on)

    def switched(self) -> Switch | None:
        return None if self.gradual else self.switch

    def propose(self, x: Floats, room: Room) -> None:
        """A thermostat that looks one slot ahead; for a finish temperature it starts as late as it may (eager: now)."""
        device, n = self.device, self.slots.n
        heat = room.heat.get(self.name, np.zeros(n))
        fits, pinned = room.fits(self.phases), self.wanted(room)
        power, now, on, changed = np.zeros(n), device.temperature_c, device.on, device.since_s
        edges = self.slots.edges_s
        goal = self._goals(room.eager)
        for t in range(n):
            forced = self.switch.forced[t]
            held = changed is not None and edges[t] < changed + (device.min_on_s if on else device.min_off_s) - 1e-6
            idle = self._next(t, now, 0.0, float(heat[t]))
            lack = (goal[t] - idle) * self.sign / max(1e-9, float(self.gain[t] * self.cop[t]))
            want = min(max(lack, 0.0), self.high_kw)
            if not np.isnan(pinned[t]):
                want = pinned[t]
            if forced == 1.0 or (held and on):
                want = max(want, self.low_kw)
            if forced == 0.0 or (held and not on and forced != 1.0):
                want = 0.0
            if not on and want > 0 and not self._fits_on(t, fits):
                want = 0.0
            room_kw = self.low_kw if forced == 1.0 else float(fits[t])
            want = self._allowed(want, max(room_kw, self.low_kw if on and held else 0.0))
            if (want > 0) != on:
                on, changed = want > 0, float(edges[t])
            power[t] = want
            now = self._next(t, now, want, float(heat[t]))
        self._fill(x, power, heat)
        room.take(power, power, self.phases)

    def _fits_on(self, t: int, fits: Floats) -> bool:
        """It may be held on for its least time from here."""
        until = int(np.searchsorted(self.slots.edges_s[:-1], self.slots.edges_s[t] + self.device.min_on_s - 1e-6))
        return bool((fits[t : max(until, t + 1)] >= self.low_kw - 1e-9).all())

    def _allowed(self, want: float, most: float) -> float:
        """The least power that can be run and gives what is wanted, within ``most``."""
        if want <= 1e-9 or most < max(self.low_kw, 1e-9) - 1e-9:
            return 0.0
        if not self.levels_kw:
            return min(max(want, self.low_kw), most, self.high_kw)
        able = [level for level in self.levels_kw if level <= most + 1e-9]
        return next((level for level in able if level >= want - 1e-9), able[-1])

    def _goals(self, eager: bool) -> Floats:
        """(n) what a thermostat would hold: the comfort bound, or on its way to a finish temperature."""
        goal = (self.high if self.device.cools else self.low).copy()
        worst = max if self.sign > 0 else min
        for target, edge in self.targets:
            need = target.temperature_c
            for t in range(edge - 1, -1, -1):
                goal[t] = worst(goal[t], need)
                if not eager:
                    full = self.sign * float(self.cop[t]) * self.high_kw * float(self.gain[t])
                    need = (need - float(self.drift[t]) - full) / float(self.keep[t])
        bad = ~np.isfinite(goal)
        goal[bad] = -np.inf if self.sign > 0 else np.inf
        return goal

    def _fill(self, x: Floats, power: Floats, heat: Floats) -> None:
        on = (power > 1e-9).astype(float)
        x[self.on] = on
        if self.levels_kw:
            for columns, level in zip(self.above, self.levels_kw[1:], strict=True):
                x[columns] = np.abs(power - level) < 1e-9
        else:
            x[self.above[0]] = np.maximum(0.0, power - self.low_kw * on)
        self.switch.settle(x)
        x[self.temperature] = temperature = self.course(power, heat)
        x[self.cold] = np.maximum(0.0, self.low - temperature)[self.cold_at]
        x[self.hot] = np.maximum(0.0, temperature - self.high)[self.hot_at]
        x[self.unmet] = [max(0.0, self.sign * (t.temperature_c - temperature[edge - 1])) for t, edge in self.targets]

    def just_reached(self, target: HeatTarget, temperature_c: float) -> bool:
        return self.sign * (temperature_c - target.temperature_c) < 0.5

    def temperatures_c(self, x: Floats) -> Floats:
        return np.concatenate(([self.device.temperature_c], x[self.temperature]))
