"""limits.near-limit: warning at the share, alarm above 6 kW, at the CEM within 1 s of the metered crossing. NG-03."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bus.bus import Bus, Heard
from contracts.metering import ContractNotice
from tests.support.grid import Grid, Words, grid
from tests.support.home import SCRIPTED_CEM, Products, products

pytestmark = pytest.mark.anyio
CONTRACT = {"contract_consumption_w": 6_000.0}


@asynccontextmanager
async def home(
    contract: dict[str, object], *, speed: float
) -> AsyncIterator[tuple[Grid, Words, Products, list[tuple[ContractNotice, float]]]]:
    held: list[tuple[ContractNotice, float]] = []
    async with (
        products(meter=("eastron_sdm630", 1, {"power_w": 3_000.0, "import_wh": 0.0, "export_wh": 0.0})) as hardware,
        grid("h07.cem.main", "h07.meter.main", "h07.app.display", speed=speed, agents=SCRIPTED_CEM) as run,
    ):

        def listen(bus: Bus) -> None:
            def take(notice: ContractNotice, _heard: Heard) -> None:
                held.append((notice, run.clock.now()))

            bus.on(ContractNotice, take)
            bus.listen(ContractNotice, site="h07", role="meter", home=True)

        await run.bus("h07.cem.main", listen)
        words = await run.words("h07")
        await run.start("h07.app.display")
        await run.start("h07.meter.main", {**hardware.line("meter"), **contract})
        await words.until(lambda w: w.of("gcp_reading"))
        yield run, words, hardware, held


@pytest.mark.use_case("limits.near-limit")
async def test_the_cem_holds_the_matching_notice_within_a_second_of_the_metered_crossing() -> None:
    async with home(CONTRACT, speed=1.0) as (_, words, hardware, held):
        for power, level in ((5_500.0, "warning"), (6_200.0, "alarm"), (2_000.0, "clear")):
            hardware["meter"].put({"power_w": power})
            await words.until(lambda _, level=level: held and held[-1][0].level == level)
            notice, at = held[-1]
            assert (notice.power_w, notice.contract_w) == (power, 6_000.0)
            # Both instants are of the run's clock: this is the use case's own figure, not the machine's speed.
            assert at - notice.metered_at.timestamp() <= 1.0
            await words.until(
                lambda w, level=level: (
                    w.of("shown") and w.of("shown")[-1][1]["body"]["contract"].get("consumption") == level
                )
            )
        assert [notice.level for notice, _ in held] == ["warning", "alarm", "clear"]


@pytest.mark.use_case("limits.near-limit")
async def test_below_the_share_nothing_is_sent_and_what_stands_is_repeated() -> None:
    async with home(CONTRACT, speed=20.0) as (_, words, hardware, held):
        hardware["meter"].put({"power_w": 5_390.0})
        seen = len(words.of("gcp_reading"))
        await words.until(lambda w: len(w.of("gcp_reading")) >= seen + 12)
        assert held == []
        hardware["meter"].put({"power_w": 7_000.0})
        await words.until(lambda _: len(held) >= 3)
        assert {notice.level for notice, _ in held} == {"alarm"}
        gap = held[2][0].metered_at - held[1][0].metered_at
        assert gap.total_seconds() == pytest.approx(60.0, abs=3.0)


@pytest.mark.use_case("limits.near-limit")
async def test_feeding_in_is_watched_only_where_that_is_wanted() -> None:
    production = {"contract_production_w": 5_000.0, "watch_production": True}
    async with home(production, speed=60.0) as (_, words, hardware, held):
        hardware["meter"].put({"power_w": -5_500.0})
        await words.until(lambda _: held)
        assert (held[0][0].level, held[0][0].contract_w) == ("alarm", -5_000.0)
    async with home({"contract_production_w": 5_000.0}, speed=60.0) as (_, words, hardware, held):
        hardware["meter"].put({"power_w": -5_500.0})
        await words.until(lambda w: [1 for _, e in w.of("gcp_reading") if e["body"]["power_w"] == -5_500.0])
        assert held == []
