"""One time for all processes of a run; it never jumps, whoever changes its speed."""

import multiprocessing
import time

import anyio
import pytest

from bus.clock import ClockFile, NoClock, SharedClock, SteppedClock, WallClock

pytestmark = pytest.mark.anyio
START = 1_463_738_400.0
ENOUGH = 1000


def _watch(path, answers, seconds):
    """Read as fast as possible, and often; tell the largest step back and the largest step forth."""
    clock = SharedClock(path)
    back = forth = 0.0
    reads, until, before = 0, time.monotonic() + seconds, clock.now()
    while time.monotonic() < until or reads <= ENOUGH:
        wall = time.monotonic()
        now = clock.now()
        back = max(back, before - now)
        if time.monotonic() - wall < 0.001:  # not scheduled away in between
            forth = max(forth, now - before)
        before, reads = now, reads + 1
    answers.put((reads, back, before))


def test_changes_of_speed_are_never_seen_as_jumps(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=60.0, slots=2)
    answers = multiprocessing.Queue()
    readers = [multiprocessing.Process(target=_watch, args=(owner.path, answers, 1.0)) for _ in range(2)]
    for reader in readers:
        reader.start()
    while any(reader.is_alive() for reader in readers):
        for speed in (0.0, 1.0, 600.0, 3.0, 60.0):
            owner.set_speed(speed)
        if not answers.empty():
            break
    seen = [answers.get(timeout=100) for _ in readers]
    for reader in readers:
        reader.join()
    mine = SharedClock(owner.path).now()
    for reads, back, last in seen:
        assert reads > ENOUGH
        assert back == 0.0
        assert START <= last <= mine


def test_all_processes_read_the_same_time(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=1)
    one, two = SharedClock(owner.path), SharedClock(owner.path)
    assert one.now() == two.now() == START
    owner.set_speed(100.0)
    assert one.speed == two.speed == 100.0
    before = one.now()
    assert before <= two.now() <= one.now()


def test_each_process_reports_its_worst_lag_once(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=1.0, slots=3)
    first, third, beyond = (SharedClock(owner.path, slot) for slot in (0, 2, 7))
    first.late(2.0)
    first.late(1.0)
    third.late(0.5)
    beyond.late(9.0)
    assert owner.lags() == [2.0, 0.0, 0.5]
    assert owner.lags() == [0.0, 0.0, 0.0]


def test_a_clock_goes_on_with_its_time_speed_and_lags_under_another_owner(tmp_path):
    path = tmp_path / "clock"
    ClockFile(path, start=START, speed=0.0, slots=2).set_speed(600.0)
    reader = SharedClock(path, 1)
    reader.late(2.0)
    before = reader.now()
    second = ClockFile.going_on(path, slots=2)
    assert reader.speed == 600.0
    assert before <= reader.now() <= SharedClock(path).now()
    assert second.here() == [False, True]
    assert second.lags() == [0.0, 2.0]
    second.set_speed(0.0)
    held = SharedClock(path).now()
    assert reader.now() == held >= before
    with pytest.raises(NoClock, match="slots for 2 processes, this topology has 3"):
        ClockFile.going_on(path, slots=3)


def test_an_owner_that_is_killed_while_it_writes_leaves_a_whole_time_to_its_successor(tmp_path, monkeypatch):
    path = tmp_path / "clock"
    owner = ClockFile(path, start=START, speed=0.0, slots=0)
    owner.set_speed(60.0)
    reader = SharedClock(path)
    before = reader.now()

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(ClockFile, "_write", killed)
    with pytest.raises(KeyboardInterrupt):
        owner.set_speed(0.0)
    monkeypatch.undo()
    ClockFile.going_on(path, slots=0)
    assert reader.speed == 60.0
    assert before <= reader.now()


def test_after_a_restart_of_the_machine_time_goes_on_and_not_back(tmp_path, monkeypatch):
    path = tmp_path / "clock"
    owner = ClockFile(path, start=START, speed=60.0, slots=0)
    wall = time.monotonic()
    monkeypatch.setattr("bus.clock.time.monotonic", lambda: wall + 100.0)
    owner.set_speed(60.0)
    before = SharedClock(path).now()
    monkeypatch.setattr("bus.clock.time.monotonic", lambda: 5.0)
    ClockFile.going_on(path, slots=0)
    assert SharedClock(path).now() == before


def test_who_is_ready_is_seen_and_delays_nobody(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=2)
    SharedClock(owner.path, 1).here()
    assert owner.here() == [False, True]
    assert max(owner.lags()) < 1e-6
    assert owner.here() == [False, False]


def test_a_skewed_process_sees_another_time_and_it_alone(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=3)
    clocks = [SharedClock(owner.path, slot) for slot in (0, 1, 2, None)]
    owner.skew(1, -4.5)
    assert [clock.now() - START for clock in clocks] == [0.0, -4.5, 0.0, 0.0]
    clocks[1].late(2.0)
    assert owner.lags() == [0.0, 2.0, 0.0]
    assert ClockFile.going_on(owner.path, slots=3).lags() == [0.0, 0.0, 0.0]
    owner.skew(1, 0.0)
    assert clocks[1].now() == START


def test_a_file_that_is_no_clock_is_named(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "no").write_bytes(b"x" * 100)
    (tmp_path / "short").write_bytes(b"gpclock3")
    for name in ("no", "short", "empty"):
        with pytest.raises(ValueError, match=f"{name} is no clock"):
            SharedClock(tmp_path / name)


async def test_a_sleeper_wakes_at_its_instant_although_the_speed_changes(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=0)
    clock = SharedClock(owner.path)
    woken = []

    async def sleep():
        await clock.sleep(3600.0)
        woken.append(clock.now())

    async with anyio.create_task_group() as group:
        group.start_soon(sleep)
        await anyio.sleep(0.02)
        assert woken == []  # held
        owner.set_speed(36_000.0)
    assert woken[0] >= START + 3600.0


async def test_sleepers_of_one_process_wake_in_order_and_those_who_gave_up_hinder_nobody(tmp_path):
    owner = ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=0)
    clock = SharedClock(owner.path)
    woken = []

    async def sleep(seconds):
        await clock.sleep_until(START + seconds)
        woken.append((seconds, clock.now() - START >= seconds))

    async with anyio.create_task_group() as group:
        for seconds in (500.0, 100.0, 300.0):
            group.start_soon(sleep, seconds)
        async with anyio.create_task_group() as hasty:
            for seconds in range(1, 200):
                hasty.start_soon(sleep, float(seconds))
            await anyio.sleep(0.02)
            hasty.cancel_scope.cancel()
        owner.set_speed(36_000.0)
    assert woken == [(100.0, True), (300.0, True), (500.0, True)]


async def test_the_past_is_not_slept_for(tmp_path):
    clock = SharedClock(ClockFile(tmp_path / "clock", start=START, speed=0.0, slots=0).path)
    await clock.sleep_until(START - 5)
    await WallClock().sleep_until(0.0)
    await SteppedClock(START).sleep_until(START)


async def test_a_stepped_clock_wakes_sleepers_in_the_order_of_their_instants():
    clock = SteppedClock(START)
    woken = []

    async def sleep(seconds, again=0.0):
        await clock.sleep(seconds)
        woken.append((seconds, clock.now() - START))
        if again:
            await clock.sleep(again)
            woken.append((again, clock.now() - START))

    async with anyio.create_task_group() as group:
        for seconds in (5.0, 1.0, 3.0):
            group.start_soon(sleep, seconds, 1.0 if seconds == 1.0 else 0.0)
        await clock.advance(4.0)
        assert woken == [(1.0, 1.0), (1.0, 2.0), (3.0, 3.0)]
        await clock.advance(1.0)
    assert woken[-1] == (5.0, 5.0)
    assert clock.now() == START + 5.0
