"""An envelope becomes a current that keeps it; registers become a reading that is true."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.evse.terminals import MIN_A, EvseSettings, EvseTerminals
from agents.kit.hardware import Envelope, Impossible
from contracts import device_file

VOLTS = {f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)}
ABB = EvseTerminals(EvseSettings(rating_w=11000.0), device_file.load("abb_terra_ac"))
KEBA = EvseTerminals(EvseSettings(device="keba_p30", rating_w=11000.0), device_file.load("keba_p30"))


@given(upper=st.floats(0, 30_000), volts=st.floats(200, 255))
def test_the_current_never_lets_more_than_the_bound_through(upper: float, volts: float) -> None:
    values = {f"voltage_l{n}_v": volts for n in (1, 2, 3)}
    plan = ABB.plan(Envelope(upper_w=upper), values)
    amps = plan.writes["current_limit_a"]
    assert isinstance(amps, float)
    assert amps * volts * 3 <= upper + 1e-6
    assert amps == 0 or amps >= MIN_A
    assert plan.upper_w is not None
    assert amps * volts * 3 <= plan.upper_w + 1e-6


def test_below_six_ampere_it_pauses_and_a_bound_above_the_rating_gives_the_rating() -> None:
    assert ABB.plan(Envelope(upper_w=4100.0), VOLTS).writes == {"current_limit_a": 0.0}
    assert ABB.plan(Envelope(upper_w=4140.0), VOLTS).writes == {"current_limit_a": 6.0}
    assert ABB.plan(Envelope(), VOLTS).writes == {"current_limit_a": 15.9}  # 11 kW are 15.94 A
    assert ABB.plan(Envelope(standby=True), VOLTS).writes == {"current_limit_a": 0.0}


def test_one_phase_takes_the_whole_bound_on_that_phase() -> None:
    single = EvseTerminals(EvseSettings(rating_w=7400.0, phases=(2,)), device_file.load("abb_terra_ac"))
    assert single.plan(Envelope(upper_w=2300.0), VOLTS).writes == {"current_limit_a": 10.0}
    assert single.capabilities({}).minimum_run_w == pytest.approx(1380.0)


def test_a_rating_below_six_ampere_on_three_phases_is_a_point_on_one_phase() -> None:
    small = EvseTerminals(EvseSettings(rating_w=3700.0), device_file.load("keba_p30"))
    assert small.plan(Envelope(), VOLTS).writes == {"current_limit_a": 16.0}
    assert len(small.capabilities({}).phases) == 1


def test_a_station_that_cannot_stop_says_what_it_still_lets_through() -> None:
    plan = KEBA.plan(Envelope(upper_w=1000.0), VOLTS)
    assert plan.writes == {"current_limit_a": 6.0}
    assert plan.upper_w == pytest.approx(4140.0)
    assert "standby" not in KEBA.capabilities({}).functions


def test_a_setpoint_stays_inside_the_bounds() -> None:
    assert ABB.plan(Envelope(upper_w=6900.0, setpoint_w=9000.0), VOLTS).writes == {"current_limit_a": 10.0}
    assert ABB.plan(Envelope(upper_w=9000.0, setpoint_w=6900.0), VOLTS).writes == {"current_limit_a": 10.0}


@pytest.mark.parametrize(
    ("state", "limit_a", "power_w", "says", "upper_w"),
    [
        ("idle", 16.0, 0.0, "idle", 0.0),
        ("connected", 16.0, 0.0, "waiting", 11000.0),
        ("connected", 0.0, 0.0, "paused", 11000.0),
        ("charging", 16.0, 7000.0, "running", 11000.0),
        ("error", 16.0, 0.0, "fault", 0.0),
    ],
)
def test_a_reading_says_what_the_car_can_take_now(
    state: str, limit_a: float, power_w: float, says: str, upper_w: float
) -> None:
    reading = ABB.reading({"state": state, "power_w": power_w, "current_limit_a": limit_a}, 0.0)
    assert reading.operating == says
    assert (reading.lower_w, reading.upper_w) == (0.0, pytest.approx(upper_w))


def test_without_power_there_is_no_reading() -> None:
    with pytest.raises(Impossible):
        ABB.reading({"state": "charging", "power_w": None}, 0.0)
