"""Changing keys and certificates of a deployment that runs, and taking them back.

The folder is the one that ``gridparley config`` or ``gridparley render`` wrote. A change is written into it, for every
server and container, then the servers are told to read their files again: by their system users, or by hand where they
cannot be reached from here.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec
from nats.errors import Error as NatsError

from bus.transport import BusUnavailable, Connection
from deploy.fleet.config import IN_FLEET, rewrite_sites
from deploy.identity.certificates import Certificates
from deploy.identity.keys import CannotChange, Keys
from deploy.nats import places
from deploy.nats.config import write_configs
from deploy.nats.places import Place, give, give_tls
from deploy.permissions import Permissions
from deploy.topology import HUB

REACH_S = 3.0
"""A server that is not reached within this is told by hand."""
ANSWER_S = 2.0
PING = "$SYS.REQ.SERVER.PING"


@dataclass(frozen=True)
class NotReloaded:
    """Servers that were not told; what they know is what they read last."""

    servers: dict[str, str]

    def __str__(self) -> str:
        lines = [f"{server}: {cause}" for server, cause in sorted(self.servers.items())]
        return "\n".join(
            [*lines, "Let each read its files again (kill -HUP, docker compose kill -s HUP nats-<server>), then go on."]
        )


class Rotation:
    """A deployment whose identities are changed."""

    def __init__(self, folder: Path, permissions: Permissions) -> None:
        try:
            self.places = places.read(folder)
        except FileNotFoundError:
            raise CannotChange(
                f"{folder} is no deployment: name the folder of `gridparley config` or `gridparley render`"
            ) from None
        if {place.server for place in self.places} != set(permissions.topology.servers):
            raise CannotChange(f"{folder} is of another topology than {permissions.topology.name}: name its own")
        self.folder, self.permissions = folder, permissions
        self.keys, self.certificates = Keys(folder / "keys"), Certificates(folder / "tls")

    @property
    def names(self) -> list[str]:
        """Everybody who signs in with a key."""
        topology = self.permissions.topology
        return [
            *map(str, topology.entries),
            *(f"{site}.link" for site in topology.sites),
            *(f"{server}.{role}" for server in topology.servers for role in ("admin", "sys")),
        ]

    def server_of(self, name: str) -> str:
        """Whose configuration says what a name may do. Raises CannotChange for a name that nobody has."""
        for address in self.permissions.topology.entries:
            if str(address) == name:
                return self.permissions.topology.server_of(address)
        if name not in self.names:
            raise CannotChange(f"nobody is called {name!r} here: {', '.join(self.names[:12])}, ...")
        place, _, role = name.partition(".")
        return HUB if role == "link" else place

    def check(self, name: str) -> None:
        """Raises CannotChange where this folder does not decide about the name."""
        if self.server_of(name) == HUB and (self.folder / IN_FLEET).exists():
            raise CannotChange(
                f"{name} signs in with a JWT of a fleet: `gridparley fleet` changes it and takes it back"
            )

    # ---------------------------------------------------------------- what is changed

    async def begin(self, name: str) -> NotReloaded | None:
        """Give a name a new key while the old one stays good. Raises CannotChange."""
        self.check(name)
        self.keys.prepare(name)
        late = await self._tell(name)
        # Who runs tries the new key beside its present connection, so a server that is told later cuts nobody.
        self.keys.promote(name)
        self.write()
        if name.endswith(".link") and late is None:
            return await self.reload([name.removesuffix(".link")])
        return late

    async def finish(self, name: str) -> NotReloaded | None:
        """The old key is good no more: who still uses it is cut, and comes back with the new one."""
        self.check(name)
        before = self.keys.publics(name)
        self.keys.retire(name)
        return await self._tell(name, before)

    async def revoke(self, name: str) -> NotReloaded | None:
        """Cut a name off at once, and for good. Raises CannotChange."""
        self.check(name)
        before = self.keys.publics(name)
        self.keys.revoke(name)
        return await self._tell(name, before)

    async def take_back(self, name: str) -> NotReloaded | None:
        """Undo a revocation. Raises CannotChange."""
        self.check(name)
        self.keys.take_back(name)
        return await self._tell(name)

    async def renew_certificate(self, name: str) -> NotReloaded | None:
        """A new certificate for a server (``hub``, ``h07``) or a site's link (``h07.link``). Raises CannotChange."""
        self.certificates.renew(name)
        self.write()
        return await self.reload([name.removesuffix(".link")])

    async def begin_authority(self) -> NotReloaded | None:
        """Let everybody believe a second authority. Raises CannotChange."""
        self.certificates.follow()
        self.write()
        return await self.reload()

    async def finish_authority(self) -> NotReloaded | None:
        """Replace what the old one signed, then believe it no more. Raises CannotChange."""
        self.certificates.renew_all()
        self.write()
        late = await self.reload()
        if late is None:
            self.certificates.forget()
            self.write()
            late = await self.reload()
        return late

    async def _tell(self, name: str, before: Iterable[str] = ()) -> NotReloaded | None:
        self.write()
        return await self.reload([self.server_of(name)], set(before) - set(self.keys.publics(name)))

    # ---------------------------------------------------------------- files

    def write(self) -> None:
        """Bring every server's and container's files up to date with keys and certificates."""
        for place in self.places:
            if place.config.startswith("servers/"):
                self._give_server(place)
        for own in (self.folder / "agents").glob("*/keys/*.nk"):
            if self.keys.path(own.stem).exists():
                give(self.keys.path(own.stem), own)
            give(self.certificates.authority, own.parent.parent / "tls" / "ca.pem")
        if (self.folder / IN_FLEET).exists():
            rewrite_sites(self.permissions, self.keys, self.folder, self.places)
        else:
            write_configs(self.permissions, self.keys, self.folder, self.places)

    def _give_server(self, place: Place) -> None:
        for name, what in ((place.server, "server"), (f"{place.server}.link", "link")):
            pair = self.certificates.paths(name)
            if pair[0].exists():
                give_tls(self.folder, place.server, what, pair, self.certificates)

    # ---------------------------------------------------------------- servers

    async def reload(self, servers: Iterable[str] | None = None, gone: Iterable[str] = ()) -> NotReloaded | None:
        """Let servers read their files again, by default all, and cut who uses one of the keys ``gone``.

        None: each has done so.
        """
        wanted = {place.server for place in self.places} if servers is None else set(servers)
        names = [server for server in self.permissions.topology.servers if server in wanted]
        causes = await asyncio.gather(*(self._reload(server, gone) for server in names))
        late = {server: cause for server, cause in zip(names, causes, strict=True) if cause}
        return NotReloaded(late) if late else None

    async def _reload(self, server: str, gone: Iterable[str]) -> str:
        """Empty when all servers of this name have read their files."""
        mine = [place for place in self.places if place.server == server]
        user, ca = f"{server}.sys", self.certificates.authority if mine[0].door is not None else None
        connection = Connection(mine[0].url, name=user, inbox="_R.sys", keys=self.keys.credential(user), ca=ca)
        try:
            await connection.open(within_s=REACH_S)
            try:
                return await self._tell_servers(connection, len(mine), gone)
            finally:
                await connection.close()
        except (BusUnavailable, NatsError, TimeoutError, OSError, msgspec.MsgspecError) as problem:
            return str(problem) or type(problem).__name__

    async def _tell_servers(self, connection: Connection, number: int, gone: Iterable[str]) -> str:
        ids: set[str] = set()
        there = asyncio.Event()

        def answered(_subject: str, payload: bytes) -> None:
            ids.add(msgspec.json.decode(payload)["server"]["id"])
            if len(ids) >= number:
                there.set()

        await connection.subscribe("_R.sys.here", answered)
        connection.client.post(f"PUB {PING} _R.sys.here ".encode(), b"")
        try:
            await asyncio.wait_for(there.wait(), ANSWER_S)
        except TimeoutError:
            return f"{len(ids)} of its {number} servers answered"
        for one in ids:
            answer = msgspec.json.decode(await connection.request(f"$SYS.REQ.SERVER.{one}.RELOAD", b""))
            if "error" in answer:
                return f"it did not take its configuration: {answer['error'].get('description', answer['error'])}"
            for public in gone:
                await _cut(connection, one, public)
        return ""


async def _cut(connection: Connection, server: str, public: str) -> None:
    """A reload cuts clients whose user is gone, but leaves links standing (nats-server 2.15)."""
    asked = msgspec.json.encode({"auth": True, "user": public})
    found = msgspec.json.decode(await connection.request(f"$SYS.REQ.SERVER.{server}.CONNZ", asked))
    for one in found["data"].get("connections") or ():
        if one.get("authorized_user") == public:
            await connection.request(f"$SYS.REQ.SERVER.{server}.KICK", msgspec.json.encode({"cid": one["cid"]}))
