"""Actors as containers: what an image weighs, how soon an agent in one is ready, and what each keeps in memory.

Needs a Docker engine and the images of ``make image``; without them it says so.
"""

import subprocess
import tempfile
import time
from pathlib import Path
from uuid import uuid4

from bench.figure import Figure, Missing, Result, median
from deploy.image.build import tags
from deploy.nats.places import MOUNT
from deploy.render.deployment import Deployment, prepare

AGENTS = 8
LOOK_WALL_S = 0.05
WITHIN_WALL_S = 120.0
STOP_WALL_S = 5
LINK_MBIT_S = 100.0
HELD = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
STREET = """
name = "bench"
[run]
start = 2016-05-20T10:00:00+02:00
until = 2016-05-20T16:00:00+02:00
[grid]
agents = [{ role = "dso", name = "north" }, { role = "hes", name = "main" }]
"""
HOME = """
[[site]]
name = "h01"
bus = 1
contract_consumption_w = 15000.0
fuse_a = 35.0
agents = [%s]
"""


def _docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


async def run(quick: bool) -> list[Result]:
    try:
        _docker("version")
        sizes = {
            target: int(_docker("image", "inspect", "--format", "{{.Size}}", tag)) for target, tag in tags().items()
        }
    except (OSError, subprocess.CalledProcessError):
        return [Missing("containers", "no Docker engine answers, or the images are not built: make image")]
    small, world = sizes["gridparley"] / 1e6, sizes["gridparley-world"] / 1e6
    results: list[Result] = [
        Figure(what="image of any actor", value=small, unit="MB", at_most=250.0,
               note=f"{small * 8 / LINK_MBIT_S:.0f} s at {LINK_MBIT_S:g} Mbit/s uncompressed; world {world:.0f} MB"),
        Figure(what="image of the server alone", value=sizes["gridparley-nats"] / 1e6, unit="MB"),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="gridparley-bench-") as folder, _Yard() as yard:
        results += _lives(Path(folder), yard, 3 if quick else AGENTS)
    return results


class _Yard:
    """Containers and their network; all gone at the end."""

    def __enter__(self) -> "_Yard":
        self.name = f"gp-bench-{uuid4().hex[:8]}"
        self.names: list[str] = []
        _docker("network", "create", "--internal", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        if self.names:
            subprocess.run(["docker", "rm", "--force", "--volumes", *self.names], capture_output=True, check=False)
        subprocess.run(["docker", "network", "rm", self.name], capture_output=True, check=False)

    def start(self, image: str, command: list[str], *options: str) -> str:
        """Its name."""
        name = f"{self.name}-{len(self.names)}"
        self.names.append(name)
        _docker("run", "--detach", "--name", name, "--network", self.name, *HELD, *options, tags()[image], *command)
        return name

    def until(self, name: str, word: str) -> None:
        """Wait until its log has a word. Raises RuntimeError."""
        last = time.monotonic() + WITHIN_WALL_S
        while True:
            said = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
            if word in said.stdout + said.stderr:
                return
            if time.monotonic() > last:
                raise RuntimeError(f"{name} did not say {word!r}: {(said.stdout + said.stderr)[-500:]}")
            time.sleep(LOOK_WALL_S)


def _lives(folder: Path, yard: _Yard, count: int) -> list[Result]:
    managers = ", ".join(f'{{ role = "cem", name = "m{number}" }}' for number in range(count))
    (folder / "bench.toml").write_text(STREET + HOME % managers)
    made = prepare(str(folder / "bench.toml"), folder / "deployment")
    for place in made.places:
        own = made.folder / "servers" / place.server
        host = place.url.removeprefix("tls://").partition(":")[0]
        options = ("--network-alias", host, "--volume", f"{own}:{MOUNT}:ro", "--tmpfs", "/data:uid=65532,gid=65532")
        server = yard.start("gridparley-nats", ["--config", f"{MOUNT}/{Path(place.config).name}"], *options)
        yard.until(server, "Server is ready")
        _docker("wait", _agent(yard, made, place.server, f"{place.server}.admin", ["provision", place.server]))
    took, kept, ends = [], [], []
    for number in range(count):
        address = f"h01.cem.m{number}"
        began = time.perf_counter()
        name = _agent(yard, made, "h01", address, ["agent", address])
        yard.until(name, f"{address} is ready")
        took.append(time.perf_counter() - began)
        kept.append(_memory(name))
        began = time.perf_counter()
        _docker("stop", "--time", str(STOP_WALL_S), name)
        ends.append(time.perf_counter() - began)
        if _docker("inspect", "--format", "{{.State.ExitCode}}", name) != "0":
            raise RuntimeError(f"{address} did not stop in order within {STOP_WALL_S} s")
    own_mb, all_mb = median(one for one, _ in kept), median(one for _, one in kept)
    return [
        Figure(what="a container's start until its agent is ready, median", value=median(took), unit="s", at_most=5.0,
               note=f"{count} energy managers one after the other, `docker run` included; slowest {max(took):.1f} s"),
        Figure(what="an agent container told to stop, until it ended, median", value=median(ends), unit="s",
               at_most=STOP_WALL_S, note=f"exit code 0 each; slowest {max(ends):.1f} s"),
        Figure(what="an agent container's memory, median", value=own_mb, unit="MB", at_most=100.0,
               note=f"without the file cache, which all share; {all_mb:.0f} MB with it. Interpreter, libraries, agent"),
    ]  # fmt: skip


def _agent(yard: _Yard, made: Deployment, server: str, identity: str, command: list[str]) -> str:
    told = {
        "GRIDPARLEY_NATS": made.url_of(server),
        "GRIDPARLEY_KEYS": "/run/gridparley",
        "GRIDPARLEY_TOPOLOGY": "/etc/gridparley/topology.toml",
    }
    options = [word for name, value in told.items() for word in ("--env", f"{name}={value}")]
    options += ["--volume", f"{made.folder / 'agents' / identity}:/run/gridparley:ro"]
    options += ["--volume", f"{made.folder / 'topology'}:/etc/gridparley:ro"]
    return yard.start("gridparley", command, *options)


def _memory(name: str) -> tuple[float, float]:
    """Of a container's control group, MB: what is its own, and all that is charged to it with the file cache."""
    read = (
        "import pathlib as p; g = p.Path('/sys/fs/cgroup'); two = (g / 'memory.current').exists(); "
        "f = g / ('memory.stat' if two else 'memory/memory.stat'); "
        "s = dict(line.split() for line in f.read_text().splitlines()); "
        "a = int((g / ('memory.current' if two else 'memory/memory.usage_in_bytes')).read_text()); "
        "print(a, int(s['file' if two else 'total_cache']))"
    )
    whole, cache = map(int, _docker("exec", name, "python3", "-I", "-S", "-c", read).split())
    return (whole - cache) / 1e6, whole / 1e6
