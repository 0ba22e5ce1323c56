"""The optimum is the optimum: against every possibility tried, where there are few."""

import itertools
import random

import pytest

from agents.cem.planner.problem import Battery, Charge, Job, Programme, Pv, Step, Thermal
from agents.cem.planner.solve import solve
from tests.cem.planner.instances import at, problem

H = 0.25


@pytest.mark.parametrize("seed", range(12))
def test_two_jobs_under_a_limit_start_where_they_cost_least(seed: int) -> None:
    r = random.Random(seed)
    n, limit = 12, 2600.0
    buy = [round(r.uniform(0.1, 0.5), 3) for _ in range(n)]
    shapes = [[r.choice([500.0, 1000.0, 2000.0]) for _ in range(r.randrange(2, 4))] for _ in range(2)]
    jobs = [
        Job(
            name=f"job.{k}",
            programmes=(Programme(name="p", steps=tuple(Step(duration_s=900, power_w=w) for w in shape)),),
            earliest_s=at(0),
            latest_end_s=at(n),
        )
        for k, shape in enumerate(shapes)
    ]
    plan = solve(problem(n, buy, *jobs, load=0.0, upper_w=(limit,) * n, gap=0.0, gap_eur=1e-6))
    best = float("inf")
    for starts in itertools.product(*(range(n - len(s) + 1) for s in shapes)):
        load = [0.0] * n
        for start, shape in zip(starts, shapes, strict=True):
            for i, w in enumerate(shape):
                load[start + i] += w
        if max(load) <= limit:
            best = min(best, sum(w * b for w, b in zip(load, buy, strict=True)) * H / 1000)
    assert plan.costs.energy == pytest.approx(best, abs=1e-4)


@pytest.mark.parametrize("seed", range(10))
def test_an_on_off_device_with_minimum_times_is_best_among_all_patterns(seed: int) -> None:
    r = random.Random(seed)
    n, power, start = 10, 2000.0, 0.02
    buy = [round(r.uniform(0.1, 0.5), 3) for _ in range(n)]
    on, since = r.random() < 0.5, at(-1)
    tank = Thermal(
        name="tank.1",
        temperature_c=50.0,
        capacity_wh_per_k=200.0,
        loss_w_per_k=0.0,
        ambient_c=(20.0,) * n,
        minimum_c=(47.0,) * n,
        maximum_c=(56.0,) * n,
        demand_w=(800.0,) * n,
        levels_w=(power,),
        min_on_s=1800.0,
        min_off_s=1800.0,
        on=on,
        since_s=since,
        switch_eur=start,
        end_value_eur_per_kwh=0.0,
        phases=(1,),
    )
    plan = solve(problem(n, buy, tank, load=0.0, gap=0.0, gap_eur=1e-6))
    best = min(
        (
            cost
            for pattern in itertools.product((0, 1), repeat=n)
            if (cost := _thermal_cost(pattern, buy, on, power, start)) is not None
        ),
    )
    assert plan.costs.total == pytest.approx(best, abs=2e-3)


def _thermal_cost(pattern: tuple[int, ...], buy: list[float], on: bool, power: float, start: float) -> float | None:
    state, held = int(on), 1  # it has been so for one slot
    temperature, cost = 50.0, 0.0
    for t, now in enumerate(pattern):
        if now != state:
            if held < 2:
                return None
            cost, state, held = cost + start * now, now, 0
        held += 1
        temperature += (now * power - 800.0) * H / 200.0
        cost += now * power * H / 1000 * buy[t]
        cost += H * (max(0.0, 47.0 - temperature) + max(0.0, temperature - 56.0))
    return cost


@pytest.mark.parametrize("seed", range(10))
def test_a_car_takes_the_best_slots_of_all_choices(seed: int) -> None:
    r = random.Random(seed)
    n, low, high = 9, 4140.0, 11_000.0
    buy = [round(r.uniform(0.1, 0.5), 3) for _ in range(n)]
    pv = [-r.choice([0.0, 2000.0, 5000.0]) for _ in range(n)]
    need_wh = 7000.0
    car = Charge(
        name="evse.1", energy_wh=0, minimum_wh=need_wh, target_wh=need_wh, maximum_wh=60_000, arrival_s=at(0),
        departure_s=at(n), min_power_w=low, max_power_w=high, efficiency=1.0,
    )  # fmt: skip
    roof = Pv(name="pv.1", forecast_w=tuple(pv), can_curtail=False)
    plan = solve(problem(n, buy, car, roof, load=0.0, gap=0.0, gap_eur=1e-6))
    best = float("inf")
    for chosen in itertools.product((0, 1), repeat=n):
        lit = [t for t in range(n) if chosen[t]]
        if not len(lit) * low * H <= need_wh <= len(lit) * high * H:
            continue
        power = dict.fromkeys(lit, low)
        left = need_wh / H - low * len(lit)
        segments = []
        for t in lit:  # the cost of a kWh above the least power: what is not fed in, then what is bought
            own = min(high, max(low, -pv[t])) - low
            segments += [(0.08, own, t), (buy[t], high - low - own, t)]
        for _, size, t in sorted(segments):
            power[t] += min(size, left)
            left -= min(size, left)
        net = [power.get(t, 0.0) + pv[t] for t in range(n)]
        cost = sum((max(x, 0) * b - max(-x, 0) * 0.08) * H / 1000 for x, b in zip(net, buy, strict=True))
        best = min(best, cost)
    assert plan.costs.energy == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_a_battery_is_worth_what_dynamic_programming_finds(seed: int) -> None:
    r = random.Random(seed)
    n = 12
    buy = [round(r.uniform(0.05, 0.5), 2) for _ in range(n)]
    battery = Battery(
        name="battery.1", energy_wh=500, maximum_wh=1000, charge_w=1000, discharge_w=1000, charge_efficiency=1.0,
        discharge_efficiency=1.0, end_value_eur_per_kwh=0.1,
    )  # fmt: skip
    plan = solve(problem(n, buy, battery, load=2000.0, sell=0.0))
    value = [-(s * 0.25) * 0.1 for s in range(5)]  # stored in steps of 250 Wh: without losses nothing finer gains
    for t in reversed(range(n)):
        value = [
            min(value[s + step] + step * 0.25 * buy[t] for step in (-1, 0, 1) if 0 <= s + step < 5) for s in range(5)
        ]
    base = sum(buy) * 2000 * H / 1000
    assert plan.costs.energy + plan.costs.stored - 0.05 == pytest.approx(base + value[2], abs=1e-3)
