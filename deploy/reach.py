"""How a tool gets at a running system: the run that goes on in this folder, or a deployment that its environment names.

A tool in a container (``docker compose run --rm operator order ...``) has GRIDPARLEY_NATS, GRIDPARLEY_KEYS,
GRIDPARLEY_TOPOLOGY and, where the run's time is not real time, GRIDPARLEY_CLOCK, as any agent has.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from bus.clock import Clock, SharedClock, WallClock
from deploy.control import current
from deploy.doors import Doors
from deploy.run.processes import Files, Plan
from deploy.topology import Topology, load


@dataclass(frozen=True)
class Reach:
    """What a tool needs to speak. ``spans``: where its spans go if no collector is named; None: nowhere."""

    topology: Topology
    doors: Doors
    clock: Clock
    spans: Path | None = None


def reach() -> Reach:
    """Raises NoRunHere, FileNotFoundError, TopologyError, ValueError for a clock that is none."""
    url = os.environ.get("GRIDPARLEY_NATS", "")
    if url:
        topology = load(os.environ.get("GRIDPARLEY_TOPOLOGY", "street"))
        keys, clock = Path(os.environ.get("GRIDPARLEY_KEYS", "nats")), os.environ.get("GRIDPARLEY_CLOCK", "")
        return Reach(topology, Doors(topology, keys, url=url), SharedClock(Path(clock)) if clock else WallClock())
    files = Files(Path(current().folder))
    topology = Plan.read(files).topology
    return Reach(topology, Doors(topology, files.nats), SharedClock(files.clock), files.spans)
