"""The allocator: order of help, per phase, worst cases; sums hold wherever physics lets them."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cem.allocate import Base, Bounds, Unit, allocate

QUIET = Base(1000.0, 1000.0, (400.0, 300.0, 300.0))


def car(name: str = "evse.1", **fields: Any) -> Unit:
    return replace(Unit(name, "evse", 11_000, 0, 11_000, 0, 11_000, 11_000, minimum_run_w=4140, rank=2), **fields)


def pump(name: str = "heatpump.1", **fields: Any) -> Unit:
    return replace(
        Unit(name, "heatpump", 3000, 0, 3000, 0, 3000, 3000, minimum_run_w=1000, rank=1, can_absorb=True), **fields
    )


def store(name: str = "battery.1", **fields: Any) -> Unit:
    return replace(Unit(name, "battery", 0, -5000, 5000, -5000, 5000, 0), **fields)


def roof(name: str = "pv.1", **fields: Any) -> Unit:
    return replace(Unit(name, "pv", -9000, -9000, 0, -10_000, 0, -9000), **fields)


def uppers(out: dict[str, Any]) -> dict[str, float | None]:
    return {name: envelope.upper_w for name, envelope in out.items()}


def test_without_bounds_nobody_is_bound() -> None:
    out = allocate(Bounds(), QUIET, [car(), pump(), store(), roof()])
    assert all((e.upper_w, e.lower_w, e.reason.code) == (None, None, "free") for e in out.values())


def test_a_wide_bound_binds_nobody() -> None:
    out = allocate(Bounds(upper_w=40_000), QUIET, [car(), pump(), store()])
    assert all(e.upper_w is None for e in out.values())


def test_a_car_is_reduced_before_it_is_switched_off() -> None:
    assert uppers(allocate(Bounds(upper_w=6000), QUIET, [car()])) == {"evse.1": pytest.approx(5000)}


def test_a_full_battery_names_its_own_bound_and_not_the_grids() -> None:
    full = allocate(Bounds(upper_w=4200), QUIET, [store(upper_w=0.0)])["battery.1"]
    assert (full.upper_w, full.reason.binding) == (0.0, "full")
    helps = allocate(Bounds(upper_w=4200), replace(QUIET, high_w=6000.0), [store(upper_w=0.0)])["battery.1"]
    assert helps.reason.binding == "grid_limit"


def test_a_reason_tells_the_devices_share_from_the_connections_bound() -> None:
    text = allocate(Bounds(lower_w=-3000), replace(QUIET, low_w=1000.0), [roof()])["pv.1"].reason.text
    assert "at most 4000 W itself" in text
    assert "the whole connection point at -3000 W" in text
    held = allocate(Bounds(upper_w=6000), QUIET, [car()])["evse.1"].reason.text
    assert "held to 5000 W" in held
    assert "the whole connection point to 6000 W" in held


def test_what_cannot_run_at_its_least_power_is_switched_off() -> None:
    assert uppers(allocate(Bounds(upper_w=4200), QUIET, [car()])) == {"evse.1": 0.0}


def test_a_single_high_reading_reduces_but_switches_nothing_off() -> None:
    jumped = Base(5000.0, 1000.0, (1700.0, 1700.0, 1600.0), sure_w=1000.0, phase_sure_w=(400.0, 300.0, 300.0))
    assert uppers(allocate(Bounds(upper_w=6000), jumped, [car()])) == {"evse.1": 4140}
    assert uppers(allocate(Bounds(upper_w=6000, urgent=True), jumped, [car()])) == {"evse.1": 0.0}
    confirmed = replace(jumped, sure_w=5000.0, phase_sure_w=jumped.phase_high_w)
    assert uppers(allocate(Bounds(upper_w=6000), confirmed, [car()])) == {"evse.1": 0.0}


def test_cars_are_reduced_before_heat_pumps() -> None:
    out = uppers(allocate(Bounds(upper_w=8500), QUIET, [car(), pump()]))
    assert out == {"evse.1": pytest.approx(4500), "heatpump.1": None}


def test_then_heat_pumps_are_reduced_before_a_car_is_switched_off() -> None:
    out = uppers(allocate(Bounds(upper_w=7000), QUIET, [car(), pump()]))
    assert out == {"evse.1": 4140, "heatpump.1": pytest.approx(1860)}


def test_the_lowest_priority_is_switched_off_first() -> None:
    out = uppers(allocate(Bounds(upper_w=5500), QUIET, [car("evse.1"), car("evse.2", rank=3)]))
    assert out == {"evse.1": pytest.approx(4500), "evse.2": 0.0}


def test_a_battery_stops_charging_before_a_car_is_reduced() -> None:
    charging = store(power_w=4000, wants_w=4000)
    out = allocate(Bounds(upper_w=12_500), QUIET, [car(), charging])
    assert out["evse.1"].upper_w is None
    assert out["battery.1"].upper_w == pytest.approx(500)
    assert out["battery.1"].setpoint_w == pytest.approx(500)


def test_a_battery_is_asked_to_help_but_credited_as_measured() -> None:
    before = allocate(Bounds(upper_w=6000), QUIET, [car(), store()])
    assert before["evse.1"].upper_w == pytest.approx(5000)
    assert before["battery.1"].upper_w == -5000
    after = allocate(Bounds(upper_w=6000), QUIET, [car(), store(power_w=-5000)])
    assert after["evse.1"].upper_w == pytest.approx(10_000)
    assert after["battery.1"].upper_w == -5000


def test_a_battery_that_can_help_keeps_a_car_on() -> None:
    out = allocate(Bounds(upper_w=4200), QUIET, [car(), store()])
    assert out["evse.1"].upper_w == 4140


def test_own_generation_comes_on_top() -> None:
    out = allocate(Bounds(upper_w=4200), QUIET, [car(), roof(power_w=-5000)])
    assert out["evse.1"].upper_w == pytest.approx(8200)


def test_minimum_on_time_holds_unless_urgent() -> None:
    locked = car(keep_on=True)
    assert uppers(allocate(Bounds(upper_w=2000), QUIET, [locked])) == {"evse.1": 4140}
    assert uppers(allocate(Bounds(upper_w=2000, urgent=True), QUIET, [locked])) == {"evse.1": 0.0}


def test_minimum_off_time_holds() -> None:
    assert uppers(allocate(Bounds(upper_w=20_000), QUIET, [pump(power_w=0, keep_off=True), car()]))["heatpump.1"] == 0.0


def test_a_stale_device_is_reserved_at_its_worst_case() -> None:
    silent = car("evse.2", fresh=False)
    out = allocate(Bounds(upper_w=18_000), QUIET, [car(), silent])
    assert uppers(out) == {"evse.1": pytest.approx(6000)}


def test_the_phase_that_is_near_its_fuse_binds() -> None:
    base = Base(6000.0, 6000.0, (5500.0, 200.0, 300.0))
    single = car(phases=(1,), wants_w=7400, upper_w=7400, nominal_upper_w=7400, minimum_run_w=1380)
    out = allocate(Bounds(phase_upper_w=8000), base, [single, pump(phases=(2,))])
    assert out["evse.1"].upper_w == pytest.approx(2500)
    assert out["evse.1"].reason.binding == "fuse_l1"
    assert out["heatpump.1"].upper_w is None


def test_strong_asymmetry_is_reduced_on_uneven_loads_only() -> None:
    base = Base(3000.0, 3000.0, (2000.0, 500.0, 500.0))
    single = car("evse.1", phases=(1,), wants_w=7400, upper_w=7400, nominal_upper_w=7400, minimum_run_w=1380)
    out = allocate(Bounds(asymmetry_w=4600), base, [single, car("evse.2")])
    assert out["evse.1"].upper_w == pytest.approx(3100, abs=2)
    assert out["evse.1"].reason.binding == "asymmetry_l1"
    assert out["evse.2"].upper_w is None


def test_feed_in_goes_to_storage_first_then_cars_then_heat_then_curtailment() -> None:
    idle_car = car(power_w=0, wants_w=0)
    idle_pump = pump(power_w=0, wants_w=0)
    out = allocate(Bounds(lower_w=-5000), QUIET, [roof(), store(), idle_car, idle_pump])
    assert out["battery.1"].setpoint_w == pytest.approx(3000)
    assert out["evse.1"].setpoint_w is None
    assert out["pv.1"].lower_w == pytest.approx(-6000)  # until the charging is measured
    settled = allocate(Bounds(lower_w=-5000), QUIET, [roof(), store(power_w=3000), idle_car, idle_pump])
    assert settled["pv.1"].lower_w == pytest.approx(-9000)
    tight = allocate(Bounds(lower_w=0), Base(0, 0, (0, 0, 0)), [roof(), store(upper_w=2000), idle_car, idle_pump])
    assert tight["battery.1"].setpoint_w == 2000
    assert tight["evse.1"].setpoint_w == pytest.approx(7000)
    assert tight["heatpump.1"].setpoint_w is None
    no_car = allocate(Bounds(lower_w=0), Base(0, 0, (0, 0, 0)), [roof(), store(upper_w=2000), idle_pump])
    assert no_car["heatpump.1"].setpoint_w == pytest.approx(3000)


def test_a_feed_in_bound_stops_discharging() -> None:
    out = allocate(Bounds(lower_w=-5000), QUIET, [roof(), store(power_w=-3000, wants_w=-3000)])
    assert out["battery.1"].lower_w == 0.0
    assert out["battery.1"].setpoint_w == pytest.approx(3000)
    assert out["pv.1"].lower_w == pytest.approx(-3000)


def test_an_agreed_request_absorbs_but_never_curtails() -> None:
    out = allocate(Bounds(soft_lower_w=0), Base(0, 0, (0, 0, 0)), [roof(), store(upper_w=2000)])
    assert out["battery.1"].setpoint_w == 2000
    assert out["pv.1"].lower_w is None


def test_every_bound_device_is_told_why() -> None:
    out = allocate(
        Bounds(upper_w=4200, upper_why="failsafe"), QUIET, [car(), pump(wants_w=0, power_w=0), car("evse.2")]
    )
    for envelope in (out["evse.1"], out["evse.2"]):
        assert envelope.reason.code == "failsafe"
        assert envelope.reason.inputs["bound_w"] == 4200
        assert envelope.reason.text


# ------------------------------------------------------------------ properties

phase_sets = st.sampled_from([(1, 2, 3), (1,), (2,), (3,)])


@st.composite
def units(draw: st.DrawFn) -> list[Unit]:
    out = []
    for n in range(draw(st.integers(0, 3))):
        top = draw(st.floats(3000, 22_000))
        wants = draw(st.sampled_from([0.0, top, top / 2]))
        out.append(
            Unit(
                f"evse.{n}", "evse", draw(st.sampled_from([0.0, wants])), 0, top, 0, top, wants,
                minimum_run_w=draw(st.floats(0, 2500)), phases=draw(phase_sets), rank=2 + n % 2,
            )
        )  # fmt: skip
    for n in range(draw(st.integers(0, 2))):
        top = draw(st.floats(1000, 12_000))
        out.append(
            Unit(
                f"heatpump.{n}", "heatpump", draw(st.sampled_from([0.0, top])), 0, top, 0, top,
                draw(st.sampled_from([0.0, top])), minimum_run_w=top / 4, rank=1, can_absorb=True,
            )
        )  # fmt: skip
    for n in range(draw(st.integers(0, 2))):
        top = draw(st.floats(1000, 10_000))
        low = draw(st.sampled_from([0.0, -top]))
        now = draw(st.floats(low, top))
        out.append(Unit(f"battery.{n}", "battery", now, low, top, -top, top, draw(st.floats(-top, top))))
    for n in range(draw(st.integers(0, 2))):
        top = draw(st.floats(1000, 20_000))
        now = draw(st.floats(0, top))
        out.append(Unit(f"pv.{n}", "pv", -now, -now, 0, -top, 0, -now))
    return out


powers = st.floats(-5000, 15_000)


@settings(max_examples=400, deadline=None)
@given(units(), powers, st.one_of(st.just(inf), st.floats(0, 30_000)), st.one_of(st.just(-inf), st.floats(-20_000, 0)))
def test_sums_hold_where_physics_lets_them(fleet: list[Unit], base_w: float, upper_w: float, lower_w: float) -> None:
    base = Base(base_w, base_w, (base_w / 3,) * 3)
    bounds = Bounds(upper_w=upper_w, lower_w=lower_w)
    out = allocate(bounds, base, fleet)
    assert out == allocate(bounds, base, list(reversed(fleet))), "deterministic"
    highest = base_w + sum(u.power_w for u in fleet if u.kind == "pv")
    best = highest + sum(min(0.0, u.lower_w) for u in fleet if u.kind == "battery")
    for unit in fleet:
        given_upper = out[unit.name].upper_w
        if unit.kind != "pv":
            highest += unit.nominal_upper_w if given_upper is None else given_upper
    if upper_w < inf:
        assert highest <= max(upper_w, best) + 1.0
    taken = {
        u.name: min(max(0.0, u.power_w), inf if (up := out[u.name].upper_w) is None else up)
        for u in fleet
        if u.kind not in ("pv", "battery")
    }
    steady = base_w + sum(taken.values()) + sum(u.power_w for u in fleet if u.kind == "battery")
    lowest = steady + sum(
        out[u.name].lower_w or u.nominal_lower_w for u in fleet if u.kind == "pv" and out[u.name].lower_w != 0.0
    )
    if lower_w > -inf and any(u.kind == "pv" for u in fleet):
        assert lowest >= min(lower_w, steady) - 1.0


@settings(max_examples=200, deadline=None)
@given(units(), powers, st.floats(0, 30_000), st.floats(1000, 15_000))
def test_no_device_is_asked_for_what_it_cannot_do(
    fleet: list[Unit], base_w: float, upper_w: float, phase_w: float
) -> None:
    base = Base(base_w, base_w, (base_w, 0.0, 0.0))
    out = allocate(Bounds(upper_w=upper_w, lower_w=-3000, phase_upper_w=phase_w), base, fleet)
    for unit in fleet:
        envelope = out[unit.name]
        if unit.kind in ("evse", "heatpump") and envelope.upper_w is not None:
            assert envelope.upper_w == 0 or envelope.upper_w >= min(unit.minimum_run_w, unit.wants_w or inf) - 1e-3
        for value in (envelope.upper_w, envelope.lower_w, envelope.setpoint_w):
            if value is not None:
                assert unit.nominal_lower_w - 1e-3 <= value <= unit.nominal_upper_w + 1e-3


@settings(max_examples=200, deadline=None)
@given(units(), st.tuples(powers, powers, powers), st.floats(2000, 15_000))
def test_no_phase_is_loaded_beyond_its_fuse(
    fleet: list[Unit], phases: tuple[float, float, float], cap_w: float
) -> None:
    base = Base(sum(phases), sum(phases), phases)
    out = allocate(Bounds(phase_upper_w=cap_w), base, fleet)
    for p in (1, 2, 3):
        load = phases[p - 1]
        for unit in fleet:
            if p in unit.phases and unit.kind not in ("pv", "battery"):
                upper = out[unit.name].upper_w
                load += (unit.nominal_upper_w if upper is None else upper) / len(unit.phases)
            elif p in unit.phases:
                load += min(0.0, unit.power_w if unit.kind == "pv" else unit.lower_w) / len(unit.phases)
        assert load <= max(cap_w, phases[p - 1]) + 1.0


anything = st.floats(-1e9, 1e9)


@st.composite
def nonsense(draw: st.DrawFn) -> Unit:
    """A device that says anything that the wire lets through."""
    low, high = -abs(draw(anything)), abs(draw(anything))
    kind = draw(st.sampled_from(["evse", "heatpump", "pv", "battery", "whitegoods"]))
    return Unit(
        draw(st.sampled_from("abcdef")),
        kind,
        *(draw(anything) for _ in range(3)),
        nominal_lower_w=low,
        nominal_upper_w=high,
        wants_w=min(draw(anything), high),
        minimum_run_w=draw(anything),
        phases=draw(st.sampled_from([(1, 2, 3), (1,), (2, 3)])),
        fresh=draw(st.booleans()),
        keep_on=draw(st.booleans()),
        keep_off=draw(st.booleans()),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(nonsense(), max_size=5, unique_by=lambda u: u.name), anything, st.floats(0, 1e6), st.floats(-1e6, 0))
def test_nonsense_of_devices_breaks_nothing(fleet: list[Unit], base_w: float, upper_w: float, lower_w: float) -> None:
    bounds = Bounds(upper_w=upper_w, lower_w=lower_w, phase_upper_w=upper_w, asymmetry_w=4600)
    for envelope in allocate(bounds, Base(base_w, base_w, (base_w, 0.0, -base_w)), fleet).values():
        for value in (envelope.lower_w, envelope.upper_w, envelope.setpoint_w):
            assert value is None or abs(value) <= 1e10  # no NaN, no infinity
