"""``gridparley order``: what an operator's hand orders, said over the bus of the run that goes on in this folder."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import isfinite, nan
from typing import Annotated, Literal

import typer

from contracts.kit import Message
from contracts.operator import (
    OrderAllClear,
    OrderAnswers,
    OrderCommand,
    OrderEmergency,
    OrderGroupMessage,
    OrderLimit,
    OrderPower,
)
from contracts.power_limit import Direction
from deploy.commands.typed import seconds
from deploy.options import failed

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Order something at the control room of the running street, and be told what became of it.

The order goes over the bus, as `grid.ops.operator`, which the servers let say nothing but orders. Exit code 0: done,
also where it was done at some of several sites only; 1: not done.

Examples:

    gridparley order emergency h02 h05 --severe --duration 15m

    gridparley order clear

    gridparley order limit h07 --production 10000 --duration 30m

    gridparley order limit h07 --production lift

    gridparley order command h05 emergency --device evse.1 --upper 0

    gridparley order group street "Works on Monday from 8 to 9"

    gridparley order power h07
""",
)

Site = Annotated[str, typer.Argument(help="A site of the running street, e.g. h07.")]
Sites = Annotated[list[str] | None, typer.Argument(help="Sites, e.g. h02 h05; all of the area if none is named.")]
For = Annotated[str, typer.Option("--duration", help="How long, in run time: 90s, 20m, 1.5h.")]
Confirm = Annotated[bool, typer.Option(help="Whether each site must confirm; without, silence counts as told.")]
Text = Annotated[str, typer.Option(help="What the site's people are told.")]


@app.command()
def emergency(
    sites: Sites = None,
    duration: For = "",
    severe: Annotated[bool, typer.Option("--severe", help="Severe: devices that were exempt must obey too.")] = False,
    confirm: Confirm = True,
    text: Text = "",
) -> None:
    """Call a grid emergency: the sites' devices go to their preset mode.

    Example: gridparley order emergency h02 h05 --severe --duration 15m
    """
    _say(
        lambda _now: OrderEmergency(
            sites=tuple(sites or ()),
            level="severe" if severe else "normal",
            duration_s=seconds(duration),
            confirm=confirm,
            text=text,
        )
    )


@app.command()
def clear(sites: Sites = None, confirm: Confirm = True) -> None:
    """End the emergency.

    Example: gridparley order clear h02
    """
    _say(lambda _now: OrderAllClear(sites=tuple(sites or ()), confirm=confirm))


@app.command()
def limit(
    site: Site,
    consumption: Annotated[str, typer.Option(help="At most so many W drawn, or `lift`.")] = "",
    production: Annotated[str, typer.Option(help="At most so many W fed in (a magnitude), or `lift`.")] = "",
    duration: For = "",
) -> None:
    """Limit a site by hand; the tighter of this and what the control room finds by itself holds.

    Examples: gridparley order limit h07 --production 10000 --duration 30m

    gridparley order limit h07 --production lift
    """
    if bool(consumption) == bool(production):
        raise failed("give --consumption or --production: one limit is one order", 2)
    direction: Direction = "consumption" if consumption else "production"
    value = consumption or production
    if value == "lift":
        _say(lambda _now: OrderLimit(site=site, direction=direction, active=False))
        return
    watts = _watts(value)
    signed = watts if consumption else -watts
    _say(lambda _now: OrderLimit(site=site, direction=direction, limit_w=signed or 0.0, duration_s=seconds(duration)))


@app.command()
def command(
    site: Site,
    kind: Annotated[Literal["emergency", "clearance"], typer.Argument(help="Reduce, or give free again.")],
    device: Annotated[str, typer.Option(help="One device, through the site's gateway, e.g. evse.1.")] = "",
    upper: Annotated[str, typer.Option(help="At most so many W, + = drawn; none: as the site has it preset.")] = "",
    text: Text = "",
) -> None:
    """Congestion: command one site, or one of its devices.

    Example: gridparley order command h05 emergency --device evse.1 --upper 0
    """
    named = f"{site}.{device}" if device.count(".") == 1 else device
    upper_w = float(_number(upper)) if upper else None
    _say(lambda _now: OrderCommand(site=site, kind=kind, device=named or None, upper_w=upper_w, text=text))


@app.command()
def group(
    name: Annotated[str, typer.Argument(help="A group of the topology, e.g. street.")],
    text: Annotated[str, typer.Argument(help="What its members are told.")],
    kind: Annotated[Literal["notice", "display", "maintenance"], typer.Option(help="What it is.")] = "notice",
    duration: For = "",
) -> None:
    """Tell a group something; each member acknowledges, also who is away and comes back later.

    Example: gridparley order group street "Works on Monday from 8 to 9"
    """

    def word(now: datetime) -> OrderGroupMessage:
        lasts = seconds(duration)
        until = now + timedelta(seconds=lasts) if lasts is not None else None
        return OrderGroupMessage(group=name, kind=kind, text=text, valid_until=until)

    _say(word)


@app.command()
def answers(id: Annotated[str, typer.Argument(help="What `gridparley order group` has printed.")]) -> None:
    """Tell who has acknowledged a group's message until now."""
    _say(lambda _now: OrderAnswers(id=id))


@app.command()
def power(site: Site) -> None:
    """Ask a building for its present power.

    Example: gridparley order power h07
    """
    _say(lambda _now: OrderPower(site=site))


def _say(word_at: Callable[[datetime], Message]) -> None:
    import anyio

    from bus.transport import BusUnavailable
    from deploy.commands.orders import CannotOrder, order, told
    from deploy.control import NoRunHere
    from deploy.reach import reach
    from deploy.topology import TopologyError

    try:
        here = reach()
        word = word_at(datetime.fromtimestamp(here.clock.now(), UTC))
        answer, talk = anyio.run(order, here, word)
    except (NoRunHere, CannotOrder, BusUnavailable, FileNotFoundError, TopologyError, ValueError) as problem:
        raise failed(problem) from None
    if answer is None:
        typer.secho("the control room did not answer: is it running? See `gridparley status`", err=True)
        raise typer.Exit(1)
    lines = told(word, answer)
    not_done = lines[0].startswith("not done")
    for line in lines:
        typer.secho(line, err=not_done)
    typer.echo(f"how it went: gridparley trace {talk}", err=True)
    raise typer.Exit(1 if not_done else 0)


def _number(text: str) -> float:
    try:
        watts = float(text)
    except ValueError:
        watts = nan
    if not isfinite(watts):
        raise failed(f"{text!r} is no power: write a number of W, e.g. 4200", 2)
    return watts


def _watts(text: str) -> float:
    watts = _number(text)
    if watts < 0:
        raise failed(f"{text} W is below zero: write a magnitude, the direction says the sign", 2)
    return watts
