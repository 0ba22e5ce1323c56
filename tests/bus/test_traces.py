"""A talk is one trace over both agents; what is not sampled leaves no span anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bus import tracing
from bus.address import to
from bus.exporters import BadSetting
from bus.tracing import Mark
from contracts.kit import Lapsed
from contracts.metering import GcpReading
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.bus.agents import CEM, DSO, METER, alive, until
from tests.bus.samples import sample

pytestmark = pytest.mark.anyio

ANSWERER = """
import sys, anyio, contracts.all
from pathlib import Path
from bus import tracing
from bus.address import Address
from bus.bus import Bus
from bus.clock import WallClock
from contracts.power_limit import LimitRefused, limit_write
from tests.bus.samples import sample

async def answer(talk, opening):
    with tracing.span("write register", {"register": 40}):
        await talk.say(sample(LimitRefused))

async def main():
    tracing.start("cem", "h07.cem.main", folder=Path(sys.argv[2]))
    bus = Bus(Address.parse("h07.cem.main"), sys.argv[1], WallClock())
    bus.answer(limit_write, answer)
    await bus.open()
    async with anyio.create_task_group() as group:
        await bus.run(group)
        print("ready", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        group.cancel_scope.cancel()
    await bus.close()
    tracing.stop()

anyio.run(main, backend_options={"use_uvloop": True})
"""


@pytest.fixture
def traced(tmp_path):
    yield tmp_path
    tracing.stop()


def _spans(folder: Path) -> list[dict]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


async def _one_talk(dso) -> str:
    async with dso.talk(limit_write, CEM) as talk:
        await talk.say(sample(SetLimit))
        assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitRefused)
    return talk.id


def _answerer(url: str, folder: Path) -> "subprocess.Popen[str]":
    here = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", ANSWERER, url, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=here,
        env=os.environ | {"PYTHONPATH": here},
    )


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled", "not sampled"])
async def test_a_talk_of_two_processes_is_one_trace_or_none(streams, traced, sampled):
    tracing.start("dso", "grid.dso.north", folder=traced, ratio=1.0 if sampled else 0.0)
    answerer = _answerer(streams.url, traced)
    try:
        assert answerer.stdout.readline() == "ready\n"
        async with alive(DSO, streams.url) as dso:
            talk = await _one_talk(dso)
    finally:
        answerer.communicate("stop\n", timeout=60)
    tracing.stop()
    spans = _spans(traced)
    if not sampled:
        assert spans == []  # the answering process would sample by itself: it was told not to
        return
    by_name = {span["name"]: span for span in spans}
    assert set(by_name) == {
        "limit_write energy_guard",
        "say SetLimit",
        "limit_write controllable_system",
        "write register",
        "say LimitRefused",
    }
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    guard, system = by_name["limit_write energy_guard"], by_name["limit_write controllable_system"]
    line = [by_name["say LimitRefused"], by_name["write register"], system, by_name["say SetLimit"], guard]
    assert [span["parent_id"] for span in line] == [span["context"]["span_id"] for span in line[1:]] + [None]
    for span, role in ((guard, "dso"), (system, "cem")):
        assert span["attributes"]["messaging.message.conversation_id"] == talk
        assert span["attributes"]["gridparley.state"] == "end"
        assert span["attributes"]["gridparley.use_cases"] == "limits.lpc,limits.profile"
        assert span["resource"]["attributes"]["service.name"] == role
    (heard,) = guard["events"]
    assert heard["name"] == "heard LimitRefused"
    assert heard["attributes"]["gridparley.state"] == "end"


def test_the_sampled_flag_is_one_bit():
    stem = f"00-{'ab' * 16}-{'cd' * 8}-"
    assert [tracing._sampled(stem + flags, 1.0) for flags in ("00", "01", "02", "03", "10", "11")] == [0, 1, 0, 1, 0, 1]


def test_without_tracing_a_span_is_nothing():
    with tracing.span("anything") as mark:
        assert isinstance(mark, Mark)
        assert tracing.current() is None
        mark.set({"a": 1})
        mark.event("b")
        mark.failed("c")
        tracing.note("d")


def test_below_an_unsampled_span_nothing_is_made(traced):
    tracing.start("dso", "x", folder=traced, ratio=0.0)
    with tracing.span("outer"):
        carried = tracing.current()
        with tracing.span("inner"):
            assert tracing.current()[:35] == carried[:35]
        with tracing.span("far away", parent=carried):
            assert tracing.current().endswith("-00")
    tracing.stop()
    assert _spans(traced) == []


async def test_every_word_of_a_trace_says_what_the_messaging_conventions_ask_for_and_its_reason(streams, traced):
    tracing.start("dso", "grid.dso.north", folder=traced)
    answerer = _answerer(streams.url, traced)
    try:
        assert answerer.stdout.readline() == "ready\n"
        async with alive(DSO, streams.url) as dso:
            talk = await _one_talk(dso)
    finally:
        answerer.communicate("stop\n", timeout=60)
    tracing.stop()
    by_name = {span["name"]: span for span in _spans(traced)}
    said, taken, answer = (
        by_name[name] for name in ("say SetLimit", "limit_write controllable_system", "say LimitRefused")
    )
    assert (said["kind"], taken["kind"]) == ("SpanKind.PRODUCER", "SpanKind.CONSUMER")
    for span, kind, how in ((said, "send", "say"), (taken, "process", "hear"), (answer, "send", "say")):
        attributes = span["attributes"]
        assert attributes["messaging.system"] == "nats"
        assert attributes["messaging.operation.type"] == kind
        assert attributes["messaging.operation.name"] == how
        assert attributes["messaging.message.conversation_id"] == talk
    assert said["attributes"]["messaging.message.id"] == taken["attributes"]["messaging.message.id"]
    assert said["attributes"]["messaging.destination.name"] == str(to(CEM, DSO, SetLimit))
    for span, word in ((said, SetLimit), (taken, SetLimit), (answer, LimitRefused)):
        reason = sample(word).reason
        assert span["attributes"]["gridparley.reason.code"] == reason.code
        assert span["attributes"]["gridparley.reason.text"] == reason.text


def test_a_reasons_binding_constraint_is_an_attribute_too():
    reason = Reason(code="above_contract", text="It is more than agreed.", binding="contract")
    assert tracing.because(reason) == {
        "gridparley.reason.code": "above_contract",
        "gridparley.reason.text": "It is more than agreed.",
        "gridparley.reason.binding": "contract",
    }
    assert tracing.because(None) == {}


def test_what_belongs_to_no_trace_begins_none_where_it_must_not(traced):
    tracing.start("pv", "h07.pv.1", folder=traced)
    with tracing.span("write limit_a", root=False):
        assert tracing.current() is None
    with tracing.span("decide"), tracing.span("write limit_a", root=False):
        pass
    tracing.stop()
    assert [span["name"] for span in _spans(traced)] == ["write limit_a", "decide"]


def test_a_recorded_trace_can_begin_inside_of_unrecorded_work_and_the_other_way_round(traced):
    tracing.start("dso", "x", folder=traced, ratio=0.0)
    sampled = f"00-{'ab' * 16}-{'cd' * 8}-01"
    unsampled = f"00-{'12' * 16}-{'34' * 8}-00"
    with tracing.span("nobody looks"):
        assert not tracing.recording()
        with tracing.span("somebody does", parent=sampled):
            assert tracing.recording()
            assert tracing.current()[:35] == sampled[:35]
            with tracing.span("not here", parent=unsampled):
                assert tracing.current() == unsampled
                tracing.note("nothing")
            assert tracing.recording()
        assert not tracing.recording()
    tracing.stop()
    (span,) = _spans(traced)
    assert (span["name"], span["events"], span["parent_id"]) == ("somebody does", [], "0x" + "cd" * 8)


@pytest.mark.parametrize("name", [tracing.RATIO, tracing.TELEMETRY_RATIO])
@pytest.mark.parametrize("text", ["half", "1.5", "-0.1", "nan"])
def test_a_ratio_that_is_none_is_refused_with_what_it_may_be(monkeypatch, traced, name, text):
    monkeypatch.setenv(name, text)
    with pytest.raises(BadSetting, match=f"{name}='{text}' is not understood: it may be a number from 0 to 1"):
        tracing.start("dso", "x", folder=traced)


def test_the_environment_gives_the_ratio_and_a_talk_is_recorded_whole_or_not_at_all(monkeypatch, traced):
    monkeypatch.setenv(tracing.RATIO, "0.5")
    tracing.start("dso", "x", folder=traced)
    for _ in range(400):
        with tracing.span("above"), tracing.span("below"):
            pass
    tracing.stop()
    spans = _spans(traced)
    above = {span["context"]["trace_id"] for span in spans if span["name"] == "above"}
    below = {span["context"]["trace_id"] for span in spans if span["name"] == "below"}
    assert above == below
    assert 100 < len(above) < 300  # outside of it once in 10^22


@pytest.mark.parametrize("ratio", ["", "1"])
async def test_telemetry_is_traced_only_where_a_ratio_says_so(monkeypatch, streams, traced, ratio):
    monkeypatch.setenv(tracing.TELEMETRY_RATIO, ratio)
    tracing.start("meter", "h07.meter.main", folder=traced)
    reading, got = sample(GcpReading), []

    def listen(bus):
        bus.on(GcpReading, lambda message, heard: got.append(heard))
        bus.listen(GcpReading, home=True)

    async with alive(CEM, streams.url, listen), alive(METER, streams.url) as meter:
        meter.say(reading, home=True)
        await until(lambda: got)
    tracing.stop()
    by_name = {span["name"]: span for span in _spans(traced)}
    if not ratio:
        assert (by_name, got[0].trace) == ({}, None)
        return
    assert by_name["hear GcpReading"]["parent_id"] == by_name["say GcpReading"]["context"]["span_id"]
    assert got[0].trace[36:52] == by_name["say GcpReading"]["context"]["span_id"].removeprefix("0x")
