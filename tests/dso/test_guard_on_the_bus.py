"""The energy guard on real servers: whoever comes or comes back hears heartbeat and limits; restarts forget nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise

import anyio
import pytest

from bus.bus import Bus
from bus.envelope import instant
from bus.talk import Talk
from contracts.power_limit import (
    Constraints,
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    LimitState,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from tests.support.cem_puppet import HELD, PUPPET, Feeder, forget_limits
from tests.support.grid import Grid, Words, grid

DSO = "grid.dso.north"
SITES = ("h01", "h02")
SMALL = {"transformer_va": 10_000.0}

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def street(speed: float = 60.0, sites: tuple[str, ...] = SITES) -> AsyncIterator[tuple[Grid, Feeder, Words]]:
    forget_limits()
    names = [f"{site}.{role}.main" for site in sites for role in ("cem", "meter")]
    async with grid(DSO, "grid.meter.substation", *names, agents={"cem": PUPPET}, speed=speed) as run:
        feeder = Feeder(run)
        await feeder.connect(sites)
        words = await run.words()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder)
            yield run, feeder, words
            tasks.cancel_scope.cancel()


def to(site: str, words: Words, word: str, after: float = 0.0) -> list[dict]:  # type: ignore[type-arg]
    """Envelopes of a word that the control room addressed to a site's CEM."""
    return [
        envelope
        for subject, envelope in words.of(word)
        if subject.startswith(f"to.{site}.cem.main.{DSO}.")
        and datetime.fromisoformat(envelope["at"]).timestamp() > after
    ]


def at(envelope: dict) -> float:  # type: ignore[type-arg]
    return datetime.fromisoformat(envelope["at"]).timestamp()


def accepted_since(site: str, words: Words, after: float) -> list[dict]:  # type: ignore[type-arg]
    mine = f"to.{DSO}.{site}.cem.main."
    return [e for subject, e in words.of("limit_accepted") if subject.startswith(mine) and at(e) > after]


def constraints(minimum_w: float) -> Constraints:
    return Constraints(
        nominal_consumption_w=10_000.0,
        nominal_production_w=0.0,
        contract_consumption_w=10_000.0,
        contract_production_w=0.0,
        minimum_consumption_w=minimum_w,
    )


async def accept(talk: Talk, asked: SetLimit) -> None:
    await talk.say(LimitAccepted(direction=asked.direction, limit_w=None))


def stated(site: str, words: Words, after: float = 0.0) -> bool:
    """Heartbeat, and both directions' limits."""
    directions = {envelope["body"]["direction"] for envelope in to(site, words, "set_limit", after)}
    return bool(to(site, words, "heartbeat", after)) and directions == {"consumption", "production"}


@pytest.mark.use_case("limits.lpc")
async def test_a_site_that_joins_hears_heartbeat_limits_and_failsafe_values_within_60_s() -> None:
    async with street(speed=10.0) as (run, _, words):
        await run.start(DSO)
        await run.start("h01.cem.main", {"nominal_production_w": 10_000.0})
        (_, first), *_ = await words.until(lambda w: w.of("constraints"))
        joined = at(first)
        await words.until(lambda w: stated("h01", w, joined))
        heard = [to("h01", words, "heartbeat", joined)[0], *to("h01", words, "set_limit", joined)[:2]]
        assert all(datetime.fromisoformat(e["at"]).timestamp() - joined <= 60 for e in heard)
        assert all(not e["body"]["active"] for e in heard[1:]), "nothing is limited, and that is said too"
        await words.until(lambda w: to("h01", w, "set_failsafe"))
        failsafe = to("h01", words, "set_failsafe")[0]["body"]
        assert (failsafe["consumption_w"], failsafe["production_w"]) == (4200.0, -6000.0)
        assert 7200 <= failsafe["duration_s"] <= 86_400


@pytest.mark.use_case("limits.lpc")
async def test_heartbeats_come_at_least_every_60_s() -> None:
    async with street(speed=30.0) as (run, _, words):
        await run.start(DSO)
        await run.start("h01.cem.main")
        await words.until(lambda w: len(to("h01", w, "heartbeat")) >= 8)
        times = [datetime.fromisoformat(e["at"]).timestamp() for e in to("h01", words, "heartbeat")]
        assert max(b - a for a, b in pairwise(times)) <= 60


@pytest.mark.use_case("limits.lpc")
async def test_a_site_whose_link_was_cut_hears_everything_anew() -> None:
    async with street(speed=20.0) as (run, _, words):
        await run.start(DSO)
        await run.start("h01.cem.main")
        await words.until(lambda w: stated("h01", w))
        await run.servers.cut("h01")
        await run.clock.sleep(150)
        mended = run.clock.now()
        await run.servers.mend("h01")
        await words.until(lambda w: stated("h01", w, mended))
        # The site has it, not only the hub.
        await words.until(lambda w: len(accepted_since("h01", w, mended)) >= 2)
        first_heard = min(at(e) for s, e in words.of("heartbeat") if f".{DSO}.h01." in s and at(e) > mended)
        said = {e["body"]["direction"]: at(e) for e in reversed(to("h01", words, "set_limit", mended))}
        assert max(said.values()) - first_heard <= 60


@pytest.mark.use_case("limits.lpc")
async def test_a_site_that_loses_its_limits_as_soon_as_it_was_told_hears_them_anew() -> None:
    async def take(talk: Talk, _asked: SetFailsafe) -> None:
        await talk.say(FailsafeAccepted())

    def prepare(bus: Bus) -> None:
        bus.answer(limit_write, accept)
        bus.answer(failsafe_write, take)
        bus.on(Heartbeat, lambda _m, _h: None)

    async with street(speed=6.0) as (run, _, words):
        await run.start(DSO)
        cem = await run.bus("h01.cem.main", prepare)
        cem.say(constraints(4200.0), home=False)
        await words.until(lambda w: len(accepted_since("h01", w, 0.0)) >= 2)
        lost = run.clock.now()
        state = LimitState(
            state="init",
            since=instant(lost),
            consumption_w=4200.0,
            production_w=0.0,
            heartbeat_age_s=None,
            guard=DSO,
            reason=Reason(code="start", text="What was kept is gone."),
        )
        await cem.record(state)
        await words.until(lambda w: stated("h01", w, lost))


@pytest.mark.use_case("limits.lpc")
async def test_limits_survive_the_end_of_the_control_room_and_are_stated_again() -> None:
    async with street() as (run, feeder, words):
        feeder.wishes_w = {"h01": 9_000.0, "h02": 9_000.0}
        await run.start("h01.cem.main")
        await run.start("h02.cem.main")
        await run.start(DSO, SMALL)
        await words.until(lambda _: feeder.total_w <= 10_000)
        feeder.measures = False  # a control room that has just come back sees nothing yet
        await run.stop(DSO)
        held = HELD["h01"]["consumption"]
        assert held is not None
        again = run.clock.now()
        await run.start(DSO, SMALL)
        await words.until(lambda w: stated("h01", w, again) and stated("h02", w, again))
        restated = [e["body"] for e in to("h01", words, "set_limit", again) if e["body"]["direction"] == "consumption"]
        assert restated[0]["active"]
        assert restated[0]["limit_w"] == held


@pytest.mark.use_case("limits.lpc")
async def test_an_overload_is_shared_floors_hold_and_limits_are_lifted_when_it_is_over() -> None:
    async with street(speed=120.0) as (run, feeder, words):
        feeder.wishes_w = {"h01": 11_000.0, "h02": 6_000.0}
        await run.start("h01.cem.main")
        await run.start("h02.cem.main", {"minimum_w": 5_500.0})
        await run.start(DSO, SMALL)
        await words.until(lambda _: feeder.total_w <= 10_000)
        assert HELD["h02"]["consumption"] >= 5_500  # type: ignore[operator]
        asked = await words.until(lambda w: [e["body"] for e in to("h01", w, "set_limit") if e["body"]["active"]])
        assert asked[0]["reason"]["code"] == "fair_share"
        assert asked[0]["reason"]["inputs"]["floor_w"] == 4_200.0
        feeder.wishes_w = {"h01": 1_000.0, "h02": 1_000.0}
        await words.until(lambda _: HELD["h01"]["consumption"] is None and HELD["h02"]["consumption"] is None)
        reports = await words.until(lambda w: [e["body"] for _, e in w.of("action_report")])
        assert reports[0]["worked"]
        assert set(reports[0]["locations"]) == {"h01", "h02"}


@pytest.mark.use_case("limits.lpc")
async def test_feed_in_is_limited_by_negative_watts_the_same_share_for_each() -> None:
    async with street(speed=120.0) as (run, feeder, words):
        feeder.wishes_w = {"h01": -5_000.0, "h02": -15_000.0}
        await run.start("h01.cem.main", {"nominal_production_w": 5_000.0})
        await run.start("h02.cem.main", {"nominal_production_w": 15_000.0})
        await run.start(DSO, SMALL)
        fair = lambda _: (  # noqa: E731
            abs(feeder.total_w) <= 10_000
            and HELD["h01"].get("production")
            and HELD["h02"].get("production", 0.0) == pytest.approx(3 * HELD["h01"]["production"], rel=0.05)
        )
        await words.until(fair)
        one, two = HELD["h01"]["production"], HELD["h02"]["production"]
        assert one is not None
        assert two is not None
        assert one < 0
        assert two / one == pytest.approx(3.0, rel=0.05)


async def test_who_refuses_is_left_as_it_is_and_the_others_make_up_for_it() -> None:
    async with street(speed=120.0) as (run, feeder, words):
        feeder.wishes_w = {"h01": 6_000.0, "h02": 6_000.0}
        await run.start("h01.cem.main", {"least_w": 6_000.0, "minimum_w": 3_000.0})
        await run.start("h02.cem.main", {"minimum_w": 3_000.0})
        await run.start(DSO, SMALL)
        await words.until(lambda w: [1 for s, _ in w.of("limit_refused") if ".h01." in s])
        await words.until(lambda _: feeder.total_w <= 10_000)
        assert HELD["h02"]["consumption"] is not None
        asked = [e["body"]["limit_w"] for e in to("h01", words, "set_limit") if e["body"]["active"]]
        assert len(asked) < 6, "a site that refused is not pestered"


async def test_a_site_that_never_said_what_it_can_is_left_out_and_named() -> None:
    async with street(speed=120.0) as (run, feeder, words):
        feeder.wishes_w = {"h01": 6_000.0, "h02": 6_000.0}
        await run.start("h01.cem.main", {"mute": True})
        await run.start("h02.cem.main", {"minimum_w": 3_000.0})
        await run.start(DSO, SMALL)
        await words.until(lambda _: feeder.total_w <= 10_000)
        reports = await words.until(lambda w: [e["body"] for _, e in w.of("action_report")])
        assert "h01" in reports[0]["reason"]["text"]
        assert not [e for e in to("h01", words, "set_limit") if e["body"]["active"]]


@pytest.mark.use_case("limits.lpc")
async def test_failsafe_values_follow_what_a_site_can_be_limited_to_even_if_it_changes_meanwhile() -> None:
    async def answer(talk: Talk, asked: SetFailsafe) -> None:
        if asked.consumption_w < 4_200:
            # A heat pump joins just now: what was right when it was written is too low when it is read.
            cem.say(constraints(4_200.0), home=False)
            await cem.connection.barrier()
            await run.clock.sleep(5)
            await talk.say(FailsafeRefused(reason=Reason(code="below_minimum", text="Too low.")))
        else:
            await talk.say(FailsafeAccepted())

    def prepare(bus: Bus) -> None:
        bus.answer(failsafe_write, answer)
        bus.answer(limit_write, accept)

    async with street() as (run, _, words):
        await run.start(DSO)
        cem = await run.bus("h01.cem.main", prepare)
        cem.say(constraints(0.0), home=False)
        await words.until(lambda w: w.of("failsafe_refused") and w.of("failsafe_accepted"))
        assert to("h01", words, "set_failsafe")[-1]["body"]["consumption_w"] == 4_200.0
