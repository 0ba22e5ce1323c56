"""One word of a person to a home: attach to the run, say it, print what came back, exit."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import anyio
import typer

from agents.app.ask_home import NobodyThere
from bus.transport import BusUnavailable, NotStored
from deploy.commands.app_voice import CannotSpeak, Voice, voice
from deploy.control import NoRunHere
from deploy.options import failed, innermost, known_zone
from deploy.reach import reach
from deploy.topology import TopologyError

Site = Annotated[str, typer.Argument(help="A site of the running street, e.g. h07.")]
User = Annotated[str, typer.Option(help="Who speaks, where the home knows its people by name.")]
Zone = Annotated[
    str,
    typer.Option(
        callback=known_zone, help="The time zone of the person's clock, e.g. Europe/Lisbon. Default: the home's."
    ),
]
Told = Callable[[Voice], Awaitable[list[str] | None]]
IDLE_W = 50.0
"""Below it a device does nothing, whatever its electronics take."""


class Refused(Exception):
    """The home said no; its reason."""


FAILED = (NobodyThere, BusUnavailable, NotStored, Refused)
"""What may come while it speaks."""


def speak(site: str, say: Told) -> None:
    """Attach to ``site`` of the run in this folder, say it, print the lines that come of it. Exits with 1."""

    async def life() -> list[str]:
        async with voice(reach(), site) as home:
            return await say(home) or []

    try:
        lines = anyio.run(life)
    except (*FAILED, NoRunHere, CannotSpeak, OSError, TopologyError) as problem:
        raise failed(problem) from None
    except BaseExceptionGroup as group:
        known, rest = group.split(FAILED)
        if rest is not None or known is None:
            raise
        raise failed(innermost(known)) from None
    for line in lines:
        typer.echo(line)


def clock_time(instant: datetime, zone: str) -> str:
    """As the person's clock shows it: ``07:00``."""
    return f"{instant.astimezone(ZoneInfo(zone)):%H:%M}"
