"""Containers in tests: the engine, the images of the present tree, and a yard that is empty again afterwards.

    def test_something(yard: Yard, images: dict[str, str]) -> None:
        one = yard.run(images["gridparley"], "agent grid.hes.main", environment={...})
        until(lambda: health(one) == "healthy")

Without a Docker engine such tests are skipped and say so; where GRIDPARLEY_NEEDS_DOCKER is set, as in .ci/run, they
fail.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.networks import Network

from deploy.image.build import ROOT, tags

NEEDED = "GRIDPARLEY_NEEDS_DOCKER"
ABSENT = "no Docker engine answers: start one, see .ci/run"
HELD: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {"/tmp": ""},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
"""How every container of ours runs."""
WITHIN_WALL_S = 180.0
SECOND_NS = 1_000_000_000


class Yard:
    """Containers and networks of one test; ``close`` removes them all."""

    def __init__(self, engine: docker.DockerClient) -> None:
        self.engine = engine
        self.name = f"gp-test-{uuid4().hex[:8]}"
        self.containers: list[Container] = []
        self.networks: list[Network] = []

    def network(self) -> Network:
        """One without a way out."""
        made = self.engine.networks.create(f"{self.name}-{len(self.networks)}", driver="bridge", internal=True)
        self.networks.append(made)
        return made

    def run(
        self, image: str, command: str | list[str] = "", *, hosts: tuple[str, ...] = (), **options: Any
    ) -> Container:
        """Start a container, held as ours are. ``hosts``: its names on ``network``; else as for the SDK's ``run``."""
        network: Network | None = options.pop("network", None)
        name = f"{self.name}-{len(self.containers)}"
        made = self.engine.containers.create(image, command, name=name, **{**HELD, **options})
        self.containers.append(made)
        if network is not None:
            network.connect(made, aliases=list(hosts))
        made.start()
        return made

    def close(self) -> None:
        for container in reversed(self.containers):
            try:
                container.remove(force=True, v=True)
            except NotFound:
                continue
        for network in self.networks:
            network.remove()


def state(container: Container) -> dict[str, Any]:
    """What the engine knows of it now: Status, ExitCode, Health and so on."""
    container.reload()
    found: dict[str, Any] = container.attrs["State"]
    return found


def health(container: Container) -> str:
    """starting, healthy or unhealthy; empty for one that is not asked."""
    return str(state(container).get("Health", {}).get("Status", ""))


def output(container: Container) -> str:
    return bytes(container.logs()).decode(errors="replace")


def ended(container: Container, within_s: float = WITHIN_WALL_S) -> tuple[int, str]:
    """Exit code and output of one that ends by itself."""
    until(lambda: state(container)["Status"] == "exited", within_s, (container,))
    return int(state(container)["ExitCode"]), output(container)


def stopped(container: Container) -> int:
    """Exit code of one that is told to stop. How long it takes is a matter of `make bench`: tests share a machine."""
    container.kill("SIGTERM")
    return ended(container)[0]


def until(holds: Callable[[], object], within_s: float = WITHIN_WALL_S, told: tuple[Container, ...] = ()) -> None:
    """Wait for a fact. Raises AssertionError with the output of the containers ``told``."""
    last = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > last:
            shown = "\n".join(f"--- {one.name}\n{output(one)[-2000:]}" for one in told)
            raise AssertionError(f"not within {within_s:g} s\n{shown}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The Docker engine that answers here."""
    try:
        asked = subprocess.run(["docker", "version"], capture_output=True, text=True, check=False)
        problem = asked.stderr.strip() if asked.returncode else ""
    except FileNotFoundError:
        problem = "the command docker is not installed"
    if problem and os.environ.get(NEEDED):
        pytest.fail(f"{ABSENT} ({NEEDED} is set; {problem})")
    if problem:
        pytest.skip(ABSENT)
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def images(engine: docker.DockerClient) -> dict[str, str]:
    """gridparley, gridparley-world, gridparley-nats -> tag of its image, built of the present tree."""
    made = subprocess.run(
        [sys.executable, str(ROOT / "deploy" / "image" / "build.py")], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return tags()


@pytest.fixture
def yard(engine: docker.DockerClient) -> Iterator[Yard]:
    made = Yard(engine)
    try:
        yield made
    finally:
        made.close()
