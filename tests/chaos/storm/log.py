"""What is known of a storm when it is over, as the invariants read it. Instants are run seconds."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import msgspec

from deploy.records.rows import Event, events
from deploy.records.run_facts import RECORDS, TRUTH, RunEnd
from deploy.records.talks import HOMES
from deploy.topology import GRID, HUB, Topology
from tests.chaos.storm.gather import Gathered, Stored
from tests.chaos.storm.hands import Deed, deeds
from world.truth import Truth, read_truth

STORM, GATHERED, BEGUN = "storm.jsonl", "gathered.json", "begun.json"
_ENDED = re.compile(r"^(\S+ \S+) (\w+) \S+: (?:the server )?(\S+) ended \((code|signal) (-?\d+|None)\)")


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """A process that ended while it was to run. ``code`` < 0 for a signal; ``wanted``: the launcher was told to."""

    name: str
    code: int
    wall: str
    wanted: bool


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """origin: when the storm began; quiet: when its last fault had ended and the quiet end began (None: stopped)."""

    origin: float
    speed: float
    quiet: float | None = None
    cut_short: int = 0
    """Faults that were not begun as the time was over."""


@dataclass(frozen=True)
class Log:
    """Everything. ``events``: the hub's recorder; ``truth``: the world's own log."""

    topology: Topology
    begun: Begun
    deeds: tuple[Deed, ...]
    gathered: Gathered
    events: tuple[Event, ...] = ()
    home_words: tuple[Event, ...] = ()
    """What the homes' own recorders heard: a home's server that is down is not heard."""
    truth: Truth = field(default_factory=lambda: Truth((), ()))
    exits: tuple[Exit, ...] = ()
    end: RunEnd | None = None
    exit_code: int = 0

    @property
    def speed(self) -> float:
        return self.begun.speed

    @property
    def sites(self) -> list[str]:
        return sorted(self.topology.sites)

    def stored(self, stream: str, server: str | None = None) -> list[Stored]:
        """In each stream's order."""
        return [one for one in self.gathered.stored if one.stream == stream and server in (None, one.server)]

    def with_(self, **changes: object) -> "Log":
        """A doctored copy, for tests."""
        return replace(self, **changes)  # type: ignore[arg-type]


def read(folder: Path, topology: Topology, exit_code: int) -> Log:
    """A storm's folder. Raises FileNotFoundError when it did not get so far."""
    run = folder / "run"
    return Log(
        topology=topology,
        begun=msgspec.json.decode((folder / BEGUN).read_bytes(), type=Begun),
        deeds=tuple(deeds(folder / STORM)) if (folder / STORM).exists() else (),
        gathered=msgspec.json.decode((folder / GATHERED).read_bytes(), type=Gathered),
        events=tuple(events(run / RECORDS)),
        home_words=tuple(event for home in sorted((run / RECORDS / HOMES).glob("*")) for event in events(home)),
        truth=read_truth(run / TRUTH),
        exits=tuple(exits(run / "run.log")),
        end=RunEnd.read(run),
        exit_code=exit_code,
    )


def exits(log: Path) -> Iterator[Exit]:
    """From the launcher's own log; what ended as the run was stopped is not in it."""
    for line in log.read_text(encoding="utf-8").splitlines():
        found = _ENDED.match(line)
        if found:
            wall, level, name, how, number = found.groups()
            code = 0 if number == "None" else int(number)
            yield Exit(name=name, code=-code if how == "signal" else code, wall=wall, wanted=level == "INFO")


# -------------------------------------------------------------------- when was what disturbed


Window = tuple[float, float]


def of(log: Log, *things: str) -> list[Window]:
    """When something of these was hit, each from the blow until it was well again (never: until the end).

    things  addresses, ``world``, ``lines``, servers; ``link.h07`` is the way between a site and the hub
    """
    found = []
    for deed in log.deeds:
        if deed.began is None or not set(_hits(deed)) & set(things):
            continue
        found.append((deed.began, deed.well if deed.well is not None else float("inf")))
    return merged(found)


def _hits(deed: Deed) -> tuple[str, ...]:
    if deed.fault.kind in ("cut", "hole", "slow"):
        return (f"link.{deed.fault.target}",)
    return () if deed.fault.kind == "order" else (deed.fault.target,)


def merged(windows: list[Window]) -> list[Window]:
    out: list[Window] = []
    for begin, end in sorted(windows):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return out


def stretched(windows: list[Window], after_s: float, before_s: float = 0.0) -> list[Window]:
    return merged([(begin - before_s, end + after_s) for begin, end in windows])


def touches(windows: list[Window], begin: float, end: float) -> bool:
    return any(b <= end and begin <= e for b, e in windows)


def site_chain(log: Log, site: str) -> list[str]:
    """What a limit in force at a site is kept by: its server, its agents, its hardware."""
    own = [str(a) for a in log.topology.entries if a.site == site]
    return [site, "world", "lines", *own]


def guard_chain(log: Log, site: str) -> list[str]:
    """What heartbeats and limits come through until they are at a site's energy manager."""
    rooms = [str(a) for a in log.topology.entries if a.site == GRID and a.role == "dso"]
    managers = [str(a) for a in log.topology.entries if a.site == site and a.role == "cem"]
    return [HUB, site, f"link.{site}", *rooms, *managers]


def manager(log: Log, site: str) -> str:
    return next(str(a) for a in log.topology.entries if a.site == site and a.role == "cem")


def clock_text(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"
