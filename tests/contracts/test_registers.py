"""The codec: what is encoded decodes to the same value, and what does not fit is refused."""

import math
import struct
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.device_form import Kind, LineDefaults, Point, WriteTo
from contracts.registers import GarbledError, RangeError, as_written, decode, encode

LINES = [LineDefaults(word_order=w, byte_order=b) for w in ("big", "little") for b in ("big", "little")]
LIMITS = {
    "u16": (0, 2**16 - 1),
    "s16": (-(2**15), 2**15 - 1),
    "u32": (0, 2**32 - 1),
    "s32": (-(2**31), 2**31 - 1),
    "u64": (0, 2**64 - 1),
    "s64": (-(2**63), 2**63 - 1),
}
lines = st.sampled_from(LINES)


def point(kind: str, **more: Any) -> Point:
    return Point(name="p", table="holding", address=0, type=kind, clause="test", **more)  # type: ignore[arg-type]


@given(st.data(), st.sampled_from(sorted(LIMITS)), lines, st.sampled_from([None, "taken", "fed"]))
def test_whole_numbers_come_back_exactly(
    data: st.DataObject, kind: str, line: LineDefaults, positive: str | None
) -> None:
    low, high = LIMITS[kind]
    raw = data.draw(st.integers(low, high))
    one = point(kind, positive=positive)
    value = -raw if positive == "fed" else raw
    assert decode(one, encode(one, value, line), line) == value


@given(
    st.integers(-32768, 32767), st.sampled_from([0.001, 0.01, 0.1, 1.0, 5.0, 10.0, 1000.0]), st.integers(-3, 3), lines
)
def test_scaled_numbers_come_back_within_half_a_step(raw: int, scale: float, exponent: int, line: LineDefaults) -> None:
    one = point("s16", scale=scale)
    value = raw * scale * 10.0**exponent
    back = decode(one, encode(one, value, line, exponent), line, exponent)
    assert isinstance(back, int | float)
    assert math.isclose(back, value, rel_tol=1e-9, abs_tol=scale * 10.0**exponent / 1000)


def test_a_tenth_is_a_tenth() -> None:
    assert decode(point("u16", scale=0.1), (3,), LINES[0]) == 0.3
    assert decode(point("u16"), (1234,), LINES[0], -2) == 12.34


@given(st.floats(width=32, allow_nan=False, allow_infinity=False), lines)
def test_floats_come_back_exactly(value: float, line: LineDefaults) -> None:
    assert decode(point("f32"), encode(point("f32"), value, line), line) == value


@given(
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=16).map(str.strip).filter(bool)
)
def test_texts_come_back(text: str) -> None:
    for line in LINES:
        assert decode(point("str", length=16), encode(point("str", length=16), text, line), line) == text


@pytest.mark.parametrize("kind", ["enum", "enum32"])
def test_the_first_code_of_a_word_is_written_and_all_are_read(kind: str) -> None:
    one = point(kind, values={2: "idle", 5: "idle", 7: "charging"})
    assert decode(one, encode(one, "idle", LINES[0]), LINES[0]) == "idle"
    assert encode(one, "idle", LINES[0])[-1] == 2
    words = (5,) if kind == "enum" else (0, 5)
    assert decode(one, words, LINES[0]) == "idle"
    with pytest.raises(GarbledError, match="code 6"):
        decode(one, (*words[:-1], 6), LINES[0])
    with pytest.raises(RangeError, match="charging"):
        encode(one, "sleeping", LINES[0])


def test_masked_bits_leave_the_others_out() -> None:
    one = point("enum", mask=0x7F00, values={4: "charging"})
    assert decode(one, (0x84FF,), LINES[0]) == "charging"
    assert decode(point("bool", mask=0x0004), (0x0004,), LINES[0]) is True
    assert decode(point("bool", mask=0x0004), (0xFFFB,), LINES[0]) is False


def test_word_order_and_byte_order_are_the_documents() -> None:
    big, swapped_bytes, swapped_words, both = (decode(point("u32"), (0x1122, 0x3344), line) for line in LINES)
    assert [f"{v:08x}" for v in (big, swapped_bytes, swapped_words, both)] == [
        "11223344",
        "22114433",
        "33441122",
        "44332211",
    ]


def test_not_implemented_is_no_value() -> None:
    assert decode(point("s16", not_implemented=0x8000), (0x8000,), LINES[0]) is None
    assert decode(point("u32", not_implemented=0xFFFFFFFF), (0xFFFF, 0xFFFF), LINES[0]) is None
    assert decode(point("f32"), (0x7FC0, 0x0000), LINES[0]) is None
    assert decode(point("u16"), (0xFFFF,), LINES[0]) == 65535
    with pytest.raises(RangeError, match="not implemented"):
        encode(point("s16", not_implemented=0x8000), -32768, LINES[0])


@pytest.mark.parametrize(
    ("kind", "value"),
    [("u16", -1), ("u16", 65536), ("s16", 32768), ("u32", 2**32), ("f32", 1e39), ("u16", math.nan), ("f32", math.inf),
     ("u16", "twelve"), ("u16", True), ("bool", 2)],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_range(kind: str, value: Any) -> None:
    with pytest.raises(RangeError) as caught:
        encode(point(kind), value, LINES[0])
    assert caught.value.point == "p"
    assert caught.value.value is value


def test_a_writable_point_keeps_to_its_range() -> None:
    one = point("u16", access="rw", min=6, max=32)
    for outside in (5.9, 33, math.nan):
        with pytest.raises(RangeError) as caught:
            encode(one, outside, LINES[0])
        assert (caught.value.minimum, caught.value.maximum) in ((6, 32), (6.0, 32.0))


def test_an_infinite_or_absurdly_scaled_register_is_garbled() -> None:
    with pytest.raises(GarbledError, match="infinite"):
        decode(point("f32"), (0x7F80, 0), LINES[0])
    with pytest.raises(GarbledError, match="exponent"):
        decode(point("u16"), (1,), LINES[0], -32768)
    with pytest.raises(GarbledError, match="the point has 2"):
        decode(point("u32"), (1,), LINES[0])


@given(st.binary(min_size=2, max_size=16), st.sampled_from(get_args(Kind)), lines, st.integers(-20, 20))
def test_any_bytes_decode_to_a_finite_value_or_a_named_fault(
    raw: bytes, kind: str, line: LineDefaults, exponent: int
) -> None:
    one = point(kind, length=4, values={1: "idle"})
    data = (raw * 8)[: 2 * one.words]
    words = struct.unpack(f">{one.words}H", data)
    with suppress(GarbledError):
        value = decode(one, words, line, exponent)
        assert not isinstance(value, float) or math.isfinite(value)


def test_a_point_is_written_where_its_document_says() -> None:
    write = WriteTo(address=5004, type="u16", scale=0.01, clause="c")
    target = as_written(point("u32", scale=0.001, access="rw", write=write))
    assert (target.address, target.type, target.scale) == (5004, "u16", 0.01)
