"""A meter's agent on a real Modbus socket: what it says is true, fresh and complete, or it says nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from contracts.device_form import Value
from tests.support.grid import Grid, Words, grid
from tests.support.home import SCRIPTED_CEM, Products, products

pytestmark = pytest.mark.anyio
METER = "h07.meter.main"
HOME: dict[str, Value] = {
    "power_w": -1_200.0,
    **{f"power_l{n}_w": -400.0 for n in (1, 2, 3)},
    **{f"current_l{n}_a": 1.75 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 + n for n in (1, 2, 3)},
    "reactive_power_var": 150.0,
    "frequency_hz": 50.0,
    "import_wh": 12_500.0,
    "export_wh": 3_000.0,
}


@asynccontextmanager
async def metered(
    settings: dict[str, object] | None = None, *, product: str = "eastron_sdm630", speed: float = 60.0
) -> AsyncIterator[tuple[Grid, Words, Words, Products]]:
    async with (
        products(meter=(product, 1, HOME)) as hardware,
        grid("h07.cem.main", METER, speed=speed, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        grid_side = await run.words()
        await run.start(METER, {**hardware.line("meter"), **(settings or {})})
        await words.until(lambda w: readings(w))
        yield run, words, grid_side, hardware


def readings(words: Words) -> list[dict[str, object]]:
    return [e["body"] for _, e in words.of("gcp_reading")]


def blocks(words: Words) -> list[dict[str, object]]:
    return [e["body"] for _, e in words.of("near_real_time")]


async def test_currents_carry_the_sign_of_their_power() -> None:
    async with metered() as (_, words, _grid, _hardware):
        body = readings(words)[0]
        assert body["current_by_phase_a"] == [-1.75, -1.75, -1.75]
        assert body["power_by_phase_w"] == [-400.0, -400.0, -400.0]
        assert body["quality"] == "measured"


async def test_a_meter_that_falls_silent_says_nothing_and_comes_back() -> None:
    async with metered(speed=20.0) as (run, words, _grid_side, hardware):
        hardware["meter"].faults.hang_up = True
        away = run.clock.now()
        await run.clock.sleep(30.0)
        count = len(readings(words))
        newest = readings(words)[-1]["at"]
        hardware["meter"].faults.hang_up = False
        await words.until(lambda w: len(readings(w)) > count)
        fresh = [body["at"] for body in readings(words)]
        assert len(set(fresh)) == len(fresh)  # no value was said twice
        assert fresh[count] > newest  # type: ignore[operator]
        assert run.clock.now() - away > 30.0


@pytest.mark.parametrize("nonsense", [{"power_w": 5e8}, {"power_w": None}, {"import_wh": None}])
async def test_nonsense_is_not_said(nonsense: dict[str, Value | None]) -> None:
    async with metered(speed=20.0) as (run, words, _grid_side, hardware):
        hardware["meter"].put(nonsense)
        await run.clock.sleep(20.0)
        count = len(readings(words))
        await run.clock.sleep(20.0)
        assert len(readings(words)) == count
        hardware["meter"].put(HOME)
        await words.until(lambda w: len(readings(w)) > count)
        assert readings(words)[-1]["power_w"] == -1_200.0


async def test_a_register_that_is_reset_never_shows_as_negative_energy() -> None:
    async with metered({"block_s": 60.0}) as (_, _words, grid_side, hardware):
        hardware["meter"].put({"import_wh": 10.0})
        corrected = await grid_side.until(lambda w: [b for b in blocks(w) if b["quality"] == "corrected"])
        assert corrected[0]["import_wh"] == pytest.approx(12_500.0)
        assert corrected[0]["power_w"] == pytest.approx(0.0)
        hardware["meter"].put({"import_wh": 60.0})
        await grid_side.until(lambda w: blocks(w)[-1]["import_wh"] == pytest.approx(12_550.0))
        counted = [body["import_wh"] for body in blocks(grid_side)]
        assert counted == sorted(counted)  # type: ignore[type-var]


async def test_a_product_without_phases_says_so() -> None:
    async with metered(product="eastron_sdm72d") as (_, words, _grid, _hardware):
        body = readings(words)[0]
        assert (body["power_w"], body["quality"]) == (-1_200.0, "estimated")


async def test_blocks_go_on_over_a_restart_without_losing_energy_or_a_number() -> None:
    async with metered({"block_s": 60.0}) as (run, _words, grid_side, hardware):
        await grid_side.until(lambda w: len(blocks(w)) >= 2)
        await run.stop(METER)
        known = blocks(grid_side)
        hardware["meter"].put({"import_wh": 12_700.0})
        await run.clock.sleep(150.0)
        await run.start(METER, {**hardware.line("meter"), "block_s": 60.0})
        await grid_side.until(lambda w: len(blocks(w)) >= len(known) + 3)
        after = blocks(grid_side)
        for early, late in pairwise(after):  # stopped between recording and knowing it: the same again, as it is
            assert late["sequence"] != early["sequence"] or late == early
        after = list({str(body["sequence"]): body for body in after}.values())
        known = list({str(body["sequence"]): body for body in known}.values())
        assert [body["sequence"] for body in after] == list(range(1, len(after) + 1))
        gap = next(body for body in after if body["quality"] == "estimated")
        assert float(str(gap["period_s"])) >= 120.0
        assert gap["import_wh"] == pytest.approx(12_700.0)
        for early, late in pairwise(after):
            assert late["start"] > early["start"]  # type: ignore[operator]


async def test_it_reads_no_more_often_than_it_is_told() -> None:
    async with metered({"reading_every_s": 5.0}) as (run, words, _grid_side, hardware):
        asked, begun = hardware["meter"].requests, run.clock.now()
        await words.until(lambda w: len(readings(w)) >= 12)
        passed = run.clock.now() - begun
        assert hardware["meter"].requests - asked <= 2 * (passed / 5.0 + 2)
