"""A talk is one trace over both agents; what is not sampled leaves no span anywhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bus import tracing
from bus.tracing import Mark
from contracts.kit import Lapsed
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from tests.bus.agents import CEM, DSO, alive
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
        answerer.communicate("stop\n", timeout=20)
    tracing.stop()
    spans = _spans(traced)
    if not sampled:
        assert spans == []  # the answering process would sample by itself: it was told not to
        return
    by_name = {span["name"]: span for span in spans}
    assert set(by_name) == {"limit_write energy_guard", "limit_write controllable_system", "write register"}
    assert len({span["context"]["trace_id"] for span in spans}) == 1
    guard, system, register = (by_name[name] for name in sorted(by_name, key=lambda n: (n[0] == "w", "system" in n)))
    assert guard["parent_id"] is None
    assert system["parent_id"] == guard["context"]["span_id"]
    assert register["parent_id"] == system["context"]["span_id"]
    for span, role in ((guard, "dso"), (system, "cem")):
        assert span["attributes"]["messaging.message.conversation_id"] == talk
        assert span["attributes"]["gridparley.state"] == "end"
        assert span["attributes"]["gridparley.use_cases"] == "limits.lpc,limits.profile"
        assert span["resource"]["attributes"]["service.name"] == role
    assert [event["name"] for event in guard["events"]] == ["said SetLimit"]


def test_the_sampled_flag_is_one_bit():
    stem = f"00-{'ab' * 16}-{'cd' * 8}-"
    assert [tracing._sampled(stem + flags) for flags in ("00", "01", "02", "03", "10", "11")] == [0, 1, 0, 1, 0, 1]


def test_without_tracing_a_span_is_nothing():
    with tracing.span("anything") as mark:
        assert isinstance(mark, Mark)
        assert tracing.current() is None
        mark.set(a=1)
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
