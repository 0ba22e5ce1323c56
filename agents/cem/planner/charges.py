"""Cars: power 0 or within a range, energy by departure."""

import numpy as np

from agents.cem.planner.model import Floats
from agents.cem.planner.part import Lumps, Part, Room
from agents.cem.planner.problem import Charge
from agents.cem.planner.switch import Switch, least_kw
from agents.cem.planner.terms import World


class ChargePart(Part):
    def __init__(self, world: World, car: Charge) -> None:
        self.begin(world, car.name, car.phases, car.fixed)
        self.car, self.slots = car, world.slots
        model, slots, n = world.model, world.slots, world.slots.n
        self.hours = slots.hours
        self.allowed = np.zeros(n)
        self.allowed[slots.inside(min(car.arrival_s, slots.edges_s[-1]), car.departure_s)] = 1.0
        if car.arrival_s <= slots.edges_s[0] and len(slots.inside(slots.edges_s[0], car.departure_s)):
            self.allowed[0] = 1.0
        switched = car.switch_eur > 0 or car.min_on_s > 0
        low, high = least_kw(car.min_power_w, car.max_power_w, switched=switched), car.max_power_w / 1000.0
        self.low_kw, self.gradual = low, low <= 0
        gradual = self.gradual
        self.on = model.columns(n, 0.0, self.allowed, whole=not gradual)
        self.switch = Switch.add(
            world,
            car.name,
            self.on,
            least_kw=low,
            was_on=car.on,
            since_s=car.since_s if self._has_space(low) else None,
            min_on_s=car.min_on_s,
            min_off_s=0.0,
            start_eur=car.switch_eur,
            allowed=self.allowed,
        )
        self.extra = model.columns(n, 0.0, (high - low) * self.allowed)  # above the least power
        if high > low and not gradual:
            rows = model.rows(f"{car.name}: power only while on", n, -np.inf, 0.0)
            model.put(rows, self.extra, 1.0)
            model.put(rows, self.on, low - high)
        own = np.arange(n)
        if low > 0:
            self.power.add(own, self.on, low)
        self.power.add(own, self.extra, 1.0)
        self.most = high * self.allowed
        self.least = np.where(self.switch.forced == 1.0, low, 0.0)
        model.cost("ties", self.extra, world.tie())
        model.cost("ties", self.on, world.tie() * max(low, 0.1))
        if car.green_eur_per_kwh:
            weight = car.green_eur_per_kwh * world.tariff.grey * self.hours
            model.cost("wishes", self.extra, weight)
            model.cost("wishes", self.on, weight * low)
        self._wish(world, low)
        self.hold_pins(world)

    def _has_space(self, low: float) -> bool:
        """A full car stops by itself, whatever its least time."""
        car = self.car
        held_h = ((car.since_s or 0.0) + car.min_on_s - self.slots.edges_s[0]) / 3600.0 + self.slots.hours.max()
        return bool(low * held_h * car.efficiency <= (car.maximum_wh - car.energy_wh) / 1000.0)

    def _wish(self, world: World, low: float) -> None:
        model, car = world.model, self.car
        end = world.slots.edges_s[-1]
        share = 1.0
        if car.departure_s > end:  # what is asked for after the horizon is asked for then
            begin = max(car.arrival_s, world.slots.edges_s[0])
            share = max(0.0, end - begin) / max(1.0, car.departure_s - begin)
        now = car.energy_wh / 1000.0
        stored = car.efficiency * self.hours
        full = max(0.0, car.maximum_wh / 1000.0 - now)
        held = model.rows(f"{car.name}: full", 1, -np.inf, full)
        self.need = share * max(0.0, min(car.minimum_wh / 1000.0 - now, full))
        self.wish = max(self.need, share * max(0.0, min(car.target_wh / 1000.0 - now, full)))
        # Missing below the minimum, missing between minimum and target, and what is charged above the target.
        self.missing = model.columns(3, 0.0, [np.inf, self.wish - self.need, np.inf])
        unmet = max(car.unmet_eur_per_kwh, car.wish_eur_per_kwh)
        model.cost("wishes", self.missing, np.array([unmet, car.wish_eur_per_kwh, -max(0.0, car.extra_eur_per_kwh)]))
        row = model.rows(f"{car.name}: energy at departure", 1, self.wish, self.wish)
        for r in (held[0], row[0]):
            if low > 0:
                model.put(r, self.on, low * stored)
            model.put(r, self.extra, stored)
        model.put(row[0], self.missing, [1.0, 1.0, -1.0])

    def stored_kwh(self, x: Floats) -> Floats:
        """(n + 1)"""
        return self.car.energy_wh / 1000.0 + np.concatenate(
            ([0.0], np.cumsum(self.power.at(x) * self.hours * self.car.efficiency))
        )

    def lumps(self) -> Lumps | None:
        if self.gradual:
            return None
        slot, column, kw = self.power.flat()
        return slot, column, kw, np.isin(column, self.on)

    def switched(self) -> Switch | None:
        return None if self.gradual else self.switch

    def propose(self, x: Floats, room: Room) -> None:
        car, n = self.car, self.slots.n
        low, high = self.low_kw, car.max_power_w / 1000.0
        power = np.where(self.switch.forced == 1.0, low, 0.0)
        fits = np.minimum(room.fits(self.phases), high)
        pinned = self.wanted(room)
        usable = (self.allowed > 0) & (self.switch.forced != 0.0) & (fits >= max(low, 1e-6))
        gain = self.hours * car.efficiency
        space = max(0.0, (car.maximum_wh - car.energy_wh) / 1000.0)
        left = min(self.wish, space) - float(power @ gain)
        hold = car.min_on_s > 0
        for t in np.argsort(np.arange(n) if room.eager or hold else room.price(), kind="stable"):
            if not usable[t] or (not np.isnan(pinned[t]) and pinned[t] <= 0):
                continue
            if hold and t > 0 and power[t - 1] == 0 and not usable[t : self._until(t)].all():
                continue  # it could not stay on for its least time
            want = fits[t] if np.isnan(pinned[t]) else min(fits[t], max(low, pinned[t]))
            more = min(want, power[t] + max(0.0, left) / gain[t])
            held = hold and t > 0 and power[t - 1] > 0 and self.slots.edges_s[t] < self._held_until(power, t)
            if more < low - 1e-9 or left <= 1e-9:
                rest = space - float(power @ gain)
                if not (held or left > 1e-9) or low * gain[t] > rest + 1e-9:
                    continue
                more = max(low, power[t])  # the least power overshoots the wish a little
            left -= (more - power[t]) * gain[t]
            power[t] = more
        self._fill(x, power)
        room.take(power, power, self.phases)

    def _until(self, t: int) -> int:
        return int(np.searchsorted(self.slots.edges_s[:-1], self.slots.edges_s[t] + self.car.min_on_s - 1e-6))

    def _held_until(self, power: Floats, t: int) -> float:
        start = t
        while start > 0 and power[start - 1] > 0:
            start -= 1
        return float(self.slots.edges_s[start]) + self.car.min_on_s

    def _fill(self, x: Floats, power: Floats) -> None:
        low = self.low_kw
        on = (power > 1e-9).astype(float)
        x[self.on] = on
        x[self.extra] = np.maximum(0.0, power - low * on)
        self.switch.settle(x)
        charged = float(power @ (self.hours * self.car.efficiency))
        short = max(0.0, self.wish - charged)
        soft = min(short, self.wish - self.need)
        x[self.missing] = short - soft, soft, max(0.0, charged - self.wish)
