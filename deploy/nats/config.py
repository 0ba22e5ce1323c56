"""Configuration files of the hub and of each site's leaf. They hold public keys, a leaf's also its link's seed."""

import json
from collections.abc import Iterable
from pathlib import Path

from deploy.identity.keys import Keys, write_secret
from deploy.nats.places import HOST, Place, Tls
from deploy.permissions import Permissions, Rights
from deploy.topology import HUB

__all__ = ["ACCOUNT", "ADMIN", "HOST", "config", "write_configs"]

ACCOUNT = "GRIDPARLEY"
ADMIN = Rights(publish=("$JS.API.>",), subscribe=("_R.admin.>",))
"""Who provisions a server: it makes streams and consumers and can say no word."""


def write_configs(permissions: Permissions, keys: Keys, folder: Path, places: Iterable[Place]) -> dict[str, Path]:
    """A server's name -> its configuration file."""
    paths = {}
    for place in places:
        path = folder / place.config
        path.parent.mkdir(parents=True, exist_ok=True)
        write_secret(path, config(permissions, keys, place), place.mode)
        paths[place.name] = path
    return paths


def config(permissions: Permissions, keys: Keys, place: Place, *, accounts: str = "", credentials: str = "") -> str:
    """One server's configuration. Which limit guards against what is said beside it.

    accounts      how the server knows its users, where that is no list of them (``deploy.fleet.config``)
    credentials   the file with a site's JWT and seed, as its server sees it; empty: its link signs in with an NKey
    """
    server = place.server
    doors = [
        _door(place),
        _leaves(place) if server == HUB else _link(place, keys, credentials),
        _websocket(place),
        _cluster(place),
        f"http: {_text(place.monitor)}  # health of the server itself; it asks for no credential"
        if place.monitor
        else "",
    ]
    # A JWT that gives its rights one by one is longer than any subject, an account with its revocations than any word.
    line, payload = ("16KB", "2MB ") if accounts else ("4KB ", "64KB")
    # An acknowledged word survives a power cut: of one server by its disk, of a cluster by its majority besides.
    return f"""# Made from the topology by gridparley. Holds a secret at a site: mode 0600.
server_name: {place.name if place.name.startswith("$") else _text(place.name)}
listen: {_text(place.listen)}
max_payload: {payload}        # no word is near it
max_control_line: {line}   # subjects are about 100 bytes; a sign-in needs the room
max_subscriptions: 4096  # of one connection
ping_interval: "10s"     # gone after 30 s: a link that outlives a longer silence resends only after as long again
write_deadline: "2s"     # a reader that is stuck is cut before it costs memory
jetstream {{
  store_dir: {_text(place.store)}
  domain: {server}
  sync_interval: always
  max_mem: 64MB
  max_file: 2GB
}}
{accounts or _accounts(permissions, keys, place)}
{chr(10).join(door for door in doors if door)}
"""


def _accounts(permissions: Permissions, keys: Keys, place: Place) -> str:
    """Every user by its public key: the server's administrator, its agents, at the hub each site's link."""
    server = place.server
    users = _users(f"{server}.admin", keys, ADMIN, "STANDARD")
    for address in permissions.topology.entries:
        if permissions.topology.server_of(address) == server:
            users += _users(str(address), keys, permissions.of(address), "STANDARD")
    if server == HUB:
        kinds = "LEAFNODE, LEAFNODE_WS" if place.websocket else "LEAFNODE"
        for site in permissions.topology.sites:
            users += _users(f"{site}.link", keys, permissions.of_link(site), kinds)
    lines = "\n".join(users)
    watchers = ", ".join(f"{{ nkey: {public} }}" for public in keys.publics(f"{server}.sys"))
    return f"""accounts {{
  {ACCOUNT} {{
    jetstream: enabled
    users: [
{lines}
    ]
  }}
  SYS {{
    users: [ {watchers} ]
  }}
}}
system_account: SYS"""


def _door(place: Place) -> str:
    """Clients sign in with their NKey; a plain door is reached inside one machine only."""
    return _tls(place.door, "") if place.door is not None else ""


def _leaves(place: Place) -> str:
    """A leaf shows a certificate besides its NKey."""
    return f"""leafnodes {{
  listen: {_text(place.leaves)}
  no_advertise: true
  {_tls(place.link, "verify: true, ")}
}}"""


def _link(place: Place, keys: Keys, credentials: str) -> str:
    """The link carries nothing of the home, whatever the hub's rights say; each side would do alone."""
    own = f"credentials: {_text(credentials)}" if credentials else f"nkey: {_text(keys(f'{place.server}.link').seed)}"
    return f"""leafnodes {{
  reconnect: "1s"
  remotes: [ {{
    urls: [{_list(place.hubs)}]
    {_tls(place.link, "")}
    account: {ACCOUNT}
    {own}
    deny_exports: ["home.>", "$KV.>"]
    deny_imports: ["home.>", "$KV.>"]
  }} ]
}}"""


def _websocket(place: Place) -> str:
    """For sites that may leave by port 443 alone: the same certificates, the same rights."""
    if not place.websocket:
        return ""
    return f"""websocket {{
  listen: {_text(place.websocket)}
  tls {{ {_files(place.link)}, verify: true, min_version: "1.3", timeout: 5 }}
}}"""


def _cluster(place: Place) -> str:
    if place.cluster is None:
        return ""
    return f"""cluster {{
  name: {_text(place.cluster.name)}
  listen: {_text(place.cluster.listen)}
  no_advertise: true
  routes: [{_list(place.cluster.routes)}]
  tls {{ {_files(place.link)}, verify: true, min_version: "1.3", timeout: 5 }}
}}"""


def _files(tls: Tls) -> str:
    return f"cert_file: {_text(tls.certificate)}, key_file: {_text(tls.key)}, ca_file: {_text(tls.authority)}"


def _tls(tls: Tls, more: str) -> str:
    """Nothing is said before the handshake, so nobody can talk the other end out of it."""
    return f'tls {{ {_files(tls)}, {more}handshake_first: true, min_version: "1.3", timeout: 5 }}'


def _users(name: str, keys: Keys, rights: Rights, kinds: str) -> list[str]:
    """A name's rights for each key that it has now: none when it is revoked, two while its key is changed."""
    return [
        f"      # {name}\n"
        f"      {{ nkey: {public}, allowed_connection_types: [{kinds}], permissions: {{\n"
        f"        publish: {{ allow: [{_list(rights.publish)}] }}\n"
        f"        subscribe: {{ allow: [{_list(rights.subscribe)}] }} }} }}"
        for public in keys.publics(name)
    ]


def _list(subjects: Iterable[str]) -> str:
    return ", ".join(_text(subject) for subject in subjects)


def _text(value: str) -> str:
    return json.dumps(value)
