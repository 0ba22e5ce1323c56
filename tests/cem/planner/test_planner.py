"""What the plan does with prices, bounds, wishes and the user's hand, and what it says about it."""

import math
from dataclasses import replace
from typing import Any

import pytest

from agents.cem.planner.plan import Plan
from agents.cem.planner.problem import (
    BadProblem,
    Battery,
    Charge,
    HeatTarget,
    Job,
    Peak,
    Pin,
    Programme,
    Pv,
    Stability,
    Step,
    Thermal,
)
from agents.cem.planner.solve import solve
from tests.cem.planner.instances import at, problem
from tests.cem.planner.lawful import faults


def washer(hours: float = 1.0, power_w: float = 2000.0, **more: Any) -> Job:
    steps = (Step(duration_s=hours * 3600, power_w=power_w),)
    plain: dict[str, Any] = {"earliest_s": at(0), "latest_end_s": at(1000)}
    return Job(name="washer.1", programmes=(Programme(name="eco", steps=steps),), **plain | more)


def car(**more: Any) -> Charge:
    plain: dict[str, Any] = {
        "energy_wh": 10_000, "minimum_wh": 20_000, "target_wh": 20_000, "maximum_wh": 50_000, "arrival_s": at(0),
        "departure_s": at(1000), "max_power_w": 11_000, "efficiency": 1.0,
    }  # fmt: skip
    return Charge(name="evse.1", **plain | more)


def store(**more: Any) -> Battery:
    plain: dict[str, Any] = {"energy_wh": 0, "maximum_wh": 5000, "charge_w": 2500, "discharge_w": 2500}
    return Battery(name="battery.1", **plain | more)


def codes(plan: Plan) -> set[tuple[str, str]]:
    return {(b.where, b.code) for b in plan.broken}


def hourly(*prices: float) -> list[float]:
    return [p for p in prices for _ in range(4)]


# ------------------------------------------------------------------ use cases


def test_a_battery_buys_in_the_night_and_gives_at_noon() -> None:
    """IEC-JWG15: cheap 23:00-05:00, dear 10:00-14:00, empty battery."""
    hours = [(20 + i / 4) % 24 for i in range(96)]  # from 20:00
    buy = [0.15 if h >= 23 or h < 5 else 0.45 if 10 <= h < 14 else 0.30 for h in hours]
    plan = solve(problem(96, buy, store(wear_eur_per_kwh=0.05), load=700.0))
    power = plan.devices["battery.1"].power_w
    charged = sum(p for p, b in zip(power, buy, strict=True) if p > 0 and b == 0.15) / 4
    given = -sum(p for p, b in zip(power, buy, strict=True) if p < 0 and b == 0.45) / 4
    assert charged > 2900
    assert given == pytest.approx(2800, abs=30)  # all that the home takes then
    assert sum(p for p, b in zip(power, buy, strict=True) if p > 0 and b > 0.15) == 0
    assert {w.code for w, p in zip(plan.devices["battery.1"].why, power, strict=True) if p < 0} == {"dear_slot"}


def test_a_job_with_an_end_time_starts_where_it_is_cheapest() -> None:
    """IEC-JWG1: done by 20:00, whatever is cheaper after."""
    buy = hourly(0.30, 0.30, 0.18, 0.18, 0.31, 0.05, 0.05)
    plan = solve(problem(28, buy, washer(2.0, latest_end_s=at(20))))
    run = plan.devices["washer.1"].runs[0]
    assert (run.start_s, run.end_s) == (at(8), at(16))
    why = plan.devices["washer.1"].why[0]
    assert why.code == "waits_for_cheaper_slot"
    assert why.text == "It waits until 11:00: then a kWh costs 0.18 EUR instead of 0.30 EUR."


def test_finish_times_are_kept_in_the_cheapest_slots() -> None:
    """IEC-JWG18: water 90 degC by 07:00, room cooled to 27 degC by 10:00; planned at midnight."""
    n = 48
    buy = [0.15 if 8 <= i < 20 else 0.35 for i in range(n)]
    water = Thermal(
        name="waterheater.1", temperature_c=40, capacity_wh_per_k=60, loss_w_per_k=0.5, ambient_c=(20.0,) * n,
        levels_w=(2000.0,), targets=(HeatTarget(by_s=at(28), temperature_c=90),), end_value_eur_per_kwh=0,
    )  # fmt: skip
    room = Thermal(
        name="hvac.1", temperature_c=32, capacity_wh_per_k=800, loss_w_per_k=60, ambient_c=(33.0,) * n, cools=True,
        cop=(3.0,) * n, max_power_w=1500, targets=(HeatTarget(by_s=at(40), temperature_c=27),),
    )  # fmt: skip
    plan = solve(problem(n, buy, water, room))
    assert plan.broken == ()
    assert plan.devices["waterheater.1"].temperature_c[28] >= 90 - 0.05
    assert plan.devices["hvac.1"].temperature_c[40] <= 27 + 0.05
    heated = plan.devices["waterheater.1"].power_w
    assert sum(heated[8:20]) >= 0.9 * sum(heated)
    assert plan.costs.energy < plan.baseline.energy


# ------------------------------------------------------------------ prices


def test_negative_prices_are_taken_but_energy_is_not_burnt_in_a_battery() -> None:
    buy = hourly(0.3, -0.2, -0.2, 0.3)
    case = problem(16, buy, store(energy_wh=5000), sell=buy, load=500.0)
    plan = solve(case)
    assert faults(case, plan) == []
    course = plan.devices["battery.1"]
    for t in range(16):  # one power that the stored energy agrees with: never both ways at once
        expected = course.power_w[t] / 4 * (0.95 if course.power_w[t] > 0 else 1 / 0.95)
        assert course.energy_wh[t + 1] - course.energy_wh[t] == pytest.approx(expected, abs=1)


def test_selling_above_buying_is_no_machine_for_money() -> None:
    case = problem(4, 0.1, store(energy_wh=2500, end_value_eur_per_kwh=0.0), sell=0.3, load=1000.0)
    plan = solve(case)
    counted = sum(max(p, 0) * 0.1 - max(-p, 0) * 0.3 for p in plan.power_w) / 4000
    assert plan.costs.energy == pytest.approx(counted, abs=1e-5)
    assert min(plan.power_w) < -1000


def test_a_dearer_second_price_level_spreads_the_load() -> None:
    case = problem(8, 0.2, car(departure_s=at(8)), load=0.0)
    prices = replace(case.prices, threshold_wh=1500.0, buy_above_eur_per_kwh=(0.6,) * 8)
    assert max(solve(case).power_w) > 6100
    assert max(solve(replace(case, prices=prices)).power_w) <= 6001


def test_a_priced_peak_is_kept_to_what_was_seen() -> None:
    case = problem(16, hourly(0.3, 0.1, 0.3, 0.3), car(departure_s=at(16), min_power_w=0.0), load=0.0)
    free = solve(case)
    priced = solve(replace(case, connection=replace(case.connection, peak=Peak(eur_per_kw=5.0, seen_w=4000.0))))
    assert max(free.power_w) == pytest.approx(11_000, abs=2)
    assert max(priced.power_w) == pytest.approx(4000, abs=2)
    why = priced.devices["evse.1"].why[5]
    assert (why.code, why.binding) == ("peak", "peak")


def test_the_greenest_slots_can_be_worth_more_than_the_cheapest() -> None:
    green = tuple(0.9 if 8 <= t < 12 else 0.2 for t in range(16))
    buy = hourly(0.2, 0.2, 0.22, 0.2)
    case = problem(16, buy, car(departure_s=at(16), energy_wh=15_000), green_share=green, green_eur_per_kwh=0.0)
    greenest = replace(case, prices=replace(case.prices, green_eur_per_kwh=0.1))
    assert sum(solve(case).devices["evse.1"].power_w[8:12]) == 0
    assert sum(solve(greenest).devices["evse.1"].power_w[8:12]) / 4 == pytest.approx(5000, abs=2)


@pytest.mark.use_case("home.flexible-start")
@pytest.mark.parametrize("pausing", [False, True])
def test_a_job_follows_the_greenest_slots_where_that_is_wished(pausing: bool) -> None:
    green = tuple(0.9 if 8 <= t < 12 else 0.2 for t in range(16))
    buy = hourly(0.2, 0.2, 0.22, 0.2)
    job = washer(interruptible=pausing, latest_end_s=at(16))
    cheapest = solve(problem(16, buy, job, green_share=green))
    greenest = solve(problem(16, buy, replace(job, green_eur_per_kwh=0.1), green_share=green))
    assert sum(cheapest.devices["washer.1"].power_w[8:12]) == 0
    assert greenest.devices["washer.1"].runs[0].start_s == at(8)
    more_eur = greenest.costs.energy - cheapest.costs.energy
    assert more_eur == pytest.approx(2 * 0.02), "a weight is no money"
    why = greenest.devices["washer.1"].why[0]
    assert why.code == "waits_for_greener_slot"
    assert why.text == "It waits until 11:00 for greener energy: 90% instead of 20%."


@pytest.mark.use_case("tariffs.user-choice")
def test_what_a_car_waits_for_is_its_next_start() -> None:
    """Not the cheapest of its later slots."""
    buy = hourly(0.16, 0.16, 0.158, 0.08)
    plan = solve(problem(16, buy, car(departure_s=at(16), energy_wh=5_000, max_power_w=9_000)))
    course = plan.devices["evse.1"]
    first = next(t for t, w in enumerate(course.power_w) if w > 10)
    assert 8 <= first < 12
    assert course.why[0].code == "waits_for_cheaper_slot"
    assert course.why[0].inputs["until_s"] == at(first)
    assert course.why[0].text.startswith("It waits until 11:00: from then on a kWh costs 0.1")


@pytest.mark.parametrize("n", [92, 100])
def test_days_of_92_and_100_quarter_hours_are_only_other_counts(n: int) -> None:
    case = problem(n, [0.2 + 0.1 * math.sin(t / 7) for t in range(n)], washer(), store(), car(departure_s=at(n - 3)))
    plan = solve(case)
    assert faults(case, plan) == []
    assert len(plan.power_w) == len(plan.devices["evse.1"].why) == n


# ------------------------------------------------------------------ bounds


def test_base_load_alone_above_the_limit_is_reported_by_name() -> None:
    load = [5100.0 if 4 <= t < 6 else 1000.0 for t in range(12)]
    plan = solve(problem(12, 0.3, washer(), load=load, upper_w=(4200.0,) * 12))
    (entry,) = plan.broken
    assert (entry.where, entry.code, entry.hard) == ("connection", "grid_limit", True)
    assert (entry.from_s, entry.until_s) == (at(4), at(6))
    assert entry.reason.text == "base load of 5.1 kW is above the grid limit of 4.2 kW from 10:00 to 10:30"
    assert entry.amount == pytest.approx(900)
    assert sum(plan.devices["washer.1"].power_w[4:6]) == 0


def test_a_battery_holds_a_limit_that_the_base_load_breaks() -> None:
    load = [5100.0 if 4 <= t < 6 else 1000.0 for t in range(12)]
    plan = solve(problem(12, 0.3, store(energy_wh=3000), load=load, upper_w=(4200.0,) * 12))
    assert plan.broken == ()
    assert max(plan.power_w) <= 4201


def test_the_upper_estimate_of_the_base_load_counts_for_the_limit_only() -> None:
    case = problem(8, 0.3, car(departure_s=at(8)), load=1000.0, load_high_w=(3000.0,) * 8, upper_w=(9000.0,) * 8)
    assert max(solve(case).devices["evse.1"].power_w) == pytest.approx(6000, abs=2)
    half = replace(case, connection=replace(case.connection, high_share=0.5))
    assert max(solve(half).devices["evse.1"].power_w) == pytest.approx(7000, abs=2)
    assert solve(case).power_w[0] == pytest.approx(1000 + solve(case).devices["evse.1"].power_w[0], abs=2)


def test_a_fuse_binds_the_phase_that_it_protects() -> None:
    single = car(departure_s=at(8), min_power_w=1380, max_power_w=7360, phases=(2,), energy_wh=15_000)
    plan = solve(problem(8, 0.3, single, load=900.0, fuse_w=5750.0))
    assert max(plan.devices["evse.1"].power_w) == pytest.approx(5750 - 300, abs=2)
    assert "fuse_l2" in {w.code for w in plan.devices["evse.1"].why}


def test_a_safety_band_is_kept_below_the_contracted_power() -> None:
    case = problem(8, 0.3, car(departure_s=at(8)), load=0.0, contracted_w=(10_000.0,) * 8, contracted_band=0.2)
    plan = solve(case)
    assert max(plan.power_w) <= 8001
    assert plan.broken == ()


def test_feed_in_beyond_its_limit_is_curtailed_and_explained() -> None:
    roof = Pv(name="pv.1", forecast_w=(-8000.0,) * 4)
    plan = solve(problem(4, 0.3, roof, load=500.0, lower_w=(-5000.0,) * 4))
    assert plan.devices["pv.1"].power_w == pytest.approx([-5500.0] * 4, abs=1)
    assert plan.devices["pv.1"].why[0].code == "feed_in_limit"
    fixed = solve(problem(4, 0.3, replace(roof, can_curtail=False), load=500.0, lower_w=(-5000.0,) * 4))
    assert codes(fixed) == {("connection", "feed_in_limit")}


def test_pv_that_is_not_sure_does_not_carry_a_load_under_a_limit() -> None:
    roof = Pv(name="pv.1", forecast_w=(-6000.0,) * 8, sure_w=(-1000.0,) * 8)
    plan = solve(problem(8, 0.3, roof, car(departure_s=at(8)), load=0.0, upper_w=(5000.0,) * 8))
    assert max(plan.devices["evse.1"].power_w) == pytest.approx(6000, abs=2)


# ------------------------------------------------------------------ wishes


def test_a_car_that_cannot_be_full_in_time_says_how_full_it_gets() -> None:
    need = car(minimum_wh=40_000, target_wh=45_000, departure_s=at(8))
    plan = solve(problem(8, 0.3, need))
    assert codes(plan) == {("evse.1", "departure"), ("evse.1", "target")}
    entry = next(b for b in plan.broken if b.code == "departure")
    assert not entry.hard
    assert entry.amount == pytest.approx(8000, abs=5)
    assert entry.reason.text == "it needs 40.0 kWh by 11:00 and gets 32.0 kWh"
    assert {w.code for w in plan.devices["evse.1"].why} == {"departure"}


def test_a_job_that_does_not_fit_its_window_is_refused_and_the_rest_planned() -> None:
    plan = solve(problem(16, 0.3, washer(2.0, latest_end_s=at(4)), car(departure_s=at(16))))
    (entry,) = plan.refused
    assert (entry.where, entry.reason.code) == ("washer.1", "window_too_short")
    assert "takes 120 min" in entry.reason.text
    assert "only 60 min are left" in entry.reason.text
    assert plan.devices["washer.1"].runs == ()
    assert plan.devices["evse.1"].energy_wh[-1] == pytest.approx(20_000, abs=5)


def test_a_job_that_no_bound_leaves_room_for_is_reported() -> None:
    plan = solve(problem(16, 0.3, washer(), upper_w=(2000.0,) * 16))
    assert codes(plan) == {("washer.1", "job")}


def test_an_optional_job_runs_only_if_it_is_worth_it() -> None:
    for value, runs in ((0.1, 0), (1.0, 1)):
        optional = washer(must_run=False, value_eur=value)
        assert len(solve(problem(16, 0.3, optional)).devices["washer.1"].runs) == runs


def test_comfort_that_cannot_be_had_is_reported_in_kelvin() -> None:
    cold = Thermal(
        name="heatpump.1", temperature_c=18, capacity_wh_per_k=5000, loss_w_per_k=200, ambient_c=(0.0,) * 16,
        minimum_c=(20.0,) * 16, cop=(3.0,) * 16, min_power_w=500, max_power_w=2000,
    )  # fmt: skip
    plan = solve(problem(16, 0.3, cold))
    assert codes(plan) == {("heatpump.1", "comfort")}
    assert plan.devices["heatpump.1"].power_w[0] == pytest.approx(2000)


def test_interruptible_jobs_pause_no_longer_than_they_may() -> None:
    buy = [0.1, 0.5, 0.5, 0.1, 0.5, 0.5, 0.5, 0.5]
    may = washer(0.5, interruptible=True, max_pause_s=1800.0, latest_end_s=at(8))
    assert [p > 0 for p in solve(problem(8, buy, may)).devices["washer.1"].power_w] == [True, False, False, True] + [
        False
    ] * 4
    shorter = replace(may, max_pause_s=900.0)
    on = [t for t, p in enumerate(solve(problem(8, buy, shorter)).devices["washer.1"].power_w) if p > 0]
    assert on[1] - on[0] <= 2


def test_a_running_job_is_not_moved() -> None:
    running = washer(1.0, started_s=at(-2), programme="eco")
    plan = solve(problem(8, hourly(0.9, 0.1), running))
    assert [p > 0 for p in plan.devices["washer.1"].power_w] == [True, True] + [False] * 6


# ------------------------------------------------------------------ the user's hand, and staying


def test_what_the_user_fixes_is_kept_and_planned_around() -> None:
    hand = (Pin(from_s=at(0), until_s=at(4), power_w=4500.0),)
    buy = hourly(0.5, 0.1, 0.1)
    plan = solve(problem(12, buy, car(departure_s=at(12), fixed=hand)))
    assert plan.devices["evse.1"].power_w[:4] == pytest.approx([4500.0] * 4, abs=1)
    assert {w.code for w in plan.devices["evse.1"].why[:4]} == {"fixed_by_user"}
    assert plan.broken == ()


def test_the_users_hand_yields_to_a_hard_bound_and_says_so() -> None:
    hand = (Pin(from_s=at(0), until_s=at(4), power_w=9000.0),)
    plan = solve(problem(8, 0.3, car(departure_s=at(8), fixed=hand), upper_w=(6000.0,) * 8))
    assert max(plan.power_w) <= 6001
    entry = next(b for b in plan.broken if b.code == "fixed_by_user")
    assert entry.reason.binding == "grid_limit"


def test_a_full_battery_that_cannot_take_what_the_user_fixed_says_that_it_is_full_and_until_which_day() -> None:
    hand = (Pin(from_s=at(2), until_s=at(80), power_w=2500.0),)
    full = store(energy_wh=5000, fixed=hand)
    plan = solve(problem(96, 0.3, full, upper_w=(2000.0,) * 96))
    entry = next(b for b in plan.broken if b.code == "fixed_by_user")
    assert entry.reason.binding == "full"
    assert min(plan.devices["battery.1"].power_w[2:80]) >= 0, "it gives nothing away to have something to take"
    assert "it is full: 5.0 kWh" in entry.reason.text
    assert "from 09:30 to Fri 05:00" in entry.reason.text


def test_an_empty_battery_that_cannot_give_what_the_user_fixed_says_that_it_is_empty() -> None:
    hand = (Pin(from_s=at(0), until_s=at(4), power_w=-2500.0),)
    entry = next(b for b in solve(problem(8, 0.3, store(fixed=hand), load=4000.0)).broken if b.code == "fixed_by_user")
    assert entry.reason.binding == "empty"


def test_an_announced_plan_is_kept_until_a_change_is_worth_it() -> None:
    stability = Stability(per_start_eur=0.05)
    first = problem(16, hourly(0.30, 0.20, 0.21, 0.30), washer(), stability=stability)
    before = solve(first)
    assert before.devices["washer.1"].runs[0].start_s == at(4)
    nearly = replace(first, prices=replace(first.prices, buy_eur_per_kwh=tuple(hourly(0.3, 0.21, 0.20, 0.3))))
    assert solve(nearly).devices["washer.1"].runs[0].start_s == at(8)
    assert solve(replace(nearly, previous=before)).devices["washer.1"].runs[0].start_s == at(4)
    clearly = replace(first, prices=replace(first.prices, buy_eur_per_kwh=tuple(hourly(0.3, 0.25, 0.10, 0.3))))
    assert solve(replace(clearly, previous=before)).devices["washer.1"].runs[0].start_s == at(8)


# ------------------------------------------------------------------ effort, and bad input


def test_a_stopped_search_gives_its_best_plan_and_an_honest_gap() -> None:
    n = 96
    buy = [0.25 + 0.1 * math.sin(t / 5) for t in range(n)]
    jobs = tuple(replace(washer(0.9), name=f"washer.{k}", interruptible=True) for k in range(4))
    case = problem(n, buy, *jobs, car(departure_s=at(90)), load=400.0, upper_w=(6000.0,) * n, gap=0.0, gap_eur=0.0)
    hurried = solve(replace(case, effort=replace(case.effort, time_limit_s=0.2)))
    assert hurried.found_by in ("time_limit", "construction")
    assert faults(case, hurried) == []
    assert hurried.gap > 0


def test_a_plan_without_whole_decisions_is_exact() -> None:
    plan = solve(problem(96, [0.2 + 0.1 * math.sin(t / 5) for t in range(96)], store(), load=800.0))
    assert (plan.found_by, plan.gap) == ("proof", 0.0)
    assert plan.costs.total < plan.baseline.total


@pytest.mark.parametrize(
    ("case", "where", "word"),
    [
        (problem(4, [0.1, 0.2, math.nan, 0.1]), "prices", "buy_eur_per_kwh"),
        (problem(4, [0.1] * 3), "prices", "3 values for 4 slots"),
        (problem(4, 0.1, washer(), washer()), "washer.1", "twice"),
        (problem(4, 0.1, car(min_power_w=12_000.0)), "evse.1", "min_power_w"),
        (problem(4, 0.1, store(charge_efficiency=0.0)), "battery.1", "efficiency"),
        (problem(4, 0.1, store(energy_wh=math.inf)), "battery.1", "energy_wh"),
        (problem(4, 0.1, replace(washer(), phases=(1, 4))), "washer.1", "phases"),
    ],
)
def test_a_problem_that_contradicts_itself_is_refused_by_name(case: Any, where: str, word: str) -> None:
    with pytest.raises(BadProblem, match=word) as caught:
        solve(case)
    assert caught.value.where == where


def test_the_same_problem_gives_the_same_plan() -> None:
    case = problem(48, [0.2 + 0.1 * math.sin(t / 5) for t in range(48)], washer(), store(), car(departure_s=at(40)))
    assert solve(case).devices == solve(case).devices


def test_who_does_not_plan_does_not_load_the_solver() -> None:
    import subprocess
    import sys

    code = "import sys, agents.cem.planner.solve; sys.exit('highspy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
