"""Seeded problems of every shape: what a home may have, and what may go wrong with it."""

import math
import random
from dataclasses import replace
from typing import Any

from agents.cem.planner.problem import (
    Battery,
    Charge,
    Connection,
    Device,
    Effort,
    EnergyTarget,
    Fixed,
    Generator,
    HeatTarget,
    Horizon,
    Job,
    Peak,
    Pin,
    Prices,
    Problem,
    Programme,
    Pv,
    Step,
    Thermal,
)

START_S = 1_760_000_400.0
"""A full hour."""
SLOT_S = 900.0


def problem(n: int, buy: Any, *devices: Device, sell: Any = 0.08, load: Any = 300.0, **more: Any) -> Problem:
    """A plain problem: figures may be given as one for all slots."""
    connection = {k: more.pop(k) for k in tuple(more) if k in Connection.__dataclass_fields__}
    prices = {k: more.pop(k) for k in tuple(more) if k in Prices.__dataclass_fields__}
    effort = {k: more.pop(k) for k in tuple(more) if k in Effort.__dataclass_fields__}
    horizon = {k: more.pop(k) for k in tuple(more) if k in Horizon.__dataclass_fields__}
    return Problem(
        horizon=Horizon(**{"start_s": START_S, "count": n} | horizon),
        prices=Prices(buy_eur_per_kwh=series(buy, n), sell_eur_per_kwh=series(sell, n), **prices),
        connection=Connection(load_w=series(load, n), **connection),
        devices=devices,
        effort=Effort(**{"time_limit_s": 20.0, "gap": 1e-4, "gap_eur": 1e-4} | effort),
        **more,
    )


def series(value: Any, n: int) -> tuple[float, ...]:
    return (float(value),) * n if isinstance(value, int | float) else tuple(value)


def at(slot: float) -> float:
    """The instant at which a slot begins."""
    return START_S + slot * SLOT_S


def wild(seed: int) -> Problem:
    """A home with some of everything, sometimes with bounds that it cannot keep."""
    r = random.Random(seed)
    n = r.choice([12, 24, 40, 48])
    first = r.choice([None, None, 300.0])
    horizon = Horizon(start_s=START_S + (600.0 if first else 0.0), count=n, first_s=first)
    hours = [(i / 4 + r.choice([0, 6, 12])) % 24 for i in range(n)]
    low = r.choice([0.05, 0.05, -0.1])
    buy = tuple(round(r.uniform(low, 0.45), 3) for _ in range(n))
    sell = tuple(round(b + r.uniform(-0.2, 0.05), 3) if r.random() < 0.5 else 0.08 for b in buy)
    load = tuple(r.uniform(200, 1500) for _ in range(n))
    devices = [d for make in MAKERS if r.random() < 0.5 and (d := make(r, n, hours))]
    if any(isinstance(d, Generator) and d.heat_to for d in devices):
        names = {d.name for d in devices}
        devices = [
            replace(d, heat_to="") if isinstance(d, Generator) and d.heat_to not in names else d for d in devices
        ]
    connection = Connection(
        load_w=load,
        load_high_w=tuple(x * r.uniform(1, 1.5) for x in load) if r.random() < 0.5 else (),
        phase_share=r.choice([(1 / 3, 1 / 3, 1 / 3), (0.5, 0.3, 0.2)]),
        upper_w=tuple(r.choice([4200.0, 9000.0, 14_000.0, 800.0]) for _ in range(n)) if r.random() < 0.5 else (),
        lower_w=tuple(r.choice([-3000.0, -6000.0, 0.0]) for _ in range(n)) if r.random() < 0.4 else (),
        fuse_w=r.choice([None, 25 * 230.0, 35 * 230.0]),
        contracted_w=(r.choice([5000.0, 12_000.0]),) * n if r.random() < 0.3 else (),
        contracted_band=0.1,
        peak=Peak(eur_per_kw=r.choice([0.2, 3.0]), seen_w=r.uniform(0, 5000)) if r.random() < 0.3 else None,
    )
    tiered = r.random() < 0.3
    prices = Prices(
        buy_eur_per_kwh=buy,
        sell_eur_per_kwh=sell,
        threshold_wh=1000.0 if tiered else None,
        buy_above_eur_per_kwh=tuple(b + r.choice([0.1, -0.05]) for b in buy) if tiered else (),
        green_share=tuple(r.random() for _ in range(n)) if r.random() < 0.3 else (),
        green_eur_per_kwh=0.05,
    )
    effort = Effort(time_limit_s=1.0, gap=0.02, gap_eur=0.01)
    return Problem(horizon=horizon, prices=prices, connection=connection, devices=tuple(devices), effort=effort)


def _pins(r: random.Random, powers: tuple[float, ...]) -> tuple[Pin, ...]:
    if r.random() < 0.75:
        return ()
    begin = r.randrange(0, 8)
    return (Pin(from_s=at(begin), until_s=at(begin + r.randrange(1, 4)), power_w=r.choice(powers)),)


def _state(r: random.Random) -> dict[str, Any]:
    return {"on": r.random() < 0.5, "since_s": START_S - r.choice([60.0, 1200.0, 9000.0])}


def _phases(r: random.Random) -> tuple[int, ...]:
    return r.choice([(1, 2, 3), (1,), (2,), (3,)])


def _job(r: random.Random, n: int, _: list[float]) -> Job:
    steps = tuple(
        Step(duration_s=r.choice([300.0, 900.0, 1000.0, 2000.0]), power_w=r.uniform(50, 2200), maximum_w=2300.0)
        for _ in range(r.randrange(1, 4))
    )
    short = (Step(duration_s=1500.0, power_w=2000.0),)
    begin = r.randrange(0, n // 2)
    running = r.random() < 0.2
    return Job(
        name="washer.1",
        programmes=(Programme(name="long", steps=steps), Programme(name="short", steps=short))[: r.choice([1, 2])],
        earliest_s=at(begin) + r.choice([0.0, 400.0]),
        latest_end_s=at(begin) + r.choice([1200.0, 7200.0, 20_000.0]),
        interruptible=r.random() < 0.4,
        max_pause_s=r.choice([0.0, 1800.0]),
        must_run=r.random() < 0.7,
        value_eur=r.choice([0.0, 0.3, 2.0]),
        started_s=START_S - 600.0 if running else None,
        programme="long" if running else "",
        phases=_phases(r),
        fixed=_pins(r, (0.0,)),
    )


def _car(r: random.Random, n: int, _: list[float]) -> Charge:
    phases = _phases(r)
    arrival = r.randrange(-4, n // 2)
    return Charge(
        name="evse.1",
        energy_wh=r.uniform(0, 30_000),
        minimum_wh=r.uniform(10_000, 30_000),
        target_wh=r.uniform(20_000, 45_000),
        maximum_wh=45_000,
        arrival_s=at(arrival),
        departure_s=at(arrival + r.randrange(4, n + 10)) + r.choice([0.0, 500.0]),
        min_power_w=1380.0 * len(phases),
        max_power_w=3680.0 * len(phases),
        min_on_s=r.choice([0.0, 1800.0, 3600.0]),
        switch_eur=r.choice([0.0, 0.02]),
        extra_eur_per_kwh=r.choice([0.0, 0.12]),
        phases=phases,
        fixed=_pins(r, (0.0, 3680.0)),
        **(_state(r) if arrival <= 0 else {}),
    )


def _battery(r: random.Random, n: int, _: list[float]) -> Battery:
    return Battery(
        name="battery.1",
        energy_wh=r.uniform(0, 9000),
        minimum_wh=r.choice([0.0, 1000.0]),
        maximum_wh=8000.0,
        charge_w=r.choice([2500.0, 5000.0]),
        discharge_w=5000.0,
        self_discharge_per_day=r.choice([0.0, 0.05]),
        targets=(EnergyTarget(by_s=at(n // 2), energy_wh=7000.0),) if r.random() < 0.3 else (),
        no_grid_charge=r.random() < 0.4,
        no_export=r.random() < 0.4,
        wear_eur_per_kwh=r.choice([0.0, 0.02]),
        fixed=_pins(r, (0.0, 3000.0, -3000.0)),
    )


def _pump(r: random.Random, n: int, hours: list[float]) -> Thermal:
    return Thermal(
        name="heatpump.1",
        temperature_c=r.uniform(19, 23),
        capacity_wh_per_k=r.choice([2000.0, 6000.0]),
        loss_w_per_k=r.choice([0.0, 200.0]),
        ambient_c=tuple(3 + 4 * math.sin(h / 24 * 2 * math.pi) for h in hours),
        minimum_c=(20.0,) * n,
        maximum_c=(22.5,) * n if r.random() < 0.7 else (),
        cop=(3.0,) * n,
        min_power_w=r.choice([0.0, 1000.0]),
        max_power_w=3000.0,
        min_on_s=r.choice([0.0, 1800.0, 3600.0]),
        min_off_s=r.choice([0.0, 1800.0, 2700.0]),
        switch_eur=r.choice([0.0, 0.03]),
        fixed=_pins(r, (0.0, 2000.0)),
        **_state(r),
    )


def _tank(r: random.Random, n: int, hours: list[float]) -> Thermal:
    return Thermal(
        name="tank.1",
        temperature_c=r.uniform(40, 62),
        capacity_wh_per_k=230.0,
        loss_w_per_k=2.0,
        ambient_c=(18.0,) * n,
        minimum_c=(45.0,) * n,
        maximum_c=(60.0,) * n,
        demand_w=tuple(r.choice([0.0, 0.0, 0.0, 2000.0]) for _ in hours),
        levels_w=r.choice([(2000.0,), (1000.0, 2500.0)]),
        targets=(HeatTarget(by_s=at(n // 2), temperature_c=58.0),) if r.random() < 0.4 else (),
        switch_eur=0.01,
        phases=(1,),
        **_state(r),
    )


def _chp(r: random.Random, n: int, _: list[float]) -> Generator:
    return Generator(
        name="fuelcell.1",
        min_power_w=500.0,
        max_power_w=1500.0,
        eur_per_kwh=r.uniform(0.1, 0.4),
        ready=r.random() < 0.8,
        min_on_s=r.choice([0.0, 3600.0]),
        min_off_s=r.choice([0.0, 1800.0]),
        start_eur=0.05,
        heat_to=r.choice(["", "tank.1"]),
        heat_per_power=1.5,
        **_state(r),
    )


def _pv(r: random.Random, n: int, hours: list[float]) -> Pv:
    peak = r.uniform(2000, 12_000)
    forecast = tuple(-max(0.0, peak * math.sin((h - 6) / 13 * math.pi)) if 6 < h < 19 else 0.0 for h in hours)
    return Pv(
        name="pv.1",
        forecast_w=forecast,
        sure_w=tuple(0.6 * f for f in forecast) if r.random() < 0.5 else (),
        can_curtail=r.random() < 0.6,
        phases=_phases(r),
    )


def _other(r: random.Random, n: int, _: list[float]) -> Fixed:
    return Fixed(name="other.1", power_w=tuple(r.choice([0.0, 1500.0, -500.0]) for _ in range(n)), phases=(2,))


MAKERS = (_job, _car, _battery, _pump, _tank, _chp, _pv, _other)
