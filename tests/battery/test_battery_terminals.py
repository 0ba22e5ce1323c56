"""A battery's setpoint stays inside bounds, ratings and its charge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.battery.terminals import BatterySettings, BatteryTerminals
from agents.kit.hardware import Envelope, Impossible
from contracts import device_file

SUNSPEC = BatteryTerminals(BatterySettings(rating_w=5000.0), device_file.load("sunspec_battery"))
KOSTAL = BatteryTerminals(
    BatterySettings(device="kostal_plenticore", rating_w=5000.0), device_file.load("kostal_plenticore")
)
VALUES = {
    "power_w": 1000.0,
    "soc_percent": 50.0,
    "setpoint_mode": "watts",
    "setpoint_timeout_s": 0,
    "power_setpoint_w": 0,
    "enabled": False,
}


@given(setpoint=st.floats(-9000, 9000), lower=st.floats(-6000, 0), upper=st.floats(0, 6000))
def test_the_setpoint_stays_inside_everything(setpoint: float, lower: float, upper: float) -> None:
    plan = SUNSPEC.plan(Envelope(setpoint_w=setpoint, lower_w=lower, upper_w=upper), VALUES)
    written = plan.writes["power_setpoint_w"]
    assert isinstance(written, int)
    assert max(lower, -5000) - 0.5 <= written <= min(upper, 5000) + 0.5


def test_an_empty_battery_is_not_discharged_and_a_full_one_not_charged() -> None:
    empty, full = {**VALUES, "soc_percent": 4.0}, {**VALUES, "soc_percent": 100.0}
    assert SUNSPEC.plan(Envelope(setpoint_w=-2000.0), empty).writes["power_setpoint_w"] == 0
    assert SUNSPEC.plan(Envelope(setpoint_w=2000.0), full).writes["power_setpoint_w"] == 0
    assert SUNSPEC.reading(empty, 0.0).lower_w == 0.0
    assert SUNSPEC.reading(full, 0.0).upper_w == 0.0


def test_bounds_without_a_setpoint_hold_the_present_power_inside_them() -> None:
    assert SUNSPEC.plan(Envelope(upper_w=0.0), VALUES).writes["power_setpoint_w"] == 0
    assert SUNSPEC.plan(Envelope(upper_w=3000.0), VALUES).writes["power_setpoint_w"] == 1000


def test_no_order_gives_it_back_to_its_own_mode() -> None:
    assert SUNSPEC.plan(Envelope(), VALUES).writes == {"enabled": False}
    # A product without a switch goes back when it is not told again.
    kostal = {"power_w": 0.0, "soc_percent": 50.0, "power_setpoint_w": 900.0, "control_mode": "external_modbus"}
    assert KOSTAL.plan(Envelope(), kostal).writes == {}
    assert KOSTAL.plan(Envelope(setpoint_w=500.0), kostal).renew_every_s is not None


def test_a_battery_that_is_not_handed_over_refuses() -> None:
    kostal = {"power_w": 0.0, "soc_percent": 50.0, "power_setpoint_w": 0.0, "control_mode": "internal"}
    with pytest.raises(Impossible) as refused:
        KOSTAL.plan(Envelope(setpoint_w=500.0), kostal)
    assert refused.value.reason.code == "not_in_control"
