"""How an agent of a topology gets in: the server's address, its key, the domain of the grid side, a bus."""

import ctypes
import json
import signal
from collections.abc import Callable
from pathlib import Path

from agents.kit.agent import Agent
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.nkeys import KeyPair
from bus.transport import Connection
from deploy.identity.keys import Keys
from deploy.nats.config import HOST
from deploy.permissions import Permissions
from deploy.roster import Roster
from deploy.topology import HUB, Topology

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Doors:
    """The servers of a topology seen from who connects.

    ``folder`` holds keys, ports and the authority's certificate as the launcher made them; ``url`` names one server for
    all instead, as in a container that is told where its site's server is: ``tls://`` for the hub.
    """

    def __init__(
        self,
        topology: Topology,
        folder: Path,
        agent_of: Callable[[str], Agent | None] | None = None,
        *,
        url: str | None = None,
    ) -> None:
        self.topology = topology
        self.agent_of = agent_of or Roster()
        self.permissions = Permissions(topology, self.agent_of)
        self.key_ring = Keys(folder / "keys")
        self.authority = folder / "tls" / "ca.pem"
        self._url = url
        ports = folder / "ports.json"
        self._ports: dict[str, dict[str, int]] = json.loads(ports.read_text()) if ports.exists() else {}

    def url_of(self, server: str) -> str:
        scheme = "tls" if server == HUB else "nats"
        return self._url or f"{scheme}://{HOST}:{self._ports[server]['client']}"

    def ca_of(self, server: str) -> Path | None:
        """Who must have signed a server's certificate; None for a site's server, which is reached inside the home."""
        return self.authority if self.url_of(server).startswith("tls:") else None

    def connection(self, server: str, user: str, inbox: str) -> Connection:
        """A connection of a user of ours, not opened yet."""
        keys = self.key_ring.credential(user)
        return Connection(self.url_of(server), name=user, inbox=inbox, keys=keys, ca=self.ca_of(server))

    def url(self, address: Address) -> str:
        """Where an agent connects."""
        return self.url_of(self.topology.server_of(address))

    def keys(self, address: Address) -> KeyPair:
        return self.key_ring(str(address))

    def hub_domain(self, address: Address) -> str | None:
        """The grid side's JetStream domain as this agent sees it; None for who is connected to the hub itself."""
        return self.permissions.hub_domain(address)

    def bus(self, address: Address, clock: Clock) -> Bus:
        """A bus for an agent of the topology, not opened yet."""
        return Bus(
            address,
            self.url(address),
            clock,
            keys=self.key_ring.credential(str(address)),
            hub=self.hub_domain(address),
            ca=self.ca_of(self.topology.server_of(address)),
        )


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, however that ends. Linux; elsewhere the parent must."""
    try:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return
