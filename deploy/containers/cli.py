"""What a run in containers needs besides its agents: the clock, the world, the recorders, streams at the servers."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from deploy import options
from deploy.condition import CannotRun, Condition, GivenUp
from deploy.options import ClockPath, Data, Health, HealthHost, KeysFolder, Nats, Start, TopologyFile, Until

log = logging.getLogger("gridparley.stage")
UP_WALL_S = 60.0
ClockFile = Annotated[
    Path, typer.Option("--file", "--clock", envvar="GRIDPARLEY_CLOCK", help="The clock file; on a volume for all.")
]


def clock(
    file: ClockFile = Path("clock"),
    topology: TopologyFile = "street",
    speed: Annotated[
        float | None,
        typer.Option(
            callback=options.finite, envvar="GRIDPARLEY_SPEED", help="Run seconds per second; 1 is real time."
        ),
    ] = None,
    start: Start = "",
    until: Until = "",
    wait: Annotated[
        float, typer.Option(callback=options.finite, help="Wall seconds that the start waits for who is not there yet.")
    ] = 120.0,
    health: Health = 0,
    health_host: HealthHost = options.LOOPBACK,
) -> None:
    """Make the clock of a run and keep it, or go on with the one that is there.

    All processes of the run map the file, so it is on a volume that they share. Time stands until every process of the
    topology has reported, or until --wait is over. Then it goes at the speed that all can follow, at most --speed, and
    is held at the run's end. On SIGTERM file and speed stay: the others live on, and the next `gridparley clock` goes
    on from there. Remove the file to begin anew.

    Exit codes: 0 in order; 2 it cannot run as configured; 1 anything else.

    Example:

        gridparley clock --file /clock/clock --topology street --speed 30
    """
    from deploy.containers.clock_keeper import ClockKeeper

    made = options.as_asked(options.loaded(topology), start, until, speed)

    async def life(condition: Condition) -> None:
        await ClockKeeper(file, made, condition, wait_s=wait).keep()

    raise options.lived("the clock", life, health_host, health)


def world(
    topology: TopologyFile = "street",
    clock: ClockPath = None,
    host: Annotated[str, typer.Option(help="Where its gateways listen.")] = "0.0.0.0",  # noqa: S104  in a container
    data: Data = None,
    start: Start = "",
    until: Until = "",
    health: Health = 0,
    health_host: HealthHost = options.LOOPBACK,
) -> None:
    """Simulate the world of a topology alone: feeder, homes and devices behind one Modbus gateway per place.

    Its gateways listen at 15020 (the grid side's), 15021 and so on in the order of the sites. What the topology has
    happen in the world happens by the clock; links are not its own. truth.csv, what really happened, is in --data, and
    a restarted world goes on from what is beside it.

    Exit codes: 0 in order; 2 it cannot run as configured; 1 anything else.

    Example:

        gridparley world --topology street --clock /clock/clock --data /data
    """
    import msgspec

    from deploy.records.run_facts import TRUTH
    from deploy.run.world_process import run_street
    from deploy.stage import shared_clock
    from deploy.topology import GRID, LINK_ACTIONS
    from deploy.world_spec import WORLD, has_world, modbus_port, world_spec

    made = options.as_asked(options.loaded(topology), start, until)
    if not has_world(made):
        raise options.failed(f"{topology} has no simulated site: all of its hardware is real, nothing is to be done", 2)
    if clock is None:
        raise options.failed("no clock is named: give --clock FILE of `gridparley clock`", 2)
    ports = {place: modbus_port(made, place) for place in (GRID, *made.sites)}
    spec = msgspec.structs.replace(world_spec(made, ports), host=host)
    folder = data or Path()

    async def life(condition: Condition) -> None:
        time = await shared_clock(clock, made, WORLD, condition)
        left_out = [one for one in made.disturbance if one.action in LINK_ACTIONS]
        if left_out:
            log.info("%d cuts, mends and kills of the topology are not done by the world", len(left_out))

        def ready() -> None:
            log.info("%d gateways listen at %s from port %d on", len(spec.sites) + 1, host, ports[GRID])
            time.here()

        try:
            folder.mkdir(parents=True, exist_ok=True)
            await run_street(spec, time, condition, ready, truth=folder / TRUTH)
        except OSError as problem:
            raise CannotRun(f"the world cannot be served or written down: {problem}") from None

    raise options.lived(WORLD, life, health_host, health)


def record(
    out: Annotated[Path, typer.Option(envvar="GRIDPARLEY_DATA", help="Folder of the run; one that is there goes on.")],
    site: Annotated[
        str, typer.Option(help="Talks inside this home, from its own server. Default: the grid side.")
    ] = "",
    topology: TopologyFile = "street",
    nats: Nats = options.DEFAULT_NATS,
    keys: KeysFolder = options.DEFAULT_KEYS,
    clock: ClockPath = None,
    start: Start = "",
    until: Until = "",
    health: Health = 0,
    health_host: HealthHost = options.LOOPBACK,
) -> None:
    """Keep a run's records: what passes the hub, or with --site the talks that never leave that home.

    It is `grid.ops.recorder` of the topology, or the site's own `ops.recorder`; it hears and speaks for nobody. The
    folder is a run's: `gridparley report FOLDER` and `gridparley talks --run FOLDER` read it, also while it is written.
    A restarted recorder goes on and reads what it missed.

    Exit codes: 0 in order; 2 it cannot run as configured; 1 anything else.

    Examples:

        gridparley record --out /data --nats tls://nats-hub:4222 --keys /run/gridparley --clock /clock/clock

        gridparley record --site h07 --out /data --nats tls://nats-h07:4222 --keys /run/gridparley --clock /clock/clock
    """
    from bus.address import Address
    from contracts.roles import OPS
    from deploy.condition import patiently
    from deploy.containers.record_process import record_run
    from deploy.doors import Doors
    from deploy.records.home_recorder import NAME
    from deploy.stage import clock_of, must_hold
    from deploy.topology import GRID

    made = options.as_asked(options.loaded(topology), start, until)
    who = Address(site or GRID, OPS.name, NAME)
    if who not in made.entries:
        having = ", ".join(one.site for one in made.entries if (one.role, one.name) == (OPS.name, NAME))
        remedy = f"add {{ role = 'ops', name = '{NAME}' }}; those that have one: {having or 'none'}"
        raise options.failed(f"{who} is not in {topology}: {remedy}", 2)

    async def life(condition: Condition) -> None:
        must_hold(keys, str(who), nats)
        time = await clock_of(clock, made, str(who), condition)
        doors = Doors(made, keys, url=nats)
        await patiently(condition, lambda: record_run(doors, who, time, out, condition, clock))

    raise options.lived(str(who), life, health_host, health)


def provision(
    server: Annotated[str, typer.Argument(help="hub, or a site of the topology.")],
    topology: TopologyFile = "street",
    nats: Nats = options.DEFAULT_NATS,
    keys: KeysFolder = options.DEFAULT_KEYS,
    replicas: Annotated[
        int, typer.Option(envvar="GRIDPARLEY_REPLICAS", min=1, max=5, help="Copies of each stream, for a cluster.")
    ] = 1,
) -> None:
    """Make what a topology needs at one server: streams and consumers. Doing it again changes nothing.

    It signs in with the server's admin key, keys/SERVER.admin.nk, and waits up to 60 s for the server.

    Exit codes: 0 done; 2 it cannot run as configured; 1 the server is not there or does not take it.

    Examples:

        gridparley provision hub --nats tls://nats-hub:4222 --keys /run/gridparley --replicas 3

        gridparley provision h07 --nats tls://nats-h07:4222 --keys /run/gridparley
    """
    from deploy.doors import Doors
    from deploy.nats.provision import NotProvisioned
    from deploy.nats.provision import provision as make
    from deploy.stage import must_hold

    made = options.checked(options.loaded(topology))
    if server not in made.servers:
        raise options.failed(f"there is no server {server!r} in {topology}: it has {', '.join(made.servers)}", 2)

    async def life(_condition: Condition) -> None:
        user = f"{server}.admin"
        must_hold(keys, user, nats)
        doors = Doors(made, keys, url=nats)
        ring, ca = doors.key_ring(user), doors.ca_of(server)
        try:
            await make(
                doors.permissions,
                server,
                nats,
                ring,
                ca,
                replicas=replicas,
                within_s=UP_WALL_S,
                patience_s=UP_WALL_S,
            )
        except NotProvisioned as problem:
            remedy = "is JetStream on there, and are there as many servers as --replicas?"
            raise GivenUp(f"{problem}: {remedy}") from None
        log.info("%s has its streams and consumers", server)

    raise options.lived(f"provisioning {server}", life, options.LOOPBACK, 0)
