"""Own generation, and devices that plan themselves."""

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.part import Part, Room
from agents.cem.planner.problem import Fixed, Generator, Pv
from agents.cem.planner.switch import Switch, least_kw
from agents.cem.planner.terms import Terms, World


class PvPart(Part):
    def __init__(self, world: World, pv: Pv) -> None:
        self.begin(world, pv.name, pv.phases, pv.fixed)
        self.pv, n = pv, world.slots.n
        forecast = np.minimum(0.0, world.slots.series(pv.forecast_w, 1e-3))
        sure = np.clip(world.slots.series(pv.sure_w, 1e-3), forecast, 0.0) if pv.sure_w else forecast
        self.power = Terms(forecast)
        self.sure = np.divide(sure, forecast, out=np.ones(n), where=forecast < 0)
        self.highest = self.power
        self.least = forecast.copy()
        self.most = forecast.copy()
        self.curtailed: Ints = np.zeros(0, np.int64)
        if pv.can_curtail and (world.lower_matters or pv.fixed) and (forecast < 0).any():
            self.curtailed = world.model.columns(n, 0.0, -forecast)
            self.power.add(np.arange(n), self.curtailed, 1.0)
            self.most = np.zeros(n)
            price = (pv.curtail_eur_per_kwh + 1e-4) * world.slots.hours
            world.model.cost("wishes", self.curtailed, price)
        self.hold_pins(world)

    def propose(self, x: Floats, room: Room) -> None:
        """All of it; a pin is kept at once, what the bound on feeding in forbids is held back at the end."""
        forecast = self.power.constant
        held = np.zeros(len(forecast))
        if len(self.curtailed):
            pinned = self.wanted(room)
            phases = list(self.phases)  # beyond its own fuse at once: later loads may be on other phases
            beyond = -(room.spare[phases].min(axis=0) * len(phases) + forecast)
            held = np.clip(np.where(np.isnan(pinned), beyond, pinned - forecast), 0.0, -forecast)
            x[self.curtailed] = held
        power = forecast + held
        room.take(power, power * self.sure, self.phases)

    def curtail(self, x: Floats, room: Room) -> None:
        """Hold back what would be fed in beyond the bound or at a loss."""
        if not len(self.curtailed):
            return
        at_a_loss = (room.tariff.sell + self.pv.curtail_eur_per_kwh < 0) & np.isnan(self.wanted(room))
        need = np.maximum(-room.gives(self.phases), np.where(at_a_loss, -room.net, 0.0))
        more = np.clip(need, 0.0, -self.power.constant - x[self.curtailed])
        more = np.minimum(more, room.fits(self.phases) / np.maximum(self.sure, 1e-9))
        x[self.curtailed] += more
        room.take(more, more * self.sure, self.phases)


class GeneratorPart(Part):
    def __init__(self, world: World, unit: Generator) -> None:
        self.begin(world, unit.name, unit.phases, unit.fixed)
        self.unit = unit
        model, n = world.model, world.slots.n
        self.low_kw, self.high_kw = (
            least_kw(unit.min_power_w, unit.max_power_w, switched=True),
            unit.max_power_w / 1000.0,
        )
        allowed = np.full(n, 1.0 if unit.ready or unit.on else 0.0)
        self.on = model.columns(n, 0.0, allowed, whole=True)
        self.switch = Switch.add(
            world,
            unit.name,
            self.on,
            least_kw=self.low_kw,
            was_on=unit.on,
            since_s=unit.since_s,
            min_on_s=unit.min_on_s,
            min_off_s=unit.min_off_s,
            start_eur=unit.start_eur if unit.ready else max(unit.start_eur, 1e-6),
            allowed=allowed,
        )
        if not unit.ready:
            model.upper[-1][:] = 0.0  # it may go on, but not start again
        self.extra = model.columns(n, 0.0, self.high_kw - self.low_kw)
        rows = model.rows(f"{unit.name}: power only while on", n, -np.inf, 0.0)
        model.put(rows, self.extra, 1.0)
        model.put(rows, self.on, self.low_kw - self.high_kw)
        own = np.arange(n)
        self.power.add(own, self.on, -self.low_kw)
        self.power.add(own, self.extra, -1.0)
        self.least = -self.high_kw * allowed
        self.most = np.where(self.switch.forced == 1.0, -self.low_kw, 0.0)
        fuel = unit.eur_per_kwh * world.slots.hours
        model.cost("fuel", self.on, fuel * self.low_kw)
        model.cost("fuel", self.extra, fuel)
        model.cost("ties", self.on, world.tie() * max(0.1, self.low_kw))
        self.hold_pins(world)

    def switched(self) -> Switch | None:
        return self.switch

    def propose(self, x: Floats, room: Room) -> None:
        """Only what its least time on still demands."""
        on = (self.switch.forced == 1.0).astype(float)
        x[self.on], x[self.extra] = on, 0.0
        self.switch.settle(x)
        power = -self.low_kw * on
        room.take(power, power, self.phases)
        if self.unit.heat_to:
            heat = room.heat.get(self.unit.heat_to, np.zeros(len(on)))
            room.heat[self.unit.heat_to] = heat - power * self.unit.heat_per_power


class FixedPart(Part):
    def __init__(self, world: World, device: Fixed) -> None:
        self.begin(world, device.name, device.phases, ())
        self.power = self.highest = Terms(world.slots.series(device.power_w, 1e-3))
        self.least = self.most = self.power.constant
        self.hold_pins(world)

    def propose(self, x: Floats, room: Room) -> None:  # noqa: ARG002  nothing to choose
        room.take(self.power.constant, self.power.constant, self.phases)
