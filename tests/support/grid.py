"""A running grid for tests: real servers, links, identities, rights and streams; a fast clock; agents in this process.

async with grid("grid.dso.north", "h07.cem.main", "h07.evse.1") as run:
    await run.start("h07.cem.main")                 # the real agent, with settings={...} or a Settings object
    probe = await run.bus("grid.dso.north")         # or only its voice and ears
"""

import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

import contracts.all  # noqa: F401  fills the vocabulary
from agents.kit.agent import Agent, Peers, Settings
from agents.kit.run import run_agent
from bus.address import Address
from bus.bus import Bus
from bus.clock import ClockFile, SharedClock
from bus.transport import Connection
from deploy.nats.servers import Servers
from deploy.roster import Roster
from deploy.topology import GRID, AgentEntry, GridSide, Run, Site, Topology
from tests.support.steady_clock import SteadyClock

START = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)
WAIT_WALL_S = 120.0
"""How long a fact may take that is to come: far longer than any takes here, as the machine has other work to do."""


def topology(addresses: Iterable[str | Address], *, groups: tuple[str, ...] = (), speed: float = 60.0) -> Topology:
    """A topology of these agents. Every place also has an operator's tool ``<site>.ops.probe`` that hears all there."""
    places: dict[str, list[AgentEntry]] = {GRID: []}
    for text in addresses:
        address = text if isinstance(text, Address) else Address.parse(text)
        places.setdefault(address.site, []).append(AgentEntry(role=address.role, name=address.name))
    for entries in places.values():
        entries.append(AgentEntry(role="ops", name="probe"))
    return Topology(
        name="mini",
        run=Run(start=START, until=START + timedelta(hours=6), speed=speed),
        grid=GridSide(agents=tuple(places.pop(GRID))),
        site=tuple(Site(name=name, groups=groups, agents=tuple(entries)) for name, entries in places.items()),
    )


class Grid:
    """What a test holds. ``clock`` is shared; ``clock_file.set_speed`` changes it."""

    def __init__(
        self,
        servers: Servers,
        clock_file: ClockFile,
        clock: SharedClock,
        tasks: TaskGroup,
        agent_of: Callable[[str], Agent | None],
    ) -> None:
        self.servers, self.clock_file, self.clock = servers, clock_file, clock
        self._tasks, self._agent_of = tasks, agent_of
        self._stops: dict[Address, anyio.Event] = {}
        self._ended: dict[Address, anyio.Event] = {}
        self._buses: list[Bus] = []
        self._connections: list[Connection] = []

    async def start(
        self, address: str, settings: Settings | Mapping[str, Any] | None = None, *, peers: Peers | None = None
    ) -> Bus:
        """Run a real agent in this process; returns its bus once it is ready."""
        who = Address.parse(address)
        agent = self._agent_of(who.role)
        assert agent is not None, f"{address} is an operator's tool: use bus()"
        if not isinstance(settings, Settings):
            settings = msgspec.convert(dict(settings or {}), agent.settings)
        bus = self.servers.bus(who, self.clock)
        ready, self._stops[who], self._ended[who] = anyio.Event(), anyio.Event(), anyio.Event()

        async def live() -> None:
            try:
                await run_agent(
                    agent,
                    bus,
                    settings,
                    peers or self.servers.permissions.peers(who),
                    ready=ready.set,
                    stop=self._stops[who],
                )
            finally:
                self._ended[who].set()

        self._tasks.start_soon(live)
        with anyio.fail_after(WAIT_WALL_S):
            await ready.wait()
        return bus

    async def stop(self, address: str) -> None:
        """Stop a started agent in order and wait until it has."""
        who = Address.parse(address)
        self._stops[who].set()
        await self._ended[who].wait()

    async def bus(self, address: str, prepare: Callable[[Bus], object] = lambda _bus: None) -> Bus:
        """Only the voice and ears of an address, with its rights. ``prepare`` registers listeners before it hears."""
        bus = self.servers.bus(Address.parse(address), self.clock)
        prepare(bus)
        await bus.open()
        await bus.run(self._tasks)
        self._buses.append(bus)
        return bus

    async def admins(self) -> list[Connection]:
        """A connection to each server, of its own administrator."""
        made = [self.servers.connection(one, f"{one}.admin", "_R.admin") for one in self.servers.topology.servers]
        for connection in made:
            await connection.open()
            self.closing(connection)
        return made

    def closing(self, connection: Connection) -> None:
        """Close a test's own connection with the grid."""
        self._connections.append(connection)

    async def words(self, site: str = GRID, *subjects: str) -> "Words":
        """Everything that is said from now on as the site's probe hears it (grid: all that crosses links)."""
        probe = self.servers.bus(Address(site, "ops", "probe"), self.clock)
        await probe.connection.open()
        self._buses.append(probe)
        heard = Words()
        mine = (f"home.to.{site}.>", f"home.say.{site}.>")
        wide = ("to.>", "say.>", "group.>", "dead.>") if site == GRID else (f"dead.{site}.>",)
        for subject in subjects or (*mine, *wide):
            await probe.connection.subscribe(subject, heard.take)
        await probe.connection.barrier()
        return heard

    async def close(self) -> None:
        for stop in self._stops.values():
            stop.set()
        for ended in self._ended.values():
            with anyio.move_on_after(5):
                await ended.wait()
        for connection in (*(bus.connection for bus in self._buses), *self._connections):
            await connection.close()


class Words:
    """(subject, payload) in the order heard."""

    def __init__(self) -> None:
        self.all: list[tuple[str, bytes]] = []
        self._more = anyio.Event()

    def take(self, subject: str, payload: bytes) -> None:
        self.all.append((subject, payload))
        self._more.set()
        self._more = anyio.Event()

    def of(self, word: str) -> list[tuple[str, dict[str, Any]]]:
        """(subject, envelope) of every word whose subject ends so, e.g. ``set_limit``."""
        return [(s, msgspec.json.decode(p)) for s, p in self.all if s.endswith(f".{word}")]

    async def until(self, there: Callable[["Words"], object], within_wall_s: float = WAIT_WALL_S) -> Any:
        """Wait for a fact among what was heard and return it; raises TimeoutError with the subjects heard."""
        try:
            with anyio.fail_after(within_wall_s):
                while not (found := there(self)):
                    await self._more.wait()
                return found
        except TimeoutError:
            tail = "\n".join(subject for subject, _ in self.all[-40:])
            raise TimeoutError(f"not heard within {within_wall_s:g} s; heard:\n{tail}") from None


async def eventually(there: Callable[[], object], within_wall_s: float = WAIT_WALL_S) -> Any:
    """Wait for a fact of this process that nobody announces; raises TimeoutError."""
    with anyio.fail_after(within_wall_s):
        while not (found := there()):  # noqa: ASYNC110  nobody sets an event for it
            await anyio.sleep(0.01)
        return found


@asynccontextmanager
async def grid(
    *addresses: str,
    shape: Topology | None = None,
    agents: Mapping[str, Agent] | None = None,
    groups: tuple[str, ...] = (),
    speed: float = 60.0,
    folder: Path | None = None,
    servers: type[Servers] = Servers,
    processes: bool = False,
) -> AsyncIterator[Grid]:
    """Servers for these addresses (or for the topology ``shape``), all linked and provisioned.

    ``agents`` replaces roles by agents of the test's own, ``servers`` the way that they are set up. ``processes``:
    others than this one read the clock's file, so that its time passes whatever the machine does.
    """
    agent_of = Roster(agents)
    async with AsyncExitStack() as stack:
        where = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gridparley-")))
        made = shape or topology(addresses, groups=groups, speed=speed)
        clock_file = ClockFile(where / "clock", start=made.run.start.timestamp(), speed=0.0, slots=0)
        up = await stack.enter_async_context(servers(made, where / "nats", agent_of))
        async with anyio.create_task_group() as tasks:
            clock = SharedClock(clock_file.path) if processes else SteadyClock(clock_file.path)
            running = Grid(up, clock_file, clock, tasks, agent_of)
            if isinstance(clock, SteadyClock):
                tasks.start_soon(clock.keep, await running.admins() if type(up) is Servers else ())
            clock_file.set_speed(speed)
            try:
                yield running
            finally:
                with anyio.CancelScope(shield=True):
                    await running.close()
                tasks.cancel_scope.cancel()
