"""Words that make a deal count once their stream has them, however late; what comes late otherwise is no fault."""

import anyio
import anyio.lowlevel
import pytest

from bus.address import to
from bus.bus import Bus
from bus.clock import WallClock
from bus.envelope import Envelope, encode, instant
from bus.listeners import Heard
from bus.talk import OutOfTurn
from bus.transport import NotStored
from contracts.kit import END, Conversation, Lapse, Lapsed, Message, Turn
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit
from contracts.roles import CEM as CEM_ROLE
from contracts.roles import DSO as DSO_ROLE
from contracts.system import NoDeal
from tests.bus.agents import CEM, DSO, EVSE, alive, until
from tests.bus.samples import sample

pytestmark = pytest.mark.anyio
binding = Conversation(
    "binding",
    opener="one",
    opened_by=(DSO_ROLE,),
    answerer="other",
    answered_by=(CEM_ROLE,),
    turns=[
        Turn("start", "one", SetLimit, "asked"),
        Turn("asked", "other", LimitAccepted, END),
        Turn("asked", "other", LimitRefused, END),
    ],
    lapses=[Lapse("asked", after=0.1)],
    deal=(LimitAccepted,),
)


def settles(into: list[str | None], fails: list[Exception] | None = None):
    async def settle(_word: Message, heard: Heard) -> None:
        if fails:
            raise fails.pop()
        into.append(heard.talk)

    return lambda bus: bus.settle(binding, settle)


def wrapped(word: Message, talk: str, id: str = "w-1", ttl_s: float = 30.0) -> bytes:
    now = WallClock().now()
    return encode(Envelope(id=id, at=instant(now - 60), deadline=instant(now + ttl_s), talk=talk, body=word))


async def test_a_deal_is_settled_before_the_talk_hears_of_it(streams):
    settled: list[str | None] = []
    async with (
        alive(DSO, streams.url, settles(settled)) as dso,
        alive(CEM, streams.url) as cem,
        dso.talk(binding, CEM) as talk,
    ):
        await talk.say(sample(SetLimit))
        await cem.tell_durably(DSO, sample(LimitAccepted), talk=talk.id)
        assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)
        assert settled == [talk.id]


async def test_a_deal_that_comes_after_the_talk_lapsed_or_after_a_restart_and_past_its_deadline_is_settled_once(
    streams,
):
    settled: list[str | None] = []
    async with alive(CEM, streams.url) as cem:
        async with alive(DSO, streams.url, settles(settled)) as dso:
            async with dso.talk(binding, CEM) as talk:
                await talk.say(sample(SetLimit))
                assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), Lapsed)
            await cem.tell_durably(DSO, sample(LimitAccepted), talk=talk.id)
            await until(lambda: settled == [talk.id])
        await cem.connection.request(to(DSO, CEM, LimitAccepted), wrapped(sample(LimitAccepted), "older", ttl_s=-5.0))
        for _ in range(2):
            async with alive(DSO, streams.url, settles(settled)):
                await until(lambda: len(settled) == 2)
    assert settled == [talk.id, "older"]


async def test_what_no_stream_has_is_no_deal(streams):
    settled: list[str | None] = []
    async with alive(DSO, streams.url, settles(settled)) as dso, alive(CEM, streams.url) as cem:
        sealed = cem.seal(DSO, sample(LimitAccepted), talk="t-1")
        await cem.withdraw(sealed.id, DSO, NoDeal(table="binding", talk="t-1"))
        await cem.post(sealed)  # it was under way all the time: heard live, and taken by no stream
        await until(lambda: dso.counts["announced"] == 1)
        assert not await cem.is_stored(sealed.subject, sealed.id)
        await until(lambda: not dso._ears.awaited)
        assert settled == []


async def test_a_word_that_is_there_is_not_withdrawn(streams):
    told: list[str] = []

    def prepare(bus: Bus) -> None:
        bus.settle(binding, lambda _word, _heard: anyio.lowlevel.checkpoint())
        bus.on(NoDeal, lambda word, _heard: told.append(word.talk))

    async with alive(DSO, streams.url, prepare) as dso, alive(CEM, streams.url) as cem:
        sealed = cem.seal(DSO, sample(LimitAccepted), talk="t-1")
        await cem.post(sealed)
        await cem.withdraw(sealed.id, DSO, NoDeal(table="binding", talk="t-1"))
        assert await cem.is_stored(sealed.subject, sealed.id)
        await until(lambda: dso.counts["announced"] == 2 and not dso._ears.awaited)
        assert told == []


async def test_a_deal_that_could_not_be_kept_comes_again(streams, monkeypatch):
    monkeypatch.setattr("bus.backlog.SWEEP_WALL_S", 0.2)
    settled: list[str | None] = []
    fails: list[Exception] = [NotStored("state", "the test says so")]
    async with alive(DSO, streams.url, settles(settled, fails)) as dso, alive(CEM, streams.url) as cem:
        await cem.tell_durably(DSO, sample(LimitAccepted), talk="t-1")
        await until(lambda: settled == ["t-1"], wall_s=40)
        assert dso.counts["unsettled"] == 1


async def test_a_deal_that_was_heard_is_kept_before_an_agent_leaves(streams):
    kept: list[str | None] = []
    heard = anyio.Event()

    def prepare(bus: Bus) -> None:
        async def keep(_word: LimitAccepted, where: Heard) -> None:
            heard.set()
            await anyio.sleep(0.3)  # as long as a busy store takes
            await bus.state.put("deal", "on")
            kept.append(where.talk)

        bus.settle(binding, keep)

    async with alive(DSO, streams.url, prepare) as dso, alive(CEM, streams.url) as cem:
        await cem.tell_durably(DSO, sample(LimitAccepted), talk="t-1")
        await heard.wait()
        assert kept == []
        await dso.close()
        assert kept == ["t-1"]
        assert dso.counts["unsettled"] == 0


async def test_a_deal_of_a_wrong_role_or_that_nothing_stands_for_is_refused(streams):
    settled: list[str | None] = []
    fails: list[Exception] = [OutOfTurn("binding", "other", "LimitAccepted", "unknown", [])]
    async with alive(DSO, streams.url, settles(settled, fails)) as dso, alive(CEM, streams.url) as cem:
        await cem.connection.request(to(DSO, EVSE, LimitAccepted), wrapped(sample(LimitAccepted), "t-1"))
        await until(lambda: dso.counts["wrong_role"] == 1)
        await cem.tell_durably(DSO, sample(LimitAccepted), talk="t-2")
        await until(lambda: dso.counts["out_of_turn"] == 1)
        assert settled == []


async def test_a_late_word_is_late_and_a_word_of_no_talk_is_a_fault(streams):
    async with alive(DSO, streams.url) as dso, alive(CEM, streams.url) as cem:
        async with dso.talk(binding, CEM) as talk:
            await talk.say(sample(SetLimit))
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), Lapsed)
        cem.tell(DSO, sample(LimitRefused), talk=talk.id)
        await until(lambda: dso.counts["late"] == 1)
        cem.tell(DSO, sample(LimitRefused), talk="of nobody")
        await until(lambda: dso.counts["out_of_turn"] == 1)
        assert dso.counts["dead_letters"] == 1
