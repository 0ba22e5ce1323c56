"""A washing machine behind a socket: armed by hand, held, started, paused and finished through registers and bus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import msgspec
import pytest

from agents.kit.hardware import Hardware, Plan
from agents.kit.readings import SayReadings
from agents.kit.skill import skill
from agents.whitegoods.agent import AGENT
from agents.whitegoods.terminals import WhitegoodsTerminals
from contracts.device import PowerApplied, PowerRefused
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.home import SCRIPTED_CEM, HomeCem, home_cem
from tests.support.simulated_home import Simulated, simulated
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
MACHINE = "h07.whitegoods.1"
SOCKET = DeviceSpec(
    name="whitegoods1",
    kind="whitegoods",
    product="netio_powercable_appliance",
    unit=40,
    rating_w=2_200,
    phases=1,
    phase=2,
)


@skill()
@dataclass
class Negotiator:
    """Does to the machine what a negotiating skill does: a plan of the terminals, written."""

    hardware: Hardware
    terminals: WhitegoodsTerminals
    readings: SayReadings
    made: ClassVar[list["Negotiator"]] = []

    def __post_init__(self) -> None:
        Negotiator.made.append(self)

    async def does(self, what: str) -> Plan:
        values = await self.hardware.look()
        plan: Plan = getattr(self.terminals, what)(values)
        await self.hardware.put(plan, values)
        return plan


AGENTS = {**SCRIPTED_CEM, "whitegoods": replace(AGENT, skills=(*AGENT.skills, Negotiator))}


@asynccontextmanager
async def laundry(
    settings: dict[str, object] | None = None,
) -> AsyncIterator[tuple[Grid, Words, HomeCem, Simulated]]:
    async with grid("h07.cem.main", MACHINE, agents=AGENTS) as run, simulated(run, SOCKET) as home:
        words = await run.words("h07")
        cem = await home_cem(run)
        chosen = {**home.line("whitegoods1"), "phases": (2,), "ended_after_s": 60.0, **(settings or {})}
        await run.start(MACHINE, chosen)
        await says(words, "idle")
        yield run, words, cem, home


async def says(words: Words, operating: str, least_w: float = 0.0) -> dict[str, Any]:
    """The first reading from now on that says so."""
    seen = len(words.all)

    def there(w: Words) -> list[dict[str, Any]]:
        bodies = [msgspec.json.decode(p)["body"] for s, p in w.all[seen:] if s.endswith(".device_reading")]
        return [one for one in bodies if one["operating"] == operating and one["power_w"] >= least_w]

    return (await words.until(there))[0]  # type: ignore[no-any-return]


def events(words: Words) -> list[str]:
    return [e["body"]["reason"]["code"] for _, e in words.of("device_event")]


async def test_a_start_by_hand_waits_and_in_the_end_it_starts_by_itself() -> None:
    async with laundry({"longest_wait_s": 60.0}) as (_, words, cem, home):
        who, one = await cem.newcomer()
        assert (who, one.device_class) == (MACHINE, "whitegoods")
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        reading = await says(words, "waiting")
        assert events(words) == ["start_held"]
        assert home.shows("whitegoods1", "enabled") is False
        assert (reading["lower_w"], reading["upper_w"]) == (0.0, 2_000.0)
        running = await says(words, "running", least_w=100.0)
        assert events(words) == ["start_held", "waited_long_enough"]
        assert running["power_by_phase_w"] == [0.0, running["power_w"], 0.0]


async def test_told_to_start_pause_and_go_on_and_its_door_ends_it() -> None:
    async with laundry() as (_, words, _cem, home):
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        await says(words, "waiting")
        machine = Negotiator.made[-1]
        assert machine.terminals.programme({}) == "cotton_60"
        await machine.does("start")
        await says(words, "running", least_w=100.0)
        await machine.does("pause")
        assert (await says(words, "paused"))["power_w"] == 0.0
        await machine.does("resume")
        heating = await says(words, "running", least_w=2_000.0)
        assert heating["lower_w"] == 2_000.0  # it cannot be stopped here
        home.happens("open_door", "whitegoods1")
        await says(words, "finished")
        assert events(words) == ["start_held"]


async def test_a_bound_pauses_it_where_it_may_and_an_urgent_one_anywhere() -> None:
    async with laundry() as (_, words, cem, home):
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        await says(words, "waiting")
        await Negotiator.made[-1].does("start")
        await says(words, "running", least_w=100.0)
        paused = await cem.order(MACHINE, upper_w=1_000.0)
        assert isinstance(paused, PowerApplied)
        assert (paused.upper_w, paused.readback) == (0.0, {"enabled": 0.0})
        await says(words, "paused")
        assert isinstance(await cem.order(MACHINE), PowerApplied)
        await says(words, "running", least_w=2_000.0)
        refused = await cem.order(MACHINE, standby=True)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "not_interruptible"
        assert isinstance(await cem.order(MACHINE, standby=True, urgent=True), PowerApplied)
        assert (await says(words, "paused"))["power_w"] == 0.0
        assert "order_lost" not in events(words)


async def test_a_restarted_agent_knows_how_far_its_machine_is() -> None:
    async with laundry() as (run, words, _cem, home):
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        await says(words, "waiting")
        await Negotiator.made[-1].does("start")
        await says(words, "running", least_w=2_000.0)
        await eventually(lambda: Negotiator.made[-1].terminals.run.elapsed_s > 300.0)
        await run.stop(MACHINE)
        await run.start(MACHINE, {**home.line("whitegoods1"), "phases": (2,)})
        assert (await says(words, "running", least_w=2_000.0))["lower_w"] == 2_000.0
        again = Negotiator.made[-1].terminals
        assert again.run.elapsed_s >= 300.0
        assert again.programme({}) == "cotton_60"
        assert events(words) == ["start_held"]


async def test_a_socket_that_does_not_obey_is_told_until_it_does() -> None:
    async with laundry() as (_, words, _cem, home):
        home.happens("fault", "whitegoods1", fault="deaf_to_writes")
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        await says(words, "idle", least_w=100.0)
        assert events(words) == []
        home.happens("clear_fault", "whitegoods1")
        await eventually(lambda: home.shows("whitegoods1", "enabled") is False)
        await words.until(lambda w: "start_held" in events(w))


async def test_what_a_bound_has_paused_goes_on_when_it_ends_also_after_a_restart() -> None:
    async with laundry() as (run, words, cem, home):
        home.happens("start_programme", "whitegoods1", programme="cotton_60")
        await says(words, "waiting")
        await Negotiator.made[-1].does("start")
        await says(words, "running", least_w=100.0)
        assert isinstance(await cem.order(MACHINE, upper_w=1_000.0), PowerApplied)
        for _ in range(3):  # how it stands is kept once a reading period
            await says(words, "paused")
            words.all.clear()
        await run.stop(MACHINE)
        await run.start(MACHINE, {**home.line("whitegoods1"), "phases": (2,)})
        await says(words, "paused")
        assert isinstance(await cem.order(MACHINE), PowerApplied)
        await says(words, "running", least_w=100.0)
