"""limits.congestion-direct by the gateway to one device: read on the bus and in its registers. IEC-JWG3033."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.address import Address
from bus.bus import Bus
from contracts.device import PowerApplied
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, direct_control
from contracts.kit import Lapsed
from tests.support.grid import Grid, Words, grid
from tests.support.home import BECAUSE, SCRIPTED_CEM, HomeCem, Products, home_cem, products

pytestmark = pytest.mark.anyio
GATEWAY = "h07.gateway.main"


@asynccontextmanager
async def home() -> AsyncIterator[tuple[Grid, Words, HomeCem, Products, Bus]]:
    pump = ("lambda_eu_l", 20, {"state": "heating", "power_w": 2_000, "power_setpoint_w": 4_000})
    car = (
        "abb_terra_ac",
        10,
        {"state": "charging", "power_w": 7_000, "hardware_limit_a": 16.0, "current_limit_a": 16.0},
    )
    names = (
        "grid.dso.north",
        "h07.cem.main",
        "h07.evse.1",
        "h07.heatpump.1",
        "h07.app.display",
        GATEWAY,
        "h08.cem.main",
    )
    async with products(pump=pump, car=car) as hardware, grid(*names, "h08.gateway.main", agents=SCRIPTED_CEM) as run:
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start("h07.evse.1", {**hardware.line("car"), "rating_w": 11_000.0})
        await run.start("h07.heatpump.1", {**hardware.line("pump"), "rating_w": 4_000.0})
        await run.start("h07.app.display")
        await run.start(GATEWAY)
        yield run, words, cem, hardware, await run.bus("grid.dso.north")


async def command(bus: Bus, to: str, kind: str, device: str | None, upper_w: float | None = None) -> object:
    async with bus.talk(direct_control, Address.parse(to)) as talk:
        await talk.say(ControlCommand(kind=kind, device=device, upper_w=upper_w, reason=BECAUSE))  # type: ignore[arg-type]
        return await talk.hear(CommandTaken, CommandRefused, Lapsed)


def shown(words: Words) -> dict[str, object]:
    body: dict[str, object] = words.of("shown")[-1][1]["body"]
    return body


@pytest.mark.use_case("limits.congestion-direct")
async def test_the_one_device_alone_gets_it_and_the_display_shows_it_until_clearance() -> None:
    async with home() as (_, words, cem, hardware, dso):
        ordered = await cem.order("h07.evse.1", upper_w=9_000.0)
        assert isinstance(ordered, PowerApplied)
        before = hardware["car"].get("current_limit_a")
        taken = await command(dso, GATEWAY, "emergency", "h07.evse.1", 4_200.0)
        assert isinstance(taken, CommandTaken)
        assert hardware["car"].get("current_limit_a") == 6.0
        assert hardware["pump"].get("power_setpoint_w") == 4_000
        await words.until(lambda w: w.of("shown") and shown(w)["emergency"])
        switched = (await words.until(lambda w: w.of("device_event")))[0][1]["body"]
        assert (switched["kind"], switched["by"]) == ("switched", GATEWAY)
        # The CEM has no part: nobody said a word of it to the CEM, nor to any other device.
        commanded = [subject for subject, _ in words.of("control_command")]
        assert [subject.split(".")[2:5] for subject in commanded] == [["h07", "evse", "1"]]
        # What the CEM then allows does not loosen it.
        again = await cem.order("h07.evse.1", upper_w=9_000.0)
        assert isinstance(again, PowerApplied)
        assert again.upper_w == pytest.approx(4_140.0)
        assert isinstance(await command(dso, GATEWAY, "clearance", "h07.evse.1"), CommandTaken)
        assert hardware["car"].get("current_limit_a") == before
        await words.until(lambda w: shown(w)["emergency"] is None)
        await words.until(lambda w: [1 for _, e in w.of("device_event") if e["body"]["kind"] == "released"])


@pytest.mark.use_case("limits.congestion-direct")
async def test_a_direct_command_outlives_a_restart_of_the_device_agent() -> None:
    async with home() as (run, words, _cem, hardware, dso):
        await command(dso, GATEWAY, "emergency", "heatpump.1", 1_000.0)
        assert hardware["pump"].get("power_setpoint_w") == 1_000
        await run.stop("h07.heatpump.1")
        hardware["pump"].put({"power_setpoint_w": 4_000})
        await run.start("h07.heatpump.1", {**hardware.line("pump"), "rating_w": 4_000.0})
        await words.until(lambda _: hardware["pump"].get("power_setpoint_w") == 1_000)


@pytest.mark.parametrize(
    ("device", "code"), [(None, "no_device"), ("h07.pv.1", "no_such_device"), ("h08.evse.1", "no_such_device")]
)
async def test_a_command_for_nobody_switches_nothing(device: str | None, code: str) -> None:
    async with home() as (_, words, _cem, hardware, dso):
        refused = await command(dso, GATEWAY, "emergency", device, 0.0)
        assert isinstance(refused, CommandRefused)
        assert refused.reason.code == code
        assert hardware["car"].get("current_limit_a") == 16.0
        assert not words.of("control_command")
        assert not words.of("display_notice")


async def test_what_the_device_refuses_comes_back_as_refused_and_is_not_shown() -> None:
    async with home() as (_, words, _cem, hardware, dso):
        hardware["car"].faults.exception = 4
        refused = await command(dso, GATEWAY, "emergency", "evse.1", 0.0)
        assert isinstance(refused, CommandRefused)
        assert refused.reason.code == "hardware_refuses"
        assert not words.of("display_notice")
