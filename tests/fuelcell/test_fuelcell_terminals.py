"""A generator: never more than it may, nothing below its least, and no start that it would refuse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.fuelcell.terminals import FuelCellSettings, FuelCellTerminals
from agents.kit.hardware import Envelope, Impossible, Values
from agents.kit.obey import MinimumTimes
from contracts import device_file

SETTINGS = FuelCellSettings(rating_w=4000.0)
CHP = FuelCellTerminals(SETTINGS, device_file.load("kwenergie_smartblock"))
READY: Values = {"power_w": 0, "state": "standby", "return_temperature_c": 55.0, "heartbeat": 41, "error": False}
RUNNING: Values = {**READY, "power_w": -3000, "state": "running"}


@given(lower=st.floats(-9000, 0), setpoint=st.none() | st.floats(-9000, 0))
def test_it_never_makes_more_than_the_bound(lower: float, setpoint: float | None) -> None:
    plan = CHP.plan(Envelope(lower_w=lower, setpoint_w=setpoint), RUNNING)
    assert plan.lower_w is not None
    assert plan.lower_w >= max(lower, -4000.0) - 1e-6
    if plan.writes["control_mode"] == "follow":
        percent = plan.writes["power_setpoint_percent"]
        assert isinstance(percent, float)
        assert 50.0 <= percent <= 100.0
        assert 40.0 * percent <= -max(lower, -4000.0) + 1e-6


def test_a_setpoint_starts_it_and_the_handshake_is_answered() -> None:
    plan = CHP.plan(Envelope(setpoint_w=-3000.0), READY)
    assert plan.writes == {"power_setpoint_percent": 75.0, "control_mode": "follow", "heartbeat_answer": 41}
    assert (plan.lower_w, plan.upper_w, plan.setpoint_w, plan.renew_every_s) == (-3000.0, 0.0, -3000.0, 10.0)


def test_below_its_least_it_is_stopped_and_says_so() -> None:
    plan = CHP.plan(Envelope(lower_w=-1500.0), RUNNING)
    assert (plan.writes["control_mode"], plan.lower_w, plan.upper_w) == ("stop", 0.0, 0.0)
    assert CHP.plan(Envelope(standby=True), RUNNING).writes["control_mode"] == "stop"


def test_free_it_is_led_by_heat_again() -> None:
    plan = CHP.plan(Envelope(), RUNNING)
    assert (plan.writes, plan.renew_every_s) == ({"control_mode": "own"}, None)
    assert CHP.plan(Envelope(upper_w=0.0), RUNNING).writes == {"control_mode": "own"}


def test_an_upper_bound_below_zero_has_to_be_made() -> None:
    assert CHP.plan(Envelope(upper_w=-3200.0), READY).setpoint_w == pytest.approx(-3200.0)
    assert CHP.plan(Envelope(upper_w=-3200.0, setpoint_w=-2500.0), READY).setpoint_w == pytest.approx(-3200.0)


def test_a_generator_takes_nothing() -> None:
    with pytest.raises(Impossible):
        CHP.plan(Envelope(lower_w=10.0), READY)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({**READY, "return_temperature_c": 74.0}, "too_hot"),
        ({**READY, "state": "off"}, "not_ready"),
        ({**READY, "error": True}, "fault"),
    ],
)
def test_a_start_that_it_would_refuse_is_refused_with_its_reason(values: Values, code: str) -> None:
    reason = CHP.ready(values)
    assert reason is not None
    assert reason.code == code
    with pytest.raises(Impossible) as refused:
        CHP.plan(Envelope(setpoint_w=-3000.0), values)
    assert refused.value.reason.code == code
    assert CHP.plan(Envelope(standby=True), values).writes["control_mode"] == "stop"
    assert CHP.reading(values, 0.0).lower_w == 0.0
    assert CHP.ready(READY) is None


def test_the_reading_says_what_it_makes_and_how_warm_its_tank_is() -> None:
    reading = CHP.reading(RUNNING, 0.0)
    assert (reading.power_w, reading.lower_w, reading.upper_w) == (-3000, -4000.0, 0.0)
    assert (reading.operating, reading.temperature_c) == ("running", 55.0)
    assert CHP.reading({**READY, "state": "starting"}, 0.0).operating == "waiting"


def test_the_planner_sees_its_modes() -> None:
    modes = CHP.modes(RUNNING)
    assert [(one.name, one.lower_w, one.upper_w) for one in modes.modes] == [
        ("off", 0.0, 0.0),
        ("generate", -4000.0, -2000.0),
    ]
    assert (modes.mode, modes.ready) == ("generate", True)
    hot = CHP.modes({**READY, "return_temperature_c": 74.0})
    assert (hot.mode, hot.ready) == ("off", False)


def test_minimum_times_hold_for_what_generates() -> None:
    times = MinimumTimes()
    times.saw(0.0, 0.0)
    times.saw(-3000.0, 100.0)

    def objection(envelope: Envelope, now: float) -> str | None:
        reason = times.objection(SETTINGS, envelope, 2000.0, now, generates=True)
        return None if reason is None else reason.code

    assert objection(Envelope(setpoint_w=0.0), 200.0) == "minimum_on"
    assert objection(Envelope(lower_w=-1000.0), 200.0) == "minimum_on"
    assert objection(Envelope(setpoint_w=-2500.0), 200.0) is None
    assert objection(Envelope(upper_w=0.0), 200.0) is None
    assert objection(Envelope(setpoint_w=0.0), 1901.0) is None
    times.saw(0.0, 2000.0)
    assert objection(Envelope(setpoint_w=-3000.0), 2100.0) == "minimum_off"
    assert objection(Envelope(setpoint_w=-3000.0), 2901.0) is None
