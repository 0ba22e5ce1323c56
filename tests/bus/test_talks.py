"""Every table, both sides against each other and against partners that say anything lawful and much that is not."""

import random
from typing import Any

import anyio
import pytest

from bus.address import Address, to
from bus.bus import Bus
from bus.clock import SteppedClock
from bus.talk import Deaf, OutOfTurn, Talk
from contracts.all import conversations
from contracts.kit import END, Conversation, Lapsed, Message, Turn
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.system import Refusal
from tests.bus.agents import alive, until
from tests.bus.samples import sample
from tests.bus.test_ears import wrapped

pytestmark = pytest.mark.anyio
TABLES = list(conversations().values())
PATHS = [(table, path) for table in TABLES for path in table.paths()]


def _sides(table: Conversation) -> tuple[Address, Address]:
    return Address("grid", table.opened_by[0].name, "north"), Address("h07", table.answered_by[0].name, "main")


def _name(value: Any) -> str:
    if isinstance(value, Conversation):
        return value.name
    return "+".join(turn.says.__name__ for turn in value) if isinstance(value, tuple) else str(value)


class Wire:
    """Carries a talk's words to the other side's ears, without a bus."""

    def __init__(self) -> None:
        self.other: Talk | None = None
        self.said: list[Message] = []

    async def send(self, message: Message, last: bool) -> None:
        self.said.append(message)
        if self.other is not None:
            self.other.deliver(message)


def _pair(table: Conversation, clock: SteppedClock) -> tuple[Talk, Talk]:
    wires = Wire(), Wire()
    opener = Talk(table, table.opener, "t", wires[0], clock)
    answerer = Talk(table, table.answerer, "t", wires[1], clock)
    wires[0].other, wires[1].other = answerer, opener
    return opener, answerer


async def _play(talk: Talk, path: tuple[Turn, ...], seed: int, heard_opening: bool = False) -> None:
    for number, turn in enumerate(path):
        if turn.speaker == talk.side:
            await talk.say(sample(turn.says, seed))
        elif not (heard_opening and number == 0):
            kinds = {t.says for t in talk.table.turns_in(talk.state)}
            lapse = {Lapsed} if talk.table.lapse_in(talk.state) else set()
            assert type(await talk.hear(*kinds, *lapse)) is turn.says


@pytest.mark.parametrize(("table", "path"), PATHS, ids=_name)
async def test_every_path_of_every_table_leads_both_sides_to_its_end_on_a_real_server(streams, table, path):
    opener, answerer = _sides(table)
    ended: list[Talk] = []

    async def answer(talk: Talk, opening: Message) -> None:
        assert opening == sample(path[0].says, 3)
        await _play(talk, path, 3, heard_opening=True)
        ended.append(talk)

    async with alive(opener, streams.url) as one, alive(answerer, streams.url, lambda b: b.answer(table, answer)):
        async with one.talk(table, answerer) as talk:
            await _play(talk, path, 3)
        await until(lambda: ended)
    assert talk.state == ended[0].state == END
    assert talk.transcript == ended[0].transcript
    assert len(talk.transcript) == len(path)
    assert talk.id == ended[0].id


@pytest.mark.parametrize("table", TABLES, ids=_name)
@pytest.mark.parametrize("seed", range(6))
async def test_a_side_survives_any_lawful_partner(table, seed):
    """The partner chooses at random what it says and whether it falls silent; the table decides where that leads."""
    dice, clock = random.Random(seed), SteppedClock()
    pair = _pair(table, clock)

    async def side(talk: Talk) -> None:
        while talk.state != END:
            turns = table.turns_in(talk.state)
            if turns[0].speaker == talk.side:
                if talk.state != table.start and dice.random() < 0.25:
                    return  # silent for ever
                await talk.say(sample(dice.choice(turns).says, seed))
            else:
                lapse = {Lapsed} if table.lapse_in(talk.state) else set()
                before, word = talk.state, await talk.hear(*{t.says for t in turns}, *lapse)
                lapse_to = table.lapse_in(before)
                if isinstance(word, Lapsed):
                    assert lapse_to is not None
                    assert (word.state, talk.state) == (before, lapse_to.then)

    async with anyio.create_task_group() as group:
        opener, answerer = pair
        await opener.say(sample(table.opening, seed))
        answerer.hear_opening()
        for talk in pair:
            group.start_soon(side, talk)
        longest = max((lapse.after for lapse in table.lapses), default=0.0)
        for _ in range(10):
            await clock.advance(longest + 1.0)
    assert END in {talk.state for talk in pair}


@pytest.mark.parametrize("table", TABLES, ids=_name)
async def test_out_of_turn_nothing_can_be_said_or_brought_in(table):
    clock = SteppedClock()
    words = sorted({turn.says for turn in table.turns}, key=lambda kind: kind.__name__)
    states = [*sorted({turn.state for turn in table.turns}), END]
    for side in (table.opener, table.answerer):
        for state in states:
            for kind in words:
                wire = Wire()
                talk = Talk(table, side, "t", wire, clock)
                talk.state = state
                mine = [t for t in table.turns_in(state) if t.says is kind and t.speaker == side]
                theirs = [t for t in table.turns_in(state) if t.says is kind and t.speaker != side]
                if not mine:
                    with pytest.raises(OutOfTurn) as refused:
                        await talk.say(sample(kind))
                    assert kind.__name__ in str(refused.value)
                if not theirs:
                    with pytest.raises(OutOfTurn):
                        talk.deliver(sample(kind))
                if not mine and not theirs:
                    assert (talk.state, talk.transcript, wire.said) == (state, [], [])


@pytest.mark.parametrize("table", TABLES, ids=_name)
async def test_who_is_not_ready_for_all_that_may_come_is_told(table):
    opener, _ = _pair(table, SteppedClock())
    await opener.say(sample(table.opening))
    with pytest.raises(Deaf, match=table.name):
        await opener.hear(table.turns_in(opener.state)[0].says)


async def test_a_word_that_could_not_be_sent_was_not_said():
    class Broken(Wire):
        async def send(self, message: Message, last: bool) -> None:
            raise ConnectionError

    talk = Talk(limit_write, limit_write.opener, "t", Broken(), SteppedClock())
    with pytest.raises(ConnectionError):
        await talk.say(sample(SetLimit))
    assert (talk.state, talk.transcript) == (limit_write.start, [])


# ---------------------------------------------------------------- unlawful partners on a real server

DSO, CEM, OTHER = Address("grid", "dso", "north"), Address("h07", "cem", "main"), Address("h08", "cem", "main")


def keeps_refusals(on: Bus) -> None:
    on.refusals = []
    on.on(Refusal, lambda word, _heard: on.refusals.append(word))


async def test_a_stranger_cannot_speak_in_a_talk_and_a_word_counts_once(streams):
    """The stranger knows the talk's id; the partner's answer comes three times, and then another one."""
    opened: list[Talk] = []

    async def answer(talk: Talk, opening: Message) -> None:
        opened.append(talk)
        await anyio.sleep_forever()

    async with (
        alive(DSO, streams.url, keeps_refusals) as dso,
        alive(CEM, streams.url, lambda b: (keeps_refusals(b), b.answer(limit_write, answer))) as cem,
        alive(OTHER, streams.url, keeps_refusals) as other,
    ):
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
            await until(lambda: opened)
            other.connection.publish(to(DSO, OTHER, LimitAccepted), wrapped(sample(LimitAccepted), talk=talk.id))
            await until(lambda: other.refusals)
            assert talk.state == "asked"
            yes = wrapped(sample(LimitAccepted), id="yes", talk=talk.id)
            for _ in range(3):
                cem.connection.publish(to(DSO, CEM, LimitAccepted), yes)
            no = wrapped(sample(LimitRefused), id="no", talk=talk.id)
            cem.connection.publish(to(DSO, CEM, LimitRefused), no)
            await until(lambda: cem.refusals)
            assert type(await talk.hear(LimitAccepted, LimitRefused, Lapsed)) is LimitAccepted
        assert talk.state == END
        assert dso.counts["duplicate"] == 2
        assert [word.of for word in cem.refusals] == ["no"]
        assert {word.reason.code for word in (*cem.refusals, *other.refusals)} == {"out_of_turn"}


async def test_opening_a_talk_twice_opens_it_once(streams):
    opened: list[Talk] = []

    async def answer(talk: Talk, opening: Message) -> None:
        opened.append(talk)
        await talk.say(sample(LimitAccepted))

    async with (
        alive(DSO, streams.url, keeps_refusals) as dso,
        alive(CEM, streams.url, lambda b: b.answer(limit_write, answer)) as cem,
    ):
        words = [wrapped(sample(SetLimit), id=f"open-{n}", talk="t-1") for n in range(2)]
        subject = to(CEM, DSO, SetLimit)
        block = b"".join(b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(word), word) for word in words)
        dso.connection.client._queue(block)
        await until(lambda: dso.refusals and opened)
        assert len(opened) == 1
        assert cem.counts["handler_failed"] == 0
        assert "open-1" in {word.of for word in dso.refusals}


async def test_an_answerer_that_fails_leaves_silence_and_can_be_asked_again(streams):
    asked: list[Talk] = []

    async def answer(talk: Talk, opening: Message) -> None:
        asked.append(talk)
        if len(asked) == 1:
            raise ZeroDivisionError
        await talk.say(sample(LimitRefused))

    async with (
        alive(DSO, streams.url) as dso,
        alive(CEM, streams.url, lambda b: b.answer(limit_write, answer)) as cem,
    ):
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
            await until(lambda: cem.counts["handler_failed"])
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
            assert type(await talk.hear(LimitAccepted, LimitRefused, Lapsed)) is LimitRefused
        await until(lambda: dso._ears.talks == cem._ears.talks == {})
