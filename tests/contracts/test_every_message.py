"""Every word holds to the rules of all words: walked from the registry, so a new word is tested by being there."""

import ast
import math
import re
from inspect import getsource
from textwrap import dedent
from typing import Any

import msgspec
import pytest
from msgspec import inspect

import contracts.all  # noqa: F401  fills the vocabulary
from bus.address import TOKEN
from bus.envelope import Envelope, decoder, encode
from contracts.kit import Message, vocabulary, word_of
from contracts.units import SUFFIXES
from deploy.pages import contracts_page
from tests.bus.samples import START, sample

WORDS = sorted(
    (kind for kind in vocabulary().values() if kind.__module__.startswith("contracts.")),
    key=lambda kind: kind.__qualname__,
)
SEEDS = range(25)
COUNTS = {
    "sequence",
    "next_sequence",
    "offer",
    "version",
    "days",
    "avoid",
    "activations_asked",
    "activations_done",
    "slots_above",
}
"""Whole numbers that count or number something: they have no unit."""
every_word = pytest.mark.parametrize("kind", WORDS, ids=lambda kind: kind.__name__)


def wrap(message: Message) -> bytes:
    return encode(Envelope(id="a-1", at=START, deadline=START, body=message))


def structs_in(cls: type[msgspec.Struct]) -> list[type[msgspec.Struct]]:
    """A word and the structs inside of it."""
    found: dict[str, type[msgspec.Struct]] = {}
    contracts_page._structs(cls, found)
    return [cls, *found.values()]


def floats(raw: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where floats stand in a decoded JSON value."""
    if isinstance(raw, dict):
        return [p for key, value in raw.items() for p in floats(value, (*path, key))]
    if isinstance(raw, list):
        return [p for n, value in enumerate(raw) for p in floats(value, (*path, n))]
    return [path] if isinstance(raw, float) else []


def replaced(raw: Any, path: tuple[Any, ...], text: str) -> bytes:
    """The JSON with the value at a path replaced by text that need not be JSON."""
    copy = here = msgspec.json.decode(msgspec.json.encode(raw))
    for step in path[:-1]:
        here = here[step]
    here[path[-1]] = "@@"
    return msgspec.json.encode(copy).replace(b'"@@"', text.encode())


@every_word
def test_what_is_said_is_what_is_heard(kind: type[Message]) -> None:
    for seed in SEEDS:
        message = sample(kind, seed)
        assert decoder(kind).decode(wrap(message)).body == message


@every_word
def test_a_field_of_a_later_edition_is_skipped(kind: type[Message]) -> None:
    message = sample(kind)
    raw = msgspec.json.decode(wrap(message))
    raw["body"]["of_tomorrow_w"] = [1, {"deep": None}]
    raw["of_tomorrow"] = "x"
    assert decoder(kind).decode(msgspec.json.encode(raw)).body == message


@every_word
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"1"', "[]"])
def test_no_field_takes_what_is_no_number(kind: type[Message], value: str) -> None:
    for seed in SEEDS:
        raw = msgspec.json.decode(wrap(sample(kind, seed)))
        for path in floats(raw["body"], ("body",)):
            with pytest.raises(msgspec.MsgspecError):
                decoder(kind).decode(replaced(raw, path, value))


@every_word
def test_a_wrong_type_is_refused(kind: type[Message]) -> None:
    raw = msgspec.json.decode(wrap(sample(kind)))
    for name in raw["body"]:
        broken = {**raw, "body": {**raw["body"], name: {"not": {"what": "it is"}}}}
        field = next(f for f in inspect.type_info(kind).fields if f.encode_name == name)  # type: ignore[union-attr]
        if isinstance(field.type, inspect.DictType):
            continue
        with pytest.raises(msgspec.MsgspecError):
            decoder(kind).decode(msgspec.json.encode(broken))


@every_word
def test_a_required_field_cannot_be_left_out(kind: type[Message]) -> None:
    raw = msgspec.json.decode(wrap(sample(kind)))
    for field in inspect.type_info(kind).fields:  # type: ignore[union-attr]
        if field.required:
            body = {key: value for key, value in raw["body"].items() if key != field.encode_name}
            with pytest.raises(msgspec.ValidationError, match=field.encode_name):
                decoder(kind).decode(msgspec.json.encode({**raw, "body": body}))


@every_word
def test_every_number_carries_its_unit_in_name_and_type_alike(kind: type[Message]) -> None:
    for cls in structs_in(kind):
        for field in inspect.type_info(cls).fields:  # type: ignore[union-attr]
            numbers = [
                p for p in contracts_page._parts(field.type) if isinstance(p, inspect.FloatType | inspect.IntType)
            ]
            if not numbers or field.name in COUNTS:
                continue
            by_name = contracts_page.unit_by_name(field.name)
            assert by_name, f"{cls.__name__}.{field.name}: no suffix of {', '.join(SUFFIXES)}"
            assert contracts_page.unit_of(field) == by_name, f"{cls.__name__}.{field.name}: type and name disagree"


@every_word
def test_a_name_that_ends_like_a_quantity_is_one(kind: type[Message]) -> None:
    for cls in structs_in(kind):
        for field in inspect.type_info(cls).fields:  # type: ignore[union-attr]
            if contracts_page.unit_by_name(field.name):
                assert "FloatType" in repr(field.type), f"{cls.__name__}.{field.name} is named like a number"


@every_word
def test_units_are_in_the_schema(kind: type[Message]) -> None:
    definitions = msgspec.json.schema(kind)["$defs"]
    for cls in structs_in(kind):
        for field in inspect.type_info(cls).fields:  # type: ignore[union-attr]
            marked = any(isinstance(p, inspect.Metadata) and p.extra for p in contracts_page._parts(field.type))
            if marked:
                text = msgspec.json.encode(definitions[cls.__name__]["properties"][field.encode_name]).decode()
                assert f'"x-unit":"{contracts_page.unit_of(field)}"' in text


@every_word
def test_instants_carry_their_zone(kind: type[Message]) -> None:
    for seed in SEEDS:
        head, key, body = wrap(sample(kind, seed)).decode().partition('"body"')
        bare = re.sub(r'("\d{4}-\d\d-\d\dT[\d:.]+)(Z|[+-]\d\d:\d\d)"', r'\1"', body)
        if bare != body:
            with pytest.raises(msgspec.ValidationError):
                decoder(kind).decode((head + key + bare).encode())


@every_word
def test_a_word_is_frozen_keyword_only_and_says_what_it_is(kind: type[Message]) -> None:
    for cls in structs_in(kind):
        assert cls.__struct_config__.frozen
        assert "kw_only=True" in getsource(cls).partition(":\n")[0], f"{cls.__name__} does not restate kw_only"
        assert contracts_page.doc_of(cls), f"{cls.__name__} has no docstring"
    with pytest.raises(TypeError):
        kind(*([1] * max(len(kind.__struct_fields__), 1)))
    assert TOKEN.match(word_of(kind))
    assert TOKEN.match(kind.topic)
    assert math.isfinite(kind.ttl_s)
    assert kind.ttl_s > 0


@every_word
def test_every_field_is_explained_by_name_type_or_text(kind: type[Message]) -> None:
    (cls,) = ast.parse(dedent(getsource(kind))).body
    assert isinstance(cls, ast.ClassDef)
    for field in inspect.type_info(kind).fields:  # type: ignore[union-attr]
        shown = contracts_page._type(field.type)
        assert shown
        assert not shown.endswith("Type"), f"{kind.__name__}.{field.name}: the documentation cannot say {shown}"


def test_the_page_is_as_fresh_as_the_words() -> None:
    from deploy.pages.export import PAGE

    assert PAGE.read_text(encoding="utf-8") == contracts_page.page(), "run `gridparley contracts docs`"
