"""Makes the README's pictures from a real run of the street.

    python docs/tools/make_pictures.py FOLDER

Runs the whole day into FOLDER, takes the live view shortly after the link of h07 was cut, and copies the chart.
"""

import re
import shutil
import sys
from datetime import timedelta
from io import StringIO
from pathlib import Path

import anyio
from rich.console import Console as Terminal

from deploy.report.report import write_report
from deploy.run.console import Console
from deploy.run.supervisor import Options, Supervisor
from deploy.topology import find, load

DOCS = Path(__file__).parents[1]
AFTER_START = timedelta(hours=2, minutes=33)


async def photograph(supervisor: Supervisor) -> None:
    """The live view as it is at one instant of the run."""
    while not hasattr(supervisor, "watch"):  # noqa: ASYNC110 - a tool looks from outside
        await anyio.sleep(0.2)
    run = supervisor.topology.run
    await supervisor.clock.sleep_until((run.start + AFTER_START).timestamp())
    terminal = Terminal(record=True, width=118, height=32, force_terminal=True, file=StringIO())
    terminal.print(Console(supervisor.view, supervisor.pace, terminal=terminal).picture())
    drawn = terminal.export_svg(title="gridparley up street")
    (DOCS / "console.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))  # no foreign fonts


async def main(folder: Path) -> None:
    supervisor = Supervisor(load("street"), folder, Options(headless=True))
    async with anyio.create_task_group() as group:
        group.start_soon(photograph, supervisor)
        await supervisor.run()
    shutil.copyfile(write_report(folder) / "chart.png", DOCS / "street.png")


if __name__ == "__main__":
    run_folder = Path(sys.argv[1])
    run_folder.mkdir(parents=True)
    shutil.copyfile(find("street"), run_folder / "topology.toml")
    anyio.run(main, run_folder)
