"""The form of a topology file: who is there, where, with what settings. All that runs is made from it."""

import difflib
import re
import tomllib
from collections.abc import Iterator
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import msgspec

from bus.address import Address
from contracts.roles import OPS

GRID = "grid"
"""The site of the grid side: its agents are connected to the hub."""
HUB = "hub"
"""The grid side's server, and its JetStream domain. Each other site's server is named like the site."""

Action = Literal[
    "cut",
    "mend",
    "kill",
    "plug_in",
    "unplug",
    "start_programme",
    "open_door",
    "load",
    "blackout",
    "restore",
    "fault",
    "clear_fault",
]
LINK_ACTIONS = frozenset({"cut", "mend", "kill"})
"""What the launcher does itself; everything else happens in the world."""


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Run(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When and how fast. ``speed`` is run seconds per second.

    ``fronts``: each Modbus gateway has one master, the site's front; false: each hardware agent connects by itself.
    """

    start: datetime
    until: datetime
    speed: float = 60.0
    seed: int = 1
    fronts: bool = True


class AgentEntry(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent of a place, and the hardware that it owns, if any.

    device        device file by name or path; empty for an agent without hardware
    unit          Modbus unit at the site's gateway
    rating_w      electrical rating, a magnitude
    phases        how many phases the hardware uses
    phase         the one that single-phase hardware is wired to
    capacity_wh   of a battery
    soc_percent   of a battery, as the run starts
    efficiency_share, self_discharge_percent_per_day   of a battery
    backup        a battery carries its home while the street is dark
    silence_s, failsafe_a   what the device does by itself without its master, see ``world.spec.DeviceSpec``
    rating_var    reactive power at the rating, + = inductive
    profile       SimBench profile that drives the simulated hardware
    measures      of a submeter: the device of the site in its circuit, such as ``heatpump1``
    attach        an identity with rights but no process: a phone that comes and goes (``gridparley app``)
    settings      of the role; they win over ``[defaults.<role>]``
    """

    role: str
    name: str
    device: str = ""
    unit: int = 0
    rating_w: float = 0.0
    rating_var: float = 0.0
    phases: Literal[1, 3] = 3
    phase: Literal[1, 2, 3] = 1
    capacity_wh: float = 0.0
    soc_percent: float = 5.0
    efficiency_share: float = 0.95
    self_discharge_percent_per_day: float = 0.13
    backup: bool = False
    silence_s: float = 0.0
    failsafe_a: float = 0.0
    profile: str = ""
    measures: str = ""
    attach: bool = False
    settings: dict[str, Any] = {}


class Household(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a customer draws without being asked: a SimBench profile of one times its peak."""

    profile: str
    power_w: float
    reactive_var: float = 0.0


class Site(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer's premises with a server of their own.

    bus       of the feeder; None where no simulated world stands behind the site
    contract_consumption_w, contract_production_w   magnitudes
    fuse_a    per phase
    groups    that the site's agents are members of
    gateway   "host:port" of real hardware; empty: the simulated world serves it
    """

    name: str
    bus: int | None = None
    contract_consumption_w: float = 0.0
    contract_production_w: float = 0.0
    fuse_a: float = 0.0
    groups: tuple[str, ...] = ()
    gateway: str = ""
    household: Household | None = None
    agents: tuple[AgentEntry, ...] = ()


class GridSide(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The operator's side. ``gateway`` as at a site: where the substation's meter is."""

    area: str = "area"
    transformer_va: float = 160_000.0
    feeder: str = ""
    gateway: str = ""
    agents: tuple[AgentEntry, ...] = ()


class Disturbance(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happens from outside at an instant; reactions are never scripted.

    cut, mend   the link between ``site`` and the grid side
    kill        the process of the agent ``address``, or the server ``address`` (``hub``, a site)
    the others  as in ``world.spec.EventSpec``
    """

    at: datetime
    action: Action
    site: str = ""
    address: str = ""
    device: str = ""
    energy_wh: float = 0.0
    capacity_wh: float = 60_000.0
    stays_s: float = 14_400.0
    programme: str = ""
    power_w: float = 0.0
    phase: Literal[0, 1, 2, 3] = 0
    fault: str = ""


class Topology(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole system. Addresses are ``site.role.name``; the grid side's site is ``grid``."""

    name: str
    title: str = ""
    run: Run
    grid: GridSide
    site: tuple[Site, ...] = ()
    defaults: dict[str, dict[str, Any]] = {}
    disturbance: tuple[Disturbance, ...] = ()

    @property
    def sites(self) -> dict[str, Site]:
        return {site.name: site for site in self.site}

    @property
    def servers(self) -> tuple[str, ...]:
        """The hub first, then each site's."""
        return (HUB, *(site.name for site in self.site))

    @property
    def entries(self) -> dict[Address, AgentEntry]:
        """Every agent by address, the grid side first."""
        return {
            Address(place, entry.role, entry.name): entry
            for place, entries in ((GRID, self.grid.agents), *((site.name, site.agents) for site in self.site))
            for entry in entries
        }

    def settings_of(self, entry: AgentEntry) -> dict[str, Any]:
        """What the file says of an agent's settings: its role's, then its own."""
        return {**self.defaults.get(entry.role, {}), **entry.settings}

    @property
    def agents(self) -> list[Address]:
        """Who is a process or container of its own: no operator's tool, no phone that comes and goes."""
        return [address for address, entry in self.entries.items() if address.role != OPS.name and not entry.attach]

    def server_of(self, address: Address) -> str:
        """The server that an agent is connected to."""
        return HUB if address.site == GRID else address.site

    def groups_of(self, address: Address) -> tuple[str, ...]:
        site = self.sites.get(address.site)
        return site.groups if site is not None else ()

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(sorted({group for site in self.site for group in site.groups}))


class TopologyError(Exception):
    """A topology that cannot be run. ``where`` is the key path in the file, ``remedy`` what to do about it."""

    def __init__(self, file: str, where: str, cause: str, remedy: str) -> None:
        super().__init__(f"{file}: {f'{where}: ' if where else ''}{cause}. {remedy}")
        self.file, self.where, self.cause, self.remedy = file, where, cause, remedy


FOLDER = Path(__file__).parent / "topologies"
"""The topologies that come with gridparley."""


def names() -> list[str]:
    """Those that come with gridparley, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find(path_or_name: str | Path) -> Path:
    """The file of a topology: a path, or the name of one that comes with gridparley. Raises TopologyError."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    named = FOLDER / f"{path_or_name}.toml"
    if named.is_file():
        return named
    close = difflib.get_close_matches(str(path_or_name), names(), n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Name a file, or one of {', '.join(names())}."
    raise TopologyError(str(path_or_name), "", "there is no such topology", hint)


def load(path_or_name: str | Path) -> Topology:
    """Read a topology's form. What it says is checked by ``topology_faults``. Raises TopologyError."""
    path = find(path_or_name)
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        raise TopologyError(str(path), "", f"cannot be read: {problem}", "Check the path and its rights.") from problem
    except tomllib.TOMLDecodeError as problem:
        raise TopologyError(str(path), "", f"is not TOML: {problem}", "Mend the line that is named.") from problem
    for where in _endless(raw):
        raise TopologyError(str(path), where, "is no finite number", "Write a number, or leave it out.")
    try:
        return msgspec.convert(_placed(raw, path.resolve().parent), Topology, strict=True)
    except msgspec.ValidationError as problem:
        cause, where = split(problem)
        unknown = re.search(r"unknown field `(\w+)`", cause)
        remedy = "Leave it out, or correct its spelling." if unknown else "Correct the value."
        raise TopologyError(str(path), where, cause[:1].lower() + cause[1:], remedy) from problem


def _placed(raw: Any, folder: Path) -> Any:
    """``"./name"`` is a file beside the topology, wherever it is read from."""
    if isinstance(raw, dict):
        return {key: _placed(value, folder) for key, value in raw.items()}
    if isinstance(raw, list):
        return [_placed(value, folder) for value in raw]
    return str(folder / raw[2:]) if isinstance(raw, str) and raw.startswith("./") else raw


def _endless(value: Any, where: str = "") -> Iterator[str]:
    """Key paths of nan and inf, which TOML can write and nothing can be compared with."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _endless(one, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _endless(one, f"{where}[{number}]")
    elif isinstance(value, float) and not isfinite(value):
        yield where


def split(problem: msgspec.ValidationError) -> tuple[str, str]:
    """(cause, key path) of a validation error."""
    cause, _, where = str(problem).partition(" - at `$")
    return cause, where.rstrip("`").lstrip(".")
