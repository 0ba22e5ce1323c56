"""Within an edition a word only grows: what was released is compared with what is here.

After a release, or for a new word: ``python -m tests.contracts.test_schema_evolution`` writes the snapshot anew. It
refuses while something breaks; a breaking change is a new edition of the word.
"""

import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.pages.export import schemas

RELEASED = Path(__file__).with_name("released_schemas.json")
Json = dict[str, Any]


def released() -> dict[str, Json]:
    found: dict[str, Json] = msgspec.json.decode(RELEASED.read_bytes())
    return found


def breaks(old: dict[str, Json], new: dict[str, Json]) -> list[str]:
    """What a receiver or sender of the old words would stumble over; empty when they only grew."""
    bad = []
    for tail, before in old.items():
        if tail not in new:
            bad.append(f"{tail}: the word is gone")
            continue
        then, now = before.get("$defs", {}), new[tail].get("$defs", {})
        for name, shape in then.items():
            bad += [f"{tail}: {fault}" for fault in _struct(name, shape, now)]
    return bad


def _struct(name: str, before: Json, definitions: dict[str, Json]) -> list[str]:
    if name not in definitions:
        return [f"{name} is gone"]
    after, bad = definitions[name], []
    was, now = before.get("properties", {}), after.get("properties", {})
    needed_before, needed_now = set(before.get("required", ())), set(after.get("required", ()))
    for field, shape in was.items():
        if field not in now:
            bad.append(f"{name}.{field} is gone or renamed")
        elif not _same(shape, now[field]):
            bad.append(f"{name}.{field} has another type, unit or bounds")
        elif field in needed_before and field not in needed_now:
            bad.append(f"{name}.{field} may be left out now, which receivers of the old word do not expect")
    bad += [f"{name}.{field} is required now" for field in sorted(needed_now - needed_before)]
    return bad


def _same(one: Any, other: Any) -> bool:
    """Alike but for descriptions and defaults."""
    return bool(_bare(one) == _bare(other))


def _bare(shape: Any) -> Any:
    if isinstance(shape, dict):
        return {key: _bare(value) for key, value in shape.items() if key not in ("description", "default")}
    return [_bare(value) for value in shape] if isinstance(shape, list) else shape


def test_no_released_word_has_changed_its_meaning() -> None:
    assert breaks(released(), schemas()) == []


def test_every_word_is_in_the_snapshot() -> None:
    missing = sorted(set(schemas()) - set(released()))
    assert missing == [], "run `python -m tests.contracts.test_schema_evolution` and commit the snapshot"


TAIL = "power_limit.1.set_limit"


def changed(change: Any) -> dict[str, Json]:
    new = deepcopy(schemas())
    change(new[TAIL]["$defs"])
    return new


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d["SetLimit"]["properties"].pop("limit_w"), "SetLimit.limit_w is gone or renamed"),
        (
            lambda d: d["SetLimit"]["properties"].update(active={"type": "string"}),
            "SetLimit.active has another type, unit or bounds",
        ),
        (
            lambda d: d["LimitSlot"]["properties"]["limit_w"].update({"x-unit": "kW"}),
            "LimitSlot.limit_w has another type, unit or bounds",
        ),
        (
            lambda d: (
                d["SetLimit"]["properties"].update(by={"type": "string"}),
                d["SetLimit"]["required"].append("by"),
            ),
            "SetLimit.by is required now",
        ),
        (lambda d: d["SetLimit"]["required"].remove("active"), "SetLimit.active may be left out now"),
        (lambda d: d.pop("Reason"), "Reason is gone"),
        (
            lambda d: d["SetLimit"]["properties"]["direction"]["enum"].append("both"),
            "SetLimit.direction has another type, unit or bounds",
        ),
    ],
)
def test_each_kind_of_break_is_found(change: Any, fault: str) -> None:
    found = breaks(schemas(), changed(change))
    assert any(fault in one for one in found), found


def test_a_word_that_is_gone_is_found() -> None:
    new = {tail: shape for tail, shape in schemas().items() if tail != TAIL}
    assert breaks(schemas(), new) == [f"{TAIL}: the word is gone"]


def test_a_new_optional_field_and_new_texts_are_growth() -> None:
    def grow(definitions: Json) -> None:
        definitions["SetLimit"]["properties"]["note"] = {"type": "string", "default": ""}
        definitions["SetLimit"]["properties"]["limit_w"]["description"] = "said better"
        definitions["SetLimit"]["description"] = "said better"

    assert breaks(schemas(), changed(grow)) == []


def main() -> int:
    found = breaks(released(), schemas()) if RELEASED.exists() else []
    if found:
        sys.stderr.write("\n".join([*found, "make a new edition of these words\n"]))
        return 1
    RELEASED.write_bytes(msgspec.json.format(msgspec.json.encode(dict(sorted(schemas().items())))) + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
