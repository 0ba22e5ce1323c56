"""The whole street as its users start it: agents ready, their own memory, and how late they are at 60x."""

import asyncio
import json
import re
import signal
import sys
import tempfile
from pathlib import Path

from bench.figure import Figure, Missing, Result, median
from bench.memory import own_kib

SPEED = 60
PERIOD_S = 5.0  # an agent's reading period, run time
READY = re.compile(r"(\d+) agents ready in ([0-9.]+) s")


async def run(quick: bool) -> list[Result]:
    with tempfile.TemporaryDirectory(prefix="gridparley-bench-") as parent:
        folder = Path(parent) / "run"
        command = ["up", "street", "--headless", "--speed", str(SPEED), "--for", "5m" if quick else "30m"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from deploy.cli import main; main()",
            *command,
            "--out",
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        text = ""
        own: list[int] = []
        try:
            async with asyncio.timeout(300):
                while line := await process.stdout.readline():
                    text += line.decode("utf-8", "replace")
                    if READY.search(text) and not own:
                        await asyncio.sleep(3.0)
                        own = [kib for pid in _agents(process.pid) if (kib := own_kib(pid))]
                await process.wait()
        except TimeoutError:
            return [Missing("street", "did not end within 300 s")]
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                await process.wait()
        end = folder / "end.json"
        started = READY.search(text)
        if started is None or not end.exists():
            return [Missing("street", f"ended with code {process.returncode}: {text[-300:]}")]
        facts = json.loads(end.read_text())
    agents, took = int(started[1]), float(started[2])
    lags = facts["lags_s"]
    return [
        Figure(what=f"street: {agents} agents and their devices' world ready", value=took, unit="s"),
        Figure(what="  an agent process's own memory, median", value=median(own) / 1024, unit="MB",
               note=f"private memory of {len(own)} forked processes"),
        Figure(what="  the largest", value=max(own) / 1024, unit="MB", note="the world's physics or a bookkeeper"),
        Figure(what=f"street of 13 sites at {SPEED}x: clock lag p99", value=lags["p99"], unit="s run time",
               at_most=PERIOD_S),
        Figure(what="  clock slowed down because agents were late", value=facts["held_back"], unit="times", at_most=0),
        Figure(what="  processes started again", value=sum(facts["restarts"].values()), unit="times", at_most=0),
    ]  # fmt: skip


def _agents(root: int) -> list[int]:
    """The processes that the nursery forked: the grandchildren that no server is."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(rest[1]), []).append(pid)
    return [grandchild for child in children.get(root, []) for grandchild in children.get(child, [])]
