"""A person's app at one home of a running street, by the identity that the topology keeps for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

from agents.app.agent import AGENT
from agents.app.answer_proposal import AnswerProposal
from agents.app.ask_home import AskHome
from agents.app.settings import AppSettings
from agents.kit.agent import Peers
from agents.kit.deals import Deals
from agents.kit.presence import HELLO_EVERY_S, SOFTWARE
from agents.kit.run import wire
from agents.kit.skill import RESTORES, marks_of
from bus import tracing
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from contracts.home_plan import PlanShown
from contracts.roles import APP, CEM
from contracts.system import Hello
from contracts.tariff import PriceInfo
from deploy.reach import Reach
from deploy.topology import Topology

TOLD_WALL_S = 3.0
LEAVE_WALL_S = 3.0
"""So long it may take to read what was said to us and to acknowledge it, before we hang up."""
LOOK_WALL_S = (0.0, 0.05, 0.2)
"""Pauses before each look: the stream has a word just behind what we hear."""


class CannotSpeak(Exception):
    """The run has no such home, or the home has no app that can be attached."""


@dataclass(frozen=True)
class Voice:
    """What a person can say and see from here."""

    bus: Bus
    clock: Clock
    home: AskHome
    proposals: AnswerProposal
    heard: list[PriceInfo]
    news: anyio.Event
    zone: str
    """Of the home: its people's clocks, unless one of them says another."""

    async def plan(self) -> PlanShown | None:
        """The plan in force; None while there is none."""
        for manager in self.home.managers:
            found = await self.bus.last(PlanShown, manager, home=True)
            if isinstance(found, PlanShown):
                return found
        return None

    async def prices(self) -> PriceInfo | None:
        """The prices in force; None when none were told."""
        with anyio.move_on_after(TOLD_WALL_S):
            await self.news.wait()
        return self.heard[-1] if self.heard else None


@asynccontextmanager
async def voice(here: Reach, site: str) -> AsyncIterator[Voice]:
    """Speak at a home. Raises CannotSpeak, BusUnavailable, NotStored, FileNotFoundError."""
    who = _who(here.topology, site)
    bus = here.doors.bus(who, here.clock)
    tracing.start(APP.name, str(who), folder=here.spans)
    try:
        settings = AppSettings(time_zone=_zone(here.topology, site))
        async with attached(bus, here.doors.permissions.peers(who), settings) as made:
            yield made
    finally:
        tracing.stop()


@asynccontextmanager
async def attached(bus: Bus, peers: Peers, settings: AppSettings | None = None) -> AsyncIterator[Voice]:
    """Speak over a bus that is not opened yet. What was said to this app meanwhile is heard first.

    What is said to it now is acknowledged before it leaves: else the next one would get it as a word of no talk.
    """
    settings = settings or AppSettings()
    given = {
        Bus: bus,
        Address: bus.address,
        Clock: bus.clock,
        State: bus.state,
        Peers: peers,
        AppSettings: settings,
    }
    made = {type(one): one for one in AGENT.build(given)}
    speaking = [made[kind] for kind in (Deals, AskHome, AnswerProposal)]
    bound = [(getattr(one, name), mark) for one in speaking for name, mark in marks_of(type(one))]
    wire(bus, bound)
    heard, news = list[PriceInfo](), anyio.Event()

    def hear(info: PriceInfo, _where: Heard) -> None:
        heard.append(info)
        news.set()

    bus.on(PriceInfo, hear)
    await bus.open()
    try:
        for method, mark in bound:
            if mark is RESTORES:
                await method()
        async with anyio.create_task_group() as group:
            await bus.run(group)
            bus.say(Hello(role=APP.name, software=SOFTWARE, every_s=HELLO_EVERY_S), home=True)
            try:
                yield Voice(bus, bus.clock, made[AskHome], made[AnswerProposal], heard, news, settings.time_zone)
            finally:  # also after a refusal, which ends what the person wanted and is a stored word like any other
                with anyio.move_on_after(LEAVE_WALL_S, shield=True):
                    for pause in LOOK_WALL_S:
                        await anyio.sleep(pause)
                        await bus.catch_up()
            group.cancel_scope.cancel()
    finally:
        await bus.close()


def _zone(topology: Topology, site: str) -> str:
    manager = next(entry for entry in topology.sites[site].agents if entry.role == CEM.name)
    return str(topology.settings_of(manager).get("time_zone", AppSettings().time_zone))


def _who(topology: Topology, site: str) -> Address:
    if site not in topology.sites:
        raise CannotSpeak(f"there is no site {site!r} in this run: the sites are {', '.join(topology.sites)}")
    entries = topology.sites[site].agents
    phones = [entry for entry in entries if entry.role == APP.name and entry.attach]
    if not phones:
        line = '{ role = "app", name = "phone", attach = true }'
        raise CannotSpeak(f"{site} has no app to speak as: add {line} to its agents in the topology")
    if not any(entry.role == CEM.name for entry in entries):
        raise CannotSpeak(f"{site} has no energy manager to speak with: add an agent of role {CEM.name!r}")
    return Address(site, APP.name, phones[0].name)
