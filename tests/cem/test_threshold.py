"""Exactly one command per price: which one, and what speaks against it."""

from datetime import time

import msgspec
import pytest

from agents.cem.threshold import Limits, State, for_generator, for_heat, for_storage

pytestmark = pytest.mark.use_case("home.price-threshold")
NOON = time(12)
CELL = State(power_w=0.0, on=False, most_w=-1500.0, least_w=750.0)
RUNS = State(power_w=-1000.0, on=True, most_w=-1500.0, least_w=750.0)
PUMP = State(power_w=1000.0, on=True, most_w=3000.0, least_w=500.0)
STORE = State(power_w=0.0, on=False, most_w=-5000.0, level_percent=80.0)


@pytest.mark.parametrize(
    ("limits", "state", "price", "action", "setpoint_w"),
    [
        (Limits(above=0.30), CELL, 0.31, "on", -1500.0),
        (Limits(above=0.30), RUNS, 0.30, "off", None),  # equal is not exceeded
        (Limits(above=0.30, starts_at=True), CELL, 0.30, "on", -1500.0),  # a generator starts at the price
        (Limits(above=0.30, starts_at=True), RUNS, 0.29, "off", None),
        (Limits(above=0.30, step_w=200.0), RUNS, 0.40, "increase", -1200.0),
        (Limits(above=0.30, step_w=200.0), RUNS, 0.20, "decrease", -800.0),
        (Limits(above=0.30, step_w=500.0), RUNS, 0.20, "off", None),  # less than it can run on
        (Limits(above=0.30, step_w=200.0), CELL, 0.40, "on", -750.0),
        (Limits(window=(time(10), time(14))), CELL, None, "on", -1500.0),
        (Limits(window=(time(14), time(20))), RUNS, 9.99, "off", None),
    ],
)
def test_a_generator_runs_while_it_pays(
    limits: Limits, state: State, price: float | None, action: str, setpoint_w: float | None
) -> None:
    command = for_generator(limits, state, price, NOON)
    assert command is not None
    assert (command.action, command.setpoint_w, command.off) == (action, setpoint_w, setpoint_w is None)


def test_a_generator_that_is_not_ready_is_not_started() -> None:
    command = for_generator(Limits(above=0.1, starts_at=True), msgspec.structs.replace(CELL, ready=False), 0.9, NOON)
    assert command is not None
    assert (command.action, command.reason.code) == ("off", "not_ready")


@pytest.mark.parametrize(
    ("limits", "price", "action", "setpoint_w"),
    [
        (Limits(below=0.20), 0.19, "on", 3000.0),
        (Limits(below=0.20), 0.20, "on", 3000.0),
        (Limits(below=0.20), 0.21, "off", None),
        (Limits(below=0.20, step_w=700.0), 0.10, "increase", 1700.0),
        (Limits(below=0.20, step_w=400.0), 0.30, "decrease", 600.0),
    ],
)
def test_a_heat_pump_runs_while_it_is_cheap(limits: Limits, price: float, action: str, setpoint_w: float) -> None:
    command = for_heat(limits, PUMP, price)
    assert command is not None
    assert (command.action, command.setpoint_w) == (action, setpoint_w)


def test_a_battery_sells_above_the_price_with_enough_in_it_and_nothing_against_it() -> None:
    limits = Limits(above=0.30, reserve_percent=40.0)

    def action(price: float, **state: object) -> tuple[str, str]:
        command = for_storage(limits, msgspec.structs.replace(STORE, **state), price)
        assert command is not None
        return command.action, command.reason.code

    assert action(0.31) == ("feed_in", "price_above")
    assert action(0.30) == ("hold", "price_below")
    assert action(0.31, level_percent=40.0) == ("hold", "level_too_low")
    assert action(0.31, level_percent=None) == ("hold", "level_too_low")
    assert action(0.31, conflict="less may be fed in now") == ("hold", "conflict")


def test_without_a_price_or_a_threshold_nothing_is_commanded() -> None:
    assert for_generator(Limits(above=0.3), CELL, None, NOON) is None
    assert for_generator(Limits(), CELL, 0.3, NOON) is None
    assert for_heat(Limits(below=0.3), PUMP, None) is None
    assert for_storage(Limits(), STORE, 0.3) is None
