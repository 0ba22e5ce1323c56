"""The control room says what state its grid is in, asks before it orders, and tells whether it worked."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio
import pytest

from tests.support.cem_puppet import PUPPET, Feeder, forget_limits
from tests.support.grid import Grid, Words, grid

DSO = "grid.dso.north"
SMALL = {"transformer_va": 10_000.0, "clear_after_s": 30.0}

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def area(*sites: str, speed: float = 120.0) -> AsyncIterator[tuple[Grid, Feeder, Words]]:
    """Meters that push what a test sets; CEM puppets are started by the test."""
    forget_limits()
    names = [f"{site}.{role}.main" for site in sites for role in ("cem", "meter")]
    async with grid(DSO, "grid.meter.substation", *names, agents={"cem": PUPPET}, speed=speed) as run:
        feeder = Feeder(run)
        await feeder.connect(sites)
        words = await run.words()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder)
            yield run, feeder, words
            tasks.cancel_scope.cancel()


def states(words: Words) -> list[dict[str, Any]]:
    return [envelope["body"] for _, envelope in words.of("grid_state")]


def phases(words: Words) -> list[str]:
    """The colours in order, each change once."""
    out: list[str] = []
    for state in states(words):
        if not out or out[-1] != state["phase"]:
            out.append(state["phase"])
    return out


@pytest.mark.use_case("limits.grid-state", "metering.gcp-push")
async def test_the_state_goes_green_yellow_red_and_back_with_the_transformer() -> None:
    async with area() as (run, feeder, words):
        await run.start(DSO, SMALL)
        for base_w, phase in ((5_000.0, "green"), (9_000.0, "yellow"), (9_900.0, "red"), (5_000.0, "green")):
            feeder.base_w = base_w
            await words.until(lambda w, phase=phase: phases(w)[-1:] == [phase])
        assert phases(words) == ["green", "yellow", "red", "green"]
        last = states(words)[-1]
        assert last["area"] == "street"
        assert last["loading_percent"] == pytest.approx(50.0)
        at, until = (datetime.fromisoformat(last[key]) for key in ("at", "valid_until"))
        assert (until - at).total_seconds() == 60.0


@pytest.mark.use_case("limits.grid-state")
async def test_nothing_is_claimed_on_stale_data_and_red_is_not_cleared_by_it() -> None:
    async with area() as (run, feeder, words):
        feeder.base_w = 9_900.0
        await run.start(DSO, SMALL)
        await words.until(lambda w: phases(w) == ["red"])
        feeder.measures = False
        await run.clock.sleep(60)
        before = len(states(words))
        await run.clock.sleep(300)
        assert len(states(words)) == before, "no state is said without a young reading"
        feeder.base_w, feeder.measures = 5_000.0, True
        first = await words.until(lambda w: states(w)[before:])
        assert first[0]["phase"] == "red", "the time without data does not count as calm"
        await words.until(lambda w: phases(w) == ["red", "green"])


@pytest.mark.use_case("limits.grid-state")
async def test_yellow_asks_by_free_will_and_nobody_is_ordered() -> None:
    async with area("h01", "h02") as (run, feeder, words):
        await run.start(DSO, SMALL)
        await run.start("h01.cem.main", {"helps": True})
        await run.start("h02.cem.main", {"helps": False})
        feeder.base_w = 2_000.0
        await words.until(lambda w: phases(w) == ["green"] and len(w.of("set_failsafe")) >= 2)
        feeder.base_w = 9_000.0
        await words.until(lambda w: w.of("adjustment_agreed") and w.of("adjustment_declined"))
        asked = [envelope["body"] for _, envelope in words.of("ask_adjustment")]
        assert len(asked) == 2, "each site is asked once"
        assert all(ask["change_w"] < 0 for ask in asked), "consumption fills it: draw less"
        assert sum(ask["change_w"] for ask in asked) == pytest.approx(-1_000.0)
        # h01 keeps its word: the meters show it, and the report says so.
        feeder.base_w = 8_700.0
        report = (await words.until(lambda w: w.of("action_report")))[0][1]["body"]
        assert (report["kind"], report["locations"], report["worked"]) == ("request", ["h01"], True)
        assert report["amount_w"] == pytest.approx(-250.0)
        assert report["after_w"] < report["before_w"]
        assert not [e for _, e in words.of("set_limit") if e["body"]["active"]]


@pytest.mark.use_case("limits.grid-state")
async def test_an_order_names_places_amount_and_time_and_ends_when_it_is_over() -> None:
    async with area("h01", "h02") as (run, feeder, words):
        feeder.wishes_w = {"h01": 9_000.0, "h02": 9_000.0}
        await run.start("h01.cem.main")
        await run.start("h02.cem.main")
        await run.start(DSO, SMALL)
        report = (await words.until(lambda w: w.of("action_report")))[0][1]["body"]
        assert report["kind"] == "order"
        assert report["worked"]
        assert set(report["locations"]) <= {"h01", "h02"}
        assert report["amount_w"] < 0
        assert report["after_w"] <= 10_000.0 < report["before_w"]
        assert states(words)[-1]["phase"] == "red", "limits in force are red, even while they hold"
        feeder.wishes_w = {}
        await words.until(lambda w: [e for _, e in w.of("action_report") if e["body"]["kind"] == "lift"])
        await words.until(lambda w: phases(w)[-1] == "green")


@pytest.mark.use_case("limits.grid-state")
async def test_what_limits_cannot_end_is_said() -> None:
    async with area("h01") as (run, feeder, words):
        feeder.base_w, feeder.wishes_w = 9_000.0, {"h01": 9_000.0}
        await run.start("h01.cem.main")
        await run.start(DSO, SMALL)
        exhausted = await words.until(lambda w: [s for s in states(w) if s["reason"]["code"] == "limits_exhausted"])
        assert exhausted[0]["reason"]["binding"] == "floors"
        assert exhausted[0]["reason"]["inputs"]["shortfall_w"] == pytest.approx(3_900.0, abs=50)
        stated = await words.until(lambda w: [e["body"] for _, e in w.of("set_limit") if e["body"]["active"]])
        held = [body["limit_w"] for body in stated]
        assert min(held) == 4_200.0, "floors hold even then"


@pytest.mark.use_case("limits.grid-state", "metering.nrtd")
async def test_a_voltage_beyond_its_band_names_the_place_and_the_same_data_clear_it() -> None:
    async with area("h01") as (run, feeder, words):
        feeder.base_w = 1_000.0
        await run.start(DSO, SMALL)
        feeder.voltage_v = {"h01": 256.0}
        notice = (await words.until(lambda w: w.of("voltage_notice")))[0][1]["body"]
        assert (notice["location"], notice["voltage_v"], notice["cleared"]) == ("h01.meter.main", 256.0, False)
        await words.until(lambda w: phases(w)[-1:] == ["yellow"])
        feeder.voltage_v = {}
        await words.until(lambda w: [e for _, e in w.of("voltage_notice") if e["body"]["cleared"]])
        assert len(words.of("voltage_notice")) == 2, "said once each"
