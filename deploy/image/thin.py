"""Runs in the base while the images are built: takes away what no actor needs, and proves that Python still works.

What stays is the closure of ``KEPT`` over Debian's own dependencies. dpkg's list of packages stays true, so that
scanners still see which versions are in the image.
"""

import importlib
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

STATUS = Path("/var/lib/dpkg/status")
INFO = Path("/var/lib/dpkg/info")
STDLIB = Path(sysconfig.get_path("stdlib"))

KEPT = [
    "python3",
    "libpython3-stdlib",
    "ca-certificates",
    "tzdata",
    "netbase",
    "base-files",
    "base-passwd",
    "bash",
    "dash",
    "coreutils",
    "grep",
    "sed",
    "libc6",
    "libgcc-s1",
    "libstdc++6",
    "zlib1g",
    "libexpat1",
    "libffi8",
    "libssl3",
    "libsqlite3-0",
    "libbz2-1.0",
    "liblzma5",
    "libuuid1",
]
"""Python as Debian has it, what wheels and a Python in /usr/local are linked with, a shell to look around."""

NOT_FOLLOWED = frozenset(
    ["debconf", "debconf-2.0", "dpkg", "openssl", "perl", "perl-base", "media-types", "mailcap", "readline-common"]
)
"""Needed to install or to maintain, not to run."""

FOLDERS = [
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/lintian",
    "/usr/share/bug",
    "/usr/share/bash-completion",
    "/usr/share/menu",
    "/usr/share/pixmaps",
    "/usr/share/applications",
    "/usr/share/gdb",
    "/usr/share/gcc",
    "/usr/share/perl5",
    "/usr/share/debconf",
    "/usr/share/zoneinfo/right",
    "/usr/lib/apt",
    "/usr/lib/dpkg",
    "/usr/lib/systemd",
    "/usr/share/ca-certificates",
    "/var/lib/apt",
    "/var/cache/apt",
    "/var/cache/debconf",
    "/var/log",
    "/var/lib/dpkg/info",
    "/etc/apt",
    "/root",
    "/usr/local/include",
    "/usr/local/share/man",
    "/usr/src",
]
MODULES = [
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "test",
    "tkinter",
    "turtledemo",
    "turtle.py",
    "distutils/tests",
    "unittest/test",
    "sqlite3/test",
    "ctypes/test",
    "site-packages/pip",
    "site-packages/setuptools",
    "site-packages/wheel",
    "site-packages/pkg_resources",
    "site-packages/_distutils_hack",
    "site-packages/distutils-precedence.pth",
]
UNLOADED = re.compile(r"(_test|_xx|xx|_ctypes_test|_tkinter)")
"""Extension modules for Python's own tests and for windows."""


def main() -> None:
    if not STATUS.exists():
        sys.exit("thin: the base is no Debian: give one with glibc and Python 3.11, e.g. python:3.11-slim-bookworm")
    before = _size()
    _packages()
    for name in FOLDERS:
        shutil.rmtree(name, ignore_errors=True)
    for name in ("/root", "/var/log"):
        Path(name).mkdir(mode=0o755)
    _python()
    with Path("/etc/passwd").open("a") as users:
        users.write("gridparley:x:65532:65532::/tmp:/usr/sbin/nologin\n")
    with Path("/etc/group").open("a") as groups:
        groups.write("gridparley:x:65532:\n")
    _links()
    _tame()
    _prove()
    print(f"thin: {before >> 20} MB -> {_size() >> 20} MB")


def _size() -> int:
    said = subprocess.run(["/usr/bin/du", "-xsb", "/"], capture_output=True, text=True)
    return int(said.stdout.split()[0])


# -------------------------------------------------------------------- packages


def _packages() -> None:
    entries = [entry for entry in STATUS.read_text().split("\n\n") if entry.strip()]
    fields = {name: entry for entry in entries if (name := _field(entry, "Package"))}
    provided = {p: name for name, entry in fields.items() for p in _names(_field(entry, "Provides"))}
    kept: set[str] = set()
    waiting = [name for name in KEPT if name in fields]
    while waiting:
        name = waiting.pop()
        name = name if name in fields else provided.get(name, "")
        if not name or name in kept or name in NOT_FOLLOWED:
            continue
        kept.add(name)
        waiting += _names(_field(fields[name], "Depends")) + _names(_field(fields[name], "Pre-Depends"))
    needed = {path for name in kept for path in _files(name)}
    for name in fields.keys() - kept:
        for path in _files(name) - needed:
            if path.is_symlink() or path.is_file():
                path.unlink()
    STATUS.write_text("\n\n".join(fields[name].strip() for name in sorted(kept)) + "\n\n")


def _field(entry: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*)$", entry, re.MULTILINE)
    return found[1] if found else ""


def _names(text: str) -> list[str]:
    """Of ``a (>= 1) | b, c:any``: a, b, c."""
    return [word.strip().split(" ")[0].split(":")[0] for word in re.split(r"[,|]", text) if word.strip()]


def _files(package: str) -> set[Path]:
    """By where they really are: since /bin is a link to /usr/bin, lists and links name the same file twice."""
    found = set()
    for listing in (*INFO.glob(f"{package}.list"), *INFO.glob(f"{package}:*.list")):
        for line in listing.read_text().splitlines():
            path = Path(line)
            found.add(path.parent.resolve() / path.name)
    return found


# -------------------------------------------------------------------- Python


def _python() -> None:
    for name in MODULES:
        path = STDLIB / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    for path in [*STDLIB.glob("config-3*"), *(STDLIB / "site-packages").glob("*.dist-info")]:
        shutil.rmtree(path)
    for path in (STDLIB / "lib-dynload").iterdir():
        if UNLOADED.match(path.name):
            path.unlink()
    for path in Path("/usr/local/bin").glob("*"):
        if re.match(r"(pip|idle|pydoc|wheel|2to3)", path.name):
            path.unlink()
    for path in Path("/usr/lib").glob("*-linux-gnu/gconv"):  # other encodings for iconv; Python brings its own
        shutil.rmtree(path)
    for path in Path("/").glob("usr/lib/*-linux-gnu/*.a"):
        path.unlink()
    # The root is read-only: what is not compiled now is compiled anew by each process.
    for cached in STDLIB.rglob("__pycache__"):
        shutil.rmtree(cached)
    options = ("-q", "-j", "0", "--invalidation-mode", "unchecked-hash")
    subprocess.run([sys.executable, "-m", "compileall", *options, str(STDLIB)], check=True)  # noqa: S603


def _links() -> None:
    """Names of what is gone. The bundle of authorities is one file, so its single ones are not needed."""
    for folder in ("/etc", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/share"):
        for path in Path(folder).rglob("*"):
            if path.is_symlink() and not path.exists():
                path.unlink()


def _tame() -> None:
    """Nothing in an image may change who a process is."""
    for path in [*Path("/usr/bin").iterdir(), *Path("/usr/sbin").iterdir()]:
        if not path.is_symlink() and path.stat().st_mode & 0o6000:
            path.chmod(path.stat().st_mode & ~0o6000)


def _prove() -> None:
    """Every extension of the standard library still loads: no library it is linked with went away."""
    for path in sorted((STDLIB / "lib-dynload").glob("*.so")):
        importlib.import_module(path.name.split(".")[0])
    for name in ("asyncio", "ssl", "sqlite3", "zoneinfo", "ctypes"):
        importlib.import_module(name)
    import zoneinfo

    zoneinfo.ZoneInfo("Europe/Berlin")


if __name__ == "__main__":
    main()
