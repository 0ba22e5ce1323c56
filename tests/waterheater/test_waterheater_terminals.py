"""A water heater by power register and by contactor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.kit.hardware import Envelope, Impossible, Values
from agents.waterheater.terminals import WaterHeaterSettings, WaterHeaterTerminals
from contracts import device_file
from contracts.registers import RangeError

ELWA = WaterHeaterTerminals(WaterHeaterSettings(phases=(1,)), device_file.load("mypv_ac_elwa_2"))
RELAY_FILE = "water_heater_waveshare_relay"
RELAY = WaterHeaterTerminals(
    WaterHeaterSettings(device=RELAY_FILE, rating_w=2000.0),
    device_file.load(RELAY_FILE),
)
WARM: Values = {
    "power_w": 0,
    "tank_temperature_c": 50.0,
    "state": "standby",
    "rating_w": 3000,
    "setpoint_timeout_s": 60,
}


@given(upper=st.floats(0, 8000), setpoint=st.none() | st.floats(0, 8000), tank=st.floats(10, 80))
def test_the_register_never_gets_more_than_the_bound_or_the_rating(
    upper: float, setpoint: float | None, tank: float
) -> None:
    plan = ELWA.plan(Envelope(upper_w=upper, setpoint_w=setpoint), {**WARM, "tank_temperature_c": tank})
    watts = plan.writes.get("power_setpoint_w", 0)
    assert isinstance(watts, int)
    assert 0 <= watts <= min(upper, 3000)
    assert plan.upper_w is not None
    assert watts <= plan.upper_w <= min(upper, 3000)


def test_a_setpoint_is_renewed_well_within_the_products_own_timeout() -> None:
    plan = ELWA.plan(Envelope(setpoint_w=1200.0), {**WARM, "setpoint_timeout_s": 30})
    assert (plan.writes, plan.setpoint_w, plan.renew_every_s) == ({"power_setpoint_w": 1200}, 1200.0, 10.0)


def test_told_nothing_it_goes_back_to_its_own_mode() -> None:
    plan = ELWA.plan(Envelope(), WARM)
    assert (plan.writes, plan.upper_w, plan.renew_every_s) == ({}, 3000, None)


def test_a_bound_of_zero_is_off_and_a_lower_bound_is_taken() -> None:
    assert ELWA.plan(Envelope(upper_w=0.0), WARM).writes == {"power_setpoint_w": 0}
    assert ELWA.plan(Envelope(standby=True, setpoint_w=900.0), WARM).writes == {"power_setpoint_w": 0}
    assert ELWA.plan(Envelope(lower_w=700.0), WARM).writes == {"power_setpoint_w": 700}


def test_under_a_mere_bound_it_heats_for_comfort_only() -> None:
    bound = Envelope(upper_w=1500.0)
    assert ELWA.plan(bound, WARM).writes == {"power_setpoint_w": 0}
    cold = {**WARM, "tank_temperature_c": 35.0}
    assert ELWA.plan(bound, cold).writes == {"power_setpoint_w": 1500}
    still = {**WARM, "tank_temperature_c": 43.0, "power_w": 1500}
    assert ELWA.plan(bound, still).writes == {"power_setpoint_w": 1500}
    assert ELWA.plan(bound, {**still, "power_w": 0}).writes == {"power_setpoint_w": 0}
    assert ELWA.plan(bound, cold).upper_w == 1500.0


@pytest.mark.parametrize(
    ("envelope", "on"),
    [
        (Envelope(), True),
        (Envelope(upper_w=2000.0), True),
        (Envelope(upper_w=1999.0), False),
        (Envelope(setpoint_w=0.0), False),
        (Envelope(setpoint_w=500.0), True),
        (Envelope(standby=True), False),
    ],
)
def test_a_contactor_is_closed_only_where_all_of_it_fits_and_the_truth_is_said(envelope: Envelope, on: bool) -> None:
    plan = RELAY.plan(envelope, {"enabled": True})
    assert plan.writes == {"enabled": on}
    assert plan.upper_w == (2000.0 if on else 0.0)


def test_a_water_heater_feeds_nothing() -> None:
    for terminals in (ELWA, RELAY):
        with pytest.raises(Impossible):
            terminals.plan(Envelope(upper_w=-1.0), WARM)


def test_a_full_tank_takes_nothing_and_says_its_temperature() -> None:
    full = ELWA.reading({**WARM, "state": "full", "tank_temperature_c": 64.9}, 0.0)
    assert (full.upper_w, full.operating, full.temperature_c) == (0.0, "idle", 64.9)
    heating = ELWA.reading({**WARM, "state": "heating", "power_w": 1800}, 0.0)
    assert (heating.upper_w, heating.operating, heating.power_by_phase_w) == (3000.0, "running", (1800.0, 0.0, 0.0))
    assert ELWA.reading({**WARM, "state": "error"}, 0.0).operating == "fault"


def test_a_contactor_measures_nothing_so_the_reading_is_an_estimate_from_above() -> None:
    reading = RELAY.reading({"enabled": True}, 0.0)
    assert (reading.power_w, reading.quality, reading.temperature_c) == (2000.0, "estimated", None)
    assert RELAY.reading({"enabled": False}, 0.0).operating == "paused"
    assert RELAY.capabilities({}).minimum_run_w == 2000.0
    assert RELAY.capabilities({}).functions == ("standby",)


def test_the_planner_sees_the_tank() -> None:
    storage = ELWA.storage({**WARM, "power_w": 1000})
    assert (storage.temperature_c, storage.lowest_c, storage.highest_c) == (50.0, 40.0, 60.0)
    assert storage.capacity_wh_per_k == pytest.approx(200 * 1.163)
    assert (storage.upper_w, storage.least_w, storage.steps_w, storage.on, storage.heats) == (3000, 0, (), True, True)
    with pytest.raises(Impossible, match="temperature"):
        RELAY.storage({"enabled": True})


def test_a_target_is_set_where_the_product_has_one_and_never_above_the_limit() -> None:
    assert ELWA.set_target(55.0, WARM).writes == {"target_temperature_c": 55.0}
    with pytest.raises(RangeError):
        ELWA.set_target(92.0, WARM)
    with pytest.raises(Impossible):
        RELAY.set_target(55.0, {})
