"""A topology with all that it names, in one folder: what containers are given, that have nothing else of this machine.

The written file says what the original says, but for comments: its run as asked, and ``"./file"`` beside it, also the
weather that a simulated run's forecaster is told, which takes packages that no other container has.
"""

import json
import re
import shutil
import tomllib
from collections.abc import Iterator
from datetime import date, datetime, time
from pathlib import Path, PurePosixPath
from typing import Any

from contracts.roles import FORECASTER
from deploy.overrides import overridden, within
from deploy.topology import Topology, TopologyError, find, load

FILE = "topology.toml"
_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def bundle(
    topology_name: str | Path,
    folder: Path,
    *,
    start: str | datetime | None = None,
    until: str | datetime | None = None,
    speed: float | None = None,
) -> Topology:
    """Write ``topology.toml`` and the files that it names into a folder; returns the topology as it is read there.

    start, until, speed   as in ``overridden``

    Raises TopologyError, and ValueError for a run that is not understood.
    """
    source = find(topology_name)
    given = load(source)
    made = overridden(given, start=start, until=until, speed=speed)
    raw = tomllib.loads(source.read_text(encoding="utf-8"))
    raw["run"] |= {"start": made.run.start, "until": made.run.until, "speed": made.run.speed}
    happens = [within(one, made) for one in given.disturbance]
    raw["disturbance"] = [one for one, does in zip(raw.get("disturbance", ()), happens, strict=True) if does]
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(set(_beside(raw))):
        _copy(name, source, folder)
    _foretell(made, folder, raw)
    (folder / FILE).write_text(_toml(raw), encoding="utf-8")
    return load(folder / FILE)


def _beside(value: Any) -> Iterator[str]:
    """The files that a topology names beside itself, without the ``./``."""
    if isinstance(value, str):
        if value.startswith("./"):
            yield value[2:]
    elif isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _beside(one)


def _copy(name: str, source: Path, folder: Path) -> None:
    if ".." in PurePosixPath(name).parts:
        raise TopologyError(str(source), "", f'"./{name}" is not below its folder', "Put the file beside the topology.")
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.resolve().parent / name, folder / name)
    except shutil.SameFileError:
        return  # a bundle written onto itself
    except OSError as problem:
        raise TopologyError(str(source), "", f'"./{name}" cannot be read: {problem}', "Put it there.") from problem


def _foretell(made: Topology, folder: Path, raw: dict[str, Any]) -> None:
    """Write the weather of forecasters that have none, and name it."""
    if not any(entry.role == FORECASTER.name for entry in made.grid.agents):
        return
    from deploy.weather_file import with_weather  # the model of the sun is slow to load

    told = with_weather(made, folder).grid.agents
    for before, after, entry in zip(made.grid.agents, told, raw["grid"]["agents"], strict=True):
        if before != after:
            entry.setdefault("settings", {})["weather"] = f"./{Path(after.settings['weather']).name}"


def _toml(raw: dict[str, Any]) -> str:
    """Tables of the first level under headings, everything below in their lines."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in raw.items() if not _is_table(value)]
    for key, value in raw.items():
        if isinstance(value, dict):
            lines += ["", f"[{_key(key)}]", *_rows(value)]
        elif _is_table(value):
            for one in value:
                lines += ["", f"[[{_key(key)}]]", *_rows(one)]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))


def _rows(table: dict[str, Any]) -> list[str]:
    rows = []
    for key, value in table.items():
        if isinstance(value, list) and _is_table(value):
            rows += [f"{_key(key)} = [", *(f"  {_value(one)}," for one in value), "]"]
        else:
            rows.append(f"{_key(key)} = {_value(value)}")
    return rows


def _key(key: str) -> str:
    return key if _BARE.match(key) else _value(key)


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case int() | float():
            return repr(value)
        case datetime() | date() | time():
            return value.isoformat()
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            inside = ", ".join(f"{_key(key)} = {_value(one)}" for key, one in value.items())
            return f"{{ {inside} }}" if inside else "{}"
    raise TypeError(f"TOML has no {type(value).__name__}")
