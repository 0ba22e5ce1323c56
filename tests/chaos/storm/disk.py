"""A disk of its own for a server's JetStream, that can be filled up and emptied again. Needs the right to mount."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

SIZE = "192m"
_FILLER = "filler"
_PIECE = 64 * 1024


class NoDisk(Exception):
    """No file system can be mounted here. ``cause`` says why."""

    def __init__(self, cause: str) -> None:
        super().__init__(f"no file system can be mounted here: {cause}")
        self.cause = cause


def store(run: Path, server: str) -> Path:
    """Where a server of a run keeps its streams."""
    return run / "nats" / "js" / server


def may_mount(folder: Path) -> str:
    """Empty when it can be done, else why not."""
    if os.geteuid() != 0:
        return "mounting a small disk needs root"
    try:
        mount(folder)
    except NoDisk as problem:
        return problem.cause
    unmount([folder])
    folder.rmdir()
    return ""


def mount(folder: Path) -> None:
    """A small file system in memory. Raises NoDisk."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "gp-storm", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NoDisk(done.stderr.strip() or f"mount gave {done.returncode}")


def unmount(folders: Iterable[Path]) -> None:
    """Also while somebody still has a file open there: then as soon as he closes it."""
    for folder in folders:
        subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def fill(folder: Path) -> None:
    """Not a byte is left."""
    with (folder / _FILLER).open("ab", buffering=0) as file:
        piece = _PIECE
        while piece:
            try:
                file.write(b"\0" * piece)
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                piece //= 2


def empty(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (folder / _FILLER).unlink()
