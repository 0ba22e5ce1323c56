"""The head-end keeps every block once, flags what is missing, looks into it, and clears the flag when it is back."""

import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from agents.hes.database import Database
from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from contracts.metering import CheckMeter, MeterStatus, NearRealTime, meter_check
from contracts.reasons import Reason
from tests.support.cem_puppet import reading
from tests.support.grid import START, Grid, Words, eventually, grid

HES = "grid.hes.main"
METER = "h01.meter.main"
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.anyio


def block(sequence: int) -> NearRealTime:
    return NearRealTime(
        sequence=sequence,
        start=START + timedelta(seconds=300 * (sequence - 1)),
        period_s=300.0,
        import_wh=100.0 * sequence,
        export_wh=5.0 * sequence,
        power_w=1_200.0,
        reactive_power_var=50.0,
        voltage_by_phase_v=(230.0, 231.0, 229.0),
        frequency_hz=50.01,
    )


def kept(path: Path) -> list[int]:
    """The blocks in the database, as another reader of the file sees them."""
    database = Database(str(path))
    try:
        return [sequence for sequence, _ in database.blocks(METER)]
    finally:
        database.close()


def flags(words: Words) -> list[dict[str, Any]]:
    return [envelope["body"] for _, envelope in words.of("report_missing")]


async def answer(talk: Talk, _check: CheckMeter) -> None:
    reason = Reason(code="hardware_silent", text="The device was unplugged.")
    await talk.say(MeterStatus(device_answers=False, last_reading_at=START, next_sequence=4, reason=reason))


def answers_checks(bus: Bus) -> None:
    bus.answer(meter_check, answer)


async def stored(path: Path, wanted: list[int]) -> None:
    await eventually(lambda: kept(path) == wanted)


@pytest.mark.use_case("metering.nrtd")
async def test_a_gap_is_flagged_with_its_blocks_and_cleared_when_they_come_late(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=30.0) as run:
        words = await run.words()
        await run.start(HES, {"database": str(path)})
        meter = await run.bus(METER, answers_checks)
        for sequence in (1, 2, 5):
            await meter.record(block(sequence))
        flag = (await words.until(lambda w: [f for f in flags(w) if "missing blocks" in f["finding"]]))[0]
        assert (flag["meter"], flag["finding"], flag["cleared"]) == (METER, "missing blocks: 3 to 4", False)
        assert flag["missing_since"] == (START + timedelta(seconds=600)).isoformat().replace("+00:00", "Z")
        for sequence in (3, 4):
            await meter.record(block(sequence))
        await words.until(lambda w: [f for f in flags(w) if f["cleared"]])
        assert kept(path) == [1, 2, 3, 4, 5]


@pytest.mark.use_case("metering.nrtd")
async def test_an_overdue_report_is_flagged_looked_into_and_cleared(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=120.0) as run:
        words = await run.words()
        await run.start(HES, {"database": str(path)})
        meter = await run.bus(METER, answers_checks)
        await meter.record(block(1))
        await words.until(lambda w: [f for f in flags(w) if f["finding"] == "no report"])
        await words.until(lambda w: w.of("check_meter") and w.of("meter_status"))
        looked = await words.until(lambda w: [f for f in flags(w) if "does not answer" in f["finding"]])
        assert "The device was unplugged." in looked[0]["finding"]
        now = run.clock.now()
        sequence = 2 + int((now - START.timestamp()) // 300)
        await meter.record(block(2))
        for late in range(3, sequence + 1):
            await meter.record(block(late))
        cleared = await words.until(lambda w: [f for f in flags(w) if f["cleared"]])
        assert cleared[0]["meter"] == METER


@pytest.mark.use_case("metering.nrtd")
async def test_blocks_recorded_while_the_link_was_cut_arrive_in_order_and_once(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=30.0) as run:
        await run.start(HES, {"database": str(path)})
        meter = await run.bus(METER)
        await meter.record(block(1))
        await stored(path, [1])
        await run.servers.cut("h01")
        for sequence in (2, 3, 4):
            await meter.record(block(sequence))
        await run.servers.mend("h01")
        await stored(path, [1, 2, 3, 4])


@pytest.mark.use_case("metering.nrtd")
async def test_a_head_end_killed_in_the_middle_of_the_stream_loses_and_doubles_nothing(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=30.0, processes=True) as run:
        meter = await run.bus(METER)
        last = 0

        async def report(count: int) -> None:
            nonlocal last
            for _ in range(count):
                last += 1
                await meter.record(block(last))

        for _ in range(3):
            process = await head_end(run, path)
            before = len(kept(path))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(report, 100)
                await eventually(lambda before=before: len(kept(path)) > before + 10)
                process.send_signal(signal.SIGKILL)
                await process.wait()
            await report(10)
        process = await head_end(run, path)
        await stored(path, list(range(1, last + 1)))
        process.terminate()
        await process.wait()


async def head_end(run: Grid, database: Path) -> anyio.abc.Process:
    servers, who = run.servers, Address.parse(HES)
    servers.keys(who)
    return await anyio.open_process(
        [
            sys.executable,
            "-m",
            "tests.hes.head_end_process",
            servers.url(who),
            str(servers.key_ring.path(HES)),
            str(servers.authority),
            str(run.clock_file.path),
            str(database),
            METER,
        ],
        cwd=ROOT,
    )


@pytest.mark.use_case("metering.gcp-push")
async def test_the_connection_point_is_kept_every_10_s(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=60.0) as run:
        await run.start(HES, {"database": str(path)})
        meter = await run.bus(METER)
        for n in range(6):
            meter.say(reading(START.timestamp() + 10 * n, 100.0 * n), home=False)
        await meter.connection.barrier()

        def readings() -> list[tuple[float, float]]:
            database = Database(str(path))
            try:
                return database.readings(METER)
            finally:
                database.close()

        await eventually(lambda: len(readings()) == 6)
        assert readings() == [(START.timestamp() + 10 * n, 100.0 * n) for n in range(6)]


async def test_what_cannot_be_read_is_a_dead_letter_and_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "hes.sqlite"
    async with grid(HES, METER, speed=30.0) as run:
        words = await run.words()
        meter = await run.bus(METER)
        subject = f"say.{METER}.metering.1.near_real_time"
        await meter.connection.request(subject, b'{"v":1,"id":"x","body":{"sequence":"one"}}')
        await meter.record(block(1))
        await run.start(HES, {"database": str(path)})
        await stored(path, [1])
        dead = await words.until(lambda w: [p for s, p in w.all if s == f"dead.{HES}"])
        assert b"undecodable" in dead[0]
