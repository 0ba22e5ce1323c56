"""Nothing doubled, gaps named, a count that begins anew is no gap, old data forgotten."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from agents.hes.collect_load_curves import CollectLoadCurves
from agents.hes.database import Database, Flag
from agents.hes.settings import HesSettings
from agents.hes.watch_reports import WatchReports, gap_text
from agents.kit.agent import Peers
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import SteppedClock
from contracts.metering import GcpReading, NearRealTime

AT = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)


def block(sequence: int, slot: int | None = None) -> NearRealTime:
    return NearRealTime(
        sequence=sequence,
        start=AT + timedelta(seconds=300 * (sequence if slot is None else slot)),
        period_s=300.0,
        import_wh=100.0 * sequence,
        export_wh=0.0,
        power_w=1200.0,
        reactive_power_var=50.0,
        voltage_by_phase_v=(230.0, 231.0, 229.0),
        frequency_hz=50.0,
    )


def test_a_block_counts_once() -> None:
    db = Database("")
    assert db.add_block("m", block(1))
    assert not db.add_block("m", block(1))
    assert db.add_block("other", block(1))
    assert db.blocks("m") == [(1, block(1).start.timestamp())]


def test_gaps_are_named_and_close_when_the_blocks_come_late() -> None:
    db = Database("")
    for n in (1, 2, 5, 6, 8):
        db.add_block("m", block(n))
    assert [gap[:2] for gap in db.gaps("m")] == [(3, 4), (7, 7)]
    assert gap_text(db.gaps("m")) == "missing blocks: 3 to 4, 7"
    for n in (7, 3, 4):
        db.add_block("m", block(n))
    assert db.gaps("m") == []


def test_a_count_that_begins_anew_is_no_gap_and_overwrites_nothing() -> None:
    db = Database("")
    db.add_block("m", block(7, slot=1))
    db.add_block("m", block(1, slot=2))
    db.add_block("m", block(2, slot=3))
    assert db.gaps("m") == []
    last = db.last_block("m")
    assert last is not None
    assert (last.sequence, last.end) == (2, (AT + timedelta(seconds=1200)).timestamp())


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = str(tmp_path / "deep" / "hes.sqlite")
    first = Database(path)
    first.add_block("m", block(1))
    first.raise_flag(Flag("m", 5.0, "no report"))
    first.close()
    second = Database(path)
    assert second.meters() == ["m"]
    assert second.flags() == {"m": Flag("m", 5.0, "no report")}
    second.clear_flag("m")
    assert second.flags() == {}


def test_old_data_is_forgotten_by_kind() -> None:
    db = Database("")
    for n in (1, 100):
        db.add_block("m", block(n))
    reading = GcpReading(
        at=AT,
        power_w=1.0,
        power_by_phase_w=(1.0, 0.0, 0.0),
        current_by_phase_a=(0.0, 0.0, 0.0),
        voltage_by_phase_v=(230.0, 230.0, 230.0),
        frequency_hz=50.0,
        reactive_power_var=0.0,
        import_wh=1.0,
        export_wh=0.0,
        pv_limit_percent=60.0,
    )
    db.add_readings([("m", reading), ("m", reading)])
    assert db.readings("m") == [(AT.timestamp(), 1.0)]
    db.forget(block(50).start.timestamp(), AT.timestamp() + 1)
    assert [sequence for sequence, _ in db.blocks("m")] == [100]
    assert db.readings("m") == []


def test_a_batch_is_stored_as_a_whole_or_not_at_all() -> None:
    db = Database("")
    with pytest.raises(AttributeError):
        db.add_readings([("m", None)])  # type: ignore[list-item]
    assert db.readings("m") == []


@pytest.mark.anyio
async def test_a_block_waits_for_a_database_that_is_locked(tmp_path: Path) -> None:
    path = str(tmp_path / "hes.sqlite")
    clock = SteppedClock(AT.timestamp())
    db, settings = Database(path), HesSettings()
    bus = Bus(Address.parse("grid.hes.main"), "nats://nowhere", clock)
    skill = CollectLoadCurves(clock, settings, db, WatchReports(bus, clock, settings, Peers(), db))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    heard = Heard(Address.parse("h01.meter.main"), "id", 0.0, None, None, False)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(skill.take, block(1), heard)
        await clock.advance(1.0)
        other.execute("ROLLBACK")
        assert db.blocks("h01.meter.main") == []
        await clock.advance(settings.store_every_s)
    assert [sequence for sequence, _ in db.blocks("h01.meter.main")] == [1]
