"""Which canonical use cases are proven, by the tests of the last full run. ``gridparley coverage``."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from contracts.use_cases import UseCase, families, use_cases

Outcome = Literal["passed", "failed", "skipped"]
Status = Literal["proven", "partial", "open"]
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "use-cases.md"
HINT = "No full test run is known here: run `make test`, then ask again."


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one test said about one use case."""

    use_case: str
    test: str
    partial: bool
    outcome: Outcome


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """The last full run: how many tests there were, and what the marked ones said."""

    tests: int
    results: tuple[Result, ...]


class Covered(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the coverage; ``tests`` are those that passed."""

    id: str
    title: str
    status: Status
    tests: tuple[str, ...]


def results_path(root: Path) -> Path:
    """Where a full run leaves its results; never in the repository."""
    return root / "build" / "use_cases.json"


def read_results(root: Path = ROOT) -> Results | None:
    """None when there was no full run yet, or what is there is not readable any more."""
    try:
        return msgspec.json.decode(results_path(root).read_bytes(), type=Results)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def covered(results: Results | None) -> list[Covered]:
    """Every use case. Proven: all its tests passed, one at least claims the whole. Partial: some passed. Open: none."""
    return [_covered(one, results.results if results else ()) for one in use_cases().values()]


def _covered(one: UseCase, results: tuple[Result, ...]) -> Covered:
    mine = [result for result in results if result.use_case == one.id]
    passed = [result for result in mine if result.outcome == "passed"]
    whole = len(passed) == len(mine) and any(not result.partial for result in passed)
    status: Status = "proven" if whole else "partial" if passed else "open"
    return Covered(id=one.id, title=one.title, status=status, tests=tuple(sorted(r.test for r in passed)))


def as_json(lines: list[Covered]) -> str:
    return msgspec.json.encode({"use_cases": lines}).decode()


def page() -> str:
    """``docs/use-cases.md``: what there is to prove. What is proven changes with every run and is not in it."""
    rows = [
        "# Use cases",
        "",
        "<!-- made by `gridparley coverage --write-docs` from contracts/use_cases.yaml; do not edit -->",
        "",
        "The canonical use cases, each from the catalogue entries that it names. Which of them are proven is printed",
        "by `gridparley coverage`, from the last full test run.",
        "",
    ]
    for family in families():
        rows += [f"## {family.title}", "", family.about, "", "| id | title | roles | sources |", "|---|---|---|---|"]
        mine = [one for one in use_cases().values() if one.family == family.id]
        rows += [
            f"| [`{o.id}`](#{_anchor(o)}) | {o.title} | {', '.join(o.roles)} | {', '.join(o.sources)} |" for o in mine
        ]
        rows.append("")
        for one in mine:
            rows += [f"### {one.id}", "", f"{one.title}. {one.core}", ""]
    return "\n".join(rows)


def _anchor(one: UseCase) -> str:
    return one.id.replace(".", "")


def command(
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    family: Annotated[str, typer.Option(help="Only one family, such as limits.")] = "",
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/use-cases.md and stop.")] = False,
) -> None:
    """Which use cases are proven, by the tests of the last full run."""
    known = [one.id for one in families()]
    if family and family not in known:
        raise typer.BadParameter(f"there is no family {family!r}: {', '.join(known)}", param_hint="--family")
    if write_docs:
        PAGE.write_text(page(), encoding="utf-8")
        return
    results = read_results()
    lines = [one for one in covered(results) if not family or use_cases()[one.id].family == family]
    if json:
        typer.echo(as_json(lines))
        return
    _show(lines, results)


def _show(lines: list[Covered], results: Results | None) -> None:
    styles = {"proven": "green", "partial": "yellow", "open": "dim"}
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("use case", no_wrap=True, min_width=max((len(one.id) for one in lines), default=8))
    table.add_column("status", no_wrap=True, min_width=7)
    table.add_column("tests", no_wrap=True, min_width=5, justify="right")
    table.add_column("title", no_wrap=True, overflow="ellipsis", ratio=1)
    for one in lines:
        tests = str(len(one.tests)) if one.tests else ""
        table.add_row(one.id, Text(one.status, style=styles[one.status]), tests, one.title)
    terminal = Console(highlight=False)
    terminal.print(table)
    count = {status: sum(one.status == status for one in lines) for status in styles}
    terminal.print(f"{len(lines)} use cases: " + ", ".join(f"{n} {status}" for status, n in count.items()))
    if results is None:
        terminal.print(HINT)
