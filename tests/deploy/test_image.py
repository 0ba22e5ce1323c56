"""The images: small, held, without secrets; one agent in one is well, says what ails it, and stops in order."""

import io
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest
from docker.models.containers import Container

from deploy.image.build import TARGETS
from deploy.nats.places import MOUNT
from deploy.render.deployment import Deployment, prepare
from tests.support.docker import SECOND_NS, Yard, ended, health, output, state, stopped, until

pytestmark = pytest.mark.timeout(900)  # where the images are not made yet, the first test makes them
ONE = """
name = "one"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
[grid]
agents = [
  { role = "dso", name = "north" },
  { role = "hes", name = "main" },
  { role = "forecaster", name = "main" },
]
"""
SECRET = re.compile(r"\.(nk|key|seed|creds)$|(^|/)id_(rsa|ed25519)$|(^|/)\.(netrc|pypirc|npmrc)$|pip\.conf$")
PRIVATE = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/=\s]{64,}|\bSU[A-Z2-7]{56}\b")
COMPILERS = re.compile(r"(^|/)bin/([a-z0-9_]+-linux-gnu-)?(gcc|g\+\+|cc|c\+\+|clang|ld|as|make|go|rustc)(-\d+)?$")
INSTALLERS = re.compile(r"(^|/)bin/(pip3?|apt|apt-get|dpkg)$|(^|/)(ensurepip|pip|setuptools)/__init__\.py$")
OFTEN = {"interval": SECOND_NS // 2, "timeout": 30 * SECOND_NS, "retries": 1, "start_period": SECOND_NS}
"""What the image asks, but more often: a test needs no minutes for it."""


LOADING = """
import runpy, sys, time

class Never:
    def find_spec(self, name, *_):
        if name == "deploy":
            print("loading", flush=True)
            time.sleep(600)

sys.meta_path.insert(0, Never())
runpy.run_path("/app/bin/gridparley", run_name="__main__")
"""
"""The image's own entry point, on a machine that is so slow that our packages take minutes to load."""


# -------------------------------------------------------------------- what is in them


def layers(engine: docker.DockerClient, tag: str) -> Iterator[tuple[str, tarfile.TarFile]]:
    """Each layer of an image: what a later one covered or removed is seen as well."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(engine.images.get(tag).save()))) as whole:
        (manifest,) = json.load(whole.extractfile("manifest.json") or io.BytesIO())
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=whole.extractfile(name)) as layer:
                yield name, layer


@pytest.mark.parametrize("target", [name for name in TARGETS if name != "gridparley-world"])
def test_no_layer_holds_a_secret_a_compiler_or_an_installer(
    engine: docker.DockerClient, images: dict[str, str], target: str
) -> None:
    seen = 0
    for _, layer in layers(engine, images[target]):
        for member in layer:
            seen += 1
            assert not SECRET.search(member.name), member.name
            assert not COMPILERS.search(member.name), member.name
            assert not INSTALLERS.search(member.name), member.name
            if member.isfile() and member.size < 1_000_000 and (file := layer.extractfile(member)):
                assert not PRIVATE.search(file.read()), member.name
    assert seen > 1000


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_how_it_is_stopped(
    engine: docker.DockerClient, images: dict[str, str], target: str
) -> None:
    image = engine.images.get(images[target])
    config: dict[str, Any] = image.attrs["Config"]
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"] == ["nats-server" if target == "gridparley-nats" else "gridparley"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python3", "-I", "-S", "/app/healthy.py"]
    assert config["Labels"]["org.opencontainers.image.version"] == images[target].partition(":")[2]
    assert config["Labels"]["org.opencontainers.image.title"] == target
    told = "\n".join(f"{row['CreatedBy']} {row.get('Comment', '')}" for row in image.history())
    assert not PRIVATE.search(told.encode())


def test_every_actor_but_the_forecaster_loads_in_the_small_image(yard: Yard, images: dict[str, str]) -> None:
    load = "from deploy.roster import *; print(sum(agent_of(role) is not None for role in ROLES - {OPS.name}), end='')"
    asked = yard.run(images["gridparley"], ["-c", load], entrypoint="python3")
    code, said = ended(asked)
    assert (code, int(said) > 10) == (0, True), said


def test_what_is_compiled_is_used_and_the_root_cannot_be_written(yard: Yard, images: dict[str, str]) -> None:
    look = """
import os, sys, deploy.cli, highspy
assert (os.getuid(), os.getgid()) == (65532, 65532)
for name, module in list(sys.modules.items()):
    cached = getattr(module, "__cached__", None)
    if cached and name != "__main__":
        assert os.path.exists(cached), cached
for folder in ("/", "/app", "/app/lib", "/etc"):
    try:
        open(folder + "/written", "w")
    except OSError:
        continue
    raise SystemExit(folder + " can be written")
open("/tmp/written", "w").close()
"""
    code, said = ended(yard.run(images["gridparley"], ["-c", look], entrypoint="python3"))
    assert code == 0, said


# -------------------------------------------------------------------- what it answers to mistakes


@pytest.mark.parametrize(
    ("command", "taught"),
    [
        ("agent nobody.x", "write site.role.name"),
        ("agent h99.cem.main", "is not in street: its agents are"),
        ("agent h07.cem.main --topology nowhere.toml", "nowhere.toml"),
        ("agent h07.cem.main", "there is no key"),
        ("fly", "No such command"),
    ],
)
def test_bad_arguments_end_with_2_and_say_what_is_right(
    yard: Yard, images: dict[str, str], command: str, taught: str
) -> None:
    code, said = ended(yard.run(images["gridparley"], command))
    assert code == 2, said
    assert taught in " ".join(said.split())


def test_without_a_command_it_tells_how_it_is_used(yard: Yard, images: dict[str, str]) -> None:
    code, said = ended(yard.run(images["gridparley"]))
    assert code == 0, said
    assert "gridparley [OPTIONS] COMMAND" in said


# -------------------------------------------------------------------- an agent and its server


class Stand(NamedTuple):
    """A hub in a container, with its streams, on a network without a way out."""

    deployment: Deployment
    hub: Container
    start: Any


@pytest.fixture
def stand(yard: Yard, images: dict[str, str], tmp_path: Path) -> Stand:
    (tmp_path / "one.toml").write_text(ONE)
    made = prepare(str(tmp_path / "one.toml"), tmp_path / "deployment")
    network = yard.network()
    place = made.places[0]
    host = place.url.removeprefix("tls://").partition(":")[0]
    own = made.folder / "servers" / place.server
    hub = yard.run(
        images["gridparley-nats"],
        ["--config", f"{MOUNT}/{Path(place.config).name}"],
        hosts=(host,),
        network=network,
        tmpfs={"/tmp": "", "/data": "uid=65532,gid=65532"},
        volumes={str(own): {"bind": MOUNT, "mode": "ro"}},
        healthcheck=OFTEN,
    )
    until(lambda: health(hub) == "healthy", told=(hub,))

    def start(identity: str, command: str, image: str = "gridparley") -> Container:
        mounted = {
            str(made.folder / "agents" / identity): {"bind": "/run/gridparley", "mode": "ro"},
            str(made.folder / "topology"): {"bind": "/etc/gridparley", "mode": "ro"},
        }
        told = {
            "GRIDPARLEY_NATS": place.url,
            "GRIDPARLEY_KEYS": "/run/gridparley",
            "GRIDPARLEY_TOPOLOGY": "/etc/gridparley/topology.toml",
            "GRIDPARLEY_DATA": "/tmp",
        }
        return yard.run(images[image], command, network=network, volumes=mounted, environment=told, healthcheck=OFTEN)

    code, said = ended(start("hub.admin", "provision hub"))
    assert code == 0, said
    return Stand(made, hub, start)


def test_an_agent_is_healthy_while_its_server_is_there_and_stops_in_order(stand: Stand) -> None:
    agent = stand.start("grid.hes.main", "agent grid.hes.main")
    until(lambda: health(agent) == "healthy", told=(agent, stand.hub))
    stand.hub.kill()
    until(lambda: health(agent) == "unhealthy", told=(agent,))
    assert "not connected" in state(agent)["Health"]["Log"][-1]["Output"]
    stand.hub.start()
    until(lambda: health(agent) == "healthy", told=(agent, stand.hub))
    assert stopped(agent) == 0, output(agent)


def test_one_that_still_waits_for_its_server_stops_in_order(stand: Stand) -> None:
    stand.hub.kill()
    agent = stand.start("grid.dso.north", "agent grid.dso.north")
    until(lambda: health(agent) == "unhealthy", told=(agent,))
    assert stopped(agent) == 0, output(agent)


def test_one_that_is_still_loading_stops_in_order(yard: Yard, images: dict[str, str]) -> None:
    """Process 1 has no default for SIGTERM: what is not handled is dropped, and only a kill would end it."""
    loading = yard.run(
        images["gridparley"],
        ["-c", LOADING],
        entrypoint="python3",
    )
    until(lambda: "loading" in output(loading), told=(loading,))
    assert stopped(loading) == 0, output(loading)[-2000:]


def test_the_forecaster_in_the_small_image_names_the_image_that_it_needs(stand: Stand) -> None:
    code, said = ended(stand.start("grid.forecaster.main", "agent grid.forecaster.main"))
    assert code == 2, said
    assert "run it in the image gridparley-world" in said


def test_the_forecaster_is_well_in_the_image_with_numerics(stand: Stand) -> None:
    agent = stand.start("grid.forecaster.main", "agent grid.forecaster.main", "gridparley-world")
    until(lambda: health(agent) == "healthy", told=(agent,))
    assert stopped(agent) == 0, output(agent)


def test_a_server_stops_in_order(stand: Stand) -> None:
    assert stopped(stand.hub) == 0, output(stand.hub)
