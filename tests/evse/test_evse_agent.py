"""A charging station's agent between a CEM on a real server and a station on a real Modbus socket.

What is proven here of joining, orders, holds, faults and restarts holds for every class of device: the skills are one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

from agents.evse.agent import AGENT
from bus.address import Address
from contracts.device import DeviceStatus, Inventory, PowerApplied, PowerRefused
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.system import Hello
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.home import SCRIPTED_CEM, HomeCem, Products, home_cem, products

pytestmark = pytest.mark.anyio
CAR: dict[str, Value] = {
    "state": "charging",
    "power_w": 10_970,
    **{f"current_l{n}_a": 15.9 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "hardware_limit_a": 32.0,
    "current_limit_a": 15.9,
}
EVSE = "h07.evse.1"


@asynccontextmanager
async def charging(
    settings: dict[str, object] | None = None, *, speed: float = 60.0, **how: bool
) -> AsyncIterator[tuple[Grid, Words, HomeCem, Products]]:
    async with (
        products(car=("abb_terra_ac", 10, CAR)) as hardware,
        grid("h07.cem.main", EVSE, speed=speed, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        cem = await home_cem(run, **how)
        await run.start(EVSE, {**hardware.line("car"), "rating_w": 11_000.0, **(settings or {})})
        await words.until(lambda w: w.of("device_reading"))
        yield run, words, cem, hardware


def events(words: Words, kind: str) -> list[dict[str, object]]:
    return [e["body"] for _, e in words.of("device_event") if e["body"]["kind"] == kind]


@pytest.mark.use_case("limits.lpc")
async def test_an_envelope_is_in_the_register_before_it_is_said_to_be_applied() -> None:
    async with charging() as (_, words, cem, hardware):
        applied = await cem.order(EVSE, upper_w=6_900.0)
        assert isinstance(applied, PowerApplied)
        assert hardware["car"].get("current_limit_a") == 10.0
        assert applied.upper_w == pytest.approx(6_900.0)
        assert applied.readback == {"current_limit_a": 10.0}
        paused = await cem.order(EVSE, upper_w=4_000.0, urgent=True)
        assert isinstance(paused, PowerApplied)
        assert paused.upper_w == 0.0
        assert hardware["car"].get("current_limit_a") == 0.0
        assert len(await words.until(lambda w: len(found := w.of("power_applied")) >= 2 and found)) == 2


async def test_a_write_that_is_not_read_back_did_not_happen() -> None:
    async with charging(speed=1.0) as (_, _words, cem, hardware):
        hardware["car"].faults.deaf_to_writes = True
        refused = await cem.order(EVSE, upper_w=6_900.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "not_read_back"
        assert hardware["car"].get("current_limit_a") == 15.9


@pytest.mark.parametrize(
    ("order", "code"),
    [
        ({"lower_w": 5_000.0, "upper_w": 1_000.0}, "empty_envelope"),
        ({"standby": True}, "essential"),
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(order: dict[str, object], code: str) -> None:
    async with charging({"essential": True}) as (_, _words, cem, hardware):
        refused = await cem.order(EVSE, **order)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == code
        assert hardware["car"].get("current_limit_a") == 15.9


async def test_an_order_that_is_not_renewed_ends_in_the_safe_state() -> None:
    async with charging() as (_, words, cem, hardware):
        await cem.order(EVSE, upper_w=11_000.0, hold_s=600.0)
        await cem.order(EVSE, upper_w=9_000.0, hold_s=60.0)
        first = await words.until(lambda w: events(w, "failsafe"))
        assert first[0]["reason"]["code"] == "hold_expired"
        assert hardware["car"].get("current_limit_a") == 6.0  # 4.14 kW: the default safe envelope
        assert len(events(words, "failsafe")) == 1


async def test_minimum_on_time_holds_unless_it_is_urgent() -> None:
    async with charging({"minimum_on_s": 3_600.0}) as (_, words, cem, hardware):
        hardware["car"].put({"power_w": 0, "state": "connected"})
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "waiting")
        hardware["car"].put({"power_w": 7_000, "state": "charging"})
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "running")
        refused = await cem.order(EVSE, upper_w=0.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "minimum_on"
        assert isinstance(await cem.order(EVSE, upper_w=0.0, urgent=True), PowerApplied)
        assert hardware["car"].get("current_limit_a") == 0.0


async def test_after_a_restart_the_order_still_holds_and_its_hold_still_runs_out() -> None:
    async with charging(speed=20.0) as (run, words, cem, hardware):  # it is back long before the hold is over
        await cem.order(EVSE, upper_w=6_900.0, hold_s=240.0)
        await run.stop(EVSE)
        hardware["car"].put({"current_limit_a": 15.9})  # somebody power-cycled the station meanwhile
        await run.start(EVSE, {**hardware.line("car"), "rating_w": 11_000.0})
        await eventually(lambda: hardware["car"].get("current_limit_a") == 10.0)
        await words.until(lambda w: events(w, "failsafe"))
        assert hardware["car"].get("current_limit_a") == 6.0
        await eventually(lambda: len(cem.announced) > 1)
        assert {who for who, _ in cem.announced} == {EVSE}


async def test_hardware_that_loses_the_order_is_told_again_and_the_home_hears_of_it() -> None:
    async with charging() as (_, words, cem, hardware):
        await cem.order(EVSE, upper_w=6_900.0)
        hardware["car"].put({"current_limit_a": 15.9})
        lost = await words.until(lambda w: events(w, "fault"))
        assert lost[0]["reason"]["code"] == "order_lost"
        await eventually(lambda: hardware["car"].get("current_limit_a") == 10.0)


@pytest.mark.use_case("ops.device-watch")
async def test_a_silent_station_is_a_fault_and_its_last_value_is_never_told_as_new() -> None:
    async with charging(speed=10.0) as (_, words, cem, hardware):
        good = words.of("device_reading")[-1][1]["body"]
        hardware["car"].faults.hang_up = True
        fault = (
            await words.until(lambda w: [e for _, e in w.of("device_reading") if e["body"]["operating"] == "fault"])
        )[0]
        measured = [e["body"]["at"] for _, e in words.of("device_reading") if e["body"]["operating"] != "fault"]
        assert good["operating"] == "running"
        assert fault["body"]["at"] == measured[-1]
        assert fault["at"] > fault["body"]["at"]
        status = await cem.ask(EVSE)
        assert isinstance(status, DeviceStatus)
        assert not status.normal
        hardware["car"].faults.hang_up = False
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "running")


@pytest.mark.parametrize("garbage", [b"\xff" * 40, b"\x00", bytes(range(64))])
async def test_garbage_from_the_hardware_changes_nothing_but_the_reading(garbage: bytes) -> None:
    async with charging(speed=10.0) as (_, words, cem, hardware):
        hardware["car"].faults.garbage = garbage
        await words.until(lambda w: events(w, "fault"))
        hardware["car"].faults.garbage = b""
        await words.until(lambda w: w.of("device_reading")[-1][1]["body"]["operating"] == "running")
        assert isinstance(await cem.order(EVSE, upper_w=6_900.0), PowerApplied)


async def test_values_that_are_impossible_are_not_said() -> None:
    async with charging() as (_, words, cem, hardware):
        space = hardware["car"]._spaces["holding"]
        space.write(0x400D, b"\x09\x00")  # a state that the document does not list
        await words.until(lambda w: events(w, "fault"))
        status = await cem.ask(EVSE)
        assert isinstance(status, DeviceStatus)
        assert (status.normal, status.reason.code) == (False, "no_value")


@pytest.mark.use_case("ops.connect-device")
async def test_it_announces_itself_until_it_is_welcome_and_again_when_the_cem_does_not_know_it() -> None:
    async with charging(silent=True) as (_, _words, cem, _hardware):
        await eventually(lambda: len(cem.announced) >= 2)
        cem.silent = False
        await eventually(lambda: len(cem.announced) >= 3)
        announce = cem.announced[-1][1]
        assert (announce.device_class, announce.maker) == ("evse", "ABB")
        assert {"measure", "limit_upper", "standby"} <= set(announce.functions)
        assert "limits.lpc" in announce.use_cases
        assert (announce.minimum_run_w, announce.nominal_upper_w) == (4_140.0, pytest.approx(11_000.0))
        known = len(cem.announced)
        cem.bus.say(Inventory(devices={EVSE: announce}), home=True)
        cem.bus.say(Inventory(devices={}), home=True)
        await eventually(lambda: len(cem.announced) > known)


async def test_who_is_listed_as_something_else_says_what_it_is() -> None:
    """Somebody with its key has announced another device in its place: that does not outlast him."""
    async with charging() as (_, _words, cem, _hardware):
        announce = (await cem.newcomer())[1]
        known = len(cem.announced)
        lie = msgspec.structs.replace(announce, functions=("measure",), nominal_upper_w=1.0)
        cem.bus.say(Inventory(devices={EVSE: lie}), home=True)
        await eventually(lambda: len(cem.announced) > known)
        assert cem.announced[-1][1] == announce
        known = len(cem.announced)
        cem.bus.say(Inventory(devices={EVSE: announce}), home=True)
        cem.bus.say(Inventory(devices={}), home=True)
        await eventually(lambda: len(cem.announced) > known)


async def test_a_cem_that_starts_anew_is_told_again() -> None:
    async with charging() as (_, _words, cem, _hardware):
        await cem.newcomer()
        known = len(cem.announced)
        hello = Hello(role="cem", software="test")
        cem.bus.say(hello, home=True)
        cem.bus.say(hello, home=True)  # long before its period is over: another life
        await eventually(lambda: len(cem.announced) > known)


async def test_who_is_turned_away_keeps_working_and_asks_again() -> None:
    async with charging(turn_away=True) as (_, words, cem, _hardware):
        await eventually(lambda: len(cem.announced) >= 2)
        said = len(words.of("device_reading"))
        await words.until(lambda w: len(w.of("device_reading")) > said)


async def test_status_comes_from_a_fresh_look() -> None:
    async with charging(speed=1.0) as (_, _words, cem, hardware):
        hardware["car"].put({"state": "error"})
        status = await cem.ask(EVSE)
        assert isinstance(status, DeviceStatus)
        assert (status.normal, status.operating) == (False, "fault")


async def test_two_orders_at_once_end_with_one_of_them_in_force() -> None:
    async with charging() as (_, _words, cem, hardware):
        answers: list[PowerApplied | PowerRefused | Lapsed] = []

        async def order(upper_w: float) -> None:
            answers.append(await cem.order(EVSE, upper_w=upper_w))

        async with anyio.create_task_group() as group:
            for amps in (7, 8, 9, 10, 11):
                group.start_soon(order, amps * 690.0)
        assert all(isinstance(answer, PowerApplied) for answer in answers)
        last = answers[-1]
        assert isinstance(last, PowerApplied)
        assert last.readback["current_limit_a"] == hardware["car"].get("current_limit_a")


def test_settings_that_nobody_knows_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"hots": "10.0.0.1"}, AGENT.settings)
    assert Address.parse(EVSE).role == AGENT.role.name
