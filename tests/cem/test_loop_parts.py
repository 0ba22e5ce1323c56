"""The small pure parts of the fast loop: when orders are due, what household load is, what a battery wishes."""

from dataclasses import replace
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cem.allocate import Envelope, Unit
from agents.cem.answer_request import able_w
from agents.cem.follow_contract import level_of
from agents.cem.household import Household
from agents.cem.report_power import forecast
from agents.cem.settings import CemSettings
from agents.cem.shape import Order, next_order
from agents.cem.use_surplus import surplus_wishes
from contracts.reasons import Reason

SETTINGS = CemSettings()
WHY = Reason(code="grid_limit", text="test")
FREE = Envelope(None, None, None, Reason(code="free", text="test"))
T0 = 1000.0


def bound(upper_w: float | None = None, lower_w: float | None = None, setpoint_w: float | None = None) -> Envelope:
    return Envelope(lower_w, upper_w, setpoint_w, WHY)


def due(told: Order | None, wish: Envelope, now: float, **how: Any) -> Order | None:
    return next_order(told, wish, now, SETTINGS, **{"standby": False, "urgent": False, "load": True, **how})


def told(upper_w: float, at: float = T0) -> Order:
    order = due(None, bound(upper_w), at)
    assert order is not None
    return order


class TestOrders:
    def test_nothing_is_said_while_nothing_binds(self) -> None:
        assert due(None, FREE, T0) is None

    def test_less_is_told_at_once(self) -> None:
        order = due(told(6000), bound(5000), T0 + 1)
        assert order is not None
        assert order.upper_w == 5000

    def test_a_little_less_is_not_worth_an_order(self) -> None:
        assert due(told(6000), bound(5960), T0 + 1) is None

    def test_more_is_told_slowly(self) -> None:
        first = due(told(5000), bound(11_000), T0 + 20)
        assert first is not None
        assert first.upper_w == 5000 + SETTINGS.raise_step_w
        assert due(first, bound(11_000), T0 + 25) is None
        second = due(first, bound(11_000), T0 + 20 + SETTINGS.raise_after_s)
        assert second is not None
        assert second.upper_w == 11_000

    def test_less_right_after_more_is_told_at_once(self) -> None:
        first = due(told(5000), bound(7000), T0 + 20)
        assert first is not None
        second = due(first, bound(4500), T0 + 21)
        assert second is not None
        assert second.upper_w == 4500

    def test_what_was_switched_off_rests(self) -> None:
        off = told(0)
        assert due(off, bound(6000), T0 + SETTINGS.restart_after_s - 1) is None
        on = due(off, bound(6000), T0 + SETTINGS.restart_after_s)
        assert on is not None
        assert (on.upper_w, on.off_since) == (3000, None)

    def test_what_is_switched_on_gets_its_least_power_at_once(self) -> None:
        on = due(told(0), bound(6000), T0 + SETTINGS.restart_after_s, least_w=4140)
        assert on is not None
        assert on.upper_w == 4140

    def test_release_is_told_once_and_needs_no_renewal(self) -> None:
        free = due(told(5000), FREE, T0 + 20)
        assert free is not None
        assert free.free
        assert not free.held
        assert due(free, FREE, T0 + 10_000) is None

    def test_what_may_still_be_held_by_something_forgotten_is_told_that_it_is_free(self) -> None:
        assert due(None, FREE, T0) is None
        free = due(None, FREE, T0, unsure=True)
        assert free is not None
        assert free.free
        assert not free.held

    def test_a_held_order_is_renewed_before_it_runs_out(self) -> None:
        first = told(5000)
        assert due(first, bound(5000), T0 + SETTINGS.hold_s / 2 - 1) is None
        renewed = due(first, bound(5000), T0 + SETTINGS.hold_s / 2)
        assert renewed is not None
        assert (renewed.since, renewed.at) == (T0, T0 + SETTINGS.hold_s / 2)

    def test_standby_is_told_at_once_and_ends_with_a_rest(self) -> None:
        off = due(None, bound(), T0, standby=True, urgent=True)
        assert off is not None
        assert (off.standby, off.urgent, off.held) == (True, True, True)
        assert due(off, FREE, T0 + 10) is None
        back = due(off, FREE, T0 + SETTINGS.restart_after_s)
        assert back is not None
        assert back.free

    def test_a_setpoint_stays_inside_what_is_told(self) -> None:
        order = due(None, bound(upper_w=-1000, setpoint_w=500), T0, load=False)
        assert order is not None
        assert order.setpoint_w == -1000

    @given(st.lists(st.tuples(st.one_of(st.none(), st.floats(0, 11_000)), st.integers(1, 60)), max_size=40))
    def test_no_order_ever_gives_more_than_was_allocated(self, wishes: list[tuple[float | None, int]]) -> None:
        now, order = T0, None
        for upper, wait in wishes:
            now += wait
            wish = FREE if upper is None else bound(upper)
            order = due(order, wish, now) or order
            if order is not None and upper is not None:
                given_upper = inf if order.upper_w is None else order.upper_w
                assert given_upper <= upper + SETTINGS.deadband_w or order.standby


class TestHousehold:
    def feed(self, home: Household, at: float, rest_w: float, **how: Any) -> None:
        home.feed(at, rest_w, (rest_w, 0.0, 0.0), **{"settled": True, "too_high": False, "too_low": False, **how})

    def test_a_single_high_value_counts_only_when_confirmed(self) -> None:
        home = Household()
        self.feed(home, 5, 1000)
        self.feed(home, 10, 9000)
        assert home.total.high == 1000
        self.feed(home, 15, 9000)
        assert home.total.high == 9000

    def test_it_counts_at_once_when_the_bound_is_broken(self) -> None:
        home = Household()
        self.feed(home, 5, 1000)
        self.feed(home, 10, 9000, too_high=True)
        assert home.total.high == 9000
        assert home.total.sure == 1000
        self.feed(home, 15, 9000, too_high=True)
        assert home.total.sure == 9000

    def test_a_fall_counts_slowly(self) -> None:
        home = Household()
        self.feed(home, 5, 5000)
        self.feed(home, 10, 1000)
        assert home.total.high is not None
        assert 4000 < home.total.high < 5000
        for n in range(60):
            self.feed(home, 15 + 5 * n, 1000)
        assert home.total.high == pytest.approx(1000, abs=5)
        assert home.total.low == 1000

    def test_readings_around_an_order_are_left_out_but_not_for_ever(self) -> None:
        home = Household()
        self.feed(home, 5, 1000)
        self.feed(home, 10, -4000, settled=False)
        assert home.total.low == 1000
        self.feed(home, 25, -4000, settled=False)
        self.feed(home, 45, -4000, settled=False)
        assert home.total.low == -4000


def test_batteries_share_a_surplus_and_a_need() -> None:
    pair = [("a", -2000.0, 1000.0), ("b", -2000.0, 3000.0)]
    assert surplus_wishes(-2000, pair) == {"a": 500, "b": 1500}
    assert surplus_wishes(2000, pair) == {"a": -1000, "b": -1000}
    assert surplus_wishes(-9000, pair) == {"a": 1000, "b": 3000}
    assert surplus_wishes(500, [("a", 0.0, 1000.0)]) == {"a": 0.0}


@pytest.mark.parametrize(
    ("power_w", "before", "level"),
    [
        (5300, "clear", "clear"),
        (5500, "clear", "warning"),
        (6000, "clear", "warning"),
        (6001, "warning", "alarm"),
        (5200, "warning", "warning"),
        (5200, "clear", "clear"),
        (5000, "alarm", "clear"),
    ],
)
def test_the_contract_levels_have_a_hysteresis(power_w: float, before: Any, level: str) -> None:
    assert level_of(power_w, 6000, before, 0.9, 0.85) == level


def test_a_forecast_stays_inside_the_bounds_in_force() -> None:
    ahead = forecast([8000.0, 10_000.0], 1_463_745_600.0, -inf, 6000.0)
    assert [f.power_w for f in ahead] == [6000.0] * 4
    assert forecast([], 0.0, -inf, inf) == ()


def test_what_can_be_promised_switches_nothing_off() -> None:
    car = Unit("e", "evse", 11_000, 0, 11_000, 0, 11_000, 11_000, minimum_run_w=4140)
    store = Unit("b", "battery", 1000, -5000, 5000, -5000, 5000, 0)
    assert able_w([car, store], more=False) == 11_000 - 4140 + 6000
    assert able_w([car, store], more=True) == 4000
    assert able_w([replace(store, fresh=False)], more=True) == 0


def _consistent(figures: tuple[float | None, float | None, float | None]) -> Envelope:
    lower, upper, setpoint = figures
    if lower is not None and upper is not None and lower > upper:
        lower, upper = upper, lower
    return bound(upper, lower, setpoint)


WISHES = st.tuples(*[st.sampled_from((None, -5000.0, -1800.0, -40.0, 0.0, 3000.0, 5000.0))] * 3).map(_consistent)


@given(st.lists(st.tuples(WISHES, st.floats(1, 20)), min_size=2, max_size=5), st.booleans())
def test_no_order_has_a_lower_bound_above_the_upper(wished: list[tuple[Envelope, float]], load: bool) -> None:
    order, now = None, T0
    for wish, later_s in wished:
        now += later_s
        order = due(order, wish, now, load=load) or order
        if order is not None and order.lower_w is not None and order.upper_w is not None:
            assert order.lower_w <= order.upper_w


def test_a_battery_that_keeps_what_it_has_gives_at_once_when_a_limit_needs_it() -> None:
    keeps = due(None, bound(lower_w=0.0), T0, load=False)
    gives = due(keeps, bound(lower_w=-500.0), T0 + 20, load=False)
    order = due(gives, bound(upper_w=-1800.0, lower_w=-1800.0), T0 + 21, load=False)
    assert order is not None
    assert (order.lower_w, order.upper_w) == (-1800.0, -1800.0)
