"""``python -m bench [names] [--quick] [--json FILE]``: run benchmarks, print figures against their targets."""

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

import contracts.all  # noqa: F401  fills the vocabulary
from bench.figure import Figure, Missing, Result

NAMES = ("telemetry", "talks", "fan_out", "register", "near_limit", "outage", "street")
LONGEST_WALL_S = 600.0
STYLE = {"meets": "green", "misses": "bold red", "": ""}


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
    console = Console()
    results: dict[str, list[Result]] = {}
    for name in options.names or NAMES:
        began = time.monotonic()
        module = importlib.import_module(f"bench.{name}")
        try:
            results[name] = uvloop.run(asyncio.wait_for(module.run(options.quick), LONGEST_WALL_S))
        except Exception as problem:  # one benchmark's trouble must not hide the others' figures
            console.print_exception()
            results[name] = [Missing(name, f"failed: {type(problem).__name__}: {problem}")]
        console.print(f"[dim]{name}: {time.monotonic() - began:.1f} s[/dim]")
    console.print(_table(results))
    console.print(f"[dim]{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}[/dim]")
    if options.json:
        plain = {n: [_plain(r) for r in some] for n, some in results.items()}
        options.json.write_text(json.dumps(plain, indent=1))
    return int(any(isinstance(r, Figure) and r.verdict == "misses" for some in results.values() for r in some))


def _plain(result: Result) -> dict[str, object]:
    more = {"ratio": result.ratio, "verdict": result.verdict} if isinstance(result, Figure) else {}
    return asdict(result) | more


def _table(results: dict[str, list[Result]]) -> Table:
    table = Table("figure", "value", "target", "ratio", "verdict", "note", title="Gridparley, design section 8")
    for some in results.values():
        for result in some:
            if isinstance(result, Missing):
                table.add_row(result.what, "", "", "", "", result.why, style="dim")
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
