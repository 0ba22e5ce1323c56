"""Bad input changes nothing, is named, kept and counted; the agent goes on."""

import base64
import random
import tempfile
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bus.ears
from bench.broker import Broker
from bus import address, store
from bus.address import tail, to
from bus.bus import Bus
from bus.clock import SteppedClock, WallClock
from bus.envelope import Envelope, encode, instant
from bus.store import DeadLetter
from contracts.device import DeviceReading
from contracts.kit import Message, vocabulary
from contracts.power_limit import Heartbeat, LimitAccepted, SetLimit, limit_write
from contracts.roles import CEM as CEM_ROLE
from contracts.roles import DSO as DSO_ROLE
from contracts.system import GroupMessage, Hello, NoDeal, Refusal
from tests.bus.agents import CEM, DSO, EVSE, HES, alive, until
from tests.bus.samples import sample

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

REJECTED = ("overflow", "unknown_word", "undecodable", "duplicate", "expired")
WALL = WallClock()


def wrapped(body: Message, *, id: str = "x-1", ttl_s: float = 30.0, talk: str | None = None, now: float | None = None):
    at = WALL.now() if now is None else now
    return encode(Envelope(id=id, at=instant(at), deadline=instant(at + ttl_s), talk=talk, body=body))


async def dead_letters(on: Bus, of: address.Address, number: int = 1) -> list[DeadLetter]:
    """What the DEAD stream keeps of an agent, oldest first; waits until it has so many: nobody is told when it has."""
    with anyio.fail_after(60.0):
        while len(letters := await _letters(on, of)) < number:  # noqa: ASYNC110  streams announce nothing
            await anyio.sleep(0.005)
    return letters


async def _letters(on: Bus, of: address.Address) -> list[DeadLetter]:
    letters, number = [], 1
    while True:
        request = msgspec.json.encode({"seq": number, "next_by_subj": f"dead.{of}"})
        answer = msgspec.json.decode(await on.connection.request(f"$JS.API.STREAM.MSG.GET.{store.DEAD}", request))
        if "error" in answer:
            return letters
        letters.append(msgspec.json.decode(base64.b64decode(answer["message"]["data"]), type=DeadLetter))
        number = answer["message"]["seq"] + 1


def hears_limits(on: Bus) -> None:
    on.heard = []

    async def take(talk, opening):
        on.heard.append(opening)

    on.answer(limit_write, take)
    on.on(Heartbeat, lambda word, heard: on.heard.append(word), of=[DSO_ROLE])


UNLAWFUL = {
    "unknown_word": lambda: ("to.h07.cem.main.grid.dso.north.power_limit.9.set_limit", wrapped(sample(SetLimit))),
    "undecodable": lambda: (to(CEM, DSO, SetLimit), b"\xff\xfe no JSON"),
    "undecodable: wrong type": lambda: (to(CEM, DSO, SetLimit), wrapped(sample(Hello))),
    "undecodable: deep": lambda: (to(CEM, DSO, SetLimit), b'{"id":' + b"[" * 60_000),
    "out_of_turn: answer without a question": lambda: (
        to(CEM, DSO, LimitAccepted),
        wrapped(sample(LimitAccepted), talk="t-9"),
    ),
    "out_of_turn: an opening outside of a talk": lambda: (to(CEM, DSO, SetLimit), wrapped(sample(SetLimit))),
    "wrong_role": lambda: (to(CEM, EVSE, SetLimit), wrapped(sample(SetLimit), talk="t-1")),
    "wrong_role: heartbeat": lambda: (to(CEM, EVSE, Heartbeat), wrapped(Heartbeat(every_s=60.0))),
    "not_heard": lambda: (to(CEM, DSO, DeviceReading), wrapped(sample(DeviceReading))),
}


@pytest.mark.parametrize("name", UNLAWFUL)
async def test_an_unlawful_word_is_refused_with_its_reason_and_kept(streams, name):
    subject, payload = UNLAWFUL[name]()
    code = name.partition(":")[0]
    sender = address.parse(subject).sender
    refusals: list[Refusal] = []
    async with (
        alive(CEM, streams.url, hears_limits) as cem,
        alive(sender, streams.url, lambda b: b.on(Refusal, lambda word, _: refusals.append(word))) as other,
    ):
        other.connection.publish(subject, payload)
        await until(lambda: refusals)
        assert (refusals[0].reason.code, refusals[0].subject) == (code, subject)
        assert cem.counts[code] == 1
        assert cem.heard == []
        letters = await dead_letters(other, CEM)
        assert [(letter.code, letter.subject) for letter in letters] == [(code, subject)]
        assert letters[0].error == refusals[0].reason.text
        other.tell(CEM, Heartbeat(every_s=60.0))
        await until(lambda: cem.heard or cem.counts["wrong_role"] > (code == "wrong_role"))  # it goes on


async def test_the_expired_and_the_repeated_are_dropped_and_counted(streams):
    async with alive(CEM, streams.url, hears_limits) as cem, alive(DSO, streams.url) as dso:
        subject = to(CEM, DSO, Heartbeat)
        dso.connection.publish(subject, wrapped(Heartbeat(every_s=1.0), id="late", now=WALL.now() - 60))
        for _ in range(3):
            dso.connection.publish(subject, wrapped(Heartbeat(every_s=2.0), id="same"))
        dso.connection.publish(subject, wrapped(Heartbeat(every_s=3.0), id="end"))
        await until(lambda: len(cem.heard) == 2)
        assert [word.every_s for word in cem.heard] == [2.0, 3.0]
        assert (cem.counts["expired"], cem.counts["duplicate"]) == (1, 2)
        assert [letter.code for letter in await dead_letters(dso, CEM)] == ["expired"]


async def test_nobody_can_use_up_anothers_ids(streams):
    """Ids can be guessed from the last one heard: what an evse says must not make the operator's word a repetition."""

    def everyone(on: Bus) -> None:
        on.heard = []
        on.on(Heartbeat, lambda word, heard: on.heard.append(heard.sender))

    async with alive(CEM, streams.url, everyone) as cem, alive(DSO, streams.url) as other:
        other.connection.publish(to(CEM, EVSE, Heartbeat), wrapped(Heartbeat(every_s=1.0), id="guessed"))
        other.connection.publish(to(CEM, DSO, Heartbeat), wrapped(Heartbeat(every_s=1.0), id="guessed"))
        await until(lambda: len(cem.heard) == 2)
        assert cem.heard == [EVSE, DSO]
        assert cem.counts["duplicate"] == 0


async def test_a_home_word_does_not_pass_for_one_of_the_grid_nor_the_other_way(streams):
    async with alive(CEM, streams.url, hears_limits) as cem, alive(DSO, streams.url) as other:
        other.connection.publish("home." + to(CEM, DSO, Heartbeat), wrapped(Heartbeat(every_s=1.0)))
        await until(lambda: cem.counts["unknown_word"] == 1)
        assert cem.heard == []


async def test_a_refusal_is_never_refused(streams):
    async with alive(CEM, streams.url) as cem, alive(DSO, streams.url) as dso:
        dso.connection.publish(to(CEM, DSO, Refusal), b"broken")
        dso.tell(CEM, sample(Refusal))
        await until(lambda: cem.counts["arrived"] == 2)
        await until(lambda: cem.counts["undecodable"] and cem.counts["refusals_heard"])
        assert cem.counts["refused"] == dso.counts["arrived"] == 0


@pytest.mark.parametrize("waits", [False, True], ids=["plain", "coroutine"])
async def test_a_listener_that_fails_ends_neither_the_agent_nor_the_other_listener(streams, waits):
    heard: list[float] = []

    def fails(word, _heard):
        raise ExceptionGroup("listener", [ValueError("its own fault")])

    async def fails_later(word, _heard):
        await anyio.lowlevel.checkpoint()
        fails(word, _heard)

    def prepare(on: Bus) -> None:
        on.on(Heartbeat, fails_later if waits else fails)
        on.on(Heartbeat, lambda word, _: heard.append(word.every_s))

    async with alive(CEM, streams.url, prepare) as cem, alive(DSO, streams.url) as dso:
        for n in (1.0, 2.0):
            dso.tell(CEM, Heartbeat(every_s=n))
        await until(lambda: cem.counts["handler_failed"] == 2)
        assert heard == [1.0, 2.0]
        assert [letter.code for letter in await dead_letters(dso, CEM, 2)] == ["handler_failed"] * 2


async def test_a_full_mailbox_refuses_and_the_agent_goes_on(streams, monkeypatch):
    monkeypatch.setattr(bus.ears, "MAILBOX", 50)
    refusals: list[Refusal] = []
    async with (
        alive(CEM, streams.url, hears_limits) as cem,
        alive(DSO, streams.url, lambda b: b.on(Refusal, lambda word, _: refusals.append(word))) as dso,
    ):
        subject = to(CEM, DSO, Heartbeat)
        block = b"".join(
            b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(p), p)
            for p in (wrapped(Heartbeat(every_s=1.0), id=f"n-{n}") for n in range(400))
        )
        dso.connection.client._queue(block)  # one write: they arrive in few pieces
        await until(lambda: cem.counts["arrived"] == 400)
        await until(lambda: len(cem.heard) + cem.counts["overflow"] == 400)  # what arrived last may still be unread
        assert cem.counts["overflow"] > 0
        # What overflows at the sender is counted before anything is read there.
        await until(lambda: refusals and (dso.counts["arrived"] == cem.counts["overflow"] or dso.counts["overflow"]))
        assert {word.reason.code for word in refusals} == {"busy"}
        before = len(cem.heard)
        dso.tell(CEM, Heartbeat(every_s=9.0))
        await until(lambda: len(cem.heard) == before + 1)


async def test_work_without_end_is_bounded(streams, monkeypatch):
    monkeypatch.setattr(bus.ears, "MAILBOX", 20)
    gate = anyio.Event()
    done: list[int] = []

    async def slow(word, _heard):
        await gate.wait()
        done.append(1)

    async with alive(CEM, streams.url, lambda b: b.on(Heartbeat, slow)) as cem, alive(DSO, streams.url) as dso:
        for n in range(40):
            dso.tell(CEM, Heartbeat(every_s=float(n)))
        await until(lambda: cem.counts["arrived"] == 40, show=lambda: (cem.counts, dso.counts))
        await until(lambda: cem.counts["received"] + cem.counts["overflow"] == 40, show=lambda: cem.counts)
        turned_away = cem.counts["busy"]  # also said to what did not fit into the mailbox
        assert turned_away >= 20
        gate.set()
        await until(lambda: len(done) == 40 - turned_away, show=lambda: (len(done), cem.counts))


async def test_one_opening_has_one_answerer():
    agent = Bus(CEM, "nats://127.0.0.1:1", SteppedClock())
    hears_limits(agent)
    with pytest.raises(ValueError, match="already answers SetLimit"):
        hears_limits(agent)


# ---------------------------------------------------------------- fuzz

KINDS = sorted(vocabulary().values(), key=lambda kind: kind.__qualname__)


def _subjects(kind: type[Message]) -> list[str]:
    return [
        to(CEM, DSO, kind),
        to(CEM, EVSE, kind),
        address.say(EVSE, kind, home=True),
        f"group.street.{DSO}.{tail(kind)}",
        f"to.{CEM}.{DSO}.{kind.topic}.{kind.edition}.nonsense",
        f"to.{CEM}.x.y",
    ]


def _flood(seed: int, garbage: list[bytes]) -> list[tuple[str, bytes]]:
    """Some hundred words: garbage, broken and lawful-looking ones, at every kind of subject."""
    dice = random.Random(seed)
    flood = []
    for _ in range(300):
        kind = dice.choice(KINDS)
        ttl = dice.choice((-10.0, 30.0, 1e6))
        talk = dice.choice((None, "t-1", "t-2"))
        payload = wrapped(sample(kind, dice.randrange(5)), id=f"f-{dice.randrange(200)}", ttl_s=ttl, talk=talk)
        damage = dice.random()
        if damage < 0.2:
            payload = dice.choice(garbage)
        elif damage < 0.5:
            at = dice.randrange(len(payload))
            payload = payload[:at] + bytes([dice.randrange(256)]) + payload[at + dice.randrange(3) :]
        flood.append((dice.choice(_subjects(kind)), payload))
    return flood


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(), garbage=st.lists(st.binary(max_size=60), min_size=3, max_size=10))
def test_any_flood_is_accounted_for_and_leaves_the_agent_hearing(seed, garbage):
    anyio.run(_survives, _flood(seed, garbage), backend_options={"use_uvloop": True})


async def _survives(flood: list[tuple[str, bytes]]) -> None:
    def everything(on: Bus) -> None:
        on.heard = 0

        def count(word, _heard):
            on.heard += 1

        async def answer(talk, opening):
            on.heard += 1

        for number, kind in enumerate(KINDS):
            if number % 3 and kind is not NoDeal:  # what it says counts twice here: as heard, and from its stream
                on.on(kind, count, of=[DSO_ROLE, CEM_ROLE] if number % 2 else [])
            on.listen(kind, site="h07", role="evse", home=True)
        on.answer(limit_write, answer)
        on.join(["street"])

    with tempfile.TemporaryDirectory() as folder:
        broker = Broker(Path(folder))
        broker.start()
        try:
            await broker.provision(CEM, HES)
            async with alive(CEM, broker.url, everything) as cem, alive(HES, broker.url) as other:
                for subject, payload in flood:
                    other.connection.publish(subject, payload)
                await until(lambda: cem.counts["arrived"] >= len(flood))
                counts = cem.counts

                def accounted() -> int:
                    return counts["received"] + sum(counts[code] for code in REJECTED)

                await until(lambda: accounted() >= len(flood), show=lambda: counts)  # what arrived last may be unread
                assert counts["arrived"] == accounted() == len(flood)
                assert counts["handler_failed"] == 0
                before = cem.counts["arrived"]
                other.connection.publish(to(CEM, DSO, Heartbeat), wrapped(Heartbeat(every_s=5.0), id="last"))
                await until(lambda: cem.counts["arrived"] > before)
        finally:
            broker.stop()


async def test_a_group_word_reaches_its_members(streams):
    heard: list[str | None] = []

    def member(on: Bus) -> None:
        on.join(["street"])
        on.on(GroupMessage, lambda word, h: heard.append(h.group), of=[DSO_ROLE])

    async with alive(CEM, streams.url, member), alive(DSO, streams.url) as dso:
        await dso.tell_group("street", GroupMessage(kind="notice", text="tonight"))
        await until(lambda: heard == ["street"])


async def test_only_what_is_listened_to_is_heard(streams):
    """One subscription per interest: readings of other sites and roles do not even arrive."""
    heard: list[address.Address] = []

    def prepare(on: Bus) -> None:
        on.listen(DeviceReading, site="h07", role="evse", home=True)
        on.on(DeviceReading, lambda word, h: heard.append(h.sender))

    async with alive(CEM, streams.url, prepare) as cem, alive(EVSE, streams.url) as evse:
        reading = wrapped(sample(DeviceReading))
        for speaker in ("h07.pv.1", "h08.evse.1", "h07.evse.1"):
            evse.connection.publish(address.say(address.Address.parse(speaker), DeviceReading, home=True), reading)
        await until(lambda: heard)
        assert heard == [EVSE]
        assert cem.counts["arrived"] == 1


async def test_stored_words_that_cannot_be_read_never_come_again(streams):
    """Several with one id: who may write into a mailbox could otherwise keep reader and stream busy for ever."""
    poison = wrapped(sample(SetLimit), talk="t-1").replace(b'"body":{', b'"body":17,"was":{')
    subject, unknown = to(CEM, DSO, SetLimit), to(CEM, DSO, SetLimit).replace(".1.set_limit", ".1.no_such_word")
    async with alive(CEM, streams.url, hears_limits) as cem, alive(DSO, streams.url) as dso:
        for number in range(5):
            dso.connection.publish(subject if number else unknown, poison)
        await until(lambda: cem.counts["undecodable"] >= 4)

        async def left() -> int:
            asked = f"$JS.API.CONSUMER.INFO.{store.TALKS}.{store.consumer_name(CEM)}"
            info = msgspec.json.decode(await dso.connection.request(asked, b""))
            return info["num_pending"] + info["num_ack_pending"]

        with anyio.fail_after(60):
            while True:
                await cem.catch_up()
                await cem.connection.barrier()
                if await left() == 0:
                    break
                await anyio.sleep(0.05)
        before = cem.counts["undecodable"]
        await cem.catch_up()
        assert cem.counts["undecodable"] == before <= 10, "once as it was heard, once as it was read"
