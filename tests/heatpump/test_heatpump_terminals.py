"""A heat pump by register and by contacts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heatpump.terminals import CONTACTS, HeatPumpSettings, HeatPumpTerminals
from agents.kit.hardware import Envelope, Impossible, Values
from contracts import device_file

REGISTER = HeatPumpTerminals(HeatPumpSettings(rating_w=4000.0, minimum_run_w=800.0), device_file.load("lambda_eu_l"))
RELAYS = "sg_ready_waveshare_relay"


def by_contacts(**settings: float) -> HeatPumpTerminals:
    return HeatPumpTerminals(
        HeatPumpSettings(device=RELAYS, rating_w=4000.0, **settings),  # type: ignore[arg-type]
        device_file.load(RELAYS),
    )


NORMAL = {"sg_ready_1": False, "sg_ready_2": False}


@given(upper=st.floats(0, 8000))
def test_a_register_never_gets_more_than_the_bound(upper: float) -> None:
    watts = REGISTER.plan(Envelope(upper_w=upper), {}).writes["power_setpoint_w"]
    assert isinstance(watts, int)
    assert watts <= upper
    assert watts == 0 or watts >= 800


@pytest.mark.parametrize(
    ("envelope", "contacts"),
    [
        (Envelope(), "normal"),
        (Envelope(upper_w=4000.0), "normal"),
        (Envelope(upper_w=2500.0), "blocked"),
        (Envelope(standby=True), "blocked"),
        (Envelope(setpoint_w=0.0), "blocked"),
        (Envelope(setpoint_w=2000.0), "encouraged"),
        (Envelope(lower_w=4000.0), "forced"),
        (Envelope(lower_w=4000.0, upper_w=3000.0), "blocked"),
    ],
)
def test_contacts_take_the_state_that_keeps_the_envelope(envelope: Envelope, contacts: str) -> None:
    writes = by_contacts().plan(envelope, NORMAL).writes
    assert (writes["sg_ready_1"], writes["sg_ready_2"]) == CONTACTS[contacts]  # type: ignore[index]


def test_the_contact_that_opens_goes_first() -> None:
    assert list(by_contacts().plan(Envelope(upper_w=0.0), NORMAL).writes) == ["sg_ready_2", "sg_ready_1"]
    assert list(by_contacts().plan(Envelope(setpoint_w=500.0), NORMAL).writes) == ["sg_ready_1", "sg_ready_2"]


def test_a_pump_that_only_dims_when_blocked_says_what_it_still_draws() -> None:
    assert by_contacts().plan(Envelope(upper_w=3000.0), NORMAL).upper_w == 0.0
    assert by_contacts(blocked_upper_w=1500.0).plan(Envelope(upper_w=3000.0), NORMAL).upper_w == 1500.0


def test_contacts_measure_nothing_so_the_reading_is_an_estimate_from_above() -> None:
    reading = by_contacts().reading(NORMAL, 0.0)
    assert (reading.power_w, reading.quality) == (4000.0, "estimated")
    blocked = by_contacts().reading({"sg_ready_1": True, "sg_ready_2": False}, 0.0)
    assert (blocked.power_w, blocked.operating) == (0.0, "paused")
    assert "measure" not in by_contacts().capabilities({}).functions


def test_a_heat_pump_feeds_nothing() -> None:
    with pytest.raises(Impossible):
        REGISTER.plan(Envelope(upper_w=-1.0), {})


def test_extra_hot_water_is_a_set_temperature_or_forced_contacts() -> None:
    assert REGISTER.hot_water({}).writes == {"hot_water_target_c": 58.0}
    assert REGISTER.hot_water({}, wanted=False).writes == {"hot_water_target_c": 45.0}
    relays = by_contacts(forced_from_w=9000.0)
    assert relays.hot_water(NORMAL).writes == {"sg_ready_1": True, "sg_ready_2": True}
    assert relays.hot_water(NORMAL, wanted=False).writes == {"sg_ready_1": False, "sg_ready_2": False}


def test_the_reading_says_the_tanks_and_the_outdoor_temperature_where_the_product_does() -> None:
    values: Values = {
        "power_w": 1200,
        "state": "heating",
        "tank_temperature_c": 46.5,
        "outdoor_temperature_c": -3.0,
    }
    reading = REGISTER.reading(values, 0.0)
    assert (reading.temperature_c, reading.outdoor_temperature_c) == (46.5, -3.0)
    assert by_contacts().reading(NORMAL, 0.0).temperature_c is None


def test_the_planner_sees_the_tank_and_how_the_pump_runs() -> None:
    storage = REGISTER.storage({"power_w": 1200, "state": "heating", "tank_temperature_c": 46.5})
    assert (storage.temperature_c, storage.upper_w, storage.least_w, storage.steps_w) == (46.5, 4000.0, 800.0, ())
    assert (storage.minimum_on_s, storage.minimum_off_s, storage.on) == (360.0, 600.0, True)
    assert storage.cop_share > 1
    with pytest.raises(Impossible, match="temperature"):
        by_contacts().storage(NORMAL)


def test_it_announces_the_minimum_times_of_its_compressor() -> None:
    announced = REGISTER.capabilities({})
    assert (announced.minimum_on_s, announced.minimum_off_s) == (360.0, 600.0)
