"""Configuration of servers in a fleet: the hub knows operator and accounts; a site's server signs in with a JWT.

The hub needs no change for a new home: its JWT is all that the hub ever sees of it. What does change, the account's
own JWT, is pushed to the running servers and kept in their store.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
from nats.errors import Error as NatsError

from bus.transport import BusUnavailable, Connection
from deploy.fleet.fleet import Fleet, FleetError, creds
from deploy.identity.keys import Keys, write_secret
from deploy.nats import places
from deploy.nats.config import config
from deploy.nats.places import Place
from deploy.permissions import Permissions
from deploy.topology import HUB

MOUNT = "/etc/nats/link.creds"
"""Where a site's server in a container finds its JWT and seed; read again at each sign-in, so renewing needs no
restart."""
IN_FLEET = "fleet"
"""File of a deployment whose hub is a fleet's; it says where the fleet is."""
PUSH = "$SYS.REQ.CLAIMS.UPDATE"


def hub_config(permissions: Permissions, keys: Keys, fleet: Fleet, place: Place) -> str:
    """A hub's server: what ``deploy.nats.config`` writes, with the operator in place of the list of users."""
    charter = fleet.charter
    accounts = f"""operator: {_text(fleet.operator_jwt)}
system_account: {charter.system}
resolver {{
  type: full             # every server of the hub keeps the accounts' JWTs, and gives newer ones to the others
  dir: {_text(str(Path(place.store) / "accounts"))}
  allow_delete: false
  interval: "2m"
}}
resolver_preload {{
  {charter.system}: {_text(fleet.system_jwt)}
  {charter.account}: {_text(fleet.account_jwt)}
}}"""
    return config(permissions, keys, place, accounts=accounts)


def site_config(permissions: Permissions, keys: Keys, place: Place, credentials: str = MOUNT) -> str:
    """A site's server: its agents by NKey as everywhere, its link by the JWT in ``credentials``."""
    return config(permissions, keys, place, credentials=credentials)


def write_configs(
    permissions: Permissions,
    keys: Keys,
    fleet: Fleet,
    folder: Path,
    found: Iterable[Place],
    credentials: Callable[[str], str] = lambda _site: MOUNT,
) -> dict[str, Path]:
    """A server's name -> its configuration file. ``credentials``: where a site's server sees its own."""
    paths = {}
    for place in found:
        path = folder / place.config
        path.parent.mkdir(parents=True, exist_ok=True)
        hub = place.server == HUB
        text = (
            hub_config(permissions, keys, fleet, place)
            if hub
            else site_config(permissions, keys, place, credentials(place.server))
        )
        write_secret(path, text, place.mode)
        paths[place.name] = path
    return paths


def equip(fleet: Fleet, permissions: Permissions, keys: Keys, names: Iterable[str] | None = None) -> list[Path]:
    """JWTs of a topology beside the seeds that are in ``keys``, made where they are missing; the files written.

    For each grid-side agent and the hub's administrators ``<name>.jwt``; for each site ``<site>.link.creds``, which its
    server signs in with. ``names``: these alone, e.g. those that run out.
    """
    topology = permissions.topology
    wanted = set(names) if names is not None else None
    made = []
    for address in topology.entries:
        if topology.server_of(address) == HUB and (wanted is None or str(address) in wanted):
            token = fleet.agent(address, keys(str(address)).public, permissions)
            made.append(_beside(keys, str(address), token))
    for name, issue in ((f"{HUB}.admin", fleet.admin), (f"{HUB}.sys", fleet.system)):
        if wanted is None or name in wanted:
            made.append(_beside(keys, name, issue(keys(name).public)))
    for site in topology.sites.values():
        if wanted is None or site.name in wanted:
            pair = keys(f"{site.name}.link")
            token = fleet.site(site.name, pair.public, groups=site.groups)
            path = keys.path(f"{site.name}.link").with_suffix(".creds")
            write_secret(path, creds(token, pair))
            made.append(path)
    return made


def adopt(fleet: Fleet, permissions: Permissions, folder: Path) -> dict[str, Path]:
    """Make a deployment's servers a fleet's, wherever they are: JWTs, sites' credentials, configurations."""
    keys, found = Keys(folder / "keys"), places.read(folder)
    equip(fleet, permissions, keys)
    (folder / IN_FLEET).write_text(f"{fleet.folder.resolve()}\n")
    made = {}
    for place in found:
        if place.server == HUB:
            path = folder / place.config
            write_secret(path, hub_config(permissions, keys, fleet, place), place.mode)
            made[place.name] = path
    for own in (folder / "agents").glob("*/keys/*.nk"):  # what a container signs in with
        jwt = keys.credential(own.stem).jwt
        if jwt.exists():
            places.give(jwt, own.with_suffix(".jwt"))
    return made | rewrite_sites(permissions, keys, folder, found)


def rewrite_sites(permissions: Permissions, keys: Keys, folder: Path, found: Iterable[Place]) -> dict[str, Path]:
    """Configurations and credentials of a fleet's sites, as their keys are now; a server's name -> its file."""
    made = {}
    for place in found:
        if place.server == HUB:
            continue
        path, own = folder / place.config, keys.path(f"{place.server}.link").with_suffix(".creds")
        seen = str(own)
        if place.config.startswith("servers/"):  # in a container: it sees its own folder only
            write_secret(path.with_name("link.creds"), own.read_text(), place.mode)
            seen = MOUNT
        write_secret(path, site_config(permissions, keys, place, seen), place.mode)
        made[place.name] = path
    return made


def _beside(keys: Keys, name: str, token: str) -> Path:
    path = keys.credential(name).jwt
    write_secret(path, token + "\n")
    return path


class NotPushed(FleetError):
    """A hub did not take an account's JWT."""

    def __init__(self, url: str, cause: str) -> None:
        super().__init__(
            f"the hub at {url} did not take the account: {cause}. Until it does, what was revoked is still good there;"
            " say `gridparley fleet push` again"
        )
        self.url, self.cause = url, cause


async def push(fleet: Fleet, connection: Connection) -> None:
    """Give the account as it is now to a running hub, by a connection of its system user. Raises NotPushed.

    It counts at once: who is revoked is cut, and refused after.
    """
    try:
        answer = msgspec.json.decode(await connection.request(PUSH, fleet.account_jwt.encode()))
    except (NatsError, TimeoutError, OSError, BusUnavailable) as problem:
        raise NotPushed(connection.url, str(problem) or type(problem).__name__) from problem
    if "error" in answer:
        raise NotPushed(connection.url, str(answer["error"].get("description", answer["error"])))


def _text(value: str) -> str:
    return json.dumps(value)
