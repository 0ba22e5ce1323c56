"""Loading hardware descriptions from `devices/`. The form is in `device_form`, the checks in `device_lint`."""

import difflib
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from contracts.device_form import DeviceFile
from contracts.device_lint import faults

__all__ = ["DeviceFile", "DeviceFileError", "all_files", "directory", "faults", "line_of", "load"]


class DeviceFileError(Exception):
    """A device file cannot be used. `where` is the path inside it, `line` the line number (0: the file as a whole)."""

    def __init__(self, file: str, where: str, line: int, cause: str) -> None:
        self.file, self.where, self.line, self.cause = file, where, line, cause
        place = f"{file}:{line}" if line else file
        super().__init__(f"{place}: {f'{where}: ' if where else ''}{cause}")


def directory() -> Path:
    """Where the device files are: GRIDPARLEY_DEVICES, or `devices/` beside the packages."""
    chosen = os.environ.get("GRIDPARLEY_DEVICES")
    return Path(chosen) if chosen else Path(__file__).resolve().parent.parent / "devices"


def all_files() -> list[Path]:
    """Every device file, by name."""
    return sorted(directory().glob("*.toml"))


def load(path_or_name: str | Path) -> DeviceFile:
    """A device file by path, or by its name in the directory (`eastron_sdm630`). Raises DeviceFileError."""
    path = _find(path_or_name)
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceFileError(str(path), "", 0, f"cannot be read: {error}. Check the path and its rights.") from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        raise DeviceFileError(str(path), "", int(at.group(1)) if at else 0, f"is not TOML: {error}") from error
    try:
        return msgspec.convert(_named(raw, path.stem), DeviceFile, strict=True, str_keys=True)
    except msgspec.ValidationError as error:
        cause, _, where = str(error).partition(" - at `$")
        # A fault in a map's value is reported as "[...]": the entry is named by trying each.
        where = _entry(raw, where.rstrip("`").lstrip("."))
        raise DeviceFileError(str(path), where, line_of(text, where), cause) from error


def line_of(text: str, where: str) -> int:
    """The line of a file where a path such as `points.power_w.type` is written; 0 where it is not found."""
    lines = text.splitlines()
    names = [name for name in re.split(r"[.\[\]]+", where) if name and not name.isdigit()]
    found = 0
    for name in names:
        pattern = re.compile(rf"""(^\s*|[\[\.{{,]\s*)["']?{re.escape(name)}["']?(\s*[=\].]|$)""")
        hit = next((i for i in range(max(found - 1, 0), len(lines)) if pattern.search(lines[i])), None)
        if hit is None:
            break
        found = hit + 1
    return found


def _find(path_or_name: str | Path) -> Path:
    path = Path(path_or_name)
    if path.suffix == ".toml" or path.is_file():
        if path.is_file():
            return path
        raise DeviceFileError(str(path), "", 0, "there is no such file")
    named = directory() / f"{path_or_name}.toml"
    if named.is_file():
        return named
    names = [one.stem for one in all_files()]
    close = difflib.get_close_matches(str(path_or_name), names, n=3, cutoff=0.4)
    hint = f"Did you mean {', '.join(close)}?" if close else f"There are: {', '.join(names) or 'none'}."
    raise DeviceFileError(str(path_or_name), "", 0, f"there is no device file of this name in {directory()}. {hint}")


def _named(raw: dict[str, Any], stem: str) -> dict[str, Any]:
    points = raw.get("points")
    if isinstance(points, dict):
        points = {k: {**v, "name": k} if isinstance(v, dict) else v for k, v in points.items()}
        return {**raw, "points": points, "file": stem}
    return {**raw, "file": stem}


def _entry(raw: dict[str, Any], where: str) -> str:
    """`points[...].type` with the point's name in place of the dots, where one entry alone explains the error."""
    head, dots, tail = where.partition("[...]")
    if not dots or not isinstance(raw.get(head), dict):
        return where
    for name, value in raw[head].items():
        lone = _named({**raw, head: {name: value}}, "")
        try:
            msgspec.convert(lone, DeviceFile, strict=True, str_keys=True)
        except msgspec.ValidationError as error:
            if f"`$.{where}`" in str(error):
                return f"{head}.{name}{tail}"
    return where
