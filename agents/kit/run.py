"""The life of one agent: connect, restore, hear, do what is periodic, stop in order."""

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from zlib import crc32

import anyio

from agents.kit.agent import Agent, Peers, Settings
from agents.kit.presence import ShowPresence
from agents.kit.skill import REJOINED, RESTORES, STARTED, STOPPING, Every, Hears, Settles, marks_of
from bus import metrics
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.store import State
from contracts.kit import Conversation
from contracts.system import GROUP_MEMBERS

log = logging.getLogger("gridparley.agent")
STOP_WALL_S = 3.0


async def run_agent(
    agent: Agent,
    bus: Bus,
    settings: Settings,
    peers: Peers,
    *,
    ready: Callable[[], Awaitable[None] | None] = lambda: None,
    stop: anyio.Event | None = None,
) -> None:
    """Run until ``stop`` is set; ``ready`` is called once everything is heard.

    Raises BusUnavailable, NotStored while starting, and what the agent's resources raise.
    """
    async with agent.resources(settings, bus.address, bus.clock) as given:
        await _live(agent, bus, settings, peers, given, ready, stop or anyio.Event())


async def _live(
    agent: Agent,
    bus: Bus,
    settings: Settings,
    peers: Peers,
    given: Mapping[type, object],
    ready: Callable[[], Awaitable[None] | None],
    stop: anyio.Event,
) -> None:
    clock = bus.clock
    skills = agent.build(
        {
            Bus: bus,
            Address: bus.address,
            Clock: clock,
            State: bus.state,
            type(settings): settings,
            Peers: peers,
            **given,
        }
    )
    bound = [(getattr(skill, name), mark) for skill in skills for name, mark in marks_of(type(skill))]
    for skill in skills:
        if isinstance(skill, ShowPresence):
            skill.use_cases = agent.vocabulary.use_cases
    wire(bus, bound)
    bus.join(peers.groups if agent.role in GROUP_MEMBERS else ())  # who speaks to groups knows them, but is no member
    await bus.open()
    async with anyio.create_task_group() as group:
        try:
            for method, mark in bound:
                if mark is RESTORES:
                    await method()
            for method, mark in bound:
                if mark is REJOINED:
                    bus.on_rejoin(method)
            await bus.run(group)
            for method, mark in bound:
                if mark is STARTED:
                    group.start_soon(method)
            for period_s, methods in turns(bound, settings):
                group.start_soon(_repeat, methods, period_s, clock, _phase(bus.address, period_s))
            done = ready()
            if inspect.isawaitable(done):
                await done
            await stop.wait()
        finally:
            with anyio.move_on_after(STOP_WALL_S, shield=True):
                await _stop(bound, bus)
            group.cancel_scope.cancel()


def wire(bus: Bus, bound: list[tuple[Any, object]]) -> None:
    """Register what the marks say."""
    for method, mark in bound:
        if isinstance(mark, Conversation):
            bus.answer(mark, method)
        elif isinstance(mark, Settles):
            bus.settle(mark.table, method)
        elif isinstance(mark, Hears):
            bus.on(mark.kind, method, of=mark.of)
            home = mark.where == "home"
            if mark.where != "addressed":
                for role in mark.of or ():
                    bus.listen(mark.kind, site=bus.address.site if home else "*", role=role.name, home=home)
                if not mark.of:
                    bus.listen(mark.kind, site=bus.address.site if home else "*", home=home)


async def _stop(bound: list[tuple[Any, object]], bus: Bus) -> None:
    for method, mark in bound:
        if mark is STOPPING:
            try:
                await method()
            except Exception:  # one skill's trouble must not keep the others from stopping in order
                log.exception("%s did not stop in order", method)
    await bus.close()


def _period(mark: Every, settings: Settings) -> float:
    return float(getattr(settings, mark.period)) if isinstance(mark.period, str) else mark.period


def _phase(address: Address, period_s: float) -> float:
    """Where in a period an agent takes its turns, 0 to 1: its own place, so that a street does not act in step.

    All of one agent have the same: it wakes once for them.
    """
    return crc32(f"{address} {period_s}".encode()) / 2**32


def turns(bound: list[tuple[Any, object]], settings: Settings) -> list[tuple[float, list[Callable[[], Any]]]]:
    """(period, what is done together). Plain methods of one period share a turn, in the order of the skills: an agent
    is woken once for all of them. A coroutine may wait for others, so each has turns of its own."""
    plain: dict[float, list[Callable[[], Any]]] = {}
    found: list[tuple[float, list[Callable[[], Any]]]] = []
    for method, mark in bound:
        if isinstance(mark, Every):
            period_s = _period(mark, settings)
            if inspect.iscoroutinefunction(method):
                found.append((period_s, [method]))
            else:
                plain.setdefault(period_s, []).append(method)
    return found + list(plain.items())


async def _repeat(methods: list[Callable[[], Any]], period_s: float, clock: Clock, phase: float) -> None:
    """Without drift; what a slow turn missed is left out, and how late each turn was is reported."""
    due = clock.now() - phase * period_s
    while True:
        due = max(due + period_s, clock.now())
        await clock.sleep_until(due)
        late_s = clock.now() - due
        clock.late(late_s)
        metrics.record(metrics.LAG, late_s)
        for method in methods:
            result = method()
            if inspect.isawaitable(result):
                await result
