"""The whole program of a problem: devices, connection, and a first plan by rule."""

from dataclasses import dataclass, field

import numpy as np

from agents.cem.planner.batteries import BatteryPart
from agents.cem.planner.charges import ChargePart
from agents.cem.planner.connection import ConnectionPart
from agents.cem.planner.heat import ThermalPart
from agents.cem.planner.jobs import JobPart, PausingJobPart
from agents.cem.planner.model import Floats, Frozen, Model
from agents.cem.planner.part import Part
from agents.cem.planner.problem import Battery, Charge, Device, Fixed, Generator, Job, Problem, Pv, Thermal
from agents.cem.planner.slots import Slots, Tariff, hard_base_kw
from agents.cem.planner.supply import FixedPart, GeneratorPart, PvPart
from agents.cem.planner.terms import World

ORDER = (FixedPart, PvPart, GeneratorPart, ThermalPart, JobPart, PausingJobPart, ChargePart, BatteryPart)
"""In which a plan by rule is built: what cannot wait first, what fills the gaps last."""


@dataclass
class Program:
    problem: Problem
    everywhere: bool = False
    """Binaries in every slot that forbid doing both ways at once, not only where prices invite it."""
    parts: list[Part] = field(default_factory=list)

    def __post_init__(self) -> None:
        problem = self.problem
        slots = Slots(problem.horizon)
        tariff = Tariff.of(problem.prices, slots)
        own = sum(
            (np.maximum(0.0, -slots.series(d.forecast_w, 1e-3)) for d in problem.devices if isinstance(d, Pv)),
            np.zeros(slots.n),
        )
        load, _ = hard_base_kw(problem.connection, slots)
        connection = problem.connection
        self.world = World(
            model=Model(),
            slots=slots,
            tariff=tariff,
            stability=problem.stability,
            refill_eur=tariff.refill_eur(load, own),
            lower_matters=bool(connection.lower_w) or connection.fuse_w is not None or bool((tariff.sell < 0).any()),
        )
        spare = own + sum(d.max_power_w / 1000.0 for d in problem.devices if isinstance(d, Generator)) - load
        spare += sum(
            (np.maximum(0.0, -slots.series(d.power_w, 1e-3)) for d in problem.devices if isinstance(d, Fixed)),
            np.zeros(slots.n),
        )
        self.may_charge = (spare > 1e-9).astype(float)
        inviting = np.minimum(tariff.buy + tariff.weight, tariff.sell) < 0
        one_way = tariff.sell > tariff.buy + tariff.weight + 1e-9
        for device in problem.devices:
            if isinstance(device, Battery) and device.no_grid_charge:
                one_way = one_way | (self.may_charge > 0)
        every = np.ones(slots.n, dtype=bool)
        generators: dict[str, GeneratorPart] = {}
        for device in sorted(problem.devices, key=lambda d: isinstance(d, Thermal)):  # heat sources first
            part = self._part(device, generators)
            if isinstance(part, BatteryPart):
                both = every if self.everywhere else inviting & (part.most > 0)
                part.exclude(self.world, np.flatnonzero(both))
            self.parts.append(part)
        self.connection = ConnectionPart(
            self.world, connection, self.parts, np.flatnonzero(every if self.everywhere else one_way)
        )
        self.connection.guard_batteries()
        self._stay()
        self.frozen: Frozen = self.world.model.frozen()

    def _part(self, device: Device, generators: dict[str, GeneratorPart]) -> Part:
        world = self.world
        match device:
            case Job():
                pausing = device.interruptible and device.started_s is None
                return PausingJobPart(world, device) if pausing else JobPart(world, device)
            case Charge():
                return ChargePart(world, device)
            case Battery():
                return BatteryPart(world, device, may_charge=self.may_charge)
            case Thermal():
                heaters = [g for g in generators.values() if g.unit.heat_to == device.name]
                return ThermalPart(world, device, [(g, g.unit.heat_per_power) for g in heaters])
            case Generator():
                generators[device.name] = GeneratorPart(world, device)
                return generators[device.name]
            case Pv():
                return PvPart(world, device)
            case Fixed():
                return FixedPart(world, device)

    def _stay(self) -> None:
        """What was announced: a change costs."""
        previous = self.problem.previous
        self.before: dict[str, Floats] = {}
        if previous is None:
            return
        slots = self.world.slots
        old = np.array(previous.horizon.edges_s())
        middle = (slots.edges_s[:-1] + slots.edges_s[1:]) / 2
        at = np.searchsorted(old, middle, side="right") - 1
        known = (at >= 0) & (at < previous.horizon.count)
        for part in self.parts:
            course = previous.devices.get(part.name)
            if course is None:
                continue
            power = np.array([*course.power_w, np.nan])[np.where(known, at, -1)] / 1000.0
            self.before[part.name] = power
            if isinstance(part, JobPart) and course.runs:
                part.stay_with(self.world, course.runs[0], course.programme)
            elif isinstance(part, ChargePart | ThermalPart | GeneratorPart):
                price = self.problem.stability.per_switch_eur
                was = np.abs(power) > 1e-6
                sign = np.where(np.isnan(power), 0.0, np.where(was, -price, price))
                self.world.model.cost("stability", part.on, sign)

    def by_rule(self, *, eager: bool = False, follow: bool = False) -> Floats:
        """A plan without search, within the same hard constraints."""
        x = np.zeros(self.world.model.width)
        room = self.connection.room(eager=eager)
        if follow:
            room.follow = dict(self.before)
        held = {part.name: np.maximum(0.0, part.least) for part in self.parts}
        for part in self.parts:  # what must run on keeps its place
            room.reserve(held[part.name], part.phases)
        for kind in ORDER:
            for part in self.parts:
                if type(part) is kind:
                    room.reserve(-held[part.name], part.phases)
                    part.propose(x, room)
        for part in self.parts:
            if isinstance(part, PvPart):
                part.curtail(x, room)
        for part in self.parts:
            part.settle_pins(x)
        self.connection.settle(x)
        return x

    def does_both(self, x: Floats) -> bool:
        """Something that cannot be: taking and feeding in, or charging and discharging, in one slot."""
        net = self.connection.net(x)
        bad = len(self.connection.does_both(x)) > 0
        for part in self.parts:
            if isinstance(part, BatteryPart):
                bad = bad or len(part.does_both(x)) > 0
                charge, discharge = x[part.charge], x[part.discharge]
                if part.battery.no_grid_charge:
                    bad = bad or bool((np.minimum(charge, net) > 1e-4).any())
                if part.battery.no_export:
                    bad = bad or bool((np.minimum(discharge, -net) > 1e-4).any())
        return bad
