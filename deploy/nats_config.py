"""Configuration files of the hub and of each site's leaf. They hold public keys, a leaf's also its link's seed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from deploy.certificates import Certificates
from deploy.keys import Keys, write_secret
from deploy.permissions import Permissions, Rights
from deploy.topology import HUB

ACCOUNT = "GRIDPARLEY"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Ports:
    """Where a server listens, and for the hub where its leaves arrive; ``link`` is where a leaf finds the hub."""

    client: int
    leaves: int = 0
    link: int = 0


ADMIN = Rights(publish=("$JS.API.>",), subscribe=("_R.admin.>",))
"""Who provisions a server: it makes streams and consumers and can say no word."""


def write_configs(
    permissions: Permissions, keys: Keys, certificates: Certificates, folder: Path, ports: dict[str, Ports]
) -> dict[str, Path]:
    """Server name -> configuration file, readable by its owner only."""
    paths = {}
    for server in permissions.topology.servers:
        path = folder / f"{server}.conf"
        write_secret(path, config(permissions, keys, certificates, server, folder, ports[server]))
        paths[server] = path
    return paths


def config(
    permissions: Permissions, keys: Keys, certificates: Certificates, server: str, folder: Path, ports: Ports
) -> str:
    """One server's configuration. Which limit guards against what is said beside it."""
    users = [_user(f"{server}.admin", keys, ADMIN, "STANDARD")]
    users += [
        _user(str(address), keys, permissions.of(address), "STANDARD")
        for address in permissions.topology.entries
        if permissions.topology.server_of(address) == server
    ]
    if server == HUB:
        users += [
            _user(f"{site}.link", keys, permissions.of_link(site), "LEAFNODE") for site in permissions.topology.sites
        ]
        mine = certificates.server(HUB)
        # Clients sign in with their NKey; a leaf shows a certificate besides.
        door = _tls(certificates, mine, "")
        leaf = f"""leafnodes {{
  listen: {_text(f"{HOST}:{ports.leaves}")}
  no_advertise: true
  {_tls(certificates, mine, "verify: true, ")}
}}"""
    else:
        door = ""  # reached inside the home only
        # The link carries nothing of the home, whatever the hub's rights say; each side would do alone.
        leaf = f"""leafnodes {{
  reconnect: "1s"
  remotes: [ {{
    urls: [{_text(f"tls://{HOST}:{ports.link}")}]
    {_tls(certificates, certificates.client(f"{server}.link"), "")}
    account: {ACCOUNT}
    nkey: {_text(keys(f"{server}.link").seed)}
    deny_exports: ["home.>", "$KV.>"]
    deny_imports: ["home.>", "$KV.>"]
  }} ]
}}"""
    lines = "\n".join(users)
    return f"""# Made from the topology by gridparley. Holds a secret at a site: mode 0600.
server_name: {_text(server)}
listen: {_text(f"{HOST}:{ports.client}")}
max_payload: 64KB        # no word is near it
max_control_line: 4KB    # subjects are about 100 bytes; a link's sign-in needs the room
max_subscriptions: 4096  # of one connection
ping_interval: "20s"
write_deadline: "2s"     # a reader that is stuck is cut before it costs memory
jetstream {{
  store_dir: {_text(str(folder / "js" / server))}
  domain: {server}
  sync_interval: always  # an acknowledged word survives a power cut
  max_mem: 64MB
  max_file: 2GB
}}
accounts {{
  {ACCOUNT} {{
    jetstream: enabled
    users: [
{lines}
    ]
  }}
  SYS {{
    users: [ {{ nkey: {keys(f"{server}.sys").public} }} ]
  }}
}}
system_account: SYS
{door}
{leaf}
"""


def _tls(certificates: Certificates, own: tuple[Path, Path], more: str) -> str:
    """Nothing is said before the handshake, so nobody can talk the other end out of it."""
    certificate, key = (_text(str(path)) for path in own)
    authority = _text(str(certificates.authority))
    return (
        f"tls {{ cert_file: {certificate}, key_file: {key}, ca_file: {authority}, "
        f'{more}handshake_first: true, min_version: "1.3", timeout: 5 }}'
    )


def _user(name: str, keys: Keys, rights: Rights, kind: str) -> str:
    return (
        f"      # {name}\n"
        f"      {{ nkey: {keys(name).public}, allowed_connection_types: [{kind}], permissions: {{\n"
        f"        publish: {{ allow: [{_list(rights.publish)}] }}\n"
        f"        subscribe: {{ allow: [{_list(rights.subscribe)}] }} }} }}"
    )


def _list(subjects: Iterable[str]) -> str:
    return ", ".join(_text(subject) for subject in subjects)


def _text(value: str) -> str:
    return json.dumps(value)
