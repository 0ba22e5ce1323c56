"""``docs/contracts.md``, made from the contracts: every word with units and source, every conversation as a diagram."""

import ast
from collections.abc import Iterable
from inspect import cleandoc, getsource
from itertools import pairwise
from textwrap import dedent
from typing import Any

import msgspec
from msgspec import inspect as shape

from contracts.all import conversations
from contracts.kit import Conversation, Message, vocabulary, word_of
from contracts.units import SUFFIXES

HEAD = """\
# Contracts

<!-- made by `gridparley contracts docs` from contracts/; do not edit -->

Every word that agents say, and every conversation. Powers are signed: + is taken from the grid or consumed, - is fed in
or generated. Instants are UTC, ISO 8601. A field that is not required has a default; a receiver skips fields that it
does not know. Durable words are stored in a stream before they count; a word is dropped after its deadline.
"""


def words() -> dict[str, list[type[Message]]]:
    """Every word by topic, both in order of name."""
    found: dict[str, list[type[Message]]] = {}
    for (topic, _, _), kind in sorted(vocabulary().items()):
        if kind.__module__.startswith("contracts."):
            found.setdefault(topic, []).append(kind)
    return found


def unit_of(field: shape.Field) -> str:
    """The unit that the type carries, else the one of the name's suffix; empty where there is none."""
    for one in _parts(field.type):
        if isinstance(one, shape.Metadata) and one.extra and "unit" in one.extra:
            return str(one.extra["unit"])
    return unit_by_name(field.name) if _numbers(field.type) else ""


def unit_by_name(name: str) -> str:
    """By the longest suffix of the table; empty where none fits."""
    fitting = [suffix for suffix in SUFFIXES if name.endswith(suffix)]
    return SUFFIXES[max(fitting, key=len)] if fitting else ""


def _numbers(kind: shape.Type) -> bool:
    return any(isinstance(one, shape.FloatType) for one in _parts(kind))


def _parts(kind: shape.Type) -> Iterable[shape.Type]:
    """A type and what it is made of, without the inside of other structs."""
    yield kind
    match kind:
        case shape.Metadata(type=inner) | shape.VarTupleType(item_type=inner) | shape.ListType(item_type=inner):
            yield from _parts(inner)
        case shape.TupleType(item_types=several):
            for one in several:
                yield from _parts(one)
        case shape.UnionType(types=several):
            for one in several:
                yield from _parts(one)
        case _:
            pass


def _type(kind: shape.Type) -> str:
    match kind:
        case shape.Metadata(type=inner):
            return _type(inner)
        case shape.UnionType(types=several):
            return " or ".join(_type(one) for one in several)
        case shape.VarTupleType(item_type=inner) | shape.ListType(item_type=inner):
            return f"list of {_type(inner)}"
        case shape.TupleType(item_types=several):
            return f"{len(several)} x {_type(several[0])}"
        case shape.DictType(key_type=key, value_type=value):
            return f"map of {_type(key)} to {_type(value)}"
        case shape.LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in sorted(values, key=str))
        case shape.StructType(cls=cls):
            return f"[{cls.__name__}](#{cls.__name__.lower()})"
        case shape.DateTimeType():
            return "instant"
        case shape.FloatType() | shape.IntType():
            return "number" if isinstance(kind, shape.FloatType) else "whole number"
        case shape.StrType():
            return "text"
        case shape.BoolType():
            return "yes or no"
        case shape.NoneType():
            return "nothing"
        case _:
            return str(type(kind).__name__)


def _default(field: shape.Field) -> str:
    if field.required:
        return "required"
    value: Any = field.default
    if value is msgspec.NODEFAULT:
        value = field.default_factory() if callable(field.default_factory) else None
    if value in ((), {}, None, ""):
        return "none"
    return f"`{value}`" if isinstance(value, str) else f"`{str(value).lower()}`" if value is not None else "none"


def _fields(cls: type[msgspec.Struct]) -> list[str]:
    info = shape.type_info(cls)
    assert isinstance(info, shape.StructType)
    if not info.fields:
        return ["No fields.", ""]
    notes = field_docs(cls)
    rows = ["| field | type | unit | default | meaning |", "|---|---|---|---|---|"]
    for field in info.fields:
        name = field.encode_name
        meaning = notes.get(name) or _meaning(field.type)
        rows.append(f"| `{name}` | {_type(field.type)} | {unit_of(field)} | {_default(field)} | {meaning} |")
    return [*rows, ""]


def _meaning(kind: shape.Type) -> str:
    found = (one.extra_json_schema for one in _parts(kind) if isinstance(one, shape.Metadata))
    return next((str(extra["description"]) for extra in found if extra and "description" in extra), "")


def field_docs(cls: type) -> dict[str, str]:
    """What the source says right below a field, as one line."""
    body = ast.parse(dedent(getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, below in pairwise(body.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                found[name] = " ".join(text.split())
    return found


def _structs(cls: type[msgspec.Struct], known: dict[str, type[msgspec.Struct]]) -> None:
    """The structs inside of a word, each once, in order of first use."""
    info = shape.type_info(cls)
    assert isinstance(info, shape.StructType)
    for field in info.fields:
        inner = list(_parts(field.type))
        inner += [one.value_type for one in inner if isinstance(one, shape.DictType)]
        for one in inner:
            if isinstance(one, shape.StructType) and one.cls.__name__ not in known:
                if not issubclass(one.cls, Message):
                    known[one.cls.__name__] = one.cls
                _structs(one.cls, known)


def doc_of(cls: type) -> str:
    """The docstring with its first-column layout; empty where the class has none of its own."""
    text = cls.__dict__.get("__doc__") or ""
    return cleandoc(text)


def _word(kind: type[Message]) -> list[str]:
    how = f"Subject tail `{kind.topic}.{kind.edition}.{word_of(kind)}`, "
    how += f"{'durable, ' if kind.durable else ''}counts for {kind.ttl_s:g} s."
    rows = [f"### {kind.__name__}", "", doc_of(kind), "", how]
    if kind.clause:
        rows += [f"Source: {kind.clause}."]
    return [*rows, "", *_fields(kind)]


def _conversation(table: Conversation) -> list[str]:
    parties = (
        f"Opened by the {table.opener.replace('_', ' ')} ({', '.join(role.name for role in table.opened_by)}), "
        f"answered by the {table.answerer.replace('_', ' ')} ({', '.join(role.name for role in table.answered_by)})."
    )
    rows = [f"### {table.name}", "", parties]
    if table.clause:
        rows += [f"Source: {table.clause}."]
    if table.use_cases:
        rows += [f"Use cases: {', '.join(f'`{id}`' for id in table.use_cases)}."]
    return [*rows, "", "```mermaid", table.mermaid(), "```", ""]


def page() -> str:
    """The whole page; ends in one line break."""
    rows = [HEAD]
    inside: dict[str, type[msgspec.Struct]] = {}
    for topic, kinds in words().items():
        rows += [f"## {topic}", ""]
        for kind in kinds:
            rows += _word(kind)
            _structs(kind, inside)
    rows += ["## Parts of words", ""]
    for name, cls in sorted(inside.items()):
        rows += [f"### {name}", "", doc_of(cls), "", *_fields(cls)]
    rows += ["## Conversations", ""]
    for _, table in sorted(conversations().items()):
        rows += _conversation(table)
    return "\n".join(rows).rstrip() + "\n"
