"""What third parties may want of a home: checks, bounds, promises, advice, balances. No bus."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

import pytest

from agents.cem.allocate import Base, Bounds, Unit, allocate
from agents.cem.export_less import able_to_absorb, absorb, switch_off, target_w
from agents.cem.fit_wish import fit_unit
from agents.cem.keep_balance import Slot, at_once, costs
from agents.cem.keep_envelope import bounds_of, check, slot_at
from agents.cem.obey_order import check as check_order
from agents.cem.tell_forecast import planned_w, summed
from agents.cem.weigh_advice import energy_until, suffers
from agents.cem.wishes import Wish
from contracts.flexibility import OfferFlexibility, StorageFlexibility, StorageTarget, ThermalFlexibility
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.site_power import EnvelopeSlot, OrderFlexibility, SetEnvelope
from contracts.tariff import AskExport

WHY = Reason(code="test", text="test")
NOW = datetime(2016, 5, 20, 10, tzinfo=UTC)
T = NOW.timestamp()


def at(quarter: int) -> datetime:
    return NOW + timedelta(minutes=15 * quarter)


def envelope(*slots: tuple[int, float | None, float | None], **more: Any) -> SetEnvelope:
    made = tuple(EnvelopeSlot(start=at(q), duration_s=900.0, upper_w=u, lower_w=w) for q, u, w in slots)
    return SetEnvelope(slots=made, reason=WHY, **more)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (envelope((0, nan, None)), "not_a_number"),
        (envelope((0, inf, None)), "not_a_number"),
        (envelope((0, -1.0, None)), "wrong_sign"),
        (envelope((0, None, 1.0)), "wrong_sign"),
        (envelope((1, 5.0, None), (0, 5.0, None)), "bad_profile"),
        (envelope((-4, 5.0, None)), "already_over"),
        (SetEnvelope(slots=(EnvelopeSlot(start=NOW, duration_s=0.0),), reason=WHY), "bad_duration"),
    ],
)
def test_an_envelope_that_cannot_be_kept_is_refused_by_name(word: SetEnvelope, code: str) -> None:
    wrong = check(word, T)
    assert wrong is not None
    assert wrong.code == code


def test_an_envelope_may_be_empty_have_gaps_and_hold_now() -> None:
    word = envelope((0, 5_000.0, None), (4, None, -1_000.0))
    assert check(word, T) is None
    assert check(SetEnvelope(slots=(), reason=WHY), T) is None
    here = slot_at(word, T + 10)
    assert here is not None
    assert here.upper_w == 5_000.0
    assert slot_at(word, T + 901) is None, "between two slots nothing is bounded"


def test_of_several_envelopes_the_tightest_counts_in_each_period() -> None:
    one, two = envelope((0, 5_000.0, None), (1, 5_000.0, -3_000.0)), envelope((1, 4_000.0, None))
    upper, lower = bounds_of([one, two], T, 3, 900.0)
    assert upper == (5_000.0, 4_000.0, inf)
    assert lower == (-inf, -3_000.0, -inf)


def order(**more: Any) -> OrderFlexibility:
    return OrderFlexibility(**{"start": NOW, "until": at(4), "reason": WHY, **more})


@pytest.mark.parametrize(
    ("word", "code"),
    [
        (order(), "no_bound"),
        (order(upper_w=nan), "not_a_number"),
        (order(lower_w=2.0, upper_w=1.0), "bad_range"),
        (order(upper_w=1.0, until=NOW), "already_over"),
    ],
)
def test_an_order_that_orders_nothing_lawful_is_refused(word: OrderFlexibility, code: str) -> None:
    wrong = check_order(word, T)
    assert wrong is not None
    assert wrong.code == code


def test_the_suppliers_figures_are_optional_and_the_smaller_export_counts() -> None:
    assert target_w(5_000.0, AskExport(reason=WHY)) == 0.0
    assert target_w(5_000.0, AskExport(export_upper_w=2_000.0, reason=WHY)) == 2_000.0
    assert target_w(5_000.0, AskExport(less_by_w=1_000.0, reason=WHY)) == 4_000.0
    assert target_w(5_000.0, AskExport(less_by_w=1_000.0, export_upper_w=2_000.0, reason=WHY)) == 2_000.0
    assert target_w(5_000.0, AskExport(less_by_w=9_000.0, reason=WHY)) == 0.0


def unit(name: str, kind: Any, power_w: float, upper_w: float, **more: Any) -> Unit:
    return Unit(name, kind, power_w, 0.0, upper_w, 0.0, upper_w, 0.0, **more)


def test_only_what_can_use_a_surplus_absorbs_and_no_more_than_is_needed() -> None:
    units = [
        unit("battery.1", "battery", -500.0, 2_000.0),
        unit("heatpump.1", "heatpump", 0.0, 3_000.0, can_absorb=True),
        unit("hvac.1", "hvac", 0.0, 1_000.0),
        unit("heatpump.2", "heatpump", 0.0, 3_000.0, can_absorb=True, keep_off=True),
        unit("pv.1", "pv", -5_000.0, 0.0),
    ]
    able = able_to_absorb(units)
    assert able == [("battery.1", 2_500.0), ("heatpump.1", 3_000.0)]
    assert absorb(4_000.0, 2_000.0, able).means == ("battery.1",)
    assert absorb(4_000.0, 0.0, able).means == ("battery.1", "heatpump.1")
    assert absorb(9_000.0, 0.0, able).export_w == 3_500.0, "what is reached, not what is wished"


def test_what_the_hand_holds_is_served_before_the_others() -> None:
    hand = Wish(source="hand", reason=WHY, setpoint_w=4_000.0)
    car = fit_unit(unit("evse.1", "evse", 0.0, 11_000.0, rank=2), hand)
    heat = replace(unit("heatpump.1", "heatpump", 3_000.0, 3_000.0, rank=1), wants_w=3_000.0)
    given = allocate(Bounds(upper_w=5_000.0), Base(0.0, 0.0, (0.0, 0.0, 0.0)), [heat, car])
    assert given["evse.1"].upper_w == pytest.approx(4_000.0)
    assert given["heatpump.1"].upper_w == pytest.approx(1_000.0)


def test_generators_go_off_one_after_the_other_until_it_is_enough() -> None:
    generating = [("fuelcell.1", 3_000.0), ("pv.1", 4_000.0)]
    assert switch_off(5_000.0, 2_500.0, generating).off == ("fuelcell.1",)
    assert switch_off(5_000.0, 0.0, generating).off == ("fuelcell.1", "pv.1")


def test_the_forecast_sums_planned_devices_and_experience_per_interval() -> None:
    plan = [PlannedPower(start=at(0), duration_s=1_800.0, power_w=1_000.0)]
    late = [PlannedPower(start=at(1) + timedelta(minutes=5), duration_s=600.0, power_w=900.0)]
    assert planned_w([plan, late], T, 900.0) == 1_000.0
    assert planned_w([plan, late], T + 900.0, 900.0) == pytest.approx(1_600.0)
    assert summed(1_000.0, (500.0, 300.0, 900.0), (-2_000.0, -2_500.0, 0.0)) == (-500.0, -1_200.0, 1_900.0)


def advice(power_w: float, quarters: int = 8) -> tuple[PlannedPower, ...]:
    return (PlannedPower(start=NOW, duration_s=quarters * 900.0, power_w=power_w),)


def offer(what: Any) -> OfferFlexibility:
    return OfferFlexibility(offer=1, flexibility=what, reason=WHY)


def test_energy_is_counted_freely_outside_of_the_advice() -> None:
    assert energy_until(advice(0.0, 4), T, T + 7_200.0, 10_000.0) == pytest.approx(10_000.0)
    assert energy_until(advice(5_000.0, 4), T, T + 3_600.0, 10_000.0) == pytest.approx(5_000.0)


def test_advice_that_would_leave_the_car_short_or_the_tank_cold_hurts() -> None:
    target = StorageTarget(at=at(8), lower_percent=80.0)
    car = offer(StorageFlexibility(capacity_wh=50_000.0, level_percent=50.0, fill_upper_w=11_000.0, targets=(target,)))
    short = suffers(car, advice(5_000.0), T)
    assert short is not None
    assert short.inputs == {"needed_wh": 15_000.0, "advised_wh": 10_000.0}
    assert suffers(car, advice(8_000.0), T) is None
    assert suffers(car, advice(8_000.0), T, needed=(T + 3_600.0, 90.0)) is not None, "the user's own need counts too"
    tank = ThermalFlexibility(
        temperature_c=46.0,
        lowest_c=45.0,
        highest_c=60.0,
        capacity_wh_per_k=500.0,
        loss_w_per_k=2.0,
        ambient_c=20.0,
        upper_w=3_000.0,
        demand_w=600.0,
    )
    cold = suffers(offer(tank), advice(0.0), T)
    assert cold is not None
    assert cold.code == "comfort"
    assert suffers(offer(tank), advice(700.0), T) is None
    assert suffers(None, advice(0.0), T) is None


def test_without_control_energy_is_taken_as_soon_as_it_is_wanted() -> None:
    assert at_once([0.0, 0.0, 100.0, 50.0], [100.0, 100.0, 100.0, 50.0]) == [100.0, 50.0, 0.0, 0.0]
    assert at_once([0.0, 80.0, 0.0, 40.0], [0.0, 80.0, 0.0, 60.0]) == [0.0, 80.0, 0.0, 40.0], "job by job"


def test_waiting_for_the_cheap_hour_shows_in_the_balance() -> None:
    wanted = {"evse.1": 1_000.0}
    dear = Slot(start=T, buy=0.4, taken={"evse.1": 0.0}, wanted=wanted)
    cheap = Slot(start=T + 900, buy=0.2, import_wh=1_000.0, taken={"evse.1": 1_000.0}, wanted=wanted)
    assert costs([dear, cheap]) == (pytest.approx(0.2), pytest.approx(0.4))
    unpriced = Slot(start=T, buy=None, import_wh=500.0)
    assert costs([unpriced]) == (0.0, 0.0)
