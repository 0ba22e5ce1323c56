"""``python -m bench [names] [--quick] [--json FILE]``: run benchmarks, print figures against their targets."""

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

import contracts.all  # noqa: F401  fills the vocabulary
from bench.figure import Failed, Figure, Result

LONGEST_WALL_S = {
    "telemetry": (40.0, 15.0),
    "talks": (30.0, 12.0),
    "traces": (60.0, 30.0),
    "fan_out": (75.0, 20.0),
    "register": (45.0, 20.0),
    "near_limit": (60.0, 30.0),
    "outage": (30.0, 20.0),
    "start": (40.0, 25.0),
    "containers": (150.0, 90.0),
    "planner": (120.0, 60.0),
    "identities": (600.0, 60.0),
    "street": (100.0, 50.0),
    "year": (5400.0, 400.0),
}
"""What each may take, whole and quick; one that takes longer has failed, and the others go on."""
NAMES = tuple(LONGEST_WALL_S)
LONG = frozenset({"identities", "year"})
"""What takes longer than all others together is whole only where it is asked for by name."""
STYLE = {"meets": "green", "misses": "bold red", "failed": "bold red", "": ""}


def main() -> int:
    """Returns 1 when a figure misses its target."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(NAMES)}; all by default")
    parser.add_argument("--quick", action="store_true", help="shorter runs: for a look, not for the record")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to a file")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    console, before = Console(), os.getloadavg()[0]
    results: dict[str, list[Result]] = {}
    for name in options.names or NAMES:
        began, quick = time.monotonic(), options.quick or (name in LONG and not options.names)
        try:
            module = importlib.import_module(f"bench.{name}")
            results[name] = uvloop.run(_bounded(module.run(quick), LONGEST_WALL_S[name][quick]))
        except Exception as problem:  # one benchmark's trouble must not hide the others' figures
            results[name] = [Failed(name, _innermost(problem))]
        console.print(f"[dim]{name}: {time.monotonic() - began:.1f} s[/dim]")
    console.print(_table(results, f"{os.cpu_count()} cores, load {before:.1f} before, Python {sys.version.split()[0]}"))
    if options.json:
        plain = {n: [_plain(r) for r in some] for n, some in results.items()}
        options.json.write_text(json.dumps(plain, indent=1))
    return int(any(r.verdict in ("misses", "failed") for some in results.values() for r in some))


async def _bounded(work: Coroutine[Any, Any, list[Result]], within_s: float) -> list[Result]:
    """Raises TimeoutError; servers and processes of the benchmark are ended by then."""
    try:
        async with asyncio.timeout(within_s) as limit:
            return await work
    except BaseException as problem:
        if limit.expired():  # whatever the cancelled work made of it
            raise TimeoutError(f"did not end within {within_s:g} s") from problem
        raise


def _innermost(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    return f"{type(problem).__name__}: {problem}"


def _plain(result: Result) -> dict[str, object]:
    more = {"ratio": result.ratio} if isinstance(result, Figure) else {}
    return asdict(result) | more | {"verdict": result.verdict}


def _table(results: dict[str, list[Result]], machine: str) -> Table:
    title = f"Gridparley, design section 8 ({machine})"
    table = Table("figure", "measured", "target", "ratio", "verdict", "note", title=title)
    for some in results.values():
        for result in some:
            if not isinstance(result, Figure):
                table.add_row(result.what, "", "", "", result.verdict, result.why, style=STYLE[result.verdict] or "dim")
                continue
            target = ""
            if result.at_least is not None:
                target = f">= {result.at_least:,g}"
            elif result.at_most is not None:
                target = f"<= {result.at_most:,g}"
            ratio = "" if result.ratio is None else f"{result.ratio:.2f}"
            value = f"{result.value:,.{0 if abs(result.value) >= 100 or result.value == int(result.value) else 2}f}"
            row = (result.what, f"{value} {result.unit}", target, ratio, result.verdict, result.note)
            table.add_row(*row, style=STYLE[result.verdict])
        table.add_section()
    return table


if __name__ == "__main__":
    sys.exit(main())
