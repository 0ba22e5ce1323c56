"""Where servers are: every door beyond loopback has TLS, and what is rendered is valid to the server itself."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from deploy.identity.certificates import Certificates
from deploy.identity.keys import Keys
from deploy.nats.config import write_configs
from deploy.nats.places import MOUNT, Hosts, Place, Tls, containers, give, read, write
from deploy.nats.servers import nats_server
from deploy.permissions import Permissions
from deploy.roster import Roster
from deploy.topology import HUB, Topology
from tests.support.grid import topology

HERE = topology(["grid.dso.north", "grid.hes.main", "h07.cem.main", "h07.meter.main", "h08.cem.main"])
TLS = Tls(certificate="c", key="k", authority="a")


def rendered(folder: Path, made: Topology, **how: object) -> list[Place]:
    """Places of a deployment, with their files written as containers see them, but below ``folder``."""
    found = containers(made, Certificates(folder / "tls"), folder, **how)  # type: ignore[arg-type]
    write_configs(Permissions(made, Roster()), Keys(folder / "keys"), folder, found)
    for place in found:  # the server of this machine sees the folder itself
        path = folder / place.config
        seen = str(folder / "servers" / place.server)
        path.write_text(path.read_text().replace(MOUNT, seen).replace('"/data"', f'"{folder}/js"'))
    return found


@pytest.mark.parametrize("how", [{}, {"hubs": 3}, {"websocket": True}, {"hub_url": "tls://hub.example:7422"}])
def test_every_rendered_configuration_is_valid_to_the_server_itself(tmp_path: Path, how: dict[str, object]) -> None:
    found = rendered(tmp_path, HERE, **how)
    assert {place.server for place in found} == {HUB, "h07", "h08"}
    for place in found:
        ran = subprocess.run(
            [str(nats_server()), "-t", "-c", str(tmp_path / place.config)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr


def test_every_door_of_a_container_has_tls(tmp_path: Path) -> None:
    for place in rendered(tmp_path, HERE, hubs=3, websocket=True):
        text = (tmp_path / place.config).read_text()
        doors = text.count("listen:") + text.count("remotes:")
        assert text.count("tls {") == doors
        assert place.url.startswith("tls://")
        assert all(url.startswith("wss://") for url in place.hubs)


def test_a_servers_folder_holds_its_own_secrets_alone(tmp_path: Path) -> None:
    rendered(tmp_path, HERE)
    for site in ("h07", "h08"):
        files = {p.relative_to(tmp_path / "servers" / site) for p in (tmp_path / "servers" / site).rglob("*.*")}
        wanted = {"nats.conf", *(f"tls/{name}" for name in ("ca.pem", "server.pem", "server.key", "link.pem"))}
        assert files == {Path(name) for name in (*wanted, "tls/link.key")}
        seed = Keys(tmp_path / "keys")(f"{site}.link").seed
        assert seed in (tmp_path / "servers" / site / "nats.conf").read_text()
    everything = "".join(p.read_text() for p in (tmp_path / "servers").rglob("*") if p.is_file())
    for path in (tmp_path / "keys").glob("*.nk"):
        if not path.name.endswith(".link.nk"):
            assert path.read_text().strip() not in everything


@pytest.mark.parametrize(
    "where",
    [
        {"listen": "0.0.0.0:4222"},
        {"listen": "10.0.0.1:4222"},
        {"listen": "nats:4222"},
        {"listen": "127.0.0.1:4222", "monitor": "0.0.0.0:8222"},
        {"listen": "0.0.0.0:4222", "door": TLS, "monitor": "[::]:8222"},
    ],
)
def test_a_plain_door_beyond_loopback_is_refused(where: dict[str, object]) -> None:
    base = {"server": "h07", "name": "h07", "config": "c", "url": "u", "store": "s", "link": TLS}
    with pytest.raises(ValueError, match="without TLS"):
        Place(**base, **where)  # type: ignore[arg-type]


def test_a_hub_of_an_even_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="majority"):
        containers(HERE, Certificates(tmp_path / "tls"), tmp_path, hubs=2)


def test_a_certificate_that_lacks_a_host_is_made_anew(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    before = certificates.server(HUB)[0].read_bytes()
    assert certificates.server(HUB)[0].read_bytes() == before
    assert certificates.server(HUB, ("nats-hub",))[0].read_bytes() != before


def test_places_are_remembered(tmp_path: Path) -> None:
    found = containers(HERE, Certificates(tmp_path / "tls"), tmp_path, Hosts(), hubs=3)
    write(tmp_path, found)
    assert read(tmp_path) == found
    assert msgspec.json.decode((tmp_path / "places.json").read_bytes())[0]["cluster"]["name"] == HERE.name


def test_a_file_that_is_the_same_is_left_alone(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_text("one")
    give(source, target)
    before = target.stat().st_ino
    give(source, target)
    assert target.stat().st_ino == before
    source.write_text("two")
    give(source, target)
    assert target.read_text() == "two"
