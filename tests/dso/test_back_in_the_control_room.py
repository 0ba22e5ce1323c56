"""Whoever comes back to the control room knows little at first, and loosens nothing because of that."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from agents.dso.steer_limits import Steering
from bus.address import Address
from bus.bus import Bus
from bus.store import State
from bus.talk import Talk
from contracts.power_limit import (
    Constraints,
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from tests.support.cem_puppet import HELD, Feeder, forget_limits
from tests.support.grid import Grid, Words, eventually, grid

DSO = "grid.dso.north"
SITES = ("h01", "h02")
NOMINAL_W = 10_000.0
CREEP_W = 2_500.0
WALL_S = 60.0
SMALL = {"transformer_va": 10_000.0, "heartbeat_s": 15.0}

pytestmark = pytest.mark.anyio


class Homes:
    """Scripted CEMs that obey at once; while ``mute`` they take no limit of feed-in and give no answer to it."""

    def __init__(self) -> None:
        self.mute = False
        self.overtaken: set[str] = set()
        """Sites that take the next failsafe values for older ones than those they have."""
        self.asked: list[tuple[str, SetLimit]] = []
        self.buses: dict[str, Bus] = {}

    def prepare(self, site: str) -> Callable[[Bus], None]:
        async def limit(talk: Talk, asked: SetLimit) -> None:
            self.asked.append((site, asked))
            if self.mute and asked.direction == "production":
                return
            HELD[site][asked.direction] = asked.limit_w if asked.active else None
            await talk.say(LimitAccepted(direction=asked.direction, limit_w=asked.limit_w if asked.active else None))

        async def failsafe(talk: Talk, _asked: SetFailsafe) -> None:
            if site in self.overtaken:
                self.overtaken.discard(site)
                await talk.say(FailsafeRefused(reason=Reason(code="overtaken", text="Newer ones have been taken.")))
            else:
                await talk.say(FailsafeAccepted())

        def ready(bus: Bus) -> None:
            bus.answer(limit_write, limit)
            bus.answer(failsafe_write, failsafe)
            bus.on(Heartbeat, lambda _m, _h: None)

        return ready

    def introduce(self, nominal_production_w: float = NOMINAL_W) -> None:
        for bus in self.buses.values():
            bus.say(
                Constraints(
                    nominal_consumption_w=14_500.0,
                    nominal_production_w=-nominal_production_w,
                    contract_consumption_w=14_500.0,
                    contract_production_w=-NOMINAL_W,
                    minimum_consumption_w=4_200.0,
                ),
                home=False,
            )

    async def beat(self, run: Grid) -> None:
        while True:
            for bus in self.buses.values():
                bus.tell(Address.parse(DSO), Heartbeat(every_s=30.0))
            await run.clock.sleep(30.0)

    def feed_in_since(self, mark: int) -> list[SetLimit]:
        return [asked for _, asked in self.asked[mark:] if asked.direction == "production"]

    def looser_since(self, mark: int, held_w: float) -> list[SetLimit]:
        """Statements that set homes free or nearly so. What fresh readings allow is 200 W a minute."""
        return [a for a in self.feed_in_since(mark) if not a.active or abs(a.limit_w or 0.0) > held_w + CREEP_W]


@asynccontextmanager
async def sunny() -> AsyncIterator[tuple[Grid, Homes, Feeder, Words]]:
    """Two homes that would feed in twice what the transformer takes."""
    forget_limits()
    names = [f"{site}.{role}.main" for site in SITES for role in ("cem", "meter")]
    async with grid(DSO, "grid.meter.substation", *names, speed=30.0) as run:
        feeder = Feeder(run)
        await feeder.connect(SITES)
        feeder.wishes_w = dict.fromkeys(SITES, -NOMINAL_W)
        homes = Homes()
        for site in SITES:
            homes.buses[site] = await run.bus(f"{site}.cem.main", homes.prepare(site))
        words = await run.words()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder)
            tasks.start_soon(homes.beat, run)
            yield run, homes, feeder, words
            tasks.cancel_scope.cancel()


async def limited(run: Grid, homes: Homes, feeder: Feeder) -> float:
    """The control room has come to hold both homes at what the transformer takes; returns the limit of each, W."""
    await run.start(DSO, SMALL)
    homes.introduce()
    await eventually(
        lambda: all(HELD[site].get("production") for site in SITES) and 9_000 <= -feeder.total_w <= 9_500, WALL_S
    )
    return max(abs(HELD[site]["production"] or 0.0) for site in SITES)


def states(words: Words) -> int:
    """How often the control room has judged the grid by fresh readings and said so."""
    return len(words.of("grid_state"))


@pytest.mark.use_case("limits.lpc")
async def test_after_a_restart_nothing_is_loosened_while_no_site_has_answered_yet() -> None:
    async with sunny() as (run, homes, feeder, words):
        held_w = await limited(run, homes, feeder)
        await run.stop(DSO)
        homes.mute, mark, seen = True, len(homes.asked), states(words)
        await run.start(DSO, SMALL)
        await words.until(lambda w: states(w) >= seen + 4 and len(homes.feed_in_since(mark)) >= 4, WALL_S)
        assert homes.looser_since(mark, held_w) == []


@pytest.mark.use_case("limits.lpc")
async def test_an_end_before_the_level_was_kept_lifts_no_limit_of_those_that_were_told() -> None:
    async with sunny() as (run, homes, feeder, words):
        held_w = await limited(run, homes, feeder)
        await run.stop(DSO)
        keeper = run.servers.bus(Address.parse(DSO), run.clock)
        run.closing(keeper.connection)
        await keeper.connection.open()
        await State(keeper.connection, Address.parse(DSO)).put("steering", Steering())
        mark, seen = len(homes.asked), states(words)
        await run.start(DSO, SMALL)
        await words.until(lambda w: states(w) >= seen + 3 and len(homes.feed_in_since(mark)) >= 2, WALL_S)
        assert homes.looser_since(mark, held_w) == []


@pytest.mark.use_case("limits.lpc")
async def test_a_home_whose_devices_have_yet_to_join_is_not_set_free_while_others_are_held() -> None:
    async with sunny() as (run, homes, feeder, words):
        held_w = await limited(run, homes, feeder)
        mark, seen = len(homes.asked), states(words)
        homes.introduce(nominal_production_w=0.0)
        await words.until(lambda w: states(w) >= seen + 3, WALL_S)
        assert homes.looser_since(mark, held_w) == []


@pytest.mark.use_case("limits.lpc")
async def test_failsafe_values_that_came_too_late_are_said_again() -> None:
    async with sunny() as (run, homes, _feeder, words):
        homes.overtaken = {"h01"}
        await run.start(DSO, SMALL)
        homes.introduce()
        refused, accepted = (f"to.{DSO}.h01.cem.main.power_limit.1.failsafe_{end}" for end in ("refused", "accepted"))
        answers = [refused, accepted]
        await words.until(lambda w: [subject for subject, _ in w.all if subject in answers][:2] == answers, WALL_S)
