"""What must survive does: words for who is away, state, records, last values; over kill -9 of agent and server."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from bench.broker import Broker
from bus.bus import Bus
from bus.clock import WallClock
from bus.listeners import Heard
from bus.outbox import SLOTS
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.metering import NearRealTime
from contracts.power_limit import LimitAccepted, LimitRefused, LimitState, SetLimit, limit_write
from contracts.reasons import Reason
from contracts.system import GroupMessage, Hello
from tests.bus.agents import AGENTS, CEM, DSO, HES, alive, until
from tests.bus.samples import sample

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]


def collects(kind, into: list, *, waits: bool = False):
    async def later(word, heard: Heard) -> None:
        into.append(word)

    return lambda on: on.on(kind, later if waits else lambda word, heard: into.append(word))


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "coroutine"])
async def test_a_durable_word_to_who_is_away_is_read_on_return_and_once(streams, waits):
    heard: list[LimitAccepted] = []
    async with alive(DSO, streams.url) as dso:
        for seed in range(5):
            await dso.tell_durably(CEM, sample(LimitAccepted, seed))
        for _ in range(3):
            async with alive(CEM, streams.url, collects(LimitAccepted, heard, waits=waits)):
                await until(lambda: len(heard) >= 5)
    assert heard == [sample(LimitAccepted, seed) for seed in range(5)]


async def test_a_word_heard_live_is_not_heard_again_from_its_stream(streams):
    heard: list[LimitAccepted] = []
    async with alive(DSO, streams.url) as dso, alive(CEM, streams.url, collects(LimitAccepted, heard)) as cem:
        for seed in range(200):
            await dso.tell_durably(CEM, sample(LimitAccepted, seed))
        await until(lambda: len(heard) == 200)
        for _ in range(3):
            await cem.catch_up()
        assert len(heard) == 200
    async with alive(CEM, streams.url, collects(LimitAccepted, heard)) as cem:
        await cem.catch_up()
        assert cem.counts["arrived"] == 0  # acknowledged: the stream does not even bring them


async def test_a_word_whose_live_copy_was_lost_comes_by_itself(streams, monkeypatch):
    """The link to the stream was down, our own connection was not: no reconnect says that words are missing."""
    monkeypatch.setattr("bus.backlog.SWEEP_WALL_S", 0.1)
    heard: list[LimitAccepted] = []
    async with alive(DSO, streams.url) as dso, alive(CEM, streams.url, collects(LimitAccepted, heard)) as cem:
        for sid in [sid for sid in cem.connection.client.direct if sid <= 2]:
            await cem.connection.client._send_unsubscribe(sid)
        await cem.connection.barrier()
        await dso.tell_durably(CEM, sample(LimitAccepted))
        await until(lambda: heard)


VICTIM = """
import sys, anyio, contracts.all
from pathlib import Path
from bus.address import Address
from bus.bus import Bus
from bus.clock import WallClock
from contracts.power_limit import LimitRefused, limit_write
from tests.bus.samples import sample

url, log, stop_at = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])

async def answer(talk, opening):
    with log.open("a") as file:
        file.write(f"begin {opening.limit_w}\\n")
    if opening.limit_w == stop_at:
        print("here", flush=True)
        await anyio.sleep_forever()
    await talk.say(sample(LimitRefused))
    with log.open("a") as file:
        file.write(f"end {opening.limit_w}\\n")

async def main():
    bus = Bus(Address.parse("h07.cem.main"), url, WallClock())
    bus.answer(limit_write, answer)
    await bus.open()
    async with anyio.create_task_group() as group:
        await bus.run(group)
        print("ready", flush=True)

anyio.run(main, backend_options={"use_uvloop": True})
"""


def _victim(url: str, log: Path, stop_at: int) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": here}
    command = [sys.executable, "-c", VICTIM, url, str(log), str(stop_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=here)


async def test_killed_in_the_middle_of_an_answer_it_answers_that_one_again_and_no_other(streams, tmp_path):
    log = tmp_path / "log"
    log.touch()
    limits = [SetLimit(direction="consumption", active=True, limit_w=float(n), reason=_reason()) for n in range(4)]
    async with alive(DSO, streams.url) as dso:
        victim = _victim(streams.url, log, stop_at=3)
        try:
            assert await anyio.to_thread.run_sync(victim.stdout.readline) == "ready\n"
            for limit in limits[:3]:
                async with dso.talk(limit_write, CEM) as talk:
                    await talk.say(limit)
                    assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitRefused)
            kept = State(dso.connection, CEM)
            with anyio.fail_after(60):  # until it has written down that it dealt with them, which follows the answer
                while len(await kept.get("handled", list[str]) or []) < 3:  # noqa: ASYNC110  stores announce nothing
                    await anyio.sleep(0.02)
            async with dso.talk(limit_write, CEM) as talk:
                await talk.say(limits[3])
                assert await anyio.to_thread.run_sync(victim.stdout.readline) == "here\n"
                victim.send_signal(signal.SIGKILL)
                victim.wait()
                victim.stdout.close()
                victim = _victim(streams.url, log, stop_at=-1)
                assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitRefused)
            await until(lambda: "end 3.0" in log.read_text())
        finally:
            victim.kill()
            victim.wait()
            victim.stdout.close()
    begun = [line for line in log.read_text().splitlines() if line.startswith("begin")]
    assert begun == ["begin 0.0", "begin 1.0", "begin 2.0", "begin 3.0", "begin 3.0"]


def _reason() -> Reason:

    return Reason(code="test", text="a test")


async def test_acknowledged_words_are_there_after_the_server_was_killed(streams):
    heard: list[LimitAccepted] = []
    stored = 0
    async with alive(DSO, streams.url) as dso, alive(CEM, streams.url, collects(LimitAccepted, heard)):

        async def speak() -> None:
            nonlocal stored
            for seed in range(300):
                await dso.tell_durably(CEM, sample(LimitAccepted, seed))
                stored += 1

        async with anyio.create_task_group() as group:
            group.start_soon(speak)
            await until(lambda: stored > 50)
            streams.kill()
            streams.start()
        await until(lambda: len(heard) >= 300)
    assert sorted(map(repr, heard)) == sorted(repr(sample(LimitAccepted, seed)) for seed in range(300))


async def test_state_survives_the_agent_and_the_server(streams):
    async with alive(CEM, streams.url) as cem:
        await cem.state.put("limit", sample(LimitState))
        await cem.state.put("number", 7)
        await cem.state.put("gone", 1)
        await cem.state.delete("gone")
        assert await cem.state.get("never", int) is None
    streams.kill()
    streams.start()
    async with alive(CEM, streams.url) as cem, alive(DSO, streams.url) as dso:
        assert await cem.state.get("limit", LimitState) == sample(LimitState)
        assert await cem.state.get("number", int) == 7
        assert await cem.state.get("gone", int) is None
        assert await cem.state.get("number", Hello) is None  # unreadable: starts anew
        assert await dso.state.get("number", int) is None  # another agent's is another's


async def test_without_a_stream_nothing_counts_as_stored(broker: Broker):
    connection = Bus(CEM, broker.url, WallClock()).connection
    await connection.open()
    try:
        state = State(connection, CEM)
        with pytest.raises(NotStored):
            await state.put("x", 1)
        with pytest.raises(NotStored):
            await state.get("x", int)
        with pytest.raises(NotStored):
            await state.delete("x")
    finally:
        await connection.close()


async def test_records_wait_for_a_stream_that_is_away_in_order_and_over_a_restart(streams):
    heard: list[NearRealTime] = []
    words = [sample(NearRealTime, seed) for seed in range(30)]
    async with alive(CEM, streams.url) as cem:
        await _delete_stream(cem, "RECORDS")
        for word in words[:20]:
            await cem.record(word)
        assert cem.outbox.waiting == 20
    async with alive(CEM, streams.url) as cem:
        for word in words[20:]:
            await cem.record(word)
        assert cem.outbox.waiting == 30
        await streams.provision(*AGENTS)
        await until(lambda: cem.outbox.waiting == 0)

    def prepare(on: Bus) -> None:
        on.listen(NearRealTime, home=False)
        collects(NearRealTime, heard)(on)

    async with alive(HES, streams.url, prepare):
        await until(lambda: len(heard) >= 30)
    assert heard == words


async def _delete_stream(on: Bus, name: str) -> None:
    assert b"error" not in await on.connection.request(f"$JS.API.STREAM.DELETE.{name}", b"")


async def test_a_long_outage_fits_the_outbox_and_a_longer_one_says_so(streams):
    """More than one message could hold; beyond the last slot the caller is told."""
    async with alive(CEM, streams.url) as cem:
        await _delete_stream(cem, "RECORDS")
        word = NearRealTime
        for seed in range(300):
            await cem.record(sample(word, seed))
        cem.outbox._waiting = dict.fromkeys(range(SLOTS), ("i", "s", "p"))
        with pytest.raises(NotStored, match="wait for the link"):
            await cem.record(sample(word))
    async with alive(CEM, streams.url) as cem:
        assert cem.outbox.waiting == 300


async def test_who_joins_late_gets_the_last_value_unless_it_has_expired(streams):
    async with alive(CEM, streams.url) as cem, alive(HES, streams.url) as hes:
        assert await hes.last(Hello, CEM, home=False) is None
        for seed in range(3):
            cem.say(sample(Hello, seed), home=False)
        await cem.record(sample(LimitState))
        await cem.connection.barrier()
        await until(lambda: cem.outbox.waiting == 0)
        last = None
        with anyio.fail_after(60):
            while last != sample(Hello, 2):
                last = await hes.last(Hello, CEM, home=False)
        assert await hes.last(LimitState, CEM, home=False) == sample(LimitState)
        cem.say(sample(Hello, 4), home=False, ttl_s=-1.0)
        await cem.connection.barrier()
        with anyio.fail_after(60):
            while await hes.last(Hello, CEM, home=False) is not None:
                await cem.connection.barrier()


async def test_a_member_of_a_group_that_was_away_hears_it_on_return(streams):
    heard: list[GroupMessage] = []

    def member(on: Bus) -> None:
        on.join(["street"])
        collects(GroupMessage, heard)(on)

    async with alive(DSO, streams.url) as dso:
        await dso.tell_group("street", GroupMessage(kind="notice", text="tonight"))
    for _ in range(2):
        async with alive(CEM, streams.url, member):
            await until(lambda: heard)
    assert [word.text for word in heard] == ["tonight"]


async def test_a_skill_that_fails_to_rejoin_does_not_end_the_agent(streams):
    done: list[int] = []

    async def fails() -> None:
        raise NotStored("x", "y")

    async def works() -> None:
        done.append(1)

    def prepare(on: Bus) -> None:
        on.on_rejoin(fails)
        on.on_rejoin(works)

    async with alive(CEM, streams.url, prepare) as cem:
        streams.kill()
        streams.start()
        await until(lambda: done)
        assert cem.counts["handler_failed"] == 1


async def test_words_dealt_with_at_once_are_written_down_at_once(streams):
    """A thousand answers in parallel must not be a thousand writes one after the other."""
    ended: list[Talk] = []

    async def answer(talk: Talk, opening: SetLimit) -> None:
        ended.append(talk)
        await talk.say(sample(LimitRefused))

    async with (
        alive(DSO, streams.url) as dso,
        alive(CEM, streams.url, lambda on: on.answer(limit_write, answer)) as cem,
    ):

        async def ask() -> None:
            async with dso.talk(limit_write, CEM) as talk:
                await talk.say(sample(SetLimit))
                assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitRefused)

        async with anyio.create_task_group() as group:
            for _ in range(200):
                group.start_soon(ask)
        await until(lambda: cem._handled._stored == 200)
        assert len(ended) == 200
