"""A full disk for one server: a small file system of its own that is filled up, or, where nothing can be mounted, a
limit on the server's process under which no file grows. To nats-server both are a write that failed for good."""

import contextlib
import errno
import resource
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

SIZE = "192m"
_FILLER = "filler"
_PIECE = 64 * 1024


def store(run: Path, server: str) -> Path:
    """Where a server of a run keeps its streams."""
    return run / "nats" / "js" / server


def mount(folder: Path) -> bool:
    """A small file system in memory. False where that is not allowed."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "gp-storm", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode == 0


def unmount(folders: Iterable[Path]) -> None:
    """Also while somebody still has a file open there: then as soon as he closes it."""
    for folder in folders:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


@contextlib.contextmanager
def full(folder: Path, pid: int) -> Iterator[None]:
    """Until the block ends, nothing more can be written there."""
    if folder.is_mount():
        _fill(folder / _FILLER)
        try:
            yield
        finally:
            (folder / _FILLER).unlink(missing_ok=True)
        return
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has been started again meanwhile, without the limit
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def _fill(file: Path) -> None:
    """Not a byte is left."""
    with file.open("ab", buffering=0) as filler:
        piece = _PIECE
        while piece:
            try:
                filler.write(b"\0" * piece)
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                piece //= 2
