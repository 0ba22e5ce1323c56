"""An air conditioner's settings: held, given back, and never the user's against his will."""

import pytest

from agents.hvac.terminals import HvacSettings, HvacTerminals
from agents.kit.hardware import Envelope, Impossible, Values
from contracts import device_file
from contracts.registers import RangeError

FILE = device_file.load("intesis_daikin_inmbsdai")
COOLING: Values = {
    "enabled": True,
    "mode": "cool",
    "fan": "auto",
    "target_temperature_c": 24.0,
    "room_temperature_c": 25.5,
    "error": False,
}


def terminals(**settings: float | bool) -> HvacTerminals:
    return HvacTerminals(HvacSettings(rating_w=900.0, **settings), FILE)  # type: ignore[arg-type]


def test_any_bound_under_its_rating_stops_it_and_the_real_bound_is_said() -> None:
    plan = terminals().plan(Envelope(upper_w=600.0), COOLING)
    assert (plan.writes, plan.upper_w) == ({"enabled": False}, 0.0)
    assert terminals().plan(Envelope(upper_w=900.0), COOLING).writes == {}


def test_what_the_user_had_is_given_back_once() -> None:
    one = terminals()
    one.plan(Envelope(upper_w=0.0), COOLING)
    stopped = {**COOLING, "enabled": False}
    assert one.reading(stopped, 0.0).operating == "paused"
    back = one.plan(Envelope(), stopped)
    assert (back.writes, back.once) == ({"enabled": True}, True)
    one.reading(COOLING, 0.0)
    assert one.plan(Envelope(), stopped).writes == {}  # the user has switched it off since


def test_one_that_was_off_stays_off_after_an_order() -> None:
    one = terminals()
    off = {**COOLING, "enabled": False}
    assert one.plan(Envelope(), off).writes == {}
    one.plan(Envelope(upper_w=0.0), off)
    assert one.plan(Envelope(), off).writes == {"enabled": False}
    assert one.reading(off, 0.0).operating == "off"


@pytest.mark.parametrize("resumes", [True, False])
def test_after_a_restart_under_an_order_the_setting_says_what_the_user_had(resumes: bool) -> None:
    one = terminals(resumes=resumes)
    off = {**COOLING, "enabled": False}
    one.plan(Envelope(upper_w=0.0), off)
    assert one.plan(Envelope(), off).writes == {"enabled": resumes}


def test_asked_to_take_more_it_cools_its_room_to_the_comfort_bands_end_and_gives_the_target_back() -> None:
    one = terminals(comfort_low_c=21.0)
    plan = one.plan(Envelope(setpoint_w=900.0), {**COOLING, "enabled": False})
    assert (plan.writes, plan.upper_w) == ({"enabled": True, "target_temperature_c": 21.0}, 900.0)
    back = one.plan(Envelope(), {**COOLING, "target_temperature_c": 21.0})
    assert back.writes == {"enabled": False, "target_temperature_c": 24.0}
    heating = {**COOLING, "mode": "heat"}
    assert terminals().plan(Envelope(setpoint_w=900.0), heating).writes["target_temperature_c"] == 26.0


def test_the_user_may_change_his_mind_under_an_order() -> None:
    one = terminals()
    one.plan(Envelope(setpoint_w=900.0), COOLING)
    assert one.set_target(22.5, "cool", values=COOLING).writes == {"mode": "cool"}
    assert one.plan(Envelope(), COOLING).writes["target_temperature_c"] == 22.5
    assert terminals().set_target(23.0, "heat", "low", values=COOLING).writes == {
        "mode": "heat",
        "fan": "low",
        "target_temperature_c": 23.0,
    }


def test_a_setting_that_the_product_does_not_have_is_refused() -> None:
    with pytest.raises(RangeError):
        terminals().set_target(40.0, values=COOLING)
    with pytest.raises(RangeError):
        terminals().set_target(fan="hurricane", values=COOLING)


def test_it_measures_nothing_so_the_reading_is_an_estimate_from_above() -> None:
    reading = terminals().reading(COOLING, 0.0)
    assert (reading.power_w, reading.quality, reading.temperature_c) == (900.0, "estimated", 25.5)
    assert terminals().reading({**COOLING, "error": True}, 0.0).operating == "fault"
    assert terminals().capabilities({}).functions == ("standby", "absorb")


def test_the_planner_sees_the_room_and_which_way_it_goes() -> None:
    storage = terminals().storage(COOLING)
    assert (storage.temperature_c, storage.heats, storage.steps_w, storage.minimum_off_s) == (
        25.5,
        False,
        (900.0,),
        180,
    )
    assert terminals().storage({**COOLING, "mode": "heat"}).heats
    assert terminals().storage({**COOLING, "outdoor_temperature_c": 31.0}).ambient_c == 31.0
    assert terminals().storage({**COOLING, "mode": "auto", "room_temperature_c": 20.0}).heats


def test_an_air_conditioner_feeds_nothing() -> None:
    with pytest.raises(Impossible):
        terminals().plan(Envelope(upper_w=-1.0), COOLING)
