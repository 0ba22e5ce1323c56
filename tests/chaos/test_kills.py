"""kill -9 in the middle of a talk: no limit is forgotten, nothing that was accepted is lost, nothing happens twice."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from contracts.power_limit import FailsafeAccepted, LimitAccepted
from tests.support.live_home import CEM, EVSE, FREE_A, LiveHome
from tests.support.live_home import live_home as made_home

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]
LIMIT_W, ROOM_A = 7_000.0, (7_000.0 - 900.0) / 690.0
"""What the station may take under the limit: the household's 900 W come off."""
MARGIN_A = 0.05
CALM = 1.0
"""Speed of the clock wherever time must not run out: 120 s of silence are failsafe, and a process may take 20 s to
start."""
STILL = 0.1
"""Where a guard waits for the answer of a process that is started meanwhile: it lets go after 30 s."""
BRISK, QUICK = 6.0, 60.0
SOON_WALL_S = 90.0


@asynccontextmanager
async def live_home(folder: Path) -> AsyncIterator[LiveHome]:
    """Everybody is well; from now on time is as slow as in the field."""
    async with made_home(folder) as h:
        h.run.clock_file.set_speed(CALM)
        h.beat()
        yield h


def under(h: LiveHome) -> bool:
    return h.limit_a <= ROOM_A + MARGIN_A


def answers_agree(h: LiveHome) -> None:
    """A crash between an answer and the note of it makes the CEM answer again: then in the same talk, and the same."""
    answers: dict[str, set[tuple[str, float | None]]] = {}
    for word in ("limit_accepted", "limit_refused"):
        for envelope in h.said(word):
            answers.setdefault(envelope["talk"], set()).add((word, envelope["body"].get("limit_w")))
    assert {talk: said for talk, said in answers.items() if len(said) != 1} == {}


async def in_force_after_restart(h: LiveHome) -> None:
    """Before the guard says anything, the CEM says that the limit holds, and the register shows it."""
    stated = await h.beyond.until(
        lambda _: h.states() and h.states()[-1]["state"] == "limited" and h.states(), SOON_WALL_S
    )
    assert stated[-1]["consumption_w"] == LIMIT_W
    await h.holds(lambda: under(h), SOON_WALL_S)


async def test_a_cem_killed_before_it_accepted_answers_after_its_restart_and_once(tmp_path: Path) -> None:
    async with live_home(tmp_path) as h, anyio.create_task_group() as tasks:
        answers: list[object] = []
        h.run.clock_file.set_speed(STILL)
        h.freeze(CEM)

        async def ask() -> None:
            answers.append(await h.limit(LIMIT_W))

        tasks.start_soon(ask)
        await h.beyond.until(lambda _: h.said("set_limit", limit_w=LIMIT_W))
        assert not h.said("limit_accepted", limit_w=LIMIT_W)
        await h.kill(CEM)
        await h.start(CEM)
        accepted = await h.beyond.until(lambda _: h.said("limit_accepted", limit_w=LIMIT_W))
        [asked] = {e["talk"] for e in h.said("set_limit", limit_w=LIMIT_W)}
        assert accepted[0]["talk"] == asked
        await h.holds(lambda: answers, SOON_WALL_S)
        assert isinstance(answers[0], LimitAccepted), "the guard that waited has its answer"
        h.run.clock_file.set_speed(CALM)
        await h.holds(lambda: under(h), SOON_WALL_S)
        answers_agree(h)


async def test_a_cem_killed_after_it_accepted_holds_the_limit_before_it_hears_anything(tmp_path: Path) -> None:
    async with live_home(tmp_path) as h:
        h.beats = False
        h.beat()
        assert isinstance(await h.limit(LIMIT_W), LimitAccepted)
        await h.kill(CEM)
        before = len(h.states())
        h.hardware["car"].put({"current_limit_a": FREE_A})  # the station lost it too
        await h.start(CEM)
        await h.beyond.until(lambda _: len(h.states()) > before)
        await in_force_after_restart(h)
        assert len({e["talk"] for e in h.said("limit_accepted", limit_w=LIMIT_W)}) == 1
        answers_agree(h)


async def test_a_cem_killed_while_it_tells_its_devices_brings_them_down_after_its_restart(tmp_path: Path) -> None:
    async with live_home(tmp_path) as h:
        told = len(h.words.of("set_power"))
        h.hardware["car"].faults.delay_s = 0.3  # the write takes its time
        assert isinstance(await h.limit(LIMIT_W), LimitAccepted)
        await h.words.until(lambda w: len(w.of("set_power")) > told)
        await h.kill(CEM)
        h.hardware["car"].faults.delay_s = 0.0
        await h.start(CEM)
        await in_force_after_restart(h)
        answers_agree(h)


@pytest.mark.parametrize("written", [False, True], ids=["before-the-write", "after-the-write"])
async def test_a_device_agent_killed_in_the_middle_of_a_write_ends_up_under_the_limit(
    tmp_path: Path, written: bool
) -> None:
    async with live_home(tmp_path) as h:
        told = len(h.words.of("set_power"))
        car = h.hardware["car"]
        car.faults.silent = not written
        assert isinstance(await h.limit(LIMIT_W), LimitAccepted)
        await h.words.until(lambda w: len(w.of("set_power")) > told)
        if written:
            await h.holds(lambda: under(h), SOON_WALL_S)
        await h.kill(EVSE)
        if written:
            car.put({"current_limit_a": FREE_A})  # and the station was switched off and on meanwhile
        car.faults.silent = False
        await h.start(EVSE)
        await h.holds(lambda: under(h), SOON_WALL_S)
        assert h.alive(CEM)
        applied = await h.words.until(lambda w: w.of("power_applied"))
        assert max(Counter(e["talk"] for _, e in applied).values()) == 1, "no order was applied twice"


async def test_both_killed_at_once_and_the_limit_still_holds(tmp_path: Path) -> None:
    async with live_home(tmp_path) as h:
        assert isinstance(await h.limit(LIMIT_W), LimitAccepted)
        await h.holds(lambda: under(h), SOON_WALL_S)
        before = len(h.states())
        await h.kill(CEM)
        await h.kill(EVSE)
        h.hardware["car"].put({"current_limit_a": FREE_A})
        await h.start(EVSE, CEM)
        await h.beyond.until(lambda _: len(h.states()) > before)
        await in_force_after_restart(h)


@pytest.mark.parametrize("server", ["hub", "h07"])
async def test_a_server_killed_under_a_limit_costs_nothing_that_was_accepted(tmp_path: Path, server: str) -> None:
    async with live_home(tmp_path) as h:
        assert isinstance(await h.limit(LIMIT_W), LimitAccepted)
        await h.holds(lambda: under(h), SOON_WALL_S)
        await h.run.servers.kill(server)
        assert under(h)
        await h.run.servers.start(server)
        await h.run.servers.linked()
        again = h.run.clock.now()
        answer = await _until_answered(h, 8_000.0)
        assert isinstance(answer, LimitAccepted)
        assert h.run.clock.now() - again <= 60, "a valid limit is there within 60 s of the return"
        states = [s["state"] for s in h.states()[-2:]]
        assert "failsafe" not in states, "so short an outage is no silence"
        await h.holds(lambda: h.limit_a <= (8_000.0 - 900.0) / 690.0 + MARGIN_A and h.limit_a > ROOM_A, SOON_WALL_S)
        answers_agree(h)


async def _until_answered(h: LiveHome, limit_w: float) -> object:
    """A guard states its limit until it has an answer, as ours does."""
    answer: object = None
    with anyio.fail_after(60):
        while not isinstance(answer, LimitAccepted):
            h.beat()
            answer = await h.limit(limit_w)
    return answer


async def test_silence_means_failsafe_in_the_register_and_a_limit_ends_it_within_60_s(tmp_path: Path) -> None:
    """The hub is gone for more than 120 s; the home is alone, and says afterwards what it did meanwhile."""
    async with live_home(tmp_path) as h:
        assert isinstance(await h.failsafe(4_500.0), FailsafeAccepted)
        assert isinstance(await h.limit(10_000.0), LimitAccepted)
        await h.run.servers.kill("hub")
        h.run.clock_file.set_speed(QUICK)
        gone = h.run.clock.now()
        await h.holds(lambda: h.limit_a < 6.0, SOON_WALL_S)  # 4.5 kW less household is below 6 A
        assert h.run.clock.now() - gone > 60, "not before 120 s after the last heartbeat, which was at most 30 s old"
        h.run.clock_file.set_speed(CALM)
        await h.run.servers.start("hub")
        await h.run.servers.linked()
        back = h.run.clock.now()
        assert isinstance(await _until_answered(h, 10_000.0), LimitAccepted)
        assert h.run.clock.now() - back <= 60
        assert isinstance(await h.limit(None, direction="production"), LimitAccepted)
        stated = await h.beyond.until(
            lambda _: (
                [s for s in h.states() if s["state"] == "failsafe"]
                and h.states()[-1]["state"] == "limited"
                and h.states()
            )
        )
        failsafe = next(s for s in stated if s["state"] == "failsafe")
        assert failsafe["reason"]["code"] == "no_heartbeat"
        assert datetime.fromisoformat(failsafe["since"]).timestamp() < back, "written down as it happened, told later"
        h.run.clock_file.set_speed(BRISK)
        await h.holds(lambda: h.limit_a >= 6.0, SOON_WALL_S)
