"""A whole home of real agents on simulated hardware with their parties beyond, and a scripted twin of every role."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import msgspec

from agents.kit.agent import Peers
from bus.address import Address
from bus.bus import Bus
from contracts.roles import AGGREGATOR, ALL, APP, OPS, SUBMETER
from deploy.roster import Roster
from deploy.settings import settings_of
from deploy.topology import GRID, AgentEntry, Topology, load
from deploy.world_spec import SUBSTATION, world_spec
from tests.conformance.partners import NAME, Partner
from tests.support.grid import Grid, Words, grid
from world.run import run_world
from world.world import World

SITE = "h07"
SPEED = 10.0
MORE_IN_THE_HOME = (
    AgentEntry(role=SUBMETER.name, name="evse1", device="eastron_sdm72d", unit=80, rating_w=11_000.0, measures="evse1"),
)
SETTINGS = {APP.name: {"proposals": "confirm"}}
"""Nobody sits before the display: it answers by itself."""
MORE_BEYOND = (AgentEntry(role=AGGREGATOR.name, name="main"),)


def shape() -> Topology:
    """The topology ``home`` with the roles that it lacks, and beside each role a twin that the test plays."""
    home = load("home")
    site = home.site[0]
    probe = AgentEntry(role=OPS.name, name="probe")

    def with_twins(entries: tuple[AgentEntry, ...]) -> tuple[AgentEntry, ...]:
        kept = tuple(
            msgspec.structs.replace(one, settings={**one.settings, **SETTINGS.get(one.role, {})})
            for one in entries
            if one.role != OPS.name and not one.attach
        )
        roles = sorted({one.role for one in kept})
        return (*kept, *(AgentEntry(role=role, name=NAME) for role in roles), probe)

    return msgspec.structs.replace(
        home,
        disturbance=(),
        run=msgspec.structs.replace(home.run, speed=SPEED),
        grid=msgspec.structs.replace(home.grid, agents=with_twins((*home.grid.agents, *MORE_BEYOND))),
        site=(msgspec.structs.replace(site, agents=with_twins((*site.agents, *MORE_IN_THE_HOME))),),
    )


@dataclass
class WholeHome:
    """``real`` and ``scripted`` by address; ``words`` of the home and ``beyond`` its border as the wire had them."""

    run: Grid
    real: dict[Address, Bus]
    scripted: dict[Address, Partner]
    words: Words
    beyond: Words

    def counts(self, name: str) -> dict[str, int]:
        """Of the real agents, where it is not 0."""
        return {str(who): bus.counts[name] for who, bus in self.real.items() if bus.counts[name]}


async def partners(run: Grid, seed: int) -> dict[Address, Partner]:
    """All that the topology calls scripted, and the operator's tool."""
    made = {}
    for address in run.servers.topology.entries:
        if address.name != NAME and address != Address(GRID, OPS.name, "probe"):
            continue
        vocabulary = run.servers.permissions.vocabularies.get(address.role)

        def prepare(bus: Bus, address: Address = address) -> None:
            made[address] = Partner(bus, random.Random(f"{seed}{address}"))
            made[address].prepare(vocabulary)  # noqa: B023  called at once

        await run.bus(str(address), prepare)
    return made


@asynccontextmanager
async def whole_home(seed: int = 0) -> AsyncIterator[WholeHome]:
    """All have started; the devices have joined."""
    made, there = [], anyio.Event()

    def ready(world: World) -> None:
        made.append(world)
        there.set()

    home = shape()
    assert {one.role for one in home.entries} == {role.name for role in ALL}
    async with grid(shape=home, speed=SPEED) as run, anyio.create_task_group() as tasks:
        tasks.start_soon(run_world, world_spec(home), run.clock, ready)
        await there.wait()
        where = {place: ("127.0.0.1", port) for place, port in made[0].ports.items()}
        where[GRID] = where.get(SUBSTATION, where.get(GRID, ("127.0.0.1", 0)))
        words, beyond = await run.words(SITE, f"home.to.{SITE}.>"), await run.words(GRID, "to.>", f"home.to.{GRID}.>")
        scripted = await partners(run, seed)
        real = {}
        for address in run.servers.permissions.agents():
            if address.name == NAME:
                continue
            agent = Roster()(address.role)
            assert agent is not None
            peers = run.servers.permissions.peers(address)
            known = Peers(addresses=tuple(a for a in peers.addresses if a.name != NAME), groups=peers.groups)
            real[address] = await run.start(str(address), settings_of(home, address, agent, where), peers=known)
        devices = [address for address in home.entries if home.entries[address].device and address.role != "meter"]
        await words.until(lambda w: len(w.of("welcome")) >= len(devices))
        yield WholeHome(run, real, scripted, words, beyond)
        tasks.cancel_scope.cancel()
