"""``gridparley trace``: a talk from the decision that opened it to the register that was written, as a tree."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

TABLE = "gridparley.table"
TALK = "messaging.message.conversation_id"
REASON = "gridparley.reason.text"
WIDTH = 400
_SHOWN = {
    "gridparley.site": "",
    "gridparley.device": "",
    "gridparley.devices": "",
    "gridparley.direction": "",
    "gridparley.where": "register ",
    "gridparley.value": "= ",
    "gridparley.bound.lower_w": "connection's lower bound, W: ",
    "gridparley.bound.upper_w": "connection's upper bound, W: ",
    "gridparley.order.lower_w": "at least, W: ",
    "gridparley.order.upper_w": "at most, W: ",
    REASON: "because: ",
    "gridparley.transcript": "",
}
"""What of a span's attributes stands beside it, and after which words. The rest is in the file."""


class _Context(msgspec.Struct):
    trace_id: str
    span_id: str


class _Status(msgspec.Struct):
    status_code: str = "UNSET"
    description: str = ""


class _Resource(msgspec.Struct):
    attributes: dict[str, Any] = {}


class _Event(msgspec.Struct):
    name: str


class Span(msgspec.Struct):
    """One line of ``spans/<agent>.jsonl``."""

    name: str
    context: _Context
    start_time: datetime
    end_time: datetime
    parent_id: str | None = None
    status: _Status = msgspec.field(default_factory=_Status)
    attributes: dict[str, Any] = {}
    events: list[_Event] = []
    resource: _Resource = msgspec.field(default_factory=_Resource)

    @property
    def service(self) -> str:
        return str(self.resource.attributes.get("service.instance.id", "?"))

    @property
    def talk(self) -> str:
        return str(self.attributes.get(TALK, ""))


class NoTrace(Exception):
    """Nothing to show."""


def spans(folder: Path) -> Iterator[Span]:
    """All spans of a run; a line that a kill has torn is left out."""
    decode = msgspec.json.Decoder(Span).decode
    for path in sorted((folder / "spans").glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                try:
                    yield decode(line)
                except msgspec.MsgspecError:
                    continue


def trace_of(found: Iterable[Span], talk: str) -> list[Span]:
    """Every span of the trace that a talk belongs to. Raises NoTrace.

    talk   its id, the trace's, or a kind of talk: the last of that kind; empty: the last of all
    """
    known = list(found)
    wanted = {
        one.context.trace_id
        for one in known
        if talk and (one.talk == talk or one.context.trace_id.removeprefix("0x") == talk.removeprefix("0x"))
    }
    if not wanted:
        kind = [one for one in known if one.talk and (not talk or one.attributes.get(TABLE) == talk)]
        last = max(kind, key=lambda one: one.end_time, default=None)
        wanted = {last.context.trace_id} if last is not None else set()
    if not wanted:
        cause = f"no talk {talk!r}" if talk else "no talk"
        raise NoTrace(
            f"there is {cause} in this run's spans: processes write them about once a second, and send them to the"
            " collector instead where OTEL_EXPORTER_OTLP_ENDPOINT is set"
        )
    return [one for one in known if one.context.trace_id in wanted]


def tree(trace: list[Span]) -> Tree:
    """As it hangs together. A span whose parent was not written hangs at the root."""
    trace = sorted(trace, key=lambda one: one.start_time)
    ids = {one.context.span_id for one in trace}
    below: dict[str | None, list[Span]] = {}
    for one in trace:
        below.setdefault(one.parent_id if one.parent_id in ids else None, []).append(one)
    first = trace[0].start_time
    top = Tree(Text(f"trace {trace[0].context.trace_id.removeprefix('0x')}, {len(trace)} spans", style="bold"))

    def hang(branch: Tree, parent: str | None, known: object) -> None:
        for one in below.get(parent, ()):
            reason = one.attributes.get(REASON)
            hang(branch.add(_line(one, first, known)), one.context.span_id, reason or known)

    hang(top, None, None)
    return top


def _line(span: Span, first: datetime, known: object) -> Text:
    """``known``: the reason that stands above already."""
    after, took = (
        (b - a).total_seconds() * 1000 for a, b in ((first, span.start_time), (span.start_time, span.end_time))
    )
    failed = span.status.status_code == "ERROR"
    line = Text.assemble(
        (span.service, "cyan"), f"  {span.name}  ", (f"+{after:.1f} ms, {took:.1f} ms", "dim"),
    )  # fmt: skip
    state = span.attributes.get("gridparley.state")
    if state:
        line.append(f"  [{state}]")
    said = "; ".join(
        f"{words}{span.attributes[name]}"
        for name, words in _SHOWN.items()
        if span.attributes.get(name) not in (None, "") and not (name == REASON and span.attributes[name] == known)
    )
    if said:
        line.append(f"  {said}", style="italic")
    if failed:
        line.append(f"  FAILED {span.status.description}", style="bold red")
    return line


def command(
    talk: Annotated[
        str, typer.Argument(help="A talk's id, a trace's, or a kind of talk, e.g. limit_write: its last.")
    ] = "",
    last: Annotated[bool, typer.Option("--last", help="The talk that ended last.")] = False,
    run: Annotated[Path | None, typer.Option(help="Folder of a run. Default: the run that goes on here.")] = None,
) -> None:
    """Show who did what in a talk and how long it took: from the decision to the register.

    Durations are wall time; a run at 60x has sixty of its seconds in each.

    Examples:

        gridparley trace --last

        gridparley trace limit_write

        gridparley trace 5f3a-17 --run runs/street-20260101-120000
    """
    from deploy.control import NoRunHere, current

    if bool(talk) == last:
        typer.secho("name a talk, or say --last", err=True, fg=typer.colors.RED)
        raise typer.Exit(2)
    try:
        folder = run or Path(current().folder)
        shown = tree(trace_of(spans(folder), talk))
    except (NoRunHere, NoTrace) as problem:
        typer.secho(str(problem), err=True, fg=typer.colors.RED)
        raise typer.Exit(1) from None
    terminal = Console(highlight=False)
    if not terminal.is_terminal:
        terminal.width = WIDTH  # whoever reads it from a file can scroll
    terminal.print(shown)
