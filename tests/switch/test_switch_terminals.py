"""Plans and readings of switches, without a bus."""

from typing import Any

import pytest

from agents.kit.hardware import Envelope, Impossible
from agents.switch.terminals import SwitchSettings, SwitchTerminals
from contracts import device_file
from contracts.device_form import Value


def terminals(product: str, **settings: Any) -> SwitchTerminals:
    return SwitchTerminals(SwitchSettings(rating_w=200.0, **settings), device_file.load(product))


ON: dict[str, Value] = {"enabled": True, "power_w": 190}
LIT: dict[str, Value] = {"enabled": True, "dim_percent": 80}


def test_a_plug_is_all_or_nothing_and_comes_back_when_the_bound_ends() -> None:
    plug = terminals("netio_powercable_101")
    assert plug.plan(Envelope(upper_w=250.0), ON).writes == {}
    off = plug.plan(Envelope(upper_w=100.0), ON)
    assert (off.writes, off.upper_w, off.once) == ({"enabled": False}, 0.0, False)
    back = plug.plan(Envelope(), {"enabled": False})
    assert (back.writes, back.once) == ({"enabled": True}, True)


def test_what_was_off_before_a_bound_stays_off() -> None:
    plug = terminals("netio_powercable_101")
    plug.plan(Envelope(standby=True), {"enabled": False})
    assert plug.plan(Envelope(), {"enabled": False}).writes == {}
    fridge = terminals("netio_powercable_101", normally_on=True)
    assert fridge.plan(Envelope(), {"enabled": False}).writes == {"enabled": True}


def test_a_setpoint_switches() -> None:
    plug = terminals("netio_powercable_101")
    on = plug.plan(Envelope(setpoint_w=200.0), {"enabled": False})
    assert (on.writes, on.setpoint_w) == ({"enabled": True}, 200.0)
    assert plug.plan(Envelope(setpoint_w=0.0), ON).writes == {"enabled": False}
    assert plug.plan(Envelope(setpoint_w=200.0, upper_w=100.0), ON).writes == {"enabled": False}


def test_a_dimmer_follows_a_bound_down_and_never_up() -> None:
    light = terminals("wirenboard_mdm3")
    dimmed = light.plan(Envelope(upper_w=101.0), LIT)
    assert (dimmed.writes, dimmed.upper_w) == ({"dim_percent": 50}, 100.0)
    assert light.plan(Envelope(upper_w=180.0), {"enabled": True, "dim_percent": 50}).writes == {"dim_percent": 50}
    assert light.plan(Envelope(), {"enabled": True, "dim_percent": 50}).writes == {"dim_percent": 80, "enabled": True}
    assert light.plan(Envelope(upper_w=1.0), LIT).writes == {"enabled": False}
    assert light.plan(Envelope(setpoint_w=60.0), LIT).writes == {"dim_percent": 30, "enabled": True}
    assert light.plan(Envelope(upper_w=100.0), {"enabled": False, "dim_percent": 80}).writes == {"enabled": False}


def test_a_switch_feeds_nothing() -> None:
    with pytest.raises(Impossible):
        terminals("netio_powercable_101").plan(Envelope(upper_w=-1.0), ON)


@pytest.mark.parametrize(
    ("product", "values", "power_w", "operating", "quality"),
    [
        ("netio_powercable_101", ON, 190.0, "running", "measured"),
        ("netio_powercable_101", {"enabled": True, "power_w": 0}, 0.0, "idle", "measured"),
        ("netio_powercable_101", {"enabled": False, "power_w": 0}, 0.0, "off", "measured"),
        ("wirenboard_mdm3", LIT, 160.0, "running", "estimated"),
        ("waveshare_relay_switch", {"enabled": True}, 200.0, "running", "estimated"),
    ],
)
def test_a_reading_measures_or_says_that_it_is_an_estimate(
    product: str, values: dict[str, Value], power_w: float, operating: str, quality: str
) -> None:
    reading = terminals(product).reading(values, 0.0)
    assert (reading.power_w, reading.operating, reading.quality) == (power_w, operating, quality)
    assert (reading.lower_w, reading.upper_w) == (0.0, 200.0)


def test_only_a_dimmer_says_that_it_takes_bounds() -> None:
    assert terminals("netio_powercable_101").capabilities({}).functions == ("measure", "standby")
    light = terminals("wirenboard_mdm3").capabilities({})
    assert light.functions == ("standby", "setpoint", "limit_upper")
    assert light.minimum_run_w == pytest.approx(2.0)
