"""Servers, links, identities and rights of a topology, on real servers."""

from dataclasses import dataclass, field

import anyio
import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, hears, skill
from bus import store
from bus.address import Address
from bus.bus import Bus, Heard
from bus.store import NotStored
from bus.talk import Talk
from contracts.device import DeviceReading, power_control
from contracts.kit import Lapsed
from contracts.metering import GcpReading
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, LimitState, SetLimit, limit_write
from contracts.reasons import Reason
from contracts.roles import CEM, DSO, EVSE
from tests.support.grid import Grid, eventually, grid

pytestmark = pytest.mark.anyio
WHY = Reason(code="test", text="a test")
LIMIT = SetLimit(direction="consumption", active=True, limit_w=4200.0, reason=WHY)
DSO_AT, CEM_AT, EVSE_AT = "grid.dso.north", "h07.cem.main", "h07.evse.1"


class Nothing(Settings, frozen=True, kw_only=True):
    """No settings."""


@skill(opens=(limit_write,), tells=((Heartbeat, (CEM,)),), speaks_to_groups=True)
@dataclass
class Guard:
    states: list[Address] = field(default_factory=list)

    @hears(LimitState, of=(CEM,), where="grid")
    def state(self, _state: LimitState, heard: Heard) -> None:
        self.states.append(heard.sender)


@skill(opens=(power_control,), says_grid=(LimitState,))
@dataclass
class Obey:
    bus: Bus
    limits: list[float | None] = field(default_factory=list)

    @answers(limit_write)
    async def obey(self, talk: Talk, opening: SetLimit) -> None:
        self.limits.append(opening.limit_w)
        await self.bus.state.put("limit", opening.limit_w)
        await talk.say(LimitAccepted(direction=opening.direction, limit_w=opening.limit_w))

    @hears(DeviceReading, of=(EVSE,), where="home")
    def reading(self, _reading: DeviceReading, _heard: Heard) -> None: ...

    @hears(Heartbeat, of=(DSO,), where="addressed")
    def beat(self, _beat: Heartbeat, _heard: Heard) -> None: ...


@skill(says_home=(DeviceReading,))
@dataclass
class Charge:
    bus: Bus

    @answers(power_control)
    async def charge(self, _talk: Talk, _opening: object) -> None: ...


AGENTS = {
    "dso": Agent(role=DSO, settings=Nothing, skills=(Guard,)),
    "cem": Agent(role=CEM, settings=Nothing, skills=(Obey,)),
    "evse": Agent(role=EVSE, settings=Nothing, skills=(Charge,)),
}


async def ask(dso: Bus, limit: SetLimit = LIMIT, who: str = CEM_AT) -> object:
    async with dso.talk(limit_write, Address.parse(who)) as talk:
        await talk.say(limit)
        return await talk.hear(LimitAccepted, LimitRefused, Lapsed)


def refusals(run: Grid, *buses: Bus) -> list[str]:
    return [text for bus in buses for text in bus.connection.refused]


async def test_a_limit_reaches_the_site_and_its_answer_the_grid_side() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS) as run:
        dso, cem = await run.start(DSO_AT), await run.start(CEM_AT)
        words = await run.words()
        assert isinstance(await ask(dso), LimitAccepted)
        await words.until(lambda heard: heard.of("limit_accepted"))
        assert [s for s, _ in words.of("set_limit")] == [f"to.{CEM_AT}.{DSO_AT}.power_limit.1.set_limit"]
        assert refusals(run, dso, cem) == []


async def test_what_was_said_while_the_agent_was_down_is_read_once_when_it_is_back() -> None:
    async with grid(DSO_AT, CEM_AT, agents=AGENTS) as run:
        dso = await run.start(DSO_AT)
        async with dso.talk(limit_write, Address.parse(CEM_AT)) as talk:
            await talk.say(LIMIT)
            cem = await run.start(CEM_AT)
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)
        await eventually(lambda: len(cem._handled) == 1)
        await run.stop(CEM_AT)
        words = await run.words()
        again = await run.start(CEM_AT)
        assert again.counts["duplicate"] == again.counts["received"] == 0  # acknowledged at the hub, through the link
        assert await again.state.get("limit", float) == 4200.0
        assert words.of("limit_accepted") == []
        assert refusals(run, dso, cem, again) == []


async def test_words_of_the_home_never_cross_the_link() -> None:
    async with grid(DSO_AT, CEM_AT, EVSE_AT, agents=AGENTS) as run:
        evse = await run.bus(EVSE_AT)
        at_hub, at_home = (
            await run.words("grid", "home.>", "$KV.>") if False else await run.words(),
            await run.words("h07"),
        )
        reading = DeviceReading(
            at=run.servers.topology.run.start,
            power_w=0.0,
            power_by_phase_w=(0.0, 0.0, 0.0),
            operating="idle",
            lower_w=0.0,
            upper_w=0.0,
        )
        evse.say(reading, home=True)
        await at_home.until(lambda heard: heard.of("device_reading"))
        await evse.connection.barrier()
        assert [s for s, _ in at_hub.all if s.startswith("home.")] == []
