"""A bound of generation becomes a share of the rating that keeps it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.kit.hardware import Envelope, Impossible
from agents.pv.terminals import PvSettings, PvTerminals
from contracts import device_file

PV = PvTerminals(PvSettings(rating_w=10_000.0), device_file.load("sunspec_inverter"))
POINTS = {"power_limit_percent": 100, "power_limit_enabled": False, "limit_timeout_s": 0, "power_w": -5000.0}


@given(lower=st.floats(-20_000, 0))
def test_it_never_feeds_more_than_the_bound(lower: float) -> None:
    plan = PV.plan(Envelope(lower_w=lower), POINTS)
    percent = plan.writes["power_limit_percent"]
    assert isinstance(percent, float)
    assert percent / 100 * 10_000 <= -lower + 1e-6
    assert plan.writes["power_limit_enabled"] is (percent < 100)


def test_three_kilowatts_of_ten_are_thirty_percent_and_no_bound_is_none() -> None:
    limited = PV.plan(Envelope(lower_w=-3000.0), POINTS)
    assert limited.writes == {"limit_timeout_s": 0, "power_limit_percent": 30.0, "power_limit_enabled": True}
    assert limited.lower_w == pytest.approx(-3000.0)
    assert PV.plan(Envelope(), POINTS).writes == {"power_limit_percent": 100.0, "power_limit_enabled": False}
    assert PV.plan(Envelope(standby=True), POINTS).writes["power_limit_percent"] == 0.0


def test_the_sun_cannot_be_ordered() -> None:
    with pytest.raises(Impossible):
        PV.plan(Envelope(upper_w=-2000.0), POINTS)


def test_a_reading_says_the_limit_that_the_hardware_holds() -> None:
    assert PV.reading(POINTS, 0.0).limit_percent == 100.0
    held = {**POINTS, "power_limit_percent": 30.0, "power_limit_enabled": True}
    assert PV.reading(held, 0.0).limit_percent == 30.0


def test_the_rating_comes_from_the_product_where_no_setting_has_it() -> None:
    unset = PvTerminals(PvSettings(), device_file.load("sunspec_inverter"))
    assert unset.capabilities({"rating_w": 8000.0}).nominal_lower_w == -8000.0
    with pytest.raises(Impossible):
        unset.capabilities({})
