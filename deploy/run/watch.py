"""Who is connected, while a run goes on: the servers have verified each key, and notice within milliseconds.

A hello tells what an agent can do; that it is there, or a site's link up, is told by the server alone.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec
from nats.errors import Error as NatsError

from bus.address import Address
from bus.transport import Connection
from deploy.doors import Doors
from deploy.topology import HUB

log = logging.getLogger("gridparley.watch")
CONNECT, DISCONNECT = (f"$SYS.ACCOUNT.*.{event}" for event in ("CONNECT", "DISCONNECT"))
"""Of any account: in a fleet ours is called by its key. Whose keys we do not know are nobody of ours."""
LOOK = "$SYS.REQ.SERVER.PING.CONNZ"
MOST = 65_536  # connections that one look asks for: nats-server's own default limit
AGAIN_WALL_S = 2.0


class _Client(msgspec.Struct):
    id: int
    user: str = ""


class _Event(msgspec.Struct):
    client: _Client


class _Connected(msgspec.Struct):
    cid: int
    authorized_user: str = ""


class _Data(msgspec.Struct):
    connections: list[_Connected] = []


class _Look(msgspec.Struct):
    data: _Data


_event = msgspec.json.Decoder(_Event).decode
_look = msgspec.json.Decoder(_Look).decode


class Watch:
    """Listens with each server's system user, whose account carries no word of ours.

    ``on_link(site, up)`` is called when the hub sees a site's link come or go, at first with what it finds.
    """

    def __init__(self, doors: Doors, on_link: Callable[[str, bool], object]) -> None:
        self._doors, self._on_link = doors, on_link
        self._agents: dict[str, Address] = {}
        self._sites: dict[str, str] = {}
        self._learn()
        self._here: dict[str, dict[str, set[int]]] = {server: {} for server in doors.topology.servers}
        self._events: dict[str, int] = dict.fromkeys(doors.topology.servers, 0)
        self.links: dict[str, bool] = {}
        """Site -> its link is up, as the hub sees it; empty until the hub was asked."""

    def _learn(self) -> None:
        """Who has which keys: two while one is changed."""
        ring, topology = self._doors.key_ring, self._doors.topology
        self._agents = {key: address for address in topology.entries for key in ring.publics(str(address))}
        self._sites = {key: site for site in topology.sites for key in ring.publics(f"{site}.link")}

    @property
    def agents(self) -> set[Address]:
        """Every agent and tool that is connected to its own server."""
        return {
            address
            for public, address in self._agents.items()
            if self._here[self._doors.topology.server_of(address)].get(public)
        }

    async def watch(self, server: str) -> None:
        """Until cancelled. Raises BusUnavailable when the server does not take its system user."""
        connection = self._doors.connection(server, f"{server}.sys", "_R.sys")
        wake = asyncio.Event()
        connection.on_reconnect = wake.set
        await connection.open()
        try:
            await connection.subscribe(CONNECT, lambda _, payload: self._heard(server, payload, there=True))
            await connection.subscribe(DISCONNECT, lambda _, payload: self._heard(server, payload, there=False))
            await connection.barrier()
            while True:
                wake.clear()
                if await self._ask(server, connection):
                    await wake.wait()
                else:
                    await asyncio.sleep(AGAIN_WALL_S)
        finally:
            await connection.close()

    def gone(self, server: str) -> None:
        """The server itself has ended, and told nobody."""
        self._here[server] = {}
        if server == HUB and self.links:
            self._tell_links()

    async def _ask(self, server: str, connection: Connection) -> bool:
        """Who is there already. Asked again when something happened meanwhile, as the answer may be older than that."""
        while True:
            before = self._events[server]
            try:
                answer = await connection.request(LOOK, msgspec.json.encode({"auth": True, "limit": MOST}))
                found = _look(answer).data.connections
            except (NatsError, TimeoutError, msgspec.MsgspecError) as problem:
                log.info("%s does not say who is connected: %s", server, problem or type(problem).__name__)
                return False
            if self._events[server] == before:
                break
        here: dict[str, set[int]] = {}
        for one in found:
            here.setdefault(one.authorized_user, set()).add(one.cid)
        self._here[server] = here
        if server == HUB:
            self._tell_links()
        return True

    def _heard(self, server: str, payload: bytes, *, there: bool) -> None:
        client = _event(payload).client
        self._events[server] += 1
        if there and client.user not in self._agents and client.user not in self._sites:
            self._learn()  # a key may have been changed
        ids = self._here[server].setdefault(client.user, set())
        if there:
            ids.add(client.id)
        else:
            ids.discard(client.id)
        if server == HUB and client.user in self._sites and self.links:
            self._tell_links()

    def _tell_links(self) -> None:
        there = {site for public, site in self._sites.items() if self._here[HUB].get(public)}
        for site in self._doors.topology.sites:
            up = site in there
            if self.links.get(site) != up:
                self.links[site] = up
                self._on_link(site, up)
