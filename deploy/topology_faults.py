"""What is wrong with a topology, in words: which entry, why, and what to do. Empty when it can be run."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterator

from agents.kit.agent import Agent
from bus.address import TOKEN, Address
from contracts.device_file import DeviceFileError
from contracts.device_file import load as load_device
from contracts.roles import APP, CEM, DEVICES, METER
from deploy.roster import ROLES, Roster, UnknownRole
from deploy.settings import BadSettings, gateways, settings_of
from deploy.topology import GRID, HUB, LINK_ACTIONS, AgentEntry, Disturbance, Topology

LONGEST_NAME = 58
"""``nats-<site>`` is a host's name, of which no part is longer than 63."""
_NAMES = f"Write a-z, 0-9, _ and -, at most {LONGEST_NAME} of them, and no - at the beginning."
_TAKEN = frozenset(
    {GRID, HUB, "ca", "authority", "links", "field", "hardware", "desk", "world", "lines", "substation", "all", "none"}
)
"""What certificates, networks of containers, processes and commands call something else than a site."""
_HUB_MEMBER = re.compile(HUB + r"-\d+\Z")
_HARDWARE = frozenset(role.name for role in (*DEVICES, METER))


def faults(topology: Topology, agent_of: Callable[[str], Agent | None] | None = None) -> list[str]:
    """Every mistake with its key path, cause and remedy."""
    return list(_faults(topology, agent_of or Roster()))


def _faults(topology: Topology, agent_of: Callable[[str], Agent | None]) -> Iterator[str]:
    yield from _run(topology)
    names = Counter(site.name for site in topology.site)
    for number, site in enumerate(topology.site):
        where = f"site[{number}] ({site.name})"
        if site.name in _TAKEN or _HUB_MEMBER.match(site.name):
            yield f"{where}: name {site.name!r} cannot be used: something else is called so. Choose another."
        elif not _is_name(site.name):
            yield f"{where}: name {site.name!r} cannot be used. {_NAMES}"
        if names[site.name] > 1:
            yield f"{where}: the name is used {names[site.name]} times. Give each site its own."
        for field in ("contract_consumption_w", "contract_production_w", "fuse_a"):
            if getattr(site, field) < 0:
                yield f"{where}.{field}: is negative. It is a magnitude: write it without sign."
        yield from _entries(where, site.agents)
        roles = {entry.role for entry in site.agents}
        if roles & {role.name for role in DEVICES} and CEM.name not in roles:
            yield f"{where}: has devices but no cem, so nobody steers them. Add {{ role = 'cem', name = 'main' }}."
        managers = list(dict.fromkeys(f"cem.{entry.name}" for entry in site.agents if entry.role == CEM.name))
        if len(managers) > 1:
            yield (
                f"{where}: has {len(managers)} energy managers ({', '.join(managers)}). A connection point has one, "
                "which the grid operator limits and the devices obey. Keep one, or make a site of another meter."
            )
    yield from _entries("grid", topology.grid.agents)
    try:
        where_hardware = gateways(topology)
    except ValueError as problem:
        yield f"gateway: {problem}. Write it as 192.0.2.7:502."
        where_hardware = {}
    for role in topology.defaults:
        if role not in ROLES:
            yield f"defaults.{role}: is no role. {_meant(role)}"
    for address in topology.entries:
        if address.role not in ROLES:
            continue
        try:
            agent = agent_of(address.role)
        except UnknownRole as problem:
            yield f"{address}: {problem}. Leave the agent out until somebody plays the role."
            continue
        if agent is not None:
            try:
                settings_of(topology, address, agent, where_hardware)
            except BadSettings as problem:
                yield f"{problem}. Correct it in its settings or in [defaults.{address.role}]."
    for number, event in enumerate(topology.disturbance):
        yield from _disturbance(f"disturbance[{number}]", event, topology)


def _run(topology: Topology) -> Iterator[str]:
    run = topology.run
    for name, instant in (("start", run.start), ("until", run.until)):
        if instant.tzinfo is None:
            yield f"run.{name}: has no time zone. Write it like 2016-05-20T10:00:00+02:00."
            return
    if run.until <= run.start:
        yield f"run.until: {run.until} is not after start {run.start}. Choose a later instant."
    if not 0 < run.speed <= 10_000:
        yield f"run.speed: {run.speed:g} is not above 0 and at most 10000 run seconds per second. 1 is real time."


def _entries(where: str, entries: tuple[AgentEntry, ...]) -> Iterator[str]:
    addresses = Counter((entry.role, entry.name) for entry in entries)
    units = Counter(entry.unit for entry in entries if entry.device)
    for number, entry in enumerate(entries):
        at = f"{where}.agents[{number}] ({entry.role}.{entry.name})"
        if entry.role not in ROLES:
            yield f"{at}: {entry.role!r} is no role. {_meant(entry.role)}"
        if not _is_name(entry.name):
            yield f"{at}: name {entry.name!r} cannot be used. {_NAMES}"
        if addresses[entry.role, entry.name] > 1:
            yield f"{at}: the address is used {addresses[entry.role, entry.name]} times. Give each agent its own name."
        if entry.attach and entry.role != APP.name:
            yield f"{at}.attach: only an app comes and goes with its user. Leave it out, or let its process run."
        if entry.role in _HARDWARE and not entry.device:
            yield f"{at}: has no device. Name the device file of its product, see `gridparley devices list`."
        if entry.device:
            try:
                load_device(entry.device)
            except DeviceFileError as problem:
                yield f"{at}.device: {problem} See `gridparley devices list`."
            if not 1 <= entry.unit <= 247:
                yield f"{at}.unit: {entry.unit} is no Modbus unit. Choose one of 1 to 247."
            elif units[entry.unit] > 1:
                yield f"{at}.unit: {entry.unit} is used {units[entry.unit]} times at this gateway. Give each its own."


def _disturbance(where: str, event: Disturbance, topology: Topology) -> Iterator[str]:
    run = topology.run
    if event.at.tzinfo is None:
        yield f"{where}.at: has no time zone. Write it like 2016-05-20T12:00:00+02:00."
    elif run.start.tzinfo and run.until.tzinfo and not run.start <= event.at <= run.until:
        yield f"{where}.at: {event.at} is not between the run's start and end. Choose an instant inside."
    if event.action in ("cut", "mend") or (event.action not in LINK_ACTIONS and event.site):
        if event.site not in topology.sites and not (event.site == "substation" and event.action not in LINK_ACTIONS):
            yield f"{where}.site: there is no site {event.site!r}. The sites are {', '.join(topology.sites)}."
    elif event.action == "kill":
        known = {*map(str, topology.entries), *topology.servers, "world", "lines"}
        if event.address not in known:
            yield f"{where}.address: there is no {event.address!r}. Name an agent, hub, a site, world or lines."
    if event.device and event.site in topology.sites:
        hardware = {entry.role + entry.name for entry in topology.sites[event.site].agents if entry.device} | {"meter"}
        if event.device not in hardware:
            yield f"{where}.device: {event.site} has no {event.device!r}. It has {', '.join(sorted(hardware))}."


def _is_name(text: str) -> bool:
    """Of a site or an agent. What begins with - would be an option of a command."""
    return bool(TOKEN.match(text)) and not text.startswith("-") and len(text) <= LONGEST_NAME


def _meant(role: str) -> str:
    close = difflib.get_close_matches(role, ROLES, n=1)
    return f"Did you mean {close[0]}?" if close else f"The roles are {', '.join(sorted(ROLES))}."


def server_or_address(topology: Topology, text: str) -> str | Address | None:
    """What a command names: a server (``hub``, a site), ``world``, ``lines``, or an agent. None for no such thing."""
    if text in topology.servers or text in ("world", "lines"):
        return text
    return next((address for address in topology.entries if str(address) == text), None)
