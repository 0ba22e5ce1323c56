"""A run: servers, world, agents, clock, recorder and console, from the first process to the report."""

import asyncio
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import anyio
import msgspec

from bus.address import Address
from bus.clock import ClockFile, SharedClock
from contracts.roles import FORECASTER, OPS
from deploy import control
from deploy.control import Answer, Command
from deploy.nats import places
from deploy.nats.config import HOST
from deploy.nats.health import ServerHealth
from deploy.nats.ports import free_ports
from deploy.nats.servers import ServerFailed, Servers
from deploy.records.home_recorder import NAME as RECORDER
from deploy.records.home_recorder import HomeRecorder
from deploy.records.recorder import Recorder
from deploy.records.run_facts import RECORDS, RunEnd, RunFacts
from deploy.records.talks import HOMES
from deploy.run.console import Console, Pace
from deploy.run.governor import Governor
from deploy.run.lines import LINES, line_places
from deploy.run.offspring import Offspring
from deploy.run.processes import Exited, Files, Plan
from deploy.run.watch import Watch
from deploy.settings import gateways
from deploy.stage import clock_names
from deploy.topology import GRID, HUB, LINK_ACTIONS, Disturbance, Topology
from deploy.topology_faults import server_or_address
from deploy.world_spec import WORLD, event

log = logging.getLogger("gridparley.run")
READY_WALL_S = 90.0
LOOK_WALL_S = 1.0
TELL_WALL_S = 5.0
RESTART_SERVER_WALL_S = 0.3


@dataclass(frozen=True)
class Options:
    """What the command line adds to a topology. ``say`` tells the user what is going on before the console does.

    ``nats``: folder of `gridparley config` whose hub runs already; None: the run has servers of its own.
    """

    headless: bool = False
    nats: Path | None = None
    say: Callable[[str], None] = print


class Supervisor:
    """One run in one folder. ``run`` returns when its time is over or ``stop`` was set."""

    def __init__(self, topology: Topology, folder: Path, options: Options | None = None) -> None:
        self.topology, self.files, self.options = topology, Files(folder), options or Options()
        self.stop = anyio.Event()
        self.names = clock_names(topology)
        self.lines = line_places(topology)
        if self.lines:
            self.names.append(LINES)
        self.hardware = [name for name in (WORLD, LINES) if name in self.names]
        self.offspring = Offspring(self.files, {name: slot for slot, name in enumerate(self.names)})
        self.governor = Governor(topology.run.speed)
        self.restarted_servers: Counter[str] = Counter()
        self._sockets = Path(tempfile.mkdtemp(prefix="gridparley-"))  # a socket's path must be short
        self._killed: set[str] = set()

    # ---------------------------------------------------------------- from start to end

    async def run(self) -> None:
        """Raises ServerFailed, NotReady, NurseryGone, BusUnavailable while starting."""
        for folder in (self.files.logs, self.files.spans):
            folder.mkdir(parents=True, exist_ok=True)
        hub_runs = self.options.nats is not None
        if self.options.nats is not None:
            self.files.nats.symlink_to(self.options.nats.resolve())
        self.topology = self._foretold()
        self._write_facts()
        run = self.topology.run
        self.clock_file = ClockFile(self.files.clock, start=run.start.timestamp(), speed=0.0, slots=len(self.names))
        self.clock = SharedClock(self.files.clock)
        try:
            async with Servers(self.topology, self.files.nats, hub_runs=hub_runs) as self.servers:
                try:
                    await self._live()
                finally:
                    with anyio.CancelScope(shield=True):
                        await self.offspring.close()
        finally:
            shutil.rmtree(self._sockets, ignore_errors=True)

    async def _live(self) -> None:
        self.offspring.on_exit = self._exited
        await self.offspring.open()
        ended = anyio.Event()
        recorder = Recorder(
            self.servers.bus(self._tool("recorder"), self.clock),
            self.files.folder / RECORDS,
            RunFacts.of(self.topology),
        )
        self.view = recorder.view
        self.watch = Watch(self.servers, recorder.link)
        stores = {place.server: Path(place.store) for place in places.read(self.files.nats)}
        self.health = ServerHealth(self.servers, stores, self.servers.shoot)
        commands = await control.serve(self._sockets / "control", self.do)
        control.announce(self.files.folder, self._sockets / "control")
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(recorder.run, ended)
                for listener in self._home_recorders():
                    group.start_soon(listener.run, ended)
                await recorder.records.wait()
                for server in self.topology.servers:
                    group.start_soon(self.watch.watch, server)
                for server in self.servers.own:
                    group.start_soon(self._keep_server, server)
                    group.start_soon(self.health.keep, server)
                if await self._unless_stopped(self._start_all):
                    self.clock_file.set_speed(self.governor.speed)
                    console = Console(recorder.view, self.pace, headless=self.options.headless)
                    group.start_soon(console.run, ended)
                    group.start_soon(self._govern)
                    group.start_soon(self._disturb)
                    await self._unless_stopped(self._until_over)
                with anyio.CancelScope(shield=True):
                    await self._end(ended)
                group.cancel_scope.cancel()
        finally:
            commands.close()
            control.withdraw(self._sockets / "control")

    async def _unless_stopped(self, what: Callable[[], object]) -> bool:
        """Do it, but give up when the run is to stop. True when it was done."""
        done = False

        async def go() -> None:
            nonlocal done
            await what()  # type: ignore[misc]
            done = True
            scope.cancel()

        async with anyio.create_task_group() as group:
            scope = group.cancel_scope
            group.start_soon(go)
            await self.stop.wait()
            scope.cancel()
        return done

    async def _start_all(self) -> None:
        agents = [name for name in self.names if name not in self.hardware]
        began = asyncio.get_running_loop().time()
        self.offspring.start(self.hardware)
        await self.offspring.until_ready(self.hardware, READY_WALL_S)
        self.offspring.start(agents)
        async with anyio.create_task_group() as group:
            group.start_soon(self._tell_whom_we_wait_for)
            await self.offspring.until_ready(agents, READY_WALL_S)
            group.cancel_scope.cancel()
        took = asyncio.get_running_loop().time() - began
        self.options.say(f"{len(agents)} agents ready in {took:.1f} s; the run starts at {self.governor.speed:g}x")

    async def _tell_whom_we_wait_for(self) -> None:
        while True:
            await anyio.sleep(TELL_WALL_S)
            waiting = [name for name in self.names if name not in self.offspring.ready]
            shown = ", ".join(waiting[:6]) + (f" and {len(waiting) - 6} more" if len(waiting) > 6 else "")
            self.options.say(f"waiting for {shown}")

    async def _until_over(self) -> None:
        watch = asyncio.ensure_future(self.offspring.until(lambda: False))
        over = asyncio.ensure_future(self.clock.sleep_until(self.topology.run.until.timestamp()))
        try:
            await asyncio.wait([watch, over], return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
        finally:
            watch.cancel()
            over.cancel()

    async def _end(self, ended: anyio.Event) -> None:
        """Agents first, as long as everything that they need is there; then who listens to them."""
        ending = datetime.fromtimestamp(self.clock.now(), UTC)
        late = await self.offspring.stop([name for name in self.names if name not in self.hardware])
        if late:
            log.warning("killed after 5 s: %s", ", ".join(late))
        await self.offspring.stop(self.hardware)
        dead = await self._dead_letters()
        ended.set()
        self.clock_file.set_speed(0.0)
        RunEnd(
            ended=ending,
            restarts=dict(self.offspring.restarts + self.restarted_servers),
            lags_s=self.governor.summary(),
            dead_letters=dead,
            held_back=self.governor.held_back,
        ).write(self.files.folder)

    # ---------------------------------------------------------------- what is written down

    def _foretold(self) -> Topology:
        if not any(entry.role == FORECASTER.name for entry in self.topology.grid.agents):
            return self.topology
        from deploy.weather_file import with_weather  # the model of the sun is slow to load

        return with_weather(self.topology, self.files.folder)

    def _write_facts(self) -> None:
        places = [GRID, *self.topology.sites]
        free = free_ports(len(places) + len(self.lines))
        ports = dict(zip(places, free, strict=False))
        hardware = {place: (HOST, port) for place, port in ports.items()} | gateways(self.topology)
        fronts = {place: (HOST, port) for place, port in zip(self.lines, free[len(places) :], strict=True)}
        Plan(
            topology=self.topology,
            gateways=hardware | fronts,
            lines={place: hardware[place] for place in fronts},
            ports=ports,
            commands=str(self._sockets / WORLD),
        ).write(self.files)
        RunFacts.of(self.topology).write(self.files.folder)

    def _home_recorders(self) -> list[HomeRecorder]:
        """Of the homes whose topology lets the run keep their own talks."""
        places = [Address(site, OPS.name, RECORDER) for site in self.topology.sites]
        return [
            HomeRecorder(self.servers.bus(place, self.clock), self.files.folder / RECORDS / HOMES / place.site)
            for place in places
            if place in self.topology.entries
        ]

    def _tool(self, name: str) -> Address:
        return Address(GRID, OPS.name, name)

    async def _dead_letters(self) -> dict[str, int]:
        found = {}
        for server in self.topology.servers:
            with anyio.move_on_after(2):
                found[GRID if server == HUB else server] = await self.servers.dead_letters(server)
        return found

    # ---------------------------------------------------------------- while it runs

    def pace(self) -> Pace:
        return Pace(
            now=self.clock.now(),
            speed=self.clock.speed,
            lag_p99_s=self.governor.p99_s,
            held_back=self.governor.speed < self.governor.wanted,
        )

    async def _govern(self) -> None:
        while True:
            await anyio.sleep(LOOK_WALL_S)
            before = self.governor.speed
            after = self.governor.look(self.clock_file.lags())
            if after != before:
                self.clock_file.set_speed(after)
                log.info("clock at %.0fx, p99 lag %.1f s", after, self.governor.p99_s)

    def _exited(self, news: Exited) -> None:
        expected = news.name in self._killed
        self._killed.discard(news.name)
        how = f"signal {-news.code}" if news.code < 0 else f"code {news.code}"
        log.log(
            logging.INFO if expected else logging.WARNING,
            "%s ended (%s) and is started again; its log is %s",
            news.name,
            how,
            self.files.log(news.name),
        )

    async def _keep_server(self, server: str) -> None:
        while True:
            code = await self.servers.wait(server)
            self.watch.gone(server)
            log.warning("the server %s ended (code %s) and is started again", server, code)
            await anyio.sleep(RESTART_SERVER_WALL_S)
            try:
                await self.servers.start(server)
                self.restarted_servers[f"nats.{server}"] += 1
            except ServerFailed as problem:
                log.error("%s", problem)

    async def _disturb(self) -> None:
        for one in sorted(self.topology.disturbance, key=lambda disturbance: disturbance.at):
            if one.action in LINK_ACTIONS:
                await self.clock.sleep_until(one.at.timestamp())
                await self._do_link(one.action, one.site, one.address)

    async def _do_link(self, action: str, site: str, address: str) -> Answer:
        if action == "kill":
            return await self._kill(address)
        if site not in self.topology.sites:
            return Answer(error=f"there is no site {site!r}: the sites are {', '.join(self.topology.sites)}")
        if action == "cut":
            await self.servers.cut(site)
            log.info("link of %s cut", site)
            return Answer(text=f"{site} has no link to the grid side; `gridparley mend {site}` brings it back")
        await self.servers.mend(site)
        log.info("link of %s mended", site)
        return Answer(text=f"{site} finds the grid side again within seconds")

    async def _kill(self, text: str) -> Answer:
        found = server_or_address(self.topology, text)
        if found is None or (isinstance(found, Address) and found.role == OPS.name):
            return Answer(error=f"there is no {text!r} to kill: name an agent, hub, a site's server, world or lines")
        if found == HUB and HUB not in self.servers.own:
            return Answer(error="this run did not start the hub: whoever did can kill it")
        if isinstance(found, str) and found not in (WORLD, LINES):
            await self.servers.shoot(found)
        else:
            self._killed.add(text)
            if not self.offspring.kill(text):
                return Answer(error=f"{text} is not running at this moment")
        return Answer(text=f"{text} killed; it is started again")

    async def do(self, command: Command) -> Answer:
        """One command from outside."""
        if command.action == "status":
            return Answer(status=self.status())
        if command.action in LINK_ACTIONS:
            return await self._do_link(command.action, command.site, command.address)
        if command.action == "link":
            return await self._put_link(command)
        if command.action == "skew":
            return self._skew(command)
        if WORLD not in self.names:
            return Answer(
                error="there is no simulated world in this run: only cut, mend and kill work on real hardware"
            )
        fields = {**msgspec.structs.asdict(command), "at": datetime.fromtimestamp(self.clock.now(), UTC)}
        del fields["link"], fields["ahead_s"]  # of the launcher's own commands
        try:
            happening = event(msgspec.convert(fields, Disturbance))
        except msgspec.ValidationError as problem:
            return Answer(error=str(problem))
        return await self._tell_world(msgspec.json.encode(happening))

    async def _put_link(self, command: Command) -> Answer:
        if command.site not in self.topology.sites:
            return Answer(error=f"there is no site {command.site!r}: the sites are {', '.join(self.topology.sites)}")
        await self.servers.links.put(command.site, command.link)
        log.info("link of %s: %s", command.site, command.link)
        return Answer(text=f"the link of {command.site} is like that until the next word about it")

    def _skew(self, command: Command) -> Answer:
        if command.address not in self.names:
            return Answer(error=f"there is no {command.address!r} whose clock could be skewed: name an agent or world")
        self.clock_file.skew(self.names.index(command.address), command.ahead_s)
        log.info("clock of %s %+g s", command.address, command.ahead_s)
        return Answer(text=f"{command.address} sees run time {command.ahead_s:+g} s")

    async def _tell_world(self, line: bytes) -> Answer:
        try:
            reader, writer = await asyncio.open_unix_connection(self._sockets / WORLD)
        except OSError:
            return Answer(error="the world is not up at this moment: try again")
        writer.write(line + b"\n")
        answer = await reader.readline()
        writer.close()
        return msgspec.json.decode(answer, type=Answer)

    def status(self) -> dict[str, object]:
        """The run in a few values, for ``gridparley status``."""
        connected = {str(address) for address in self.watch.agents}
        return {
            "folder": str(self.files.folder),
            "topology": self.topology.name,
            "now": datetime.fromtimestamp(self.clock.now(), UTC).isoformat(),
            "until": self.topology.run.until.isoformat(),
            "speed": self.clock.speed,
            "lag_p99_s": round(self.governor.p99_s, 2),
            "ready": len(self.offspring.ready),
            "waiting_for": [name for name in self.names if name not in self.offspring.ready],
            "restarts": dict(self.offspring.restarts + self.restarted_servers),
            "links": {site: "up" if up else "down" for site, up in self.watch.links.items()},
            "not_connected": [name for name in self.names if name not in self.hardware and name not in connected],
            "links_cut": [site for site in self.topology.sites if self.servers.links.is_cut(site)],
            "processes": dict(self.offspring.pids),
            "sick_servers": dict(self.health.sick),
            "servers": {server: self.servers.url_of(server) for server in self.topology.servers},
        }
