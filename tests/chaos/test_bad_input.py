"""Lawful but hostile peers, and hardware that lies: nothing dies, nothing changes, the cause is kept."""

import base64
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from bus import store
from bus.address import Address, to
from bus.bus import Bus
from bus.envelope import Envelope, encode, instant
from bus.transport import Connection
from contracts.device import PowerApplied, SetPower
from contracts.device_form import Value
from contracts.kit import Lapsed, Message
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.home import Products, products
from tests.support.live_home import CAR, MAINS, live_home

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]
DSO, HES, CEM, EVSE, METER, GATEWAY = (
    "grid.dso.north",
    "grid.hes.main",
    "h07.cem.main",
    "h07.evse.1",
    "h07.meter.main",
    "h07.gateway.main",
)
EVERYBODY = (DSO, HES, CEM, EVSE, METER, GATEWAY)
WHY = Reason(code="test", text="a test")
GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "bytes": b"\xff\xfe\x00\x01garbage\r\nPUB x 1\r\n",
    "half": b'{"v":1,"id":"x"',
    "list": b"[]",
    "text": b'"limit"',
    "deep": b"[" * 20_000,
    "no body": b'{"v":1,"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z"}',
    "wrong body": b'{"v":1,"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","body":17}',
    "wrong edition": b'{"v":9,"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","body":{}}',
    "no id": b'{"v":1,"id":"","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","body":{}}',
    "wrong time": b'{"v":1,"id":"x","at":"yesterday","deadline":"2099-01-01T00:00:00Z","body":{}}',
    "wrong trace": b'{"id":"x","at":"2016-05-20T08:00:00Z","deadline":"2099-01-01T00:00:00Z","trace":"z","body":{}}',
}
POWER: dict[str, Value] = {"power_w": 11_500.0, **{f"power_l{n}_w": 11_500.0 / 3 for n in (1, 2, 3)}}
AMPS: dict[str, Value] = {f"current_l{n}_a": 16.7 for n in (1, 2, 3)}


@asynccontextmanager
async def street(*voices: str) -> AsyncIterator[tuple[Grid, dict[str, Bus], Words, Products]]:
    """Every agent is the real one, except ``voices``: the test speaks with their credentials only."""
    async with (
        products(car=("abb_terra_ac", 10, CAR), meter=("eastron_sdm630", 1, {**MAINS, **POWER, **AMPS})) as hardware,
        grid(*EVERYBODY, speed=2.0) as run,
    ):
        words = await run.words("h07", "dead.h07.>", "home.say.h07.>", "home.to.h07.>")
        settings: dict[str, dict[str, Any]] = {
            CEM: {"contract_consumption_w": 14_500.0, "fuse_a": 63.0, "failsafe_consumption_w": 20_000.0},
            METER: hardware.line("meter"),
            EVSE: {**hardware.line("car"), "rating_w": 11_000.0},
        }
        running = {name: await run.start(name, settings.get(name)) for name in EVERYBODY if name not in voices}
        await words.until(lambda w: w.of("welcome") and w.of("gcp_reading") and w.of("device_reading"))
        yield run, running, words, hardware


async def credential(run: Grid, name: str) -> Connection:
    """A second connection with an agent's own key: what whoever broke into it could do."""
    who = Address.parse(name)
    server = run.servers.topology.server_of(who)
    connection = run.servers.connection(server, name, f"{who.inbox}.hostile")
    await connection.open()
    run.closing(connection)
    return connection


async def letters(run: Grid, server: str, receiver: str) -> list[store.DeadLetter]:
    """All dead letters of a receiver as its server's stream keeps them."""
    probe = await credential(run, f"{'grid' if server == 'hub' else server}.ops.probe")
    found: list[store.DeadLetter] = []
    info = msgspec.json.decode(await probe.request(f"$JS.API.STREAM.INFO.{store.DEAD}", b""))
    for number in range(info["state"]["first_seq"], info["state"]["last_seq"] + 1):
        asked = msgspec.json.encode({"seq": number})
        answer = msgspec.json.decode(await probe.request(f"$JS.API.STREAM.MSG.GET.{store.DEAD}", asked))
        letter = msgspec.json.decode(base64.b64decode(answer["message"]["data"]), type=store.DeadLetter)
        if letter.receiver == receiver:
            found.append(letter)
    return found


async def test_garbage_in_every_mailbox_from_everybody_who_may_write_there() -> None:
    async with street() as (run, running, words, hardware):
        permissions = run.servers.permissions
        before = hardware["car"].get("current_limit_a")
        sent: dict[str, Counter[str]] = {name: Counter() for name in EVERYBODY}
        for sender in map(Address.parse, EVERYBODY):
            hostile = await credential(run, str(sender))
            for receiver in map(Address.parse, EVERYBODY):
                kinds = sorted(permissions.may_address(sender, receiver), key=lambda kind: kind.__name__)
                for kind in kinds:
                    subject = to(receiver, sender, kind)
                    for payload in GARBAGE.values():
                        hostile.publish(subject, payload)
                        sent[str(receiver)][subject] += 1
            await hostile.barrier()
            assert hostile.refused == []
        assert all(sum(counts.values()) for name, counts in sent.items()), "everybody was written to"
        for server, names in (("hub", (DSO, HES)), ("h07", (CEM, EVSE, METER, GATEWAY))):
            for name in names:
                await all_kept(run, server, name, sent[name])
        assert {name: bus.counts["handler_failed"] for name, bus in running.items()} == dict.fromkeys(running, 0)
        assert hardware["car"].get("current_limit_a") == before
        await still_works(run, words, hardware)


async def all_kept(run: Grid, server: str, name: str, sent: Counter[str]) -> None:
    """Each word is among the dead letters, with where it came from. A durable one also as it was read from its stream:
    what has no id cannot be told from its copy."""
    kept: Counter[str] = Counter()
    with anyio.fail_after(60):
        while any(kept[subject] < count for subject, count in sent.items()):
            kept = Counter(letter.subject for letter in await letters(run, server, name))
            await anyio.sleep(0.1)
    assert set(kept) == set(sent)


async def still_works(run: Grid, words: Words, hardware: Products) -> None:
    """A limit of the real guard's credential still goes down to the register."""
    answer = await write_limit(run, 7_000.0)
    assert isinstance(answer, LimitAccepted)
    await eventually(lambda: float(str(hardware["car"].get("current_limit_a"))) < 15.9)


async def write_limit(run: Grid, limit_w: float, talk: str = "") -> LimitAccepted | LimitRefused | Lapsed:
    """As a voice with the control room's key; the real control room is not disturbed by it."""
    who, guarded = Address.parse(DSO), Address.parse(CEM)
    bus = run.servers.bus(who, run.clock)
    bus.on(Heartbeat, lambda _m, _h: None)
    await bus.open()
    run.closing(bus.connection)
    await bus.run(run._tasks)
    bus.tell(guarded, Heartbeat(every_s=60.0))
    async with bus.talk(limit_write, guarded) as side:
        await side.say(SetLimit(direction="consumption", active=True, limit_w=limit_w, reason=WHY))
        return await side.hear(LimitAccepted, LimitRefused, Lapsed)


def word(run: Grid, body: Message, id: str, talk: str | None) -> bytes:
    now = run.clock.now()
    return encode(Envelope(id=id, at=instant(now), deadline=instant(now + 300), talk=talk, body=body))


async def test_answers_to_questions_that_nobody_asked_change_nothing() -> None:
    async with street(DSO) as (run, running, words, hardware):
        station = await credential(run, EVSE)
        cem = Address.parse(CEM)
        said = word(run, PowerApplied(lower_w=None, upper_w=0.0, setpoint_w=None), "a-1", "no-such-talk")
        station.publish(to(cem, Address.parse(EVSE), PowerApplied), said)
        manager = await credential(run, CEM)
        order = SetPower(upper_w=0.0, reason=WHY)
        manager.publish(to(Address.parse(EVSE), cem, SetPower), word(run, order, "a-2", None))
        await eventually(lambda: running[CEM].counts["out_of_turn"] and running[EVSE].counts["out_of_turn"])
        assert hardware["car"].get("current_limit_a") == 16.0
        refused = await words.until(lambda w: w.of("refusal"))
        assert {e["body"]["reason"]["code"] for _, e in refused} == {"out_of_turn"}
        [letter] = [each for each in await letters(run, "h07", EVSE) if each.code == "out_of_turn"]
        assert base64.b64decode(letter.data).startswith(b'{"'), "the word itself is kept"


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_limit_that_is_replayed_does_not_come_back(restarted: bool) -> None:
    async with street(DSO) as (run, running, _words, _hardware):
        guard, cem = await credential(run, DSO), Address.parse(CEM)
        subject = to(cem, Address.parse(DSO), SetLimit)
        beyond = await run.words()

        def limit(limit_w: float) -> SetLimit:
            return SetLimit(direction="consumption", active=True, limit_w=limit_w, reason=WHY)

        first, second = (word(run, limit(w), f"r-{w:g}", f"t-{w:g}") for w in (12_000.0, 6_000.0))
        for each in (first, second):
            guard.publish(subject, each)
            seen = len(beyond.of("limit_accepted"))
            await beyond.until(lambda w, seen=seen: len(w.of("limit_accepted")) > seen)

        def bound_w() -> float | None:
            """As the site said last."""
            found: list[float | None] = [e["body"]["consumption_w"] for _, e in beyond.of("limit_state")]
            return found[-1] if found else None

        await beyond.until(lambda _: bound_w() == 6_000.0)
        bus = running[CEM]
        if restarted:
            await run.stop(CEM)
            bus = await run.start(CEM, {"contract_consumption_w": 14_500.0, "fuse_a": 63.0})
        for _ in range(3):
            guard.publish(subject, first)
        await eventually(lambda: bus.counts["duplicate"] >= 3)
        assert len(beyond.of("limit_accepted")) == 2
        assert bound_w() == 6_000.0


async def test_values_beyond_reason_are_refused_with_the_reason() -> None:
    async with street(DSO) as (run, _running, _words, hardware):
        for limit_w, code in ((-5_000.0, "wrong_sign"), (1e9, "absurd"), (10.0, "below_minimum")):
            answer = await write_limit(run, limit_w)
            if isinstance(answer, LimitRefused):
                assert answer.reason.code == code
            else:
                assert isinstance(answer, Lapsed), "what cannot even be decoded is refused by the bus"
                assert [each for each in await letters(run, "h07", CEM) if each.code == "undecodable"]
        assert hardware["car"].get("current_limit_a") == 16.0


async def test_hardware_that_lies_while_a_limit_holds_is_named_and_the_limit_still_holds_after_it(
    tmp_path: Path,
) -> None:
    async with live_home(tmp_path) as h:
        car = h.hardware["car"]
        assert isinstance(await h.limit(7_000.0), LimitAccepted)
        room = (7_000.0 - 900.0) / 690.0 + 0.05
        await h.holds(lambda: h.limit_a <= room)
        for fault in ({"garbage": b"\xff" * 40}, {"silent": True}, {"moved": 7}):
            since = datetime.fromtimestamp(h.run.clock.now()).timestamp()
            for name, value in fault.items():
                setattr(car.faults, name, value)

            def told(state: str, since: float = since) -> list[dict[str, Any]]:
                return [
                    e["body"]
                    for _, e in h.words.of("device_reading")
                    if datetime.fromisoformat(e["at"]).timestamp() > since
                    and (e["body"]["operating"] == "fault") == (state == "fault")
                ]

            await h.words.until(lambda _, told=told: told("fault"), within_wall_s=90)
            assert h.limit_a <= room
            for name in fault:
                setattr(car.faults, name, type(fault[name])())
            back = h.run.clock.now()
            await h.words.until(lambda _, told=told, back=back: told("running", back), within_wall_s=90)
            await h.holds(lambda: h.limit_a <= room)
        assert all(h.alive(name) for name in (CEM, EVSE, METER))
        causes = {e["body"]["reason"]["code"] for _, e in h.words.of("device_event") if e["body"]["kind"] == "fault"}
        assert causes, "the home was told why"
