"""The household of the year's benchmark lives by physics, and nothing that is planned beats perfect foresight."""

import pytest

from agents.cem.wishes import Wish
from agents.kit.local_day import local
from bench.year import EVENING, MONTHS, YEAR, between, mean_price, total
from bench.year_cases import (
    Account,
    Life,
    Orders,
    State,
    at_once,
    battery_wants,
    lived,
    plain_rules,
    tank_step,
)
from bench.year_home import (
    BATTERY,
    CAR_LEAST_W,
    COLDEST_C,
    HEAT_EL_WH,
    HOTTEST_C,
    HOURS,
    LOAD_WH,
    QUARTER_S,
    SEED,
    SELL_EUR_PER_KWH,
    SUN_WH,
    TANK_LOSS_W_PER_K,
    ZONE,
    forecast_error,
    household,
    known_until,
    market,
)
from bench.year_optimum import optimum
from bench.year_plan import SETTINGS, Manager, managed
from contracts.reasons import Reason
from world.profiles import FIRST_INSTANT

HOME = household()
MEAN = mean_price(HOME)
TWO_DAYS = (106 * 96 + EVENING, 108 * 96 + EVENING)


def wish(**what: float) -> Wish:
    return Wish(source="plan", reason=Reason(code="x", text="x"), **what)  # type: ignore[arg-type]


def walk(rows: int, orders: Orders, first: int = 100 * 96) -> Life:
    life = Life(HOME, first, first + rows)
    for _ in range(rows):
        life.arrive()
        life.live(orders)
    return life


@pytest.mark.parametrize("orders", [Orders(), Orders(idle=True), Orders(battery=wish(setpoint_w=9_000.0))])
def test_what_comes_in_is_used_stored_or_lost(orders: Orders) -> None:
    life = walk(96 * 3, orders)
    account, stored = life.account, life.state.stored_wh - State().stored_wh
    came = account.bought_wh + account.sun_wh - account.sold_wh
    lost = came - account.used_wh - stored
    assert 0.0 <= lost <= 0.03 * account.wear_wh + 3 * 0.002 * BATTERY.capacity_wh


@pytest.mark.parametrize("power_w", [-50_000.0, 50_000.0])
def test_the_battery_keeps_its_bounds_whatever_is_asked(power_w: float) -> None:
    life = walk(96, Orders(battery=wish(setpoint_w=power_w)))
    floor = BATTERY.capacity_wh * BATTERY.reserve_percent / 100
    assert floor * 0.99 <= life.state.stored_wh <= BATTERY.capacity_wh
    assert life.account.wear_wh <= BATTERY.rating_w * 24


def test_the_fast_loop_follows_the_surplus_inside_the_plans_direction() -> None:
    assert battery_wants(-1800.0, None) == 1800.0
    assert battery_wants(1800.0, None) == -1800.0
    assert battery_wants(1800.0, wish(lower_w=0.0)) == 0.0
    assert battery_wants(-1800.0, wish(upper_w=0.0)) == 0.0
    assert battery_wants(-1800.0, wish(setpoint_w=-500.0)) == -500.0


@pytest.mark.parametrize("asked_w", [0.0, 50_000.0])
def test_the_tank_stays_in_its_comfort_band_whatever_is_asked(asked_w: float) -> None:
    tank = 45.0
    for row in range(30 * 96):
        took, after = tank_step(HOME, row, tank, asked_w)
        heat = took * HOME.cop[row] - HOME.heat_w[row] - TANK_LOSS_W_PER_K * (tank - 20.0)
        assert after - tank == pytest.approx(heat * HOURS / 581.5, abs=1e-9)
        tank = after
        assert COLDEST_C - 1e-9 <= tank <= HOTTEST_C + 1e-9


def test_a_car_gets_its_energy_before_it_leaves() -> None:
    for case in (at_once, plain_rules):
        account = lived(HOME, 0, len(HOME), case, MEAN)
        assert account.unmet_wh == pytest.approx(0.0, abs=1e-6)
        assert account.undone == 0
        assert account.car_wh == pytest.approx(sum(stay.energy_wh for stay in HOME.stays))


def test_there_is_no_charging_below_six_amperes_and_what_is_missing_is_counted() -> None:
    stay = HOME.stays[0]
    life = walk(stay.leave - stay.come + 1, Orders(car_w=CAR_LEAST_W - 100.0), stay.come)
    assert life.account.car_wh == 0.0
    assert life.account.unmet_wh == stay.energy_wh


def test_nothing_costs_less_than_foresight_and_a_plan_no_more_than_no_control() -> None:
    wear = SETTINGS.wear_eur_per_kwh
    nothing = lived(HOME, *TWO_DAYS, at_once, MEAN).cost_eur(wear, MEAN)
    planned = managed(HOME, *TWO_DAYS, MEAN)
    best = optimum(HOME, *TWO_DAYS, wear)
    assert best.cost_eur(wear, MEAN) <= planned.cost_eur(wear, MEAN) <= nothing
    assert planned.unmet_wh == 0.0
    assert planned.plans >= 48
    assert planned.used_wh == pytest.approx(best.used_wh, rel=0.05)


def test_the_optimum_of_two_halves_is_no_better_than_one_over_both() -> None:
    first, last = TWO_DAYS
    both = optimum(HOME, first, last, 0.0)
    halves = total([optimum(HOME, first, first + 96, 0.0), optimum(HOME, first + 96, last, 0.0)])
    assert both.bill_eur <= halves.bill_eur + 1e-6


def test_the_manager_knows_no_price_before_it_is_said() -> None:
    first = 50 * 96
    life = Life(HOME, first, first + 96 * 3)
    manager = Manager(life)
    manager.orders(life.arrive())
    problem = manager.pose()
    known = known_until(life.row) - life.row
    assert problem.prices.buy_eur_per_kwh[:known] == pytest.approx(tuple(HOME.buy[first : first + known]))
    unknown = problem.prices.buy_eur_per_kwh[known:]
    assert unknown == pytest.approx(tuple(HOME.buy[first + known - 96 : first + known - 96 + len(unknown)]))
    assert problem.prices.sell_eur_per_kwh == pytest.approx((SELL_EUR_PER_KWH,) * problem.horizon.count)


@pytest.mark.parametrize(("hour", "days"), [(12, 1), (13, 2)])
@pytest.mark.parametrize("day", [50, 85, 86, 87, 150, 302, 303])  # 86 and 303: the clock changes
def test_tomorrows_prices_are_known_from_one_o_clock(day: int, hour: int, days: int) -> None:
    noon = FIRST_INSTANT + day * 86_400.0 + 12 * 3600.0
    here = local(noon, ZONE)
    row = day * 96 + 48 + (hour - here.hour) * 4
    end = local(FIRST_INSTANT + QUARTER_S * known_until(row), ZONE)
    assert (end.hour, end.minute) == (0, 0)
    assert (end.date() - here.date()).days == days


def test_the_household_is_the_one_that_is_described() -> None:
    assert HOME.load_w.sum() * HOURS == pytest.approx(LOAD_WH)
    assert -HOME.sun_w.sum() * HOURS == pytest.approx(SUN_WH)
    assert (HOME.heat_w / HOME.cop).sum() * HOURS == pytest.approx(HEAT_EL_WH, rel=0.02)
    prices = market(SEED)
    assert prices.mean() == pytest.approx(0.0785, abs=0.002)
    assert 400 <= (prices < 0).sum() <= 520
    mean, rms = forecast_error(HOME)
    assert 0.08 <= mean <= 0.10
    assert 0.103 <= rms <= 0.140


def test_months_cut_no_stay_and_no_errand() -> None:
    months = between(MONTHS)
    assert [a for a, _ in months[1:]] == [b for _, b in months[:-1]]
    assert (months[0][0], months[-1][1]) == between(YEAR)[0] == (0, len(HOME))
    for _, border in months[:-1]:
        assert not any(stay.come < border < stay.leave for stay in HOME.stays)
        assert not any(errand.armed < border < errand.until for errand in HOME.errands)


def test_accounts_add_up() -> None:
    one = Account(bill_eur=1.0, peak_w=5.0, coldest_c=44.0)
    both = total([one, Account(bill_eur=2.0, peak_w=3.0, coldest_c=43.0)])
    assert (both.bill_eur, both.peak_w, both.coldest_c) == (3.0, 5.0, 43.0)


def test_the_year_is_lived_to_its_last_quarter_hour() -> None:
    planned = managed(HOME, len(HOME) - 4, len(HOME), MEAN)
    assert planned.plans >= 1
    assert planned.used_wh > 0
