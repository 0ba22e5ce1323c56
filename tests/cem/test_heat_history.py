"""What is drawn from a tank is found in what is seen of it, and what is wrong with a sensor is not taken for it."""

import math
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from agents.cem.heat_history import (
    DAYS,
    OFF_LASTS_S,
    Balance,
    Closed,
    HeatHistory,
    cop,
    drawn_w,
    surroundings_c,
)
from contracts.flexibility import ThermalFlexibility

ZONE = "UTC"
DAY, QUARTER_S, STEP_S = 86_400.0, 900.0, 30.0
START = 20_000 * DAY
TANK = ThermalFlexibility(
    temperature_c=45.0,
    lowest_c=40.0,
    highest_c=55.0,
    capacity_wh_per_k=581.5,
    loss_w_per_k=1.8,
    ambient_c=20.0,
    cop_share=3.4,
    upper_w=3500.0,
)
Drawn = Callable[[float], float]
Sensor = Callable[[float, float], float]


def daily(at: float) -> float:
    """More in the morning and the evening, W."""
    return 2500.0 + 1500.0 * math.sin(4 * math.pi * (at % DAY) / DAY)


def tenths(at: float, true_c: float) -> float:
    return round(true_c, 1)


def live(
    history: HeatHistory, days: float, drawn: Drawn = daily, sensor: Sensor = tenths, since: float = START
) -> float:
    """A pump of two steps on a tank, read every half a minute with noise; where it ends."""
    balance, random, at, true_c, on = Balance(), Random(1), since, 46.0, False
    while at < since + days * DAY:
        on = true_c < 44.0 or (on and true_c < 50.0)
        power = 2200.0 if on else 0.0
        closed = balance.see(at, power + random.uniform(-20.0, 20.0), sensor(at, true_c))
        if closed is not None:
            history.take(closed.at, TANK, drawn_w(TANK, closed, TANK.cop_share, TANK.ambient_c), ZONE)
        heat = power * TANK.cop_share - TANK.loss_w_per_k * (true_c - TANK.ambient_c) - drawn(at)
        true_c += heat * STEP_S / 3600 / TANK.capacity_wh_per_k
        at += STEP_S
    return at


def expected(history: HeatHistory, start: float, n: int = 96, said_w: float = 0.0) -> tuple[float, ...]:
    found = history.demand(start, n, QUARTER_S, ZONE, said_w)
    assert found is not None
    return found


def off_by(found: tuple[float, ...], start: float, drawn: Drawn = daily) -> float:
    """Mean error as a share of the mean."""
    true = [drawn(start + (n + 0.5) * QUARTER_S) for n in range(len(found))]
    return sum(abs(a - b) for a, b in zip(found, true, strict=True)) / sum(true)


def test_after_two_days_it_expects_what_a_day_brings() -> None:
    history = HeatHistory()
    end = live(history, 2.0)
    assert off_by(expected(history, end), end) < 0.15
    flat = (sum(expected(history, end)) / 96,) * 96
    assert off_by(flat, end) > 0.3, "one figure for all hours would not do"


def test_a_restart_takes_up_all_of_it_and_it_does_not_grow() -> None:
    history = HeatHistory()
    end = live(history, 4.0)
    stored = msgspec.json.encode(history)
    again = msgspec.json.decode(stored, type=HeatHistory)
    assert expected(again, end) == expected(history, end)
    assert sum(len(values) for values in history.quarters.values()) == DAYS * 96
    assert len(stored) < 4000


def test_nothing_is_said_before_anything_is_known_and_little_is_blended() -> None:
    history = HeatHistory()
    assert history.demand(START, 96, QUARTER_S, ZONE, 240.0) is None
    history.add(START + 450.0, 2240.0, ZONE)
    later = expected(history, START + 6 * 3600.0, 4, said_w=240.0)
    assert later == pytest.approx((240.0 + 2000.0 / 8,) * 4)


def test_the_first_hours_say_something_of_the_rest_of_the_day() -> None:
    history = HeatHistory()
    end = live(history, 0.25)
    mean = sum(expected(history, end, 8, said_w=0.0)) / 8
    assert 1500.0 < mean < 4500.0


def test_a_colder_day_is_believed_for_hours_not_for_ever() -> None:
    history = HeatHistory()
    end = live(history, 2.0)
    end = live(history, 0.25, lambda at: daily(at) + 2000.0, since=end)
    more = [a - daily(end + (n + 0.5) * QUARTER_S) for n, a in enumerate(expected(history, end))]
    assert sum(more[:4]) / 4 == pytest.approx(2000.0, rel=0.35)
    assert abs(sum(more[-40:-28]) / 12) < 2000.0 * math.exp(-12 * 3600.0 / OFF_LASTS_S) + 300.0


def test_a_bath_is_not_taken_for_the_weather() -> None:
    history = HeatHistory()
    end = live(history, 2.0)
    end = live(history, 0.125, lambda at: daily(at) + (12_000.0 if at < end + 1800 else 0.0), since=end)
    later = end + 3600.0
    assert off_by(expected(history, later, 16), later) < 0.2


def test_a_sensor_that_jumps_for_a_while_teaches_nothing() -> None:
    def jumps(at: float, true_c: float) -> float:
        return tenths(at, true_c) - (12.0 if 36_000.0 <= at - START - DAY < 39_600.0 else 0.0)

    right, wrong = HeatHistory(), HeatHistory()
    end = live(right, 2.0)
    live(wrong, 2.0, sensor=jumps)
    apart = [abs(a - b) for a, b in zip(expected(right, end), expected(wrong, end), strict=True)]
    assert max(apart) < 6000.0
    assert sum(apart) / 96 < 150.0


def test_one_wrong_reading_does_not_count() -> None:
    def once(at: float, true_c: float) -> float:
        return 85.0 if (at - START) % QUARTER_S == 0.0 else tenths(at, true_c)

    history = HeatHistory()
    end = live(history, 2.0, sensor=once)
    assert off_by(expected(history, end), end) < 0.15


def test_an_outage_leaves_what_was_known() -> None:
    history = HeatHistory()
    end = live(history, 2.0)
    back = live(history, 0.05, since=end + 0.4 * DAY)
    assert off_by(expected(history, back), back) < 0.17


def test_a_silence_within_a_quarter_hour_is_no_balance() -> None:
    balance, closed = Balance(), []
    for number in range(95):
        at = START + STEP_S * number
        if not 40 <= number < 50:
            closed.append(balance.see(at, 0.0, 45.0))
    assert [one.at for one in closed if one is not None] == [START + 450.0, START + 450.0 + 2 * QUARTER_S]


def test_a_cooled_room_gains_warmth() -> None:
    room = msgspec.structs.replace(TANK, heats=False, cop_share=3.0, loss_w_per_k=60.0, capacity_wh_per_k=1500.0)
    steady = Closed(at=START, power_w=500.0, before_c=24.0, after_c=24.0, hours=0.25)
    assert drawn_w(room, steady, 3.0, 32.0) == pytest.approx(-1500.0 + 60.0 * 8.0)


def test_a_pump_works_better_when_it_is_warm_outdoors_and_a_cooler_worse() -> None:
    known = HeatHistory()
    known.refer(3.4, 7.0)
    cooler = msgspec.structs.replace(TANK, heats=False)
    assert cop("heatpump", TANK, known, (-3.0, 7.0, 17.0)) == pytest.approx([2.72, 3.4, 4.08])
    assert cop("hvac", cooler, known, (-3.0, 7.0, 17.0)) == pytest.approx([4.08, 3.4, 2.72])
    assert cop("heatpump", TANK, known, (-60.0, 70.0)) == pytest.approx([2.04, 5.1]), "bounded"
    assert cop("waterheater", TANK, known, (-3.0, 17.0)) == [3.4, 3.4]
    assert cop("heatpump", TANK, HeatHistory(), (-3.0, 17.0)) == [3.4, 3.4], "before it is known when it said that"


def test_who_always_says_the_same_means_the_first_time() -> None:
    known = HeatHistory()
    known.refer(3.4, 7.0)
    known.refer(3.4, -5.0)
    assert known.cop_at_c == 7.0
    known.refer(2.6, -5.0)
    assert (known.cop_share, known.cop_at_c) == (2.6, -5.0)


def test_only_what_says_so_loses_heat_to_the_weather() -> None:
    house = msgspec.structs.replace(TANK, ambient_c=7.0)
    assert surroundings_c("heatpump", TANK, -5.0) == 20.0
    assert surroundings_c("heatpump", house, -5.0) == -5.0
    assert surroundings_c("waterheater", house, -5.0) == 7.0
