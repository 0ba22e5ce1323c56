"""A heat pump by register and by contacts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.heatpump.terminals import CONTACTS, HeatPumpSettings, HeatPumpTerminals
from agents.kit.hardware import Envelope, Impossible
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
