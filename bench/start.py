"""A hundred agents forked from a preloaded process: how soon they are ready, and what each keeps for itself."""

import tempfile
import time
from pathlib import Path

from bench.figure import Figure, Result, median
from bench.memory import own_kib
from bus.clock import ClockFile
from deploy.nats.servers import Servers
from deploy.run.offspring import Offspring
from deploy.run.processes import Files, Plan
from tests.support.grid import topology

SITES, EACH = 5, 20
WITHIN_WALL_S = 90.0


async def run(_quick: bool) -> list[Result]:
    names = [f"h{site:02}.cem.m{n:02}" for site in range(1, SITES + 1) for n in range(EACH)]
    shape = topology(["grid.dso.north", *names], speed=1.0)
    with tempfile.TemporaryDirectory(prefix="gridparley-bench-") as folder:
        files = Files(Path(folder))
        for needed in (files.nats, files.logs, files.spans):
            needed.mkdir(parents=True)
        ClockFile(files.clock, start=shape.run.start.timestamp(), speed=1.0, slots=len(names))
        async with Servers(shape, files.nats):
            Plan(topology=shape, gateways={}, ports={}, commands=str(files.folder / "commands")).write(files)
            offspring = Offspring(files, {name: slot for slot, name in enumerate(names)})
            began = time.perf_counter()
            try:
                await offspring.open()
                loaded = time.perf_counter()
                offspring.start(names)
                await offspring.until_ready(names, WITHIN_WALL_S)
                ready = time.perf_counter()
                own = [kib for pid in offspring.pids.values() if (kib := own_kib(pid))]
                restarts = sum(offspring.restarts.values())
                await offspring.stop(names)
            finally:
                await offspring.close()
    if restarts:
        raise RuntimeError(f"{restarts} agents ended while starting")
    return [
        Figure(what=f"start: {len(names)} agents ready", value=ready - began, unit="s", at_most=10.0,
               note=f"energy managers at {SITES} sites; {loaded - began:.1f} s of it to load the nursery"),
        Figure(what="an agent process's own memory, median", value=median(own) / 1024, unit="MB", at_most=8.0,
               note=f"private memory of {len(own)} forked energy managers"),
    ]  # fmt: skip
