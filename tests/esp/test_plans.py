"""Tariffs that follow wind, plans below a capacity, answers from a table. No bus."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.building.judge_changes import excess_w
from agents.building.recommend import shares
from agents.dso.warn_critical import critical_periods
from agents.esp.answer_questions import known_answer
from agents.esp.make_tariff import price, slots_of
from agents.esp.peak_plan import by_slot, periods, plan_peaks
from agents.esp.settings import WindTariff
from agents.esp.shave_peaks import Day
from contracts.profiles import Estimate
from contracts.reasons import Reason
from contracts.site_power import ConnectionStatusIs, NotifyCriticalLoad

NOW = datetime(2016, 5, 20, 10, tzinfo=UTC)
T = NOW.timestamp()
RULES = WindTariff(rating_w=10_000.0, horizon_s=3_600.0)


def values(*powers: float) -> tuple[Estimate, ...]:
    starts = (NOW + timedelta(minutes=15 * n) for n in range(len(powers)))
    return tuple(
        Estimate(start=start, duration_s=900.0, power_w=power) for start, power in zip(starts, powers, strict=True)
    )


def test_the_price_mirrors_wind_and_use() -> None:
    assert price(RULES, 5_000.0, 5_000.0, stressed=False) == pytest.approx(0.30)
    assert price(RULES, 20_000.0, 1_000.0, stressed=False) == pytest.approx(0.15)
    assert price(RULES, 0.0, 20_000.0, stressed=False) == pytest.approx(0.45)
    assert price(RULES, 20_000.0, 1_000.0, stressed=True) == pytest.approx(0.30), "a grid under stress is never cheap"


def test_critical_periods_are_dearer_or_cheaper_by_their_direction() -> None:
    more = NotifyCriticalLoad(
        start=NOW + timedelta(minutes=15),
        duration_s=900.0,
        direction="consumption",
        excess_w=1.0,
        reason=Reason(code="x", text="x"),
    )
    slots = slots_of(RULES, T, values(*[-5_000.0] * 4), [values(*[5_000.0] * 4)], None, [more])
    assert [s.price_eur_per_kwh for s in slots] == [0.30, 0.50, 0.30, 0.30]
    yellow = ConnectionStatusIs(at=NOW, color="yellow", consumption_room_w=0.0, feed_in_room_w=0.0)
    assert slots_of(RULES, T, values(-9_000.0), [values(1_000.0)], yellow, [])[0].price_eur_per_kwh == 0.30
    assert slots[0].green_percent == 100.0


def test_a_peak_is_given_up_in_equal_shares_and_no_slot_takes_more_than_is_safe() -> None:
    expected = {"a": [8_000.0, 1_000.0], "b": [4_000.0, -3_000.0]}
    plan = plan_peaks(expected, contracted_w=10_000.0, safe_w=9_000.0)
    assert plan.peaks == (0,)
    assert plan.surplus == (1,)
    assert plan.upper_w["a"][0] == pytest.approx(6_000.0)
    assert plan.upper_w["b"][0] == pytest.approx(3_000.0)
    assert sum(uppers[1] for uppers in plan.upper_w.values()) - 3_000.0 <= 9_000.0, "the sun's room may be used"
    assert periods((1, 2, 3, 7)) == [(1, 4), (7, 8)]
    assert by_slot(values(1.0, 2.0), T, 4, 900.0) == [1.0, 2.0, 2.0, 2.0]


def test_a_day_counts_means_of_slots_not_moments() -> None:
    day = Day(start=T)
    for n in range(31):
        day.feed(T + 60.0 * n, 12_000.0 if n < 5 else 8_000.0, 10_000.0)
    day.close(10_000.0)
    assert day.slots_above == 0
    assert day.highest_w == pytest.approx((4 * 12_000.0 + 11 * 8_000.0) / 15)
    assert day.energy_wh == pytest.approx((4 * 12_000.0 + 26 * 8_000.0) / 60)


def test_a_question_is_answered_by_the_longest_key_that_it_contains() -> None:
    table = {"price": "It varies.", "price at night": "It is low."}
    assert known_answer("What is the PRICE at night?", table) == "It is low."
    assert known_answer("prices?", table) == "It varies."
    assert known_answer("hello", table) is None


def test_the_surplus_of_some_is_shared_by_the_others_within_the_subscribed_power() -> None:
    assert shares({"a": -5_000.0, "b": 1_000.0, "c": 0.0}, 0.0, 500.0) == {"b": 3_000.0, "c": 2_000.0}
    assert shares({"a": -5_000.0, "b": 1_000.0}, 3_000.0, 500.0) == {"b": 3_000.0}
    assert shares({"a": -1_200.0, "b": 1_000.0}, 0.0, 500.0) == {}, "too little to advise"
    assert shares({"a": 2_000.0, "b": 1_000.0}, 0.0, 500.0) == {}


def test_a_change_overloads_only_a_known_subscription() -> None:
    assert excess_w(5_000.0, 1_000.0, 4_000.0, 9_000.0) == 1_000.0
    assert excess_w(5_000.0, 0.0, 4_000.0, 9_000.0) == 0.0
    assert excess_w(5_000.0, 0.0, 40_000.0, 0.0) == 0.0


def test_critical_periods_name_begin_length_and_the_worst_excess() -> None:
    powers = [5.0, 12.0, 15.0, 5.0, -13.0]
    assert critical_periods(powers, 10.0) == [(1, 3, 5.0), (4, 5, -3.0)]
    assert critical_periods([1.0, -1.0], 10.0) == []
