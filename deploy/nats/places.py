"""Where the servers of a deployment are: how each listens, is found, and which files it sees.

One machine (``loopback``): everything on 127.0.0.1, sites' servers without TLS, links through forwarders that can be
cut. Containers (``containers``): a host per server, TLS on every door, files mounted at fixed paths; the hub is one
server or a cluster.
"""

import ipaddress
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from deploy.identity.certificates import Certificates
from deploy.topology import HUB, Topology

HOST = "127.0.0.1"
CLIENT, LEAVES, ROUTES, WEBSOCKET, MONITOR = 4222, 7422, 6222, 8443, 8222
"""Ports in a container; a server there has the host for itself."""
MOUNT = "/etc/nats"
"""Where a container sees its own folder of the deployment."""
STORE = "/data"
MOUNTED = 0o644
"""Of files that are mounted into a container, whose user is not the host's; the folder around them is closed."""
FILE = "places.json"


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """What a server shows and whom it believes: paths as the server sees them."""

    certificate: str
    key: str
    authority: str


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """How the servers of a hub find each other. ``routes``: URLs of all of them."""

    name: str
    listen: str
    routes: tuple[str, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One server of a deployment.

    server      whose it is: the hub or a site
    name        unique among all servers; "$NAME" is taken from its environment (pods of one StatefulSet)
    config      its configuration file, below the deployment's folder
    url         where its clients find it
    listen      host:port of its clients' door
    leaves      host:port where sites' links arrive; a hub's
    websocket   the same over WebSocket, for sites whose way out is port 443 alone
    hubs        URLs where a site's link finds the hub
    store       JetStream's folder as the server sees it
    door        the clients' door; None: plain, which is allowed on loopback only
    link        of a hub's doors for leaves, or what a site's link shows there
    monitor     host:port of NATS' own monitoring; never beyond loopback, it asks for no credential
    """

    server: str
    name: str
    config: str
    url: str
    listen: str
    store: str
    link: Tls
    leaves: str = ""
    websocket: str = ""
    hubs: tuple[str, ...] = ()
    door: Tls | None = None
    cluster: Cluster | None = None
    monitor: str = ""

    @property
    def mode(self) -> int:
        """Of its configuration file, which holds a secret at a site."""
        return MOUNTED if self.config.startswith("servers/") else 0o600

    def __post_init__(self) -> None:
        for what, where in (("clients", "" if self.door else self.listen), ("monitoring", self.monitor)):
            if where and not _is_loopback(where):
                raise ValueError(
                    f"{self.name}: {what} at {where} without TLS: listen at 127.0.0.1 or give certificates"
                )


def _is_loopback(where: str) -> bool:
    host = where.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def write(folder: Path, places: list[Place]) -> None:
    """Remember a deployment's servers, for who changes rights or keys in it later."""
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(places), indent=2))


def read(folder: Path) -> list[Place]:
    """Raises FileNotFoundError, msgspec.ValidationError."""
    return msgspec.json.decode((folder / FILE).read_bytes(), type=list[Place])


# -------------------------------------------------------------------- one machine


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server listens on this machine, the hub also for its leaves; ``link`` is where a leaf finds the hub."""

    client: int
    leaves: int = 0
    link: int = 0


def loopback(topology: Topology, certificates: Certificates, folder: Path, ports: dict[str, Ports]) -> list[Place]:
    """All servers on this machine; certificates are made where they are missing."""
    found = []
    for server in topology.servers:
        own, hub = ports[server], server == HUB
        pair = certificates.server(HUB) if hub else certificates.client(f"{server}.link")
        tls = _tls(pair, certificates.authority)
        found.append(
            Place(
                server=server,
                name=server,
                config=f"{server}.conf",
                url=f"{'tls' if hub else 'nats'}://{HOST}:{own.client}",
                listen=f"{HOST}:{own.client}",
                store=str(folder / "js" / server),
                link=tls,
                leaves=f"{HOST}:{own.leaves}" if hub else "",
                hubs=() if hub else (f"tls://{HOST}:{own.link}",),
                door=tls if hub else None,
            )
        )
    return found


# -------------------------------------------------------------------- containers


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """Names of the servers on a container network.

    of          what clients of a server connect to: the service's name
    member      one server of the hub's cluster, by its number from 0
    name        the name that such a member knows itself by
    aliases     further names of a server, e.g. with the network's domain
    """

    of: Callable[[str], str] = lambda server: f"nats-{server}"
    member: Callable[[int], str] = lambda index: f"nats-{HUB}-{index}"
    name: Callable[[int], str] = lambda index: f"{HUB}-{index}"
    aliases: Callable[[str], tuple[str, ...]] = lambda _host: ()


def containers(
    topology: Topology,
    certificates: Certificates,
    folder: Path,
    hosts: Hosts | None = None,
    *,
    hubs: int = 1,
    websocket: bool = False,
    hub_url: str = "",
) -> list[Place]:
    """A host per server. Each server's files are put in ``<folder>/servers/<server>``, which it sees as /etc/nats.

    hubs        servers of the hub: 1 or an odd cluster
    websocket   the sites' links go over WebSocket (port 8443 of the hub), else over NATS' own port 7422
    hub_url     where sites find the hub from outside its network; default: its host there
    """
    if hubs < 1 or hubs % 2 == 0:
        raise ValueError(f"a hub of {hubs} servers has no majority to lose one: take 1, 3 or 5")
    h = hosts or Hosts()
    every = [h.member(index) for index in range(hubs)] if hubs > 1 else [h.of(HUB)]
    scheme, port = ("wss", WEBSOCKET) if websocket else ("tls", LEAVES)
    found = [_hub(topology, certificates, folder, h, every, index, websocket=websocket) for index in range(len(every))]
    for site in topology.sites:
        mine = give_tls(folder, site, "server", certificates.server(site, _names(h, h.of(site))), certificates)
        link = give_tls(folder, site, "link", certificates.client(f"{site}.link"), certificates)
        found.append(
            Place(
                server=site,
                name=site,
                config=f"servers/{site}/nats.conf",
                url=f"tls://{h.of(site)}:{CLIENT}",
                listen=f"0.0.0.0:{CLIENT}",
                store=STORE,
                link=link,
                hubs=(hub_url,) if hub_url else tuple(f"{scheme}://{host}:{port}" for host in every),
                door=mine,
                monitor=f"{HOST}:{MONITOR}",
            )
        )
    return found


def _hub(
    topology: Topology,
    certificates: Certificates,
    folder: Path,
    h: Hosts,
    every: list[str],
    index: int,
    *,
    websocket: bool,
) -> Place:
    single = len(every) == 1
    names = tuple(dict.fromkeys(name for host in (h.of(HUB), *every) for name in _names(h, host)))
    tls = give_tls(folder, HUB, "server", certificates.server(HUB, names), certificates)
    routes = tuple(f"tls://{host}:{ROUTES}" for host in every)
    name = HUB if single else h.name(index)
    file = "nats.conf" if single or name.startswith("$") else f"{name}.conf"
    return Place(
        server=HUB,
        name=name,
        config=f"servers/{HUB}/{file}",
        url=f"tls://{h.of(HUB)}:{CLIENT}",
        listen=f"0.0.0.0:{CLIENT}",
        store=STORE,
        link=tls,
        leaves=f"0.0.0.0:{LEAVES}",
        websocket=f"0.0.0.0:{WEBSOCKET}" if websocket else "",
        door=tls,
        cluster=None if single else Cluster(name=topology.name, listen=f"0.0.0.0:{ROUTES}", routes=routes),
        monitor=f"{HOST}:{MONITOR}",
    )


def _names(h: Hosts, host: str) -> tuple[str, ...]:
    return (host, *h.aliases(host))


def _tls(pair: tuple[Path, Path], authority: Path) -> Tls:
    return Tls(certificate=str(pair[0]), key=str(pair[1]), authority=str(authority))


def give_tls(folder: Path, server: str, name: str, pair: tuple[Path, Path], certificates: Certificates) -> Tls:
    """Copy what a server needs of the certificates into its own folder: it sees nobody else's.

    name   what the pair is for: "server", its own doors; "link", a site's way to the hub
    """
    tls = folder / "servers" / server / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    for source, target in ((pair[0], f"{name}.pem"), (pair[1], f"{name}.key"), (certificates.authority, "ca.pem")):
        give(source, tls / target)
    seen = f"{MOUNT}/tls"
    return Tls(certificate=f"{seen}/{name}.pem", key=f"{seen}/{name}.key", authority=f"{seen}/ca.pem")


def give(source: Path, target: Path) -> None:
    """A copy that a container's user can read, replaced whole; left alone where it is the same: who uses it would take
    it for a new one."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    fresh = target.with_name(target.name + ".new")
    shutil.copyfile(source, fresh)
    fresh.chmod(MOUNTED)
    fresh.replace(target)
