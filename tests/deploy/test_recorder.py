"""The recorder hears all of the grid side, keeps it whatever happens to it, and nothing that it hears can hurt it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import SteppedClock
from bus.talk import Talk
from contracts.metering import GcpReading
from contracts.power_limit import Heartbeat, LimitAccepted, LimitState, SetLimit, limit_write
from contracts.roles import CEM, METER
from contracts.roles import DSO as DSO_ROLE
from contracts.system import Hello
from deploy.records import rows
from deploy.records.recorder import Recorder
from deploy.records.rows import Writer
from deploy.topology import HUB
from tests.deploy.records_of import DSO, FACTS, START, T0, reading, why, wired
from tests.support.grid import eventually, grid


class Nothing(Settings, frozen=True, kw_only=True):
    """No settings."""


@skill(opens=(limit_write,))
@dataclass
class Guard:
    """May open what the recorder is to hear."""


@skill()
@dataclass
class Obey:
    @answers(limit_write)
    async def obey(self, _talk: Talk, _opening: SetLimit) -> None: ...


@skill(says_grid=(GcpReading,))
@dataclass
class Measure:
    """May say what the recorder is to write down."""


AGENTS = {
    "dso": Agent(role=DSO_ROLE, settings=Nothing, skills=(Guard,)),
    "cem": Agent(role=CEM, settings=Nothing, skills=(Obey,)),
    "meter": Agent(role=METER, settings=Nothing, skills=(Measure,)),
}
LIMIT = SetLimit(direction="production", active=True, limit_w=-31_400.0, reason=why("transformer at 104 %"))


def recorder(folder: Path | None = None) -> Recorder:
    clock = SteppedClock(T0 + 5)
    made = Recorder(Bus(Address.parse("grid.ops.recorder"), "nats://nowhere", clock), folder, FACTS)
    made._writer = Writer(folder) if folder else None
    return made


def close(made: Recorder) -> None:
    assert made._writer is not None
    made._writer.close()


def test_readings_become_rows_and_other_words_events(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.hear(*wired(reading(3, -12_345.6), "h07.meter.main", id="m-1"))
    made.hear(*wired(LIMIT, DSO, "h11.cem.main", at=4, id="d-1"))
    close(made)
    (row,) = rows.readings(tmp_path)
    assert (row.at, row.agent, row.quality) == (T0 + 3, "h07.meter.main", "measured")
    assert row.values["power_w"] == -12_345.6
    assert row.values["voltage_l2_v"] == 230.0
    assert row.values["power_l3_w"] == pytest.approx(-4115.2)
    (event,) = rows.events(tmp_path)
    assert (event.sender, event.receiver, event.word, event.site) == (DSO, "h11.cem.main", "set_limit", "h11")
    assert (event.at, event.heard) == (T0 + 4, T0 + 5)
    assert event.message() == LIMIT


def test_a_word_heard_twice_is_kept_once_also_over_a_restart(tmp_path: Path) -> None:
    for _ in range(2):
        made = recorder(tmp_path)
        for _ in range(2):
            made.hear(*wired(LIMIT, DSO, "h11.cem.main", id="d-1"))
            made.hear(*wired(reading(3, 1.0), "h07.meter.main", id="m-1"))
        assert made.view.counts["messages"] == 2
        close(made)
    assert len(list(rows.events(tmp_path))) == 1
    assert len(list(rows.readings(tmp_path))) == 1


@pytest.mark.parametrize("torn", [1, 10, 80])
def test_a_killed_writer_leaves_all_but_its_torn_line(tmp_path: Path, torn: int) -> None:
    made = recorder(tmp_path)
    for n in range(3):
        made.hear(*wired(LIMIT, DSO, "h11.cem.main", id=f"d-{n}"))
        made.hear(*wired(reading(n, float(n)), "h07.meter.main", id=f"m-{n}"))
    close(made)
    for name in (rows.EVENTS, rows.MEASUREMENTS):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: -torn - 1])
    after = recorder(tmp_path)
    after.hear(*wired(LIMIT, DSO, "h11.cem.main", id="d-9"))
    after.hear(*wired(reading(9, 9.0), "h07.meter.main", id="m-9"))
    close(after)
    ids = [event.id for event in rows.events(tmp_path)]
    assert ids[:2] == ["d-0", "d-1"]
    assert ids[-1] == "d-9"
    assert [row.at - T0 for row in rows.readings(tmp_path)][-1] == 9
    assert {row.at - T0 for row in rows.readings(tmp_path)} >= {0, 9}


def test_heartbeats_are_counted_and_not_written(tmp_path: Path) -> None:
    made = recorder(tmp_path)
    made.hear(*wired(Heartbeat(every_s=60.0), "h07.cem.main", DSO))
    close(made)
    assert list(rows.events(tmp_path)) == []
    assert made.view.words["heartbeat"] == 1
    assert made.view.sites["h07"].heartbeat == T0 + 5


@given(st.text(max_size=80), st.binary(max_size=200))
def test_nothing_that_passes_the_hub_can_stop_it(subject: str, payload: bytes) -> None:
    made = recorder()
    made.hear(subject, payload)
    made.hear(*wired(LIMIT, DSO, "h11.cem.main"))
    assert made.view.words["set_limit"] == 1


@given(st.binary(max_size=200))
def test_a_known_word_that_does_not_decode_is_an_event_with_its_cause(payload: bytes) -> None:
    made = recorder()
    subject, _ = wired(LIMIT, DSO, "h11.cem.main")
    made.hear(subject, payload)
    assert made.view.counts["unreadable"] == 1
    assert made.view.sites["h11"].production_w is None


def test_a_dead_letter_is_told_with_its_cause() -> None:
    made = recorder()
    letter = {"at": T0, "receiver": "h07.cem.main", "subject": "s", "code": "undecodable", "error": "bad", "data": ""}
    made.hear("dead.h07.cem.main", msgspec.json.encode(letter))
    made.hear("dead.h07.cem.main", b"\xff")
    assert made.view.counts["dead_letters"] == 2
    assert made.view.lines[0].text == "dead letter at h07.cem.main: undecodable: bad (s)"


def test_the_view_shows_what_is_in_force_and_how_old_it_is() -> None:
    made = recorder()
    view = made.view
    accepted = LimitAccepted(direction="production", limit_w=-31_400.0)
    made.hear(*wired(accepted, "h11.cem.main", DSO, id="c-1"))
    assert view.sites["h11"].production_w == -31_400.0
    state: dict[str, Any] = {
        "since": START,
        "heartbeat_age_s": 121.0,
        "guard": DSO,
        "reason": why("no heartbeat for 121 s"),
    }
    failsafe = LimitState(state="failsafe", consumption_w=4200.0, production_w=0.0, **state)
    made.hear(*wired(failsafe, "h11.cem.main", id="c-2"))
    site = view.sites["h11"]
    assert (site.state, site.consumption_w, site.production_w) == ("failsafe", 4200.0, 0.0)
    assert (view.lines[-1].text, view.lines[-1].tone) == ("h11 failsafe: no heartbeat for 121 s", "bad")
    assert site.linked(T0 + 60)
    assert not site.linked(T0 + 66)


def test_the_load_of_the_transformer_is_apparent_power_over_its_rating() -> None:
    made = recorder()
    made.hear(*wired(reading(0, -120_000.0, reactive_power_var=90_000.0), FACTS.substation))
    assert made.view.loading_percent == pytest.approx(100 * 150 / 160)


@pytest.mark.anyio
async def test_on_real_servers_it_hears_the_grid_side_and_what_was_stored_before_it_came(tmp_path: Path) -> None:
    async with grid(DSO, "h07.cem.main", "h07.meter.main", agents=AGENTS, speed=1.0) as run:
        dso, cem = await run.bus(DSO), await run.bus("h07.cem.main")
        meter = await run.bus("h07.meter.main")
        await dso.tell_durably(Address.parse("h07.cem.main"), LIMIT, talk="t1")
        made = Recorder(run.servers.bus(Address.parse("grid.ops.probe"), run.clock), tmp_path, FACTS)
        stop, ended = anyio.Event(), anyio.Event()

        async def record() -> None:
            await made.run(stop)
            ended.set()

        run._tasks.start_soon(record)
        await eventually(lambda: made.view.words["set_limit"])
        meter.say(reading(0, 5000.0), home=False)
        cem.say(Hello(role="cem", software="test", clock_lag_s=2.5), home=False)
        await eventually(lambda: made.view.sites["h07"].reading and made.view.lag_s() == 2.5)
        stop.set()
        with anyio.fail_after(60):
            await ended.wait()
        await made._bus.close()
    assert [event.message() for event in rows.events(tmp_path) if event.word == "set_limit"] == [LIMIT]
    assert [row.values["power_w"] for row in rows.readings(tmp_path)] == [5000.0]


@pytest.mark.anyio
async def test_it_misses_no_stored_word_when_the_hub_dies_and_comes_back(tmp_path: Path) -> None:
    async with grid(DSO, "h07.cem.main", agents=AGENTS, speed=1.0) as run:
        dso = await run.bus(DSO)
        made = Recorder(run.servers.bus(Address.parse("grid.ops.probe"), run.clock), tmp_path, FACTS)
        stop, ended = anyio.Event(), anyio.Event()

        async def record() -> None:
            await made.run(stop)
            ended.set()

        run._tasks.start_soon(record)
        for n in range(3):
            if n:
                await run.servers.kill(HUB)
                await run.servers.start(HUB)
            # Stored by whoever is back first: the recorder may still be away.
            await dso.tell_durably(Address.parse("h07.cem.main"), LIMIT, talk=f"t{n}")
            await eventually(lambda n=n: made.view.words["set_limit"] == n + 1)
        stop.set()
        with anyio.fail_after(60):
            await ended.wait()
        await made._bus.close()
    assert [event.talk for event in rows.events(tmp_path) if event.word == "set_limit"] == ["t0", "t1", "t2"]


def test_only_one_reading_type_is_a_measurement() -> None:
    fields = {name for name in GcpReading.__struct_fields__ if name not in ("at", "quality", "pv_limit_percent")}
    kept = {column.replace(f"l{n}", "by_phase") for column in rows.COLUMNS for n in (1, 2, 3) if f"_l{n}_" in column}
    assert fields == kept | {c for c in rows.COLUMNS[3:] if "_l" not in c}
