"""Servers as they stand in the field, on this machine: TLS on every door, links also over WebSocket."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from agents.kit.agent import Agent
from deploy.identity.certificates import Certificates
from deploy.nats import places
from deploy.nats.config import write_configs
from deploy.nats.links import Links
from deploy.nats.places import HOST, Place, Tls
from deploy.nats.ports import free_ports
from deploy.nats.servers import Servers
from deploy.topology import HUB, Topology


class FieldServers(Servers):
    """As ``Servers``; homes' servers want TLS too, and a wiretap of a home reads nothing."""

    websocket = False

    def __init__(self, topology: Topology, folder: Path, agent_of: Callable[[str], Agent | None] | None = None) -> None:
        super().__init__(topology, folder, agent_of)
        [self.websocket_port] = free_ports(1)
        if self.websocket:
            sites = {site: self.ports[site].link for site in topology.sites}
            self.links = Links(sites, self.websocket_port)

    def url_of(self, server: str) -> str:
        return super().url_of(server).replace("nats:", "tls:")

    def configure(self) -> Mapping[str, Path]:
        certificates = Certificates(self.authority.parent)
        found = [
            self._in_the_field(place, certificates)
            for place in places.loopback(self.topology, certificates, self.folder, self.ports)
        ]
        places.write(self.folder, found)
        self._configs = write_configs(self.permissions, self.key_ring, self.folder, found)
        return self._configs

    def _in_the_field(self, place: Place, certificates: Certificates) -> Place:
        if place.server == HUB:
            where = f"{HOST}:{self.websocket_port}" if self.websocket else ""
            return msgspec.structs.replace(place, websocket=where)
        certificate, key = certificates.server(place.server)
        door = Tls(certificate=str(certificate), key=str(key), authority=str(certificates.authority))
        hubs = tuple(url.replace("tls:", "wss:") for url in place.hubs) if self.websocket else place.hubs
        return msgspec.structs.replace(place, door=door, url=self.url_of(place.server), hubs=hubs)


class WebSocketServers(FieldServers):
    """The links go over WebSocket alone."""

    websocket = True
