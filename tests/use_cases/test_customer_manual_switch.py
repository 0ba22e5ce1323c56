"""Switch and dim by hand, at home or away: the device does it and its state comes back. NG-11, IC-GR-HLUC1-MAN."""

from typing import Any

import pytest

from contracts.hand import ControlRefused, TakeControl
from tests.cem.home import WHY, home
from tests.support.people import phone, refused, taken

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("customer.manual-switch")]
DIMS = ("measure", "standby", "setpoint", "limit_upper")
PLUG = ("measure", "standby")
FREE: dict[str, Any] = {"plan": False, "restart_after_s": 0.0, "failsafe_consumption_w": 30_000.0}
"""Failsafe bounds are another use case's: here they leave room for everything."""


async def test_a_light_is_dimmed_a_plug_is_switched_and_an_air_conditioner_too_also_with_the_link_down() -> None:
    async with home("switch.light", "switch.plug", "hvac.1", "app.phone", **FREE) as h:
        light = await h.device("switch.light", 0.0, functions=DIMS)
        plug = await h.device("switch.plug", 0.0, functions=PLUG, minimum_run_w=100.0)
        cool = await h.device("hvac.1", 0.0, functions=PLUG, minimum_run_w=1500.0)
        await h.metered()
        async with phone(h.run) as ada:
            await h.run.servers.cut("h07")
            half = await taken(ada, "switch.light", "dim", dim_percent=60.0)
            assert (light.power_w, half.state) == (pytest.approx(60.0), "takes 60 W")
            for name, device, watts in (("switch.plug", plug, 100.0), ("hvac.1", cool, 1500.0)):
                on = await taken(ada, name, "on")
                assert (device.power_w, on.state) == (watts, f"takes {watts:.0f} W")
                off = await taken(ada, name, "off")
                assert (device.power_w, off.state) == (0.0, "off")
            shown = [r for r in h.said("device_reading") if r["power_w"] == 60.0]
            assert shown, "the state comes back"


async def test_what_cannot_be_done_is_refused_with_the_remedy() -> None:
    async with home("switch.plug", "app.phone", plan=False) as h:
        plug = await h.device("switch.plug", 0.0, functions=PLUG)
        await h.metered()
        async with phone(h.run) as ada:
            for device, action, fields, code in (
                ("switch.plug", "dim", {"dim_percent": 50.0}, "cannot_dim"),
                ("switch.plug", "power", {"power_w": 500.0}, "out_of_range"),
                ("switch.plug", "power", {}, "no_power"),
                ("switch.plug", "resume", {}, "not_paused"),
                ("switch.lamp", "on", {}, "unknown_device"),
                (None, "on", {}, "no_device"),
            ):
                assert (await refused(ada, device, action, **fields)).reason.code == code
            plug.mute = True
            await h.pass_time(40.0)
            assert (await refused(ada, "switch.plug", "on")).reason.code == "missing"


async def test_a_device_that_refuses_says_why() -> None:
    async with home("switch.plug", "app.phone", plan=False) as h:
        plug = await h.device("switch.plug", 0.0, functions=PLUG)
        await h.metered()

        plug.refuses = WHY
        async with phone(h.run) as ada:
            answer = await ada.home.hand(TakeControl(user="ada", device="switch.plug", action="on"))
            assert isinstance(answer, ControlRefused)
            assert answer.reason.code == WHY.code
            assert plug.power_w == 0
