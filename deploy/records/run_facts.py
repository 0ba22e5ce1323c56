"""What a run was, in its folder: written by the launcher, read by recorder, console and report.

The folder: ``run.json`` (these facts), ``end.json`` (how it ended), ``truth.csv`` (the world's own log),
``records/`` (what the bus said), ``report/`` (made from the others).
"""

from datetime import datetime
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

import msgspec

from contracts.roles import METER
from deploy.topology import GRID, Topology
from deploy.world_spec import has_world, world_spec
from world.spec import WorldSpec

T = TypeVar("T")
RUN, END, TRUTH, RECORDS, REPORT = "run.json", "end.json", "truth.csv", "records", "report"


class SiteFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One customer as the topology names it. Powers are magnitudes."""

    name: str
    contract_consumption_w: float = 0.0
    contract_production_w: float = 0.0
    fuse_a: float = 0.0
    devices: tuple[str, ...] = ()


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which run this is. ``rated_va`` is the transformer's; ``world`` lets the report simulate it without control."""

    topology: str
    start: datetime
    until: datetime | None = None
    speed: float = 1.0
    seed: int = 0
    area: str = ""
    rated_va: float
    substation: str = "grid.meter.substation"
    sites: tuple[SiteFacts, ...] = ()
    world: WorldSpec | None = None

    @classmethod
    def of(cls, topology: Topology) -> "RunFacts":
        """Of a topology as it runs."""
        run, grid = topology.run, topology.grid
        meter = next((one for one in topology.entries if one.site == GRID and one.role == METER.name), "")
        return cls(
            topology=topology.name,
            start=run.start,
            until=run.until,
            speed=run.speed,
            seed=run.seed,
            area=grid.area,
            rated_va=grid.transformer_va,
            substation=str(meter),
            sites=tuple(
                SiteFacts(
                    name=site.name,
                    contract_consumption_w=site.contract_consumption_w,
                    contract_production_w=site.contract_production_w,
                    fuse_a=site.fuse_a,
                    devices=tuple(f"{e.role}.{e.name}" for e in site.agents if e.device and e.role != METER.name),
                )
                for site in topology.site
            ),
            world=world_spec(topology) if has_world(topology) else None,
        )

    def write(self, folder: Path) -> None:
        _write(folder / RUN, self)

    @classmethod
    def read(cls, folder: Path) -> "RunFacts":
        """Raises NoRun when the folder holds none."""
        return _read(folder / RUN, cls)


class RunEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How it ended: what only the supervisor knows.

    restarts       per process, how often it was started again
    lags_s         every lag that was seen, p50, p99 and max, run seconds
    dead_letters   per site's server, how many there are (``grid`` is the hub)
    held_back      how often the clock was slowed down because processes were late
    """

    ended: datetime
    restarts: dict[str, int] = msgspec.field(default_factory=dict)
    lags_s: dict[str, float] = msgspec.field(default_factory=dict)
    dead_letters: dict[str, int] = msgspec.field(default_factory=dict)
    held_back: int = 0

    def write(self, folder: Path) -> None:
        _write(folder / END, self)

    @classmethod
    def read(cls, folder: Path) -> "RunEnd | None":
        """None when the run was killed before it could say."""
        return _read(folder / END, cls) if (folder / END).exists() else None


class NoRun(Exception):
    """A folder that is not the folder of a run. ``path`` is the file that is missing or unreadable."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{path.parent} is no run: {path.name} {cause}. Name the folder that `gridparley up` made.")
        self.path, self.cause = path, cause


def _write(path: Path, value: msgspec.Struct) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{token_hex(4)}.new")  # several recorders begin one run's folder at once
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(value)))
    fresh.replace(path)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise NoRun(path, "is missing") from None
    except msgspec.MsgspecError as problem:
        raise NoRun(path, f"does not decode ({problem})") from problem
