"""Servers of a fleet: the hub knows an account, agents of the grid side and sites' links come with JWTs."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

from agents.kit.agent import Agent
from bus.nkeys import KeyPair
from deploy.fleet.config import equip, push, write_configs
from deploy.fleet.fleet import Fleet, creds
from deploy.identity.certificates import Certificates
from deploy.identity.keys import write_secret
from deploy.nats import places
from deploy.nats.servers import Servers
from deploy.topology import HUB, Topology


class FleetServers(Servers):
    """As ``Servers``, with ``fleet`` as the issuer."""

    def __init__(self, topology: Topology, folder: Path, agent_of: Callable[[str], Agent | None] | None = None) -> None:
        super().__init__(topology, folder, agent_of)
        self.fleet = Fleet.found(folder / "fleet", self.permissions)

    def configure(self) -> Mapping[str, Path]:
        equip(self.fleet, self.permissions, self.key_ring)
        found = places.loopback(self.topology, Certificates(self.authority.parent), self.folder, self.ports)
        self._configs = write_configs(
            self.permissions, self.key_ring, self.fleet, self.folder, found, lambda site: str(self.creds_of(site))
        )
        return self._configs

    def creds_of(self, site: str) -> Path:
        """What a site's server signs in with."""
        return self.key_ring.path(f"{site}.link").with_suffix(".creds")

    def give(self, site: str, valid: timedelta, keys: KeyPair | None = None) -> None:
        """A JWT for a site's link, which lives so long."""
        pair = keys or self.key_ring(f"{site}.link")
        groups = self.topology.sites[site].groups
        write_secret(self.creds_of(site), creds(self.fleet.site(site, pair.public, groups=groups, valid=valid), pair))

    async def push(self, fleet: Fleet | None = None) -> None:
        """The account as it is now, to the running hub; another fleet's on demand."""
        connection = self.connection(HUB, f"{HUB}.sys", "_R.sys")
        await connection.open()
        try:
            await push(fleet or self.fleet, connection)
        finally:
            await connection.close()
