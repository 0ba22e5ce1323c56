"""The joint plan of a home: time to a feasible plan and to one proven within 1 %, beside a plain formulation."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import highspy
import numpy as np

from agents.cem.planner.problem import (
    Battery,
    Charge,
    Connection,
    Device,
    Effort,
    Horizon,
    Job,
    Prices,
    Problem,
    Programme,
    Pv,
    Step,
    Thermal,
)
from agents.cem.planner.program import Program
from agents.cem.planner.solve import best_start, solve
from bench.figure import Figure, Result, median

PLAIN_LIMIT_S = 15.0
START_S = 1_760_000_400.0
MIX = ("pv.1", "battery.1", "washer.1", "dishwasher.1", "evse.1", "evse.2", "heatpump.1", "tank.1")
HOME = ("pv.1", "battery.1", "evse.1", "heatpump.1")
"""What a home of the street has."""


async def run(quick: bool) -> list[Result]:
    seeds, plain_seeds = range(5 if quick else 15), range(1 if quick else 3)
    await asyncio.to_thread(solve, instance(99, HOME))  # what loading the solver costs is not the plan's
    mix = [await asyncio.to_thread(_measure, instance(seed, MIX)) for seed in seeds]
    home = [await asyncio.to_thread(_measure, instance(seed, HOME)) for seed in seeds]
    plain = [await asyncio.to_thread(_plain, instance(seed, MIX)) for seed in plain_seeds]
    proven = [m.proven_s for m in mix]
    gaps = f"worst gap {max(m.gap for m in mix):.2%}, {sum(m.gap <= 0.0101 for m in mix)} of {len(mix)} proven"
    ratios = [plain[seed] / mix[seed].proven_s for seed in plain_seeds]
    return [
        Figure(what="plan, 8 devices: feasible", value=median([m.feasible_s for m in mix]), unit="s", at_most=0.5),
        Figure(what="plan, 8 devices: proven within 1 %", value=median(proven), unit="s", at_most=2.0, note=gaps),
        Figure(what="  processor time", value=median([m.cpu_s for m in mix]), unit="s"),
        Figure(what="  worst of all", value=max(proven), unit="s"),
        Figure(what="  against a plain formulation", value=median(ratios), unit="x", note=f"{len(ratios)} instances"),
        Figure(what="plan, 4 devices: feasible", value=median([m.feasible_s for m in home]), unit="s"),
        Figure(what="plan, 4 devices: proven within 1 %", value=median([m.proven_s for m in home]), unit="s"),
        Figure(what="  processor time", value=median([m.cpu_s for m in home]), unit="s"),
    ]


@dataclass(frozen=True)
class Measured:
    feasible_s: float
    proven_s: float
    cpu_s: float
    gap: float


def _measure(problem: Problem) -> Measured:
    began = time.perf_counter()
    if best_start(Program(problem)) is None:
        raise ValueError("no plan by rule")
    feasible = time.perf_counter() - began
    spent = time.process_time()
    plan = solve(problem)
    return Measured(feasible, plan.seconds, time.process_time() - spent, plan.gap)


def instance(seed: int, names: tuple[str, ...], n: int = 96) -> Problem:
    """A day with hourly prices, the sun of that day, two cars with different needs; all from the seed."""
    r = random.Random(seed)
    s, begin = START_S, r.choice([0, 6, 12, 15, 18])  # plans are made at any time of the day
    hours = [(begin + i / 4) % 24 for i in range(n)]
    hourly = [0.28 + 0.08 * math.sin((begin + k - 10) / 6 * math.pi) + r.gauss(0, 0.03) for k in range(n // 4 + 1)]
    load = tuple(300 + 200 * r.random() + (600 if 7 <= h < 9 or 17 <= h < 22 else 0) for h in hours)
    peak = r.uniform(2000, 8000)
    sun = [math.sin(max(0.0, min(math.pi, (h - 6) / 13 * math.pi))) for h in hours]
    eco = (
        Step(duration_s=1200, power_w=2000, maximum_w=2100),
        Step(duration_s=4800, power_w=250),
        Step(duration_s=1200, power_w=500),
    )
    short = (Step(duration_s=1500, power_w=2200), Step(duration_s=2100, power_w=600))
    dishes = (
        Step(duration_s=900, power_w=1800),
        Step(duration_s=3600, power_w=100),
        Step(duration_s=1800, power_w=1900),
        Step(duration_s=1800, power_w=50),
    )

    def slot_at(hour: float) -> int:
        """The first slot at which it is that hour, then or later the same day."""
        return round((hour - begin) % 24 * 4)

    earliest, latest = (s + r.randrange(20) * 900 for _ in range(2)), (s + r.randrange(50, 90) * 900 for _ in range(2))
    # The first car goes to work; the second comes and goes.
    leaves, comes = slot_at(r.uniform(6, 9)), slot_at(r.uniform(16, 19))
    first = (comes, leaves if leaves > comes else leaves + 96) if comes < 72 or leaves < 24 else (0, leaves)
    second = r.randrange(40)
    draws = {6.5, 7.0, 7.25, 12.0, 19.0, 20.0, 20.25}
    devices: tuple[Device, ...] = (
        Pv(name="pv.1", forecast_w=tuple(-peak * x * r.uniform(0.6, 1) for x in sun)),
        Battery(
            name="battery.1",
            energy_wh=r.uniform(500, 6000),
            minimum_wh=500,
            maximum_wh=9500,
            charge_w=4500,
            discharge_w=4500,
            wear_eur_per_kwh=0.01,
        ),
        Job(
            name="washer.1",
            programmes=(Programme(name="eco", steps=eco), Programme(name="short", steps=short)),
            earliest_s=next(earliest),
            latest_end_s=next(latest),
        ),
        Job(
            name="dishwasher.1",
            programmes=(Programme(name="eco", steps=dishes),),
            earliest_s=next(earliest),
            latest_end_s=next(latest),
            phases=(2,),
        ),
        Charge(
            name="evse.1",
            energy_wh=r.uniform(8000, 30_000),
            minimum_wh=36_000,
            target_wh=48_000,
            maximum_wh=60_000,
            arrival_s=s + first[0] * 900,
            departure_s=s + first[1] * 900,
            max_power_w=11_000,
            switch_eur=0.01,
        ),
        Charge(
            name="evse.2",
            energy_wh=r.uniform(5000, 15_000),
            minimum_wh=18_000,
            target_wh=25_000,
            maximum_wh=32_000,
            arrival_s=s + second * 900,
            departure_s=s + (second + r.randrange(24, 56)) * 900,
            min_power_w=1380,
            max_power_w=3680,
            phases=(3,),
            switch_eur=0.01,
        ),
        Thermal(
            name="heatpump.1",
            temperature_c=r.uniform(20, 21.5),
            capacity_wh_per_k=5000,
            loss_w_per_k=200,
            ambient_c=tuple(4 + 5 * math.sin((h - 9) / 12 * math.pi) for h in hours),
            minimum_c=(20.0,) * n,
            maximum_c=(22.5,) * n,
            cop=tuple(3 + 0.4 * math.sin((h - 9) / 12 * math.pi) for h in hours),
            min_power_w=1000,
            max_power_w=3000,
            min_on_s=1800,
            min_off_s=1800,
            switch_eur=0.02,
        ),
        Thermal(
            name="tank.1",
            temperature_c=r.uniform(48, 55),
            capacity_wh_per_k=230,
            loss_w_per_k=2,
            ambient_c=(18.0,) * n,
            minimum_c=(45.0,) * n,
            maximum_c=(60.0,) * n,
            demand_w=tuple(r.choice([0, 0, 0, 1500]) if h in draws else 60 for h in hours),
            levels_w=(2000,),
            switch_eur=0.005,
            phases=(1,),
        ),
    )
    return Problem(
        horizon=Horizon(start_s=s, count=n),
        prices=Prices(buy_eur_per_kwh=tuple(hourly[i // 4] for i in range(n)), sell_eur_per_kwh=(0.08,) * n),
        connection=Connection(
            load_w=load, load_high_w=tuple(1.3 * x for x in load), fuse_w=35 * 230.0, upper_w=(17_000.0,) * n
        ),
        devices=tuple(d for d in devices if d.name in names),
        effort=Effort(time_limit_s=8.0),
    )


# ------------------------------------------------------------------ the same, as it is written down at first


@dataclass
class Sheet:
    """A program written term by term."""

    cost: list[float] = field(default_factory=list)
    lower: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    rows: list[tuple[float, float, dict[int, float]]] = field(default_factory=list)

    def column(self, upper: float = math.inf, cost: float = 0.0, lower: float = 0.0, whole: bool = False) -> int:
        self.cost.append(cost)
        self.lower.append(lower)
        self.upper.append(upper)
        self.whole.append(int(whole))
        return len(self.cost) - 1

    def row(self, lower: float, upper: float) -> Callable[[dict[int, float]], None]:
        return lambda terms: self.rows.append((lower, upper, terms))

    def solve(self, limit_s: float) -> bool:
        """Whether it was proven within 1 %."""
        solver = highspy._core._Highs()
        for name, value in (("output_flag", False), ("threads", 1), ("mip_rel_gap", 0.01), ("time_limit", limit_s)):
            solver.setOptionValue(name, value)
        n = len(self.cost)
        none = np.zeros(0, dtype=np.int32)
        solver.addCols(n, np.array(self.cost), np.array(self.lower), np.array(self.upper), 0, none, none, np.zeros(0))
        solver.changeColsIntegrality(n, np.arange(n, dtype=np.int32), np.array(self.whole, dtype=np.uint8))
        for lower, upper, terms in self.rows:
            columns = np.array(list(terms), dtype=np.int32)
            solver.addRow(lower, upper, len(terms), columns, np.array(list(terms.values()), dtype=float))
        solver.run()
        return bool(solver.getModelStatus() == highspy.HighsModelStatus.kOptimal)


def _plain(problem: Problem) -> float:
    """Seconds until proven within 1 %, at most the limit."""
    began = time.perf_counter()
    write_plainly(problem).solve(PLAIN_LIMIT_S)
    return time.perf_counter() - began


def write_plainly(problem: Problem) -> Sheet:
    """One binary per device and slot, big M, minimum times slot by slot, no start, no cuts."""
    sheet, n, h = Sheet(), problem.horizon.count, problem.horizon.slot_s / 3600
    prices, edges = problem.prices, problem.horizon.edges_s()
    power: list[dict[int, float]] = [{} for _ in range(n)]
    constant = [w / 1000 for w in problem.connection.load_w]
    for device in problem.devices:
        match device:
            case Pv():
                constant = [c + w / 1000 for c, w in zip(constant, device.forecast_w, strict=True)]
            case Battery():
                _plain_battery(sheet, device, power, h)
            case Job():
                _plain_job(sheet, device, power, edges)
            case Charge():
                _plain_car(sheet, device, power, edges, h)
            case Thermal():
                _plain_heat(sheet, device, power, problem, h)
            case _:
                raise TypeError(f"{device.name} has no plain form")
    ceiling = problem.connection.upper_w
    for t in range(n):
        buy = sheet.column(ceiling[t] / 1000, prices.buy_eur_per_kwh[t] * h)
        sell = sheet.column(30.0, -prices.sell_eur_per_kwh[t] * h)
        sheet.row(-constant[t], -constant[t])({**power[t], buy: -1.0, sell: 1.0})
    return sheet


def _plain_battery(sheet: Sheet, b: Battery, power: list[dict[int, float]], h: float) -> None:
    before = -1
    for slot in power:
        wear = b.wear_eur_per_kwh * h
        charge, give = sheet.column(b.charge_w / 1000, wear), sheet.column(b.discharge_w / 1000, wear)
        stored, mode = sheet.column(b.maximum_wh / 1000, 0.0, b.minimum_wh / 1000), sheet.column(1, whole=True)
        sheet.row(-math.inf, 0.0)({charge: 1.0, mode: -b.charge_w / 1000})
        sheet.row(-math.inf, b.discharge_w / 1000)({give: 1.0, mode: b.discharge_w / 1000})
        terms = {stored: 1.0, charge: -b.charge_efficiency * h, give: h / b.discharge_efficiency}
        start = b.energy_wh / 1000 if before < 0 else 0.0
        sheet.row(start, start)(terms if before < 0 else {**terms, before: -1.0})
        slot[charge], slot[give], before = 1.0, -1.0, stored
    sheet.cost[before] -= 0.2


def _plain_job(sheet: Sheet, job: Job, power: list[dict[int, float]], edges: tuple[float, ...]) -> None:
    """A programme is chosen, its pieces each have a slot, in order and without a gap."""
    pieces: dict[int, float] = {}
    for programme in job.programmes:
        count = math.ceil(programme.duration_s / 900)
        chosen = sheet.column(1, whole=True)
        pieces[chosen] = 1.0
        at = [[sheet.column(1, whole=True) for _ in power] for _ in range(count)]
        for i in range(count):
            sheet.row(0.0, 0.0)({**dict.fromkeys(at[i], 1.0), chosen: -1.0})
            for t, column in enumerate(at[i]):
                power[t][column] = _mean_kw(programme, i)
                if edges[t] < job.earliest_s or edges[t + 1] > job.latest_end_s:
                    sheet.upper[column] = 0.0
                if i and t:
                    sheet.row(0.0, 0.0)({column: 1.0, at[i - 1][t - 1]: -1.0})
            if i:
                sheet.upper[at[i][0]] = 0.0
    sheet.row(1.0, 1.0)(pieces)


def _mean_kw(programme: Programme, piece: int) -> float:
    at, energy = 0.0, 0.0
    for step in programme.steps:
        energy += step.power_w * max(0.0, min(900.0 * (piece + 1), at + step.duration_s) - max(900.0 * piece, at))
        at += step.duration_s
    return energy / 900 / 1000


def _plain_car(sheet: Sheet, car: Charge, power: list[dict[int, float]], edges: tuple[float, ...], h: float) -> None:
    charged: dict[int, float] = {}
    before = -1
    for t, slot in enumerate(power):
        here = edges[t] >= car.arrival_s and edges[t + 1] <= car.departure_s
        p, on = sheet.column(car.max_power_w / 1000), sheet.column(float(here), whole=True)
        sheet.row(-math.inf, 0.0)({p: 1.0, on: -car.max_power_w / 1000})
        sheet.row(0.0, math.inf)({p: 1.0, on: -car.min_power_w / 1000})
        start = sheet.column(1, car.switch_eur)
        sheet.row(0.0, math.inf)({start: 1.0, on: -1.0} if before < 0 else {start: 1.0, on: -1.0, before: 1.0})
        slot[p], charged[p], before = 1.0, h * car.efficiency, on
    missing, more = sheet.column(math.inf, car.unmet_eur_per_kwh), sheet.column(math.inf, car.wish_eur_per_kwh)
    space = (car.maximum_wh - car.energy_wh) / 1000
    sheet.row((car.minimum_wh - car.energy_wh) / 1000, space)({**charged, missing: 1.0})
    sheet.row((car.target_wh - car.energy_wh) / 1000, math.inf)({**charged, missing: 1.0, more: 1.0})


def _plain_heat(sheet: Sheet, d: Thermal, power: list[dict[int, float]], problem: Problem, h: float) -> None:
    low, high = (min(d.levels_w), max(d.levels_w)) if d.levels_w else (d.min_power_w, d.max_power_w)
    keep = math.exp(-h * d.loss_w_per_k / d.capacity_wh_per_k)
    gain = (1 - keep) / (d.loss_w_per_k / 1000)
    ons: list[int] = []
    before = -1
    for t, slot in enumerate(power):
        p, on, warm = sheet.column(high / 1000), sheet.column(1, whole=True), sheet.column(math.inf, 0.0, -math.inf)
        sheet.row(-math.inf, 0.0)({p: 1.0, on: -high / 1000})
        sheet.row(0.0, math.inf)({p: 1.0, on: -low / 1000})
        drift = (1 - keep) * d.ambient_c[t] - gain * (d.demand_w[t] / 1000 if d.demand_w else 0.0)
        terms = {warm: 1.0, p: -gain * (d.cop[t] if d.cop else 1.0)}
        goal = drift + (keep * d.temperature_c if before < 0 else 0.0)
        sheet.row(goal, goal)(terms if before < 0 else {**terms, before: -keep})
        cold, hot = (sheet.column(math.inf, d.comfort_eur_per_k_h * h) for _ in range(2))
        sheet.row(d.minimum_c[t], math.inf)({warm: 1.0, cold: 1.0})
        sheet.row(-math.inf, d.maximum_c[t])({warm: 1.0, hot: -1.0})
        start = sheet.column(1, d.switch_eur)
        sheet.row(0.0, math.inf)({start: 1.0, on: -1.0} | ({ons[-1]: 1.0} if ons else {}))
        slot[p], before = 1.0, warm
        ons.append(on)
    for hold_s, sign in ((d.min_on_s, 1.0), (d.min_off_s, -1.0)):
        for t in range(1, len(ons)):
            for k in range(t + 1, min(len(ons), t + round(hold_s / problem.horizon.slot_s))):
                bound = (0.0, math.inf) if sign > 0 else (-math.inf, 1.0)
                sheet.row(*bound)({ons[k]: 1.0, ons[t]: -1.0, ons[t - 1]: 1.0})
    sheet.cost[before] -= 0.05 * d.capacity_wh_per_k / 1000
