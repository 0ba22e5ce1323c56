"""What is wrong with a device file although its form is right. Each fault starts with the place it is at."""

import math
from collections.abc import Iterator

from contracts.device_form import DeviceFile, Point, SunspecPoint, Value
from contracts.device_points import NEEDED, POINTS, SIGNED, STATES, generic, unit_of
from contracts.registers import Codec, RegisterError, as_written
from contracts.sunspec_models import Placed, UnknownModelError, model, point_at, resolve

_GRADE_RULES = {
    "bronze": ("proof frames decode", "simulator runs"),
    "silver": ("unplugged, slow and garbled are tested", "stale values are marked"),
    "gold": ("writes are read back", "recorded on real hardware", "limits are listed"),
}


def faults(device: DeviceFile) -> list[str]:
    """Everything that contradicts itself or the canon, as `place: cause`. Empty when the file is sound."""
    return list(_all(device))


def grade_rules(grade: str) -> tuple[str, ...]:
    """The rules that a grade asks for, those of the grades below it included."""
    order = list(_GRADE_RULES)
    return tuple(rule for one in order[: order.index(grade) + 1] for rule in _GRADE_RULES[one])


def _all(device: DeviceFile) -> Iterator[str]:
    yield from _grade(device)
    yield from _vocabulary(device)
    for name, point in device.points.items():
        yield from _point(device, name, point)
    yield from _overlaps(device)
    yield from _ranges(device)
    if device.sunspec:
        yield from _sunspec(device)
    elif not device.points:
        yield "points: there are none; give points, or a sunspec section"
    for number, _ in enumerate(device.proof):
        yield from _proof(device, number)
    if not device.proof:
        yield "proof: there is none; give at least one frame of registers and what they say"


def _grade(device: DeviceFile) -> Iterator[str]:
    for rule in grade_rules(device.grade):
        said = device.grade_rules.get(rule)
        if said is None:
            yield f"grade_rules: '{rule}' is missing for grade {device.grade}; say done, or exempt: and why"
        elif said != "done" and not said.startswith("exempt: "):
            yield f"grade_rules: '{rule}' says '{said}'; say done, or exempt: and why"
    if device.grade == "gold" and not any(proof.origin == "recorded" for proof in device.proof):
        yield "grade: gold needs a proof frame recorded from a device"


def _vocabulary(device: DeviceFile) -> Iterator[str]:
    canon = POINTS[device.class_]
    named: dict[str, Point | SunspecPoint] = {**device.points, **(device.sunspec.points if device.sunspec else {})}
    section = "sunspec.points" if device.sunspec else "points"
    for name, point in named.items():
        may_write = canon.get(generic(name))
        place = f"{section}.{name}"
        if may_write is None:
            yield f"{place}: is no point of a {device.class_}; the names are in devices/README.md"
            continue
        if point.access == "rw" and not may_write:
            yield f"{place}: is writable, but a {device.class_}'s {name} only measures"
        if point.unit != unit_of(name):
            yield f"{place}: unit is '{point.unit}', the name says '{unit_of(name)}'; bring it there with scale"
        if SIGNED.match(name) and point.positive is None:
            yield f'{place}: say what a positive register means: positive = "taken" or "fed"'
        if name == "state":
            strange = set(point.values.values()) - STATES.get(device.class_, frozenset())
            if strange or not point.values:
                yield f"{place}: state says {sorted(strange)}; the words are {sorted(STATES.get(device.class_, ()))}"
        if point.document and point.document not in device.documents:
            yield f"{place}: document '{point.document}' is not in documents"
    for group in NEEDED[device.class_]:
        if not any(name in named for name in group):
            yield f"{section}: a {device.class_} needs {' or '.join(group)}"
    if not device.documents:
        yield "documents: there is none; a point without a source may not be in the file"


def _point(device: DeviceFile, name: str, point: Point) -> Iterator[str]:
    place = f"points.{name}"
    if not point.clause.strip():
        yield f"{place}: clause is empty; name the place in the document"
    if not 0 <= point.address <= 65536 - point.words:
        yield f"{place}: address {point.address} is outside 0 to 65535"
    if point.table in ("coil", "discrete") and point.type != "bool":
        yield f"{place}: a {point.table} holds bool, not {point.type}"
    if not (math.isfinite(point.scale) and point.scale > 0):
        yield f"{place}: scale {point.scale} must be above 0; direction is said by positive"
    if point.type == "str" and not point.length:
        yield f"{place}: a str needs length"
    if point.type in ("enum", "enum32") and not point.values:
        yield f"{place}: an enum needs values"
    if point.min is not None and point.max is not None and point.min >= point.max:
        yield f"{place}: min {point.min} is not below max {point.max}"
    if point.words > device.line.max_registers:
        yield f"{place}: has {point.words} registers, line.max_registers is {device.line.max_registers}"
    if point.access == "rw":
        yield from _writable(device, place, point)
    elif point.write is not None or not point.echo:
        yield f"{place}: has a write address or no echo, but access is r"


def _writable(device: DeviceFile, place: str, point: Point) -> Iterator[str]:
    if point.write is None and point.table not in ("holding", "coil"):
        yield f"{place}: {point.table} cannot be written; give write = {{ table, address }}"
    if point.function == "single" and (Codec(as_written(point), device.line).words > 1):
        yield f"{place}: function single writes one register, the point has more"
    if point.mask is not None:
        yield f"{place}: a masked point cannot be written: the other bits would be lost"
    if point.type in ("bool", "enum", "enum32", "str"):
        return
    if point.min is None or point.max is None:
        yield f"{place}: is writable, so min and max are needed"
        return
    codec = Codec(point, device.line)
    for value in (point.min, point.max):
        try:
            codec.encode_write(value)
            codec.encode(value)  # what cannot be shown cannot be read back
        except RegisterError as error:
            yield f"{place}: its end {value} cannot be written and read back: {error}"


def _overlaps(device: DeviceFile) -> Iterator[str]:
    taken: dict[tuple[str, int], str] = {}
    for name, point in device.points.items():
        if not point.echo:
            continue  # what it shows belongs to another point
        for address in range(point.address, point.address + point.words):
            other = taken.setdefault((point.table, address), name)
            # Several masked points may share one register; two whole ones may not.
            if other != name and (point.mask is None or device.points[other].mask is None):
                yield f"points.{name}: {point.table} {address} belongs to {other} as well"
                break


def _ranges(device: DeviceFile) -> Iterator[str]:
    for number, span in enumerate(device.ranges):
        if span.last < span.first:
            yield f"ranges[{number}]: last {span.last} is before first {span.first}"
        if not span.clause.strip():
            yield f"ranges[{number}]: clause is empty; name where the document allows it"


def _sunspec(device: DeviceFile) -> Iterator[str]:
    sunspec = device.sunspec
    assert sunspec is not None
    if device.points:
        yield "points: a SunSpec device has its points in sunspec.points"
    sound = True
    for number in {n for group in sunspec.models for n in group} | set(sunspec.simulated.models):
        try:
            model(number)
        except UnknownModelError as error:
            sound = False
            yield f"sunspec.models: {error}"
    for name, point in sunspec.points.items():
        for where in point.at:
            try:
                _, found = point_at(where)
            except UnknownModelError as error:
                sound = False
                yield f"sunspec.points.{name}: {error}"
                continue
            if point.access == "rw" and not found.writable:
                yield f"sunspec.points.{name}: {where} is read-only in SunSpec"
        if point.access == "rw" and point.type is None and (point.min is None or point.max is None):
            yield f"sunspec.points.{name}: is writable, so min and max are needed"
    for where in sunspec.simulated.values:
        try:
            point_at(where)
        except UnknownModelError as error:
            yield f"sunspec.simulated.values: {error}"
    if not sound:
        return
    for choice in sunspec.models:
        if not set(choice) & set(sunspec.simulated.models):
            yield f"sunspec.simulated.models: has none of {list(choice)}"
    shown = resolve(sunspec, [Placed(id=n, address=0, length=model(n).length) for n in sunspec.simulated.models])
    for needed in NEEDED[device.class_]:
        if not any(name in shown for name in needed):
            yield f"sunspec.simulated.models: show no {' or '.join(needed)}"


def _proof(device: DeviceFile, number: int) -> Iterator[str]:
    proof, place = device.proof[number], f"proof[{number}]"
    points = device.points
    if device.sunspec:
        # A SunSpec frame starts at a model's ID register and says by itself which model it is.
        if len(proof.words) < 2:
            yield f"{place}: a SunSpec frame starts with a model's ID and length"
            return
        try:
            points = resolve(device.sunspec, [Placed(id=proof.words[0], address=proof.read, length=proof.words[1])])
        except UnknownModelError:
            return  # said where the point is
    for name, said in proof.says.items():
        point = points.get(name)
        if point is None:
            yield f"{place}: says {name}, which the file does not have there"
            continue
        start = point.address - proof.read
        if point.table != proof.table or start < 0 or start + point.words > len(proof.words):
            yield f"{place}: {name} is not inside {proof.table} {proof.read} and the {len(proof.words)} words after it"
            continue
        try:
            value = _decode(device, point, proof.words, proof.read)
        except (RegisterError, IndexError) as error:
            yield f"{place}: {error}"
            continue
        if not _same(value, said):
            yield f"{place}: {name} decodes to {value!r}, the frame says {said!r}"


def _decode(device: DeviceFile, point: Point, words: tuple[int, ...], first: int) -> Value | None:
    data = b"".join(word.to_bytes(2, "big") for word in words)
    exponent = 0
    if point.scale_register is not None:
        exponent = int.from_bytes(words[point.scale_register - first].to_bytes(2, "big"), "big", signed=True)
    return Codec(point, device.line).at(data, 2 * (point.address - first), exponent)


def _same(value: Value | None, said: Value) -> bool:
    if isinstance(value, int | float) and isinstance(said, int | float) and not isinstance(value, bool):
        return math.isclose(value, said, rel_tol=1e-6, abs_tol=1e-9)
    return type(value) is type(said) and value == said
