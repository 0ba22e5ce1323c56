"""``gridparley talks``: the talks of a run, and one of them as a sequence."""

from datetime import UTC, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from deploy.options import known_zone

if TYPE_CHECKING:
    from deploy.records.run_facts import RunFacts


def command(
    id: Annotated[str, typer.Argument(help="A talk's id, or how it begins; none: list them.")] = "",
    site: Annotated[str, typer.Option(help="Only of this site.")] = "",
    table: Annotated[str, typer.Option(help="Only of this kind, e.g. limit_write.")] = "",
    open_: Annotated[bool, typer.Option("--open", help="Only those that go on.")] = False,
    last: Annotated[int, typer.Option(help="Only the last so many.")] = 0,
    zone: Annotated[
        str,
        typer.Option(callback=known_zone, help="Times of this zone, e.g. Europe/Berlin. Default: as in the run's log."),
    ] = "",
    utc: Annotated[bool, typer.Option("--utc", help="Times as the words carry them.")] = False,
    run: Annotated[Path | None, typer.Option(help="Folder of a run. Default: the run that goes on here.")] = None,
) -> None:
    """List the talks of a run, or show one: times, words, reasons, deal or not. While it runs and afterwards.

    Examples:

        gridparley talks --site h07 --last 20

        gridparley talks --table preferences --run runs/street-20260101-120000

        gridparley talks 5f3a-17
    """
    from contracts.all import conversations
    from deploy.control import NoRunHere, current
    from deploy.records.run_facts import NoRun, RunFacts
    from deploy.records.talks import NoTalk, find, recorded, row, sequence, talks

    if table and table not in conversations():
        typer.secho(f"there is no table {table!r}: they are {', '.join(sorted(conversations()))}", err=True)
        raise typer.Exit(2)
    try:
        folder = run or Path(current().folder)
        facts = RunFacts.read(folder)
        if site and site != "grid" and site not in {one.name for one in facts.sites}:
            known = ", ".join(one.name for one in facts.sites)
            typer.secho(f"there is no site {site!r} in this run: the sites are {known}", err=True)
            raise typer.Exit(2)
        found = talks(recorded(folder))
        shown = _zone(facts, zone, utc)
        lines = sequence(find(found, id), shown) if id else []
    except (NoRunHere, NoRun, NoTalk) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    if not id:
        chosen = [
            talk
            for talk in found
            if (not site or site in talk.sites)
            and (not table or talk.table.name == table)
            and (not open_ or talk.outcome == "open")
        ]
        lines = [row(talk, shown) for talk in (chosen[-last:] if last else chosen)]
        lines.append(f"{len(lines)} of {len(found)} talks; times are {shown}")
    for line in lines:
        typer.echo(line)


def _zone(facts: "RunFacts", zone: str, utc: bool) -> tzinfo:
    if utc:
        return UTC
    return ZoneInfo(zone) if zone else facts.start.tzinfo or UTC
