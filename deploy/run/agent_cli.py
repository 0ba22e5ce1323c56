"""One agent in a process of its own: ``gridparley agent``, what a container runs."""

import logging
from typing import Annotated

import typer

from deploy import options
from deploy.options import ClockPath, Data, Health, HealthHost, KeysFolder, Nats, TopologyFile


def command(
    address: Annotated[str, typer.Argument(help="Which agent of the topology, e.g. h07.cem.main.")],
    topology: TopologyFile = "street",
    nats: Nats = options.DEFAULT_NATS,
    keys: KeysFolder = options.DEFAULT_KEYS,
    gateway: Annotated[
        str,
        typer.Option(
            envvar="GRIDPARLEY_GATEWAY", help="HOST:PORT of its place's hardware. Default: the topology's gateway."
        ),
    ] = "",
    clock: ClockPath = None,
    data: Data = None,
    health: Health = 0,
    health_host: HealthHost = options.LOOPBACK,
) -> None:
    """Run one agent in this process, as a container does.

    It waits as long as it takes for a server that is not up yet, and up to a minute for the clock of its run; a refused
    credential ends it. It ends in order on SIGTERM, within 5 s. `GET /healthz` gives 200 while it is connected and
    ready, 503 with the cause otherwise. Spans go to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names.

    Exit codes: 0 in order; 2 it cannot run as configured; 1 anything else.

    Examples:

        gridparley agent h07.cem.main --topology street --nats tls://nats-h07:4222 --keys /run/gridparley

        gridparley agent h07.meter.main --gateway 192.0.2.7:502 --clock /clock/clock
    """
    from bus.address import Address, BadAddress
    from deploy.condition import Condition, patiently
    from deploy.doors import Doors
    from deploy.run.agent_process import run_one
    from deploy.settings import gateways, host_port
    from deploy.stage import clock_of, must_hold

    made = options.checked(options.loaded(topology))
    try:
        who = Address.parse(address)
        hardware = gateways(made) | ({who.site: host_port(gateway)} if gateway else {})
    except BadAddress as problem:
        raise options.failed(problem, 2) from None
    except ValueError as problem:
        raise options.failed(f"--gateway {problem}: write it as 192.0.2.7:502", 2) from None
    if who not in made.entries:
        known = ", ".join(map(str, made.entries))
        raise options.failed(f"{address} is not in {topology}: its agents are {known}", 2)
    log = logging.getLogger("gridparley")

    async def life(condition: Condition) -> None:
        must_hold(keys, address, nats)
        time = await clock_of(clock, made, address, condition)
        doors = Doors(made, keys, url=nats)

        def ready() -> None:
            log.info("%s is ready", address)
            time.here()

        await patiently(condition, lambda: run_one(doors, who, time, hardware, condition, ready, data=data))

    raise options.lived(address, life, health_host, health)
