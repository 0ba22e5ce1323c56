"""A topology made ready to be deployed: one folder with what each container is given, and nothing more.

``<folder>/keys`` and ``<folder>/tls`` are the deployer's: all seeds and the certificate authority, mode 0600. What is
mounted into containers (``servers/<server>``, ``agents/<name>``, ``topology``) can be read by any user inside, as a
container's user is not the host's; the folder itself is closed to everybody else on the host (0700).
"""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bus.address import Address
from contracts.roles import OPS
from deploy.fleet.config import IN_FLEET, adopt
from deploy.fleet.fleet import Fleet, FleetError
from deploy.identity.certificates import Certificates
from deploy.identity.keys import Keys
from deploy.nats import places
from deploy.nats.config import write_configs
from deploy.nats.places import Hosts, Place, containers, give
from deploy.nats.provision import OPERATOR
from deploy.permissions import Permissions
from deploy.render.bundle import bundle
from deploy.roster import Roster
from deploy.run.lines import line_places
from deploy.settings import gateways
from deploy.topology import GRID, HUB, Topology
from deploy.topology_faults import faults
from deploy.world_spec import has_world

HEALTH = 8080
"""Port of a container's health and figures."""
RECORDER = "recorder"
"""The operator's tool of the grid side that writes down what is said."""


class CannotDeploy(ValueError):
    """A topology that cannot be deployed; the text has a line per cause."""


@dataclass(frozen=True)
class Deployment:
    """A rendered deployment. Containers are named after agents, servers and what stands behind the agents.

    record_homes   the homes whose topology has a recorder get it: what is said inside of them is written down, too
    """

    topology: Topology
    folder: Path
    places: list[Place]
    permissions: Permissions
    keys: Keys
    certificates: Certificates
    record_homes: bool = False

    @property
    def agents(self) -> list[Address]:
        """Who gets a container."""
        return self.topology.agents

    @property
    def simulated(self) -> bool:
        """Whether a world stands behind the gateways, and with it a clock that all containers share."""
        return has_world(self.topology)

    @property
    def lines(self) -> dict[str, str]:
        """Place -> host:port of its hardware, for places whose gateway has one master, a container of its own."""
        named = {place: f"{host}:{port}" for place, (host, port) in gateways(self.topology).items()}
        return {place: named.get(place, "") for place in line_places(self.topology)}

    @property
    def recorder(self) -> Address | None:
        """The grid side's recorder, where the topology has one."""
        address = Address(GRID, OPS.name, RECORDER)
        return address if address in self.topology.entries else None

    @property
    def home_recorders(self) -> list[Address]:
        """Of the homes that are to be recorded; of none, unless it was asked for."""
        if not self.record_homes:
            return []
        return [
            address
            for address in self.topology.entries
            if address.site != GRID and (address.role, address.name) == (OPS.name, RECORDER)
        ]

    @property
    def tools(self) -> list[Address]:
        """Identities of who comes and goes: the operator's hand, people's phones."""
        return [
            address
            for address, entry in self.topology.entries.items()
            if entry.attach or (address.role == OPS.name and address.name == OPERATOR)
        ]

    @property
    def not_done(self) -> list[str]:
        """Disturbances of the topology that happen to links and processes: here whoever operates it makes them."""
        return [
            f"{one.at:%H:%M} {one.action} {one.site or one.address}"
            for one in self.topology.disturbance
            if one.action in ("cut", "mend", "kill")
        ]

    def server_of(self, address: Address) -> str:
        return self.topology.server_of(address)

    def facts_of(self, address: Address) -> str:
        """A digest of all that an agent is told of the topology: one that differs wants the agent restarted."""
        topology = self.topology
        site = topology.sites.get(address.site)
        return digest(
            self.permissions.peers(address),
            topology.entries[address],
            topology.defaults.get(address.role),
            topology.run,
            msgspec.structs.replace(site, agents=()) if site else msgspec.structs.replace(topology.grid, agents=()),
        )

    def url_of(self, server: str) -> str:
        """Where clients of a server connect."""
        return next(place.url for place in self.places if place.server == server)

    def own_files(self, name: str) -> Path:
        """What the container of an agent or an administrator is given: its own seed and the authority's certificate."""
        own = self.folder / "agents" / name
        for path in (own / "keys", own / "tls"):
            path.mkdir(parents=True, exist_ok=True)
        self.keys(name)
        give(self.keys.path(name), own / "keys" / f"{name}.nk")
        jwt = self.keys.credential(name).jwt
        if jwt.exists():  # the hub is a fleet's
            give(jwt, own / "keys" / jwt.name)
        give(self.certificates.authority, own / "tls" / "ca.pem")
        return own


def prepare(
    name: str,
    folder: Path,
    *,
    hosts: Hosts | None = None,
    hubs: int = 1,
    websocket: bool = False,
    hub_url: str = "",
    start: datetime | None = None,
    until: datetime | None = None,
    speed: float | None = None,
    record_homes: bool = False,
) -> Deployment:
    """Write everything that containers need into a folder; keys and certificates that are there are kept.

    Raises CannotDeploy, TopologyError. See ``deploy.nats.places.containers`` for hosts, hubs, websocket and hub_url.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    (folder / ".gitignore").write_text("# secrets: never in a repository\n*\n")
    topology = bundle(name, folder / "topology", start=start, until=until, speed=speed)
    found = faults(topology)
    if found:
        raise CannotDeploy("\n".join(found))
    nowhere = (
        [] if has_world(topology) else [place for place in line_places(topology) if place not in gateways(topology)]
    )
    if nowhere:
        raise CannotDeploy(
            f"{', '.join(nowhere)}: has hardware, but no gateway and nothing that simulates it. "
            'Write where it is: gateway = "192.0.2.7:502".'
        )
    permissions, keys = Permissions(topology, Roster()), Keys(folder / "keys")
    certificates = Certificates(folder / "tls")
    if hub_url:
        hosts = reached_at(hosts or Hosts(), hub_url)
    try:
        servers = containers(topology, certificates, folder, hosts, hubs=hubs, websocket=websocket, hub_url=hub_url)
    except ValueError as problem:
        raise CannotDeploy(str(problem)) from None
    places.write(folder, servers)
    write_configs(permissions, keys, folder, servers)
    if (folder / IN_FLEET).exists():
        try:
            adopt(Fleet(Path((folder / IN_FLEET).read_text().strip())), permissions, folder)
        except FleetError as problem:
            raise CannotDeploy(str(problem)) from None
    made = Deployment(topology, folder, servers, permissions, keys, certificates, record_homes)
    if record_homes and not made.home_recorders:
        remedy = f'add {{ role = "ops", name = "{RECORDER}" }} to the agents of those that agree'
        raise CannotDeploy(f"no home of {topology.name} is to be recorded: {remedy}")
    for identity in _identities(made):
        made.own_files(identity)
    _observe(made)
    return made


def _observe(deployment: Deployment) -> None:
    """What Prometheus and Grafana are given: the files that come with gridparley, and whom to ask for figures."""
    observe = deployment.folder / "observe"
    shutil.copytree(Path(__file__).parents[1] / "observe", observe, dirs_exist_ok=True)
    sites = [(str(address), address.site) for address in deployment.agents]
    sites += [(f"line-{place}", place) for place in deployment.lines]
    sites += [("world", GRID), ("clock", GRID)] if deployment.simulated else []
    targets = [{"targets": [f"{name}:{HEALTH}"], "labels": {"site": site}} for name, site in sites]
    (observe / "targets").mkdir(exist_ok=True)
    (observe / "targets" / "agents.json").write_bytes(msgspec.json.format(msgspec.json.encode(targets), indent=2))


def reached_at(hosts: Hosts, hub_url: str) -> Hosts:
    """The hub's certificate also names the host by which sites find it from outside. Raises CannotDeploy."""
    url = urlsplit(hub_url)
    if url.scheme not in ("tls", "wss") or not url.hostname or url.port is None:
        raise CannotDeploy(f"{hub_url!r} is no hub's URL: write tls://hub.example:7422, or wss://hub.example:443")
    outside, before = url.hostname, hosts.aliases
    hub = hosts.of(HUB)
    return msgspec.structs.replace(hosts, aliases=lambda host: (*before(host), *([outside] if host == hub else [])))


def _identities(deployment: Deployment) -> Iterator[str]:
    """Every container that signs in, by the name of its seed."""
    yield from (str(address) for address in deployment.agents)
    yield from (str(address) for address in deployment.tools)
    yield from (f"{server}.admin" for server in deployment.topology.servers)
    if deployment.recorder is not None:
        yield str(deployment.recorder)
    yield from (str(address) for address in deployment.home_recorders)


def digest(*facts: object) -> str:
    """Twelve digits that change when any of the facts does."""
    return hashlib.sha256(msgspec.json.encode(facts, enc_hook=str, order="sorted")).hexdigest()[:12]
