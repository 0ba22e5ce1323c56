"""A meter whose clock is ahead: what it dates in the future counts for nothing and hides nothing."""

from datetime import timedelta

import pytest

from agents.hes.collect_readings import CollectReadings
from agents.hes.database import Database, Flag
from agents.hes.settings import HesSettings
from agents.hes.watch_reports import WatchReports
from agents.kit.agent import Peers
from bus.address import Address
from bus.bus import Heard
from bus.clock import SteppedClock
from contracts.metering import GcpReading
from tests.hes.test_database import AT, block
from tests.support.grid import eventually, grid

METER = "h01.meter.main"
pytestmark = pytest.mark.anyio
HEARD = Heard(Address.parse(METER), "id", 0.0, None, None, False)


def reading(power_w: float, ahead_s: float = 0.0) -> GcpReading:
    return GcpReading(
        at=AT + timedelta(seconds=ahead_s),
        power_w=power_w,
        power_by_phase_w=(power_w, 0.0, 0.0),
        current_by_phase_a=(0.0, 0.0, 0.0),
        voltage_by_phase_v=(230.0, 230.0, 230.0),
        frequency_hz=50.0,
        reactive_power_var=0.0,
        import_wh=1.0,
        export_wh=0.0,
    )


async def test_a_reading_of_the_future_counts_for_nothing_and_blocks_no_true_one() -> None:
    clock, db = SteppedClock(AT.timestamp()), Database("")
    collect = CollectReadings(clock, db)
    collect.take(reading(9_999.0, ahead_s=3_600.0), HEARD)
    assert collect.latest == {}
    collect.take(reading(100.0), HEARD)
    assert collect.latest[METER].power_w == 100.0
    await clock.advance(3_600.0)
    collect.take(reading(200.0, ahead_s=3_600.0), HEARD)
    collect.store()
    assert collect.latest[METER].power_w == 200.0
    assert db.readings(METER) == [(AT.timestamp(), 100.0), (AT.timestamp() + 3_600.0, 200.0)]


async def test_a_clock_that_is_a_little_ahead_is_believed() -> None:
    collect = CollectReadings(SteppedClock(AT.timestamp()), Database(""))
    collect.take(reading(100.0, ahead_s=30.0), HEARD)
    assert collect.latest[METER].power_w == 100.0
    collect.take(reading(200.0, ahead_s=10.0), HEARD)
    assert collect.latest[METER].power_w == 200.0, "what is known from the future gives way"


async def test_a_block_of_the_future_hides_no_missing_report() -> None:
    async with grid("grid.hes.main") as run:
        db, bus = Database(""), await run.bus("grid.hes.main")
        watch = WatchReports(bus, run.clock, HesSettings(overdue_after_s=30.0), Peers(), db)
        await watch.take_up()
        db.add_block(METER, block(1, slot=-1))
        db.add_block(METER, block(2, slot=1_000))

        def flag() -> Flag | None:
            watch.block_stored(METER)
            watch.judge_news()
            return watch.flags.get(METER)

        assert (await eventually(flag)).finding == "no report"
