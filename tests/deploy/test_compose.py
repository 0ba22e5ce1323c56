"""Rendered compose files: taken by ``docker compose config``, and each container is given its own and nothing else."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from contracts.roles import FORECASTER, OPS
from deploy.nats.places import LEAVES, WEBSOCKET
from deploy.render.compose import Compose, Images
from deploy.render.deployment import Deployment, prepare
from deploy.topology import GRID
from deploy.world_spec import has_world

IMAGES = Images(actor="gridparley:0", world="gridparley-world:0", nats="gridparley-nats:0")
SHAPES = [
    (name, hubs, websocket) for name in ("pair", "home", "street", "evening") for hubs, websocket in ((1, False),)
]
SHAPES += [("pair", 3, False), ("street", 3, True), ("pair", 1, True)]
PLUGIN = "the compose plugin of Docker is not installed here"


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment and what its compose file says. ``shape``: topology, servers of the hub, over WebSocket."""

    shape: tuple[str, int, bool]
    deployment: Deployment
    text: str
    file: dict[str, Any]

    @property
    def services(self) -> dict[str, Any]:
        """Those that a plain ``docker compose up`` starts."""
        return {name: one for name, one in self.file["services"].items() if not one.get("profiles")}

    @property
    def ours(self) -> dict[str, Any]:
        """Those of our own images."""
        return {name: one for name, one in self.file["services"].items() if one["image"].startswith("gridparley")}

    def mounted(self, service: str) -> Iterator[tuple[Path, str, bool]]:
        """(path on the host, path inside, read only) of every folder of the deployment that a service is given."""
        for volume in self.file["services"][service].get("volumes", ()):
            source, inside, *how = volume.split(":")
            if source.startswith(("/", ".")):
                yield Path(source), inside, how == ["ro"]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: "-".join(str(part) for part in shape))
def rendered(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    name, hubs, websocket = request.param
    folder = tmp_path_factory.mktemp("rendered") / "deployment"
    made = prepare(name, folder, hubs=hubs, websocket=websocket)
    text = Compose(made, IMAGES, made.folder).text()
    return Rendered(shape=request.param, deployment=made, text=text, file=yaml.safe_load(text))


def _compose() -> list[str]:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        return []
    return [docker, "compose"]


def test_compose_takes_it(rendered: Rendered, tmp_path: Path) -> None:
    if not (command := _compose()):
        pytest.skip(PLUGIN)
    (tmp_path / "compose.yaml").write_text(rendered.text)
    profiles = [word for one in ("tools", "jaeger", "metrics") for word in ("--profile", one)]
    done = subprocess.run(
        [*command, *profiles, "config", "--format", "json"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    understood = msgspec.json.decode(done.stdout)
    assert set(understood["services"]) == set(rendered.file["services"])


def test_every_agent_has_one_service_and_nobody_else_has_one(rendered: Rendered) -> None:
    topology = rendered.deployment.topology
    expected = {str(a) for a, entry in topology.entries.items() if a.role != OPS.name and not entry.attach}
    running = [one["command"][1] for one in rendered.ours.values() if one["command"][0] == "agent"]
    assert sorted(running) == sorted(expected)
    servers = {f"nats-{place.name}" for place in rendered.deployment.places}
    known = servers | {f"provision-{server}" for server in topology.servers} | expected | {"traces"}
    known |= {f"line-{place}" for place in rendered.deployment.lines}
    known |= {"world", "clock"} if has_world(topology) else set()
    known |= {"record"} if rendered.deployment.recorder else set()
    assert set(rendered.services) == known


def test_tools_run_when_they_are_called_where_their_agent_is(rendered: Rendered) -> None:
    tools = {name: one for name, one in rendered.file["services"].items() if one.get("profiles") == ["tools"]}
    attached = {str(a) for a, entry in rendered.deployment.topology.entries.items() if entry.attach}
    assert {name for name in tools if "." in name} >= attached
    for name, one in tools.items():
        assert one["restart"] == "no", name
        assert one["networks"] == [name.partition(".")[0] if "." in name else GRID], name


def test_a_hub_of_several_is_provisioned_with_as_many_copies(rendered: Rendered) -> None:
    _, hubs, _ = rendered.shape
    command = rendered.services["provision-hub"]["command"]
    assert command == ["provision", "hub", *(["--replicas", str(hubs)] if hubs > 1 else [])]
    assert len([name for name in rendered.services if name.startswith("nats-hub")]) == hubs


def test_nobody_is_given_another_ones_seed(rendered: Rendered) -> None:
    seeds = {path.read_text().strip(): path.name for path in (rendered.deployment.folder / "keys").glob("*.nk")}
    assert seeds
    for service in rendered.ours:
        given = {
            seeds[seed]
            for source, _, _ in rendered.mounted(service)
            for path in source.rglob("*")
            if path.is_file()
            for seed in seeds
            if seed in path.read_text(errors="replace")
        }
        expected = _own_seed(rendered, service)
        assert given == expected, service


def _own_seed(rendered: Rendered, service: str) -> set[str]:
    """A site's server holds the seed of its link, which its configuration needs; the hub's none."""
    if service.startswith("provision-"):
        return {f"{service.removeprefix('provision-')}.admin.nk"}
    if service.startswith("nats-"):
        site = service.removeprefix("nats-")
        return {f"{site}.link.nk"} if site in rendered.deployment.topology.sites else set()
    if service == "record":
        return {f"{rendered.deployment.recorder}.nk"}
    if rendered.ours[service].get("profiles") == ["tools"]:
        return {f"{service}.nk" if "." in service else f"{GRID}.ops.{service}.nk"}
    return {f"{service}.nk"} if rendered.ours[service]["command"][0] == "agent" else set()


def test_nobody_but_the_deployer_has_the_authority_or_a_private_key_that_is_not_its_own(rendered: Rendered) -> None:
    authority = (rendered.deployment.folder / "tls" / "ca.key").read_text()
    for service in rendered.ours:
        sources = [source for source, _, _ in rendered.mounted(service)]
        held = [path for source in sources for path in source.rglob("*") if path.is_file()]
        assert not [path for path in held if authority in path.read_text(errors="replace")], service
        keys = [path for path in held if "PRIVATE KEY" in path.read_text(errors="replace")]
        assert bool(keys) == service.startswith("nats-"), f"{service}: {keys}"


def test_what_is_mounted_cannot_be_written_and_is_there(rendered: Rendered) -> None:
    for service in rendered.ours:
        for source, inside, read_only in rendered.mounted(service):
            assert read_only, f"{service}: {inside}"
            assert source.is_dir(), f"{service}: {source}"


def test_no_secret_is_in_an_environment_or_a_command(rendered: Rendered) -> None:
    for path in (rendered.deployment.folder / "keys").glob("*.nk"):
        assert path.read_text().strip() not in rendered.text
    assert "PRIVATE KEY" not in rendered.text
    allowed = ("GRIDPARLEY_", "OTEL_")
    for service, one in rendered.ours.items():
        assert all(name.startswith(allowed) for name in one.get("environment", {})), service


def test_every_container_of_ours_is_held(rendered: Rendered) -> None:
    for service, one in rendered.ours.items():
        assert one["read_only"] is True, service
        assert one["cap_drop"] == ["ALL"], service
        assert one["security_opt"] == ["no-new-privileges:true"], service
        assert not {"privileged", "ports", "pid", "network_mode", "devices", "cap_add"} & set(one), service
        assert "user" not in one, f"{service}: the image's own user is no root"


def test_networks_are_who_needs_whom_and_no_other(rendered: Rendered) -> None:
    deployment = rendered.deployment
    topology = deployment.topology
    places = {GRID, *topology.sites}
    for service, one in rendered.services.items():
        networks = set(one["networks"])
        if service.startswith("nats-"):
            site = service.removeprefix("nats-")
            expected = {site if site in topology.sites else GRID, "links"}
        elif service.startswith("provision-"):
            server = service.removeprefix("provision-")
            expected = {server if server in topology.sites else GRID}
        elif service.startswith("line-"):
            place = service.removeprefix("line-")
            expected = {place} if deployment.lines[place] else {place, "field"}
        elif service in ("world", "clock"):
            expected = {"field"}
        elif service == "record":
            expected = {GRID}
        elif service == "traces":
            expected = places
        else:
            expected = {service.partition(".")[0]}
        assert networks == expected, service
    used = {network for one in rendered.file["services"].values() for network in one["networks"]}
    assert set(rendered.file["networks"]) >= used
    outside = {place for place, hardware in deployment.lines.items() if hardware}
    for name in used - outside - {"desk"}:
        assert rendered.file["networks"][name] == {"internal": True}, name
    assert not [service for service, one in rendered.services.items() if "desk" in one["networks"]]


def test_everybody_connects_where_its_server_is(rendered: Rendered) -> None:
    deployment = rendered.deployment
    for service, one in rendered.ours.items():
        if one["command"][0] == "agent":
            site = service.partition(".")[0]
            expected = "tls://nats-hub:4222" if site == GRID else f"tls://nats-{site}:4222"
            assert one["environment"]["GRIDPARLEY_NATS"] == expected
            role = service.split(".")[1]
            assert one["image"] == (IMAGES.world if role == FORECASTER.name else IMAGES.actor)
    _, hubs, websocket = rendered.shape
    port = WEBSOCKET if websocket else LEAVES
    for place in deployment.places:
        if place.server in deployment.topology.sites:
            assert len(place.hubs) == hubs
            assert all(url.endswith(f":{port}") for url in place.hubs)


def test_real_time_has_no_clock_and_a_simulated_run_has_one_for_all(rendered: Rendered) -> None:
    timed = [name for name, one in rendered.ours.items() if "GRIDPARLEY_CLOCK" in one.get("environment", {})]
    if not has_world(rendered.deployment.topology):
        assert timed == []
        return
    for name in timed:
        assert "clock:/clock" in rendered.ours[name]["volumes"], name
    assert {str(agent) for agent in rendered.deployment.agents} <= set(timed)


def test_who_waits_waits_for_services_that_are_there(rendered: Rendered) -> None:
    for service, one in rendered.services.items():
        for awaited, how in one.get("depends_on", {}).items():
            assert awaited in rendered.services, f"{service} waits for {awaited}"
            ends = awaited.startswith("provision-")
            assert (how["condition"] == "service_completed_successfully") == ends, f"{service}: {awaited}"


def test_a_deployments_folder_is_closed_and_in_no_repository(rendered: Rendered) -> None:
    folder = rendered.deployment.folder
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / ".gitignore").read_text().splitlines()[-1] == "*"
    assert all(path.stat().st_mode & 0o077 == 0 for path in (folder / "keys").glob("*.nk"))


def test_rendering_again_keeps_keys_and_certificates(tmp_path: Path) -> None:
    def secrets() -> dict[str, bytes]:
        found = [*(tmp_path / "d" / "keys").glob("*"), *(tmp_path / "d" / "tls").glob("*")]
        return {path.name: path.read_bytes() for path in found}

    prepare("pair", tmp_path / "d")
    before = secrets()
    prepare("pair", tmp_path / "d", speed=20.0)
    assert secrets() == before
