"""SunSpec models as `pysunspec2` ships them, and canonical points on a device's model chain.

The driver resolves the chain it scanned, the simulator the chain it built: both get ordinary `Point`s.
"""

import importlib.util
import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from contracts.device_form import Kind, Point, Sunspec, SunspecPoint

SUNS = (0x5375, 0x6E53)  # "SunS", SunSpec Device Information Model Specification, section 6.2
END_MODEL = 0xFFFF

# SunSpec type -> our type and the raw pattern of "not implemented", Device Information Model Specification, section 4.
_KINDS: dict[str, tuple[Kind, int | None]] = {
    "int16": ("s16", 0x8000),
    "uint16": ("u16", 0xFFFF),
    "count": ("u16", None),
    "acc16": ("u16", 0),
    "enum16": ("u16", 0xFFFF),
    "bitfield16": ("u16", 0xFFFF),
    "raw16": ("u16", None),
    "pad": ("u16", None),
    "sunssf": ("s16", 0x8000),
    "int32": ("s32", 0x80000000),
    "uint32": ("u32", 0xFFFFFFFF),
    "acc32": ("u32", None),
    "enum32": ("u32", 0xFFFFFFFF),
    "bitfield32": ("u32", 0xFFFFFFFF),
    "int64": ("s64", 1 << 63),
    "uint64": ("u64", (1 << 64) - 1),
    "acc64": ("u64", None),
    "bitfield64": ("u64", (1 << 64) - 1),
    "float32": ("f32", 0x7FC00000),
    "float64": ("f64", 0x7FF8 << 48),
    "string": ("str", None),
    "ipaddr": ("u32", 0),
    "eui48": ("u64", (1 << 64) - 1),
}


class UnknownModelError(Exception):
    """A model or point that the SunSpec definitions do not have."""


class ModelPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One point of a model: offset and size in registers, counted from the model's ID register."""

    name: str
    offset: int
    size: int
    kind: Kind
    not_implemented: int | None
    scale_factor: str | int | None
    unit: str
    writable: bool
    mandatory: bool


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """A model's fixed block. `length` is what its L register says: registers after ID and L."""

    id: int
    name: str
    length: int
    points: dict[str, ModelPoint]


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a device's chain: where its ID register is, and what its L register says."""

    id: int
    address: int
    length: int


@lru_cache(maxsize=64)
def model(number: int) -> Model:
    """The definition of a model. Raises UnknownModelError."""
    # Found without importing the package: its modules pull in code that nobody here needs.
    spec = importlib.util.find_spec("sunspec2")
    if spec is None or not spec.submodule_search_locations:
        raise UnknownModelError("The SunSpec definitions are missing: install the package pysunspec2.")
    path = Path(spec.submodule_search_locations[0]) / "models" / "json" / f"model_{number}.json"
    if not path.is_file():
        raise UnknownModelError(f"SunSpec has no model {number}. Check the number against the SunSpec model list.")
    group = json.loads(path.read_bytes())["group"]
    points: dict[str, ModelPoint] = {}
    size = _lay_out(group, "", 0, points)
    return Model(id=number, name=group["name"], length=size - 2, points=points)


def _lay_out(group: dict[str, Any], prefix: str, offset: int, points: dict[str, ModelPoint]) -> int:
    """Points of a group and of its groups that occur exactly once; a repeated group ends the fixed block."""
    for item in group["points"]:
        kind, absent = _KINDS.get(item["type"], ("u16", None))
        points[prefix + item["name"]] = ModelPoint(
            name=prefix + item["name"],
            offset=offset,
            size=item["size"],
            kind=kind,
            not_implemented=absent,
            scale_factor=item.get("sf"),
            unit=item.get("units", ""),
            writable=item.get("access") == "RW",
            mandatory=item.get("mandatory") == "M",
        )
        offset += item["size"]
    for inner in group.get("groups", ()):
        if inner.get("count", 1) != 1:
            break
        offset = _lay_out(inner, f"{prefix}{inner['name']}.", offset, points)
    return offset


def point_at(where: str) -> tuple[int, ModelPoint]:
    """Model number and point of "model.point". Raises UnknownModelError."""
    number, _, name = where.partition(".")
    if not number.isdigit():
        raise UnknownModelError(f"'{where}' is not model.point, such as 103.W.")
    found = model(int(number)).points.get(name)
    if found is None:
        raise UnknownModelError(f"SunSpec model {number} has no point '{name}'. Check the spelling against the model.")
    return int(number), found


def resolve(sunspec: Sunspec, chain: Sequence[Placed]) -> dict[str, Point]:
    """Canonical points on a device with this chain: for each, the first of its places that the device has."""
    placed: dict[int, Placed] = {}
    for one in chain:
        placed.setdefault(one.id, one)
    points = {}
    for name, wanted in sunspec.points.items():
        for where in wanted.at:
            number, found = point_at(where)
            here = placed.get(number)
            # An older device may have a shorter model: what is behind its end is not there.
            if here is not None and found.offset + found.size <= here.length + 2:
                points[name] = _point(name, wanted, where, found, here)
                break
    return points


def _point(name: str, wanted: SunspecPoint, where: str, found: ModelPoint, here: Placed) -> Point:
    scale, scale_register = 1.0, None
    if isinstance(found.scale_factor, int):
        scale = 10.0**found.scale_factor
    elif found.scale_factor:
        factor = model(here.id).points[found.scale_factor]
        scale_register = here.address + factor.offset
    return Point(
        name=name,
        table="holding",
        address=here.address + found.offset,
        type=wanted.type or found.kind,
        scale=scale,
        unit=wanted.unit,
        access=wanted.access,
        positive=wanted.positive,
        min=wanted.min,
        max=wanted.max,
        length=2 * found.size if found.kind == "str" else 0,
        not_implemented=found.not_implemented,
        values=wanted.values,
        scale_register=scale_register,
        function="multiple",
        settle_ms=wanted.settle_ms,
        document=wanted.document,
        clause=wanted.clause or f"model {here.id}, {where.partition('.')[2]}",
    )
