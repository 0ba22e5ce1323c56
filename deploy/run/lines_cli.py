"""One Modbus line alone: ``gridparley line``."""

import logging
from typing import TYPE_CHECKING, Annotated

import typer

from agents.drivers.front import Front, FrontSettings
from deploy import options
from deploy.options import Health, HealthHost, TopologyFile
from deploy.run.lines import LINE, front_settings, serve
from deploy.settings import gateways
from deploy.telemetry.figures import kept
from deploy.topology import GRID, TopologyError, load

if TYPE_CHECKING:
    from deploy.condition import Condition

log = logging.getLogger("gridparley.line")


def _address(text: str, host: str = "") -> tuple[str, int]:
    """Of HOST:PORT, or PORT where a host is given. Raises ValueError."""
    named, colon, port = text.rpartition(":")
    if not port.isdigit() or not (named or (host and not colon)):
        raise ValueError(f"{text!r} is not HOST:PORT: write it as 192.0.2.7:502")
    return named or host, int(port)


def command(
    upstream: Annotated[str, typer.Option(help="HOST:PORT of the hardware. Default: the site's `gateway`.")] = "",
    listen: Annotated[str, typer.Option(help="[HOST:]PORT for the agents; 0.0.0.0:502 in a container.")] = "5020",
    site: Annotated[str, typer.Option(help="Site of the topology (or grid): its products' gaps and timeouts.")] = "",
    topology: TopologyFile = "street",
    health: Health = 0,
    health_host: HealthHost = options.LOOPBACK,
) -> None:
    """Own one Modbus line for all agents of a site, as a container or beside real hardware.

    Many masters connect to it; the gateway or device sees one. Writes go before reads, gaps are kept, a dead unit does
    not block its neighbours. It ends in order on SIGTERM. `gridparley up` has the same inside.

    Examples:

        gridparley line --upstream 192.0.2.7:502 --listen 5020

        gridparley line --site h07 --topology my-street.toml --listen 0.0.0.0:502
    """
    try:
        settings = FrontSettings()
        if site:
            made = load(topology)
            if site != GRID and site not in made.sites:
                raise ValueError(f"there is no site {site!r} in {topology}: it has grid, {', '.join(made.sites)}")
            settings = front_settings(made, site)
            named = gateways(made).get(site)
        else:
            named = None
        where = _address(upstream) if upstream else named
        if where is None:
            raise ValueError("no hardware is named: give --upstream HOST:PORT, or --site of one with a gateway")
        host, port = _address(listen, "127.0.0.1")
    except (ValueError, TopologyError) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from None
    front = Front(where, settings, host=host, port=port)

    async def life(condition: "Condition") -> None:
        def ready() -> None:
            condition.ready()
            log.info("%s is served at %s:%d", front.name, front.host, front.port)

        with kept(LINE, f"line-{site}" if site else front.name, scraped=condition.scraped):
            await serve([front], ready, condition.stop)

    raise options.lived("the line", life, health_host, health)
