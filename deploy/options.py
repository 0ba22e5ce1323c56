"""Options that the commands of containers share. Each has an environment name; secrets are files, never options."""

import logging
import math
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from deploy.topology import Topology, TopologyError, load

if TYPE_CHECKING:
    from deploy.condition import Condition

TopologyFile = Annotated[str, typer.Option(envvar="GRIDPARLEY_TOPOLOGY", help="Topology file or name.")]
Nats = Annotated[
    str, typer.Option(envvar="GRIDPARLEY_NATS", help="URL of the server it connects to; tls:// beyond this machine.")
]
KeysFolder = Annotated[
    Path,
    typer.Option(envvar="GRIDPARLEY_KEYS", help="Folder with `keys/<name>.nk`, its own is enough, and tls/ca.pem."),
]
ClockPath = Annotated[
    Path | None,
    typer.Option(envvar="GRIDPARLEY_CLOCK", help="Clock file of a run (`gridparley clock`); default: real time."),
]
Data = Annotated[
    Path | None, typer.Option(envvar="GRIDPARLEY_DATA", help="Folder for its files, e.g. the head-end's database.")
]
Health = Annotated[int, typer.Option(envvar="GRIDPARLEY_HEALTH", help="Port that answers GET /healthz; 0: none.")]
HealthHost = Annotated[
    str, typer.Option(envvar="GRIDPARLEY_HEALTH_HOST", help="Where that port listens; 0.0.0.0 in a container.")
]
Start = Annotated[
    str, typer.Option(envvar="GRIDPARLEY_START", help="Run from this instant (ISO 8601) instead of the topology's.")
]
Until = Annotated[str, typer.Option(envvar="GRIDPARLEY_UNTIL", help="Run until this instant instead.")]

DEFAULT_NATS = "nats://127.0.0.1:4222"
DEFAULT_KEYS = Path("nats")
LOOPBACK = "127.0.0.1"
LEAVE_WALL_S = 0.5


def failed(text: object, code: int = 1) -> typer.Exit:
    """To be raised: the text in red, and the exit code."""
    typer.secho(str(text), err=True, fg=typer.colors.RED)
    return typer.Exit(code)


def finite(value: float | None) -> float | None:
    """The callback of every option that is a number. Exits with 2 on nan and inf: no message can carry them."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number that can be meant: write one like 20 or 0.5")
    return value


def known_zone(name: str) -> str:
    """A callback of options. Exits with 2 when there is no such time zone; empty: none was said."""
    try:
        if name:
            ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        text = f"there is no time zone {name!r}: write one of the IANA database, e.g. Europe/Berlin, or UTC"
        raise typer.BadParameter(text) from None
    return name


def innermost(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first of what was raised, without the groups around it."""
    inner = group.exceptions[0]
    return innermost(inner) if isinstance(inner, BaseExceptionGroup) else inner


def loaded(name: str) -> Topology:
    """A topology by file or name; its faults are not looked for. Exits with 2."""
    try:
        return load(name)
    except TopologyError as problem:
        raise failed(problem, 2) from None


def checked(topology: Topology) -> Topology:
    """A topology without faults. Exits with 2."""
    from deploy.topology_faults import faults

    found = faults(topology)
    if found:
        raise failed("\n".join(found), 2)
    return topology


def as_asked(topology: Topology, start: str = "", until: str = "", speed: float | None = None) -> Topology:
    """A sound topology with another run. Exits with 2."""
    from deploy.overrides import overridden

    try:
        return checked(overridden(topology, start=start, until=until, speed=speed))
    except ValueError as problem:
        raise failed(problem, 2) from None


def lived(name: str, main: "Callable[[Condition], Awaitable[None]]", health_host: str, health: int) -> typer.Exit:
    """To be raised: a container's process, from its first log line to its exit code."""
    from deploy.condition import attended, live
    from deploy.telemetry.log_lines import configure_logging

    configure_logging()
    door = (health_host, health) if health else None
    # What ended in order may leave threads that look up names, for 20 s where the name server is silent: nobody waits.
    leave = threading.Timer(LEAVE_WALL_S, os._exit, (0,))
    leave.daemon = True

    async def whole() -> None:
        await attended(main, door)
        leave.start()

    code = live(name, whole)
    leave.cancel()
    logging.getLogger("gridparley.process").info("%s ends with code %d", name, code)
    return typer.Exit(code)
