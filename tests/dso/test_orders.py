"""What an operator orders is carried out at the sites and answered; nobody but the grid side's operator can order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from bus.address import Address
from bus.bus import Bus
from contracts.kit import Conversation, Lapsed, Message
from contracts.operator import (
    Done,
    NotDone,
    OrderAllClear,
    OrderCommand,
    OrderEmergency,
    OrderLimit,
    OrderPower,
    order_all_clear,
    order_command,
    order_emergency,
    order_limit,
    order_power,
)
from contracts.power_limit import LimitSlot
from tests.support.cem_puppet import PUPPET, forget_limits
from tests.support.grid import START, Grid, Words, grid

DSO = "grid.dso.north"
CONSOLE = "grid.ops.probe"

pytestmark = pytest.mark.anyio


async def order(console: Bus, table: Conversation, word: Message) -> Done | NotDone:
    async with console.talk(table, Address.parse(DSO)) as talk:
        await talk.say(word)
        answer = await talk.hear(Done, NotDone, Lapsed)
        assert not isinstance(answer, Lapsed)
        return answer


@asynccontextmanager
async def control_room(*sites: str) -> AsyncIterator[tuple[Grid, Bus, Words]]:
    forget_limits()
    async with grid(DSO, *(f"{site}.cem.main" for site in sites), agents={"cem": PUPPET}, speed=60.0) as run:
        for site in sites:
            await run.start(f"{site}.cem.main")
        words = await run.words()
        await run.start(DSO)
        await words.until(lambda w: len(w.of("failsafe_accepted")) >= len(sites))
        yield run, await run.bus(CONSOLE), words


def told(words: Words, word: str) -> list[dict[str, Any]]:
    return [envelope["body"] for subject, envelope in words.of(word) if f".{DSO}." in subject]


@pytest.mark.use_case("limits.emergency")
async def test_an_emergency_goes_to_all_sites_and_each_confirmation_is_told() -> None:
    async with control_room("h01", "h02") as (_, console, words):
        begun = await order(console, order_emergency, OrderEmergency(level="severe", duration_s=600.0))
        assert isinstance(begun, Done)
        assert [(o.site, o.done, o.reason.code) for o in begun.outcomes] == [
            ("h01", True, "confirmed"),
            ("h02", True, "confirmed"),
        ]
        said = await words.until(lambda w: len(found := told(w, "begin_emergency")) > 1 and found)
        assert [(s["level"], s["duration_s"], s["confirm"]) for s in said] == [("severe", 600.0, True)] * 2
        ended = await order(console, order_all_clear, OrderAllClear(sites=("h01",)))
        assert isinstance(ended, Done)
        assert [o.site for o in ended.outcomes] == ["h01"]
        assert len(await words.until(lambda w: w.of("end_emergency"))) == 1


@pytest.mark.use_case("limits.emergency")
async def test_a_site_that_is_away_is_named_and_the_others_are_called() -> None:
    async with control_room("h01", "h02") as (run, console, _):
        await run.stop("h02.cem.main")
        begun = await order(console, order_emergency, OrderEmergency(sites=("h01", "h02", "h99")))
        assert isinstance(begun, Done)
        assert {o.site: o.reason.code for o in begun.outcomes} == {
            "h01": "confirmed",
            "h02": "no_answer",
            "h99": "unknown_site",
        }


@pytest.mark.use_case("limits.congestion-direct")
async def test_a_congestion_command_is_taken_and_answered() -> None:
    async with control_room("h01") as (_, console, words):
        taken = await order(console, order_command, OrderCommand(site="h01", kind="emergency", upper_w=1000.0))
        assert isinstance(taken, Done)
        assert (await words.until(lambda w: told(w, "control_command")))[0]["upper_w"] == 1000.0
        nobody = await order(console, order_command, OrderCommand(site="h99", kind="clearance"))
        assert isinstance(nobody, NotDone)
        assert nobody.reason.code == "unknown_site"


@pytest.mark.use_case("limits.profile")
async def test_a_limit_by_hand_is_stated_as_setpoint_or_as_profile_and_taken_back() -> None:
    async with control_room("h01") as (_run, console, words):
        setpoint = OrderLimit(site="h01", direction="consumption", limit_w=5_000.0)
        assert isinstance(await order(console, order_limit, setpoint), Done)
        start = START + timedelta(hours=2)
        slots = tuple(
            LimitSlot(start=start + timedelta(minutes=15 * n), duration_s=900.0, limit_w=w)
            for n, w in enumerate((6_000.0, 4_200.0))
        )
        assert isinstance(
            await order(console, order_limit, OrderLimit(site="h01", direction="consumption", profile=slots)), Done
        )
        back = OrderLimit(site="h01", direction="consumption", active=False)
        assert isinstance(await order(console, order_limit, back), Done)
        said = [s for s in told(words, "set_limit") if s["direction"] == "consumption"][-3:]
        assert said[0]["limit_w"] == 5_000.0
        assert [slot["limit_w"] for slot in said[1]["profile"]] == [6_000.0, 4_200.0]
        assert not said[2]["active"]
        wrong = await order(console, order_limit, OrderLimit(site="h01", direction="production", limit_w=500.0))
        assert isinstance(wrong, NotDone)
        assert wrong.reason.code == "bad_order"


@pytest.mark.use_case("limits.profile")
async def test_a_planned_limit_survives_the_control_room() -> None:
    async with control_room("h01") as (run, console, words):
        await order(console, order_limit, OrderLimit(site="h01", direction="consumption", limit_w=5_000.0))
        await run.stop(DSO)
        count = len(told(words, "set_limit"))
        await run.start(DSO)
        again = await words.until(
            lambda w: [s for s in told(w, "set_limit")[count:] if s["direction"] == "consumption"]
        )
        assert again[0]["active"]
        assert again[0]["limit_w"] == 5_000.0


@pytest.mark.use_case("metering.gcp-to-cem")
async def test_a_building_is_asked_for_its_power() -> None:
    async with control_room("h01") as (_, console, _words):
        answer = await order(console, order_power, OrderPower(site="h01"))
        assert isinstance(answer, Done)
        assert answer.power_w == 1234.0


async def test_a_home_cannot_order_at_the_control_room() -> None:
    async with control_room("h01") as (run, _, words):
        intruder = await run.bus("h01.ops.probe")
        intruder.tell(Address.parse(DSO), OrderEmergency(), talk="t1")
        await intruder.connection.barrier()
        assert any("order_emergency" in refused for refused in intruder.connection.refused)
        assert not words.of("begin_emergency")
