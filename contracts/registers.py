"""Values to registers and back. Pure; the driver and the simulator use the same codec."""

import math
import struct
from collections.abc import Sequence

import msgspec

from contracts.device_form import LineDefaults, Point, Value, WriteTo

_FORMAT = {
    "u16": "H",
    "s16": "h",
    "u32": "I",
    "s32": "i",
    "u64": "Q",
    "s64": "q",
    "f32": "f",
    "f64": "d",
    "bool": "H",
    "enum": "H",
    "enum32": "I",
}
_BITS = {"u16": 16, "s16": 16, "u32": 32, "s32": 32, "u64": 64, "s64": 64, "bool": 16, "enum": 16, "enum32": 32}


_ENUMS = ("enum", "enum32")
_STEPLESS = (*_ENUMS, "f32", "f64", "bool", "str")


class RegisterError(Exception):
    """A value and its registers do not fit together."""


class RangeError(RegisterError):
    """The value may not be written: outside the device's range, or outside what the register can hold."""

    def __init__(self, point: str, value: object, minimum: object, maximum: object, cause: str = "") -> None:
        self.point, self.value, self.minimum, self.maximum = point, value, minimum, maximum
        why = cause or f"the device file allows {minimum} to {maximum}"
        super().__init__(f"{point or 'value'} = {value!r} cannot be coded: {why}. Choose a value inside the range.")


class GarbledError(RegisterError):
    """The registers hold something that their document does not allow."""

    def __init__(self, point: str, words: Sequence[int], cause: str) -> None:
        self.point, self.words, self.cause = point, tuple(words), cause
        super().__init__(
            f"{point or 'point'}: registers {[f'0x{w:04x}' for w in words]} {cause}. "
            "Check that the device file belongs to this product and firmware."
        )


class Codec:
    """A point's coding, worked out once. `at` decodes from the raw bytes of an answer, big-endian registers.

    Numbers decode to int when scale and exponent leave them whole, otherwise to float.
    """

    __slots__ = (
        "_codes",
        "_divisor",
        "_meanings",
        "_pattern",
        "_plain",
        "_shift",
        "_sign",
        "_size",
        "_struct",
        "line",
        "point",
        "words",
    )

    def __init__(self, point: Point, line: LineDefaults) -> None:
        self.point, self.line, self.words = point, line, point.words
        self._size = 2 * point.words
        self._struct = None if point.type == "str" else struct.Struct(">" + _FORMAT[point.type])
        self._plain = (line.word_order == "big" or point.words == 1 or point.type == "str") and line.byte_order == "big"
        self._sign = -1 if point.positive == "fed" else 1
        self._divisor = _whole_inverse(point.scale)
        self._shift = 0 if not point.mask else (point.mask & -point.mask).bit_length() - 1
        self._meanings = point.values
        self._codes: dict[str, int] = {}
        for raw, word in point.values.items():
            self._codes.setdefault(word, raw)
        # Float patterns are compared as bits: NaN is never equal to itself.
        self._pattern = None
        if point.not_implemented is not None and point.type != "str":
            self._pattern = point.not_implemented.to_bytes(self._size, "big")

    def at(self, data: bytes, offset: int, exponent: int = 0) -> Value | None:
        """The value whose first register starts at byte `offset`; None where the device says "not implemented".

        exponent  value of the point's scale register, 0 without one
        raises    GarbledError for codes, floats or exponents that no document allows
        """
        point = self.point
        if not self._plain:
            data, offset = self._straight(data[offset : offset + self._size]), 0
        if self._struct is None:
            text = data[offset : offset + self._size].split(b"\0", 1)[0]
            try:
                return text.decode("utf-8").strip() or None
            except UnicodeDecodeError:
                raise GarbledError(point.name, _words(data[offset : offset + self._size]), "are not text") from None
        if self._pattern is not None and data[offset : offset + self._size] == self._pattern:
            return None
        raw = self._struct.unpack_from(data, offset)[0]
        if point.mask is not None and point.type != "bool":
            raw = (raw & point.mask) >> self._shift
        if point.type == "bool":
            return bool(raw & point.mask) if point.mask is not None else bool(raw)
        if point.type in _ENUMS:
            meaning = self._meanings.get(raw)
            if meaning is None:
                raise GarbledError(point.name, (raw,), f"hold the code {raw}, which the document does not list")
            return meaning
        if raw.__class__ is float and not math.isfinite(raw):
            if math.isnan(raw):
                return None
            raise GarbledError(point.name, _words(data[offset : offset + self._size]), "hold an infinite number")
        return self._scaled(raw, exponent)

    def _scaled(self, raw: float, exponent: int) -> float | int:
        point = self.point
        if exponent:
            if not -10 <= exponent <= 10:  # SunSpec information model, sunssf: -10 to +10
                raise GarbledError(
                    point.name, (exponent & 0xFFFF,), f"hold the scale exponent {exponent}, allowed are -10 to 10"
                )
            raw = raw * 10**exponent if exponent > 0 else raw / 10**-exponent
        if self._divisor == 1:
            value = raw
        elif self._divisor:
            value = raw / self._divisor
        else:
            value = raw * point.scale
        if point.offset:
            value += point.offset
        return value if self._sign > 0 else 0 - value

    def encode(self, value: Value, exponent: int = 0) -> tuple[int, ...]:
        """Registers for a value where the point is read (the simulator's side). Raises RangeError."""
        return self._encode(value, self.point.type, self.point.scale, self._sign, exponent)

    def encode_write(self, value: Value, exponent: int = 0) -> tuple[int, ...]:
        """Registers for a value where the point is written. Raises RangeError, also outside `min` and `max`."""
        self.check(value)
        target = self.point.write
        if target is None:
            return self.encode(value, exponent)
        sign = -1 if (target.positive or self.point.positive) == "fed" else 1
        return self._encode(value, target.type, target.scale, sign, exponent)

    def check(self, value: Value) -> None:
        """Raises RangeError for a value outside the point's range."""
        low, high = self.point.min, self.point.max
        if isinstance(value, str | bool):
            return
        if (low is not None and not value >= low) or (high is not None and not value <= high):
            raise RangeError(self.point.name, value, low, high)

    def step(self, exponent: int = 0) -> float:
        """The smallest difference that the registers can hold; 0 for floats, words and switches."""
        if self.point.type in _STEPLESS:
            return 0.0
        return float(self.point.scale * 10.0**exponent)

    def _encode(self, value: Value, kind: str, scale: float, sign: int, exponent: int) -> tuple[int, ...]:
        point = self.point
        if kind == "str":
            if not isinstance(value, str) or len(value.encode()) > self._size:
                raise RangeError(point.name, value, 0, self._size, f"text of at most {self._size} bytes is wanted")
            return self._crooked(value.encode().ljust(self._size, b"\0"))
        if kind in _ENUMS:
            code = self._codes.get(value) if isinstance(value, str) else None
            if code is None:
                raise RangeError(point.name, value, None, None, f"wanted is one of {sorted(self._codes)}")
            return self._crooked(_pack(point.name, value, code, kind, self._shift))
        if kind == "bool" or point.type == "bool":
            if value not in (0, 1):
                raise RangeError(point.name, value, False, True, "true or false is wanted")
            return ((point.mask or point.bit_true) if value else 0,)
        if isinstance(value, str | bool) or not math.isfinite(value):
            raise RangeError(point.name, value, point.min, point.max, "a finite number is wanted")
        raw = (sign * value - sign * point.offset) if point.offset else sign * value
        inverse = _whole_inverse(scale)
        raw = raw * inverse if inverse else raw / scale
        if exponent:
            raw = raw / 10**exponent if exponent > 0 else raw * 10**-exponent
        packed = _pack(point.name, value, raw, kind, self._shift)
        if self._pattern is not None and packed == self._pattern:
            raise RangeError(point.name, value, point.min, point.max, "this pattern means 'not implemented'")
        return self._crooked(packed)

    def _straight(self, data: bytes) -> bytes:
        words = [data[i : i + 2] for i in range(0, len(data), 2)]
        if self.line.byte_order == "little":
            words = [word[::-1] for word in words]
        if self.line.word_order == "little" and self.point.type != "str":
            words.reverse()
        return b"".join(words)

    def _crooked(self, data: bytes) -> tuple[int, ...]:
        words = [data[i : i + 2] for i in range(0, len(data), 2)]
        if self.line.word_order == "little" and self.point.type != "str":
            words.reverse()
        return tuple(int.from_bytes(word, self.line.byte_order) for word in words)


def encode(point: Point, value: Value, line: LineDefaults, exponent: int = 0) -> tuple[int, ...]:
    """Registers that hold the value where the point is read. Raises RangeError."""
    codec = Codec(point, line)
    if point.access == "rw":
        codec.check(value)
    return codec.encode(value, exponent)


def decode(point: Point, words: Sequence[int], line: LineDefaults, exponent: int = 0) -> Value | None:
    """The value in the registers; None for "not implemented". Raises GarbledError, also for a wrong number of words."""
    if len(words) != point.words:
        raise GarbledError(point.name, words, f"are {len(words)}, the point has {point.words}")
    return Codec(point, line).at(struct.pack(f">{len(words)}H", *words), 0, exponent)


def write_target(point: Point) -> WriteTo | Point:
    """Where the point is written."""
    return point.write or point


def as_written(point: Point) -> Point:
    """The point as its write register codes it: for the simulator, which reads what a master wrote."""
    target = point.write
    if target is None:
        return point
    return msgspec.structs.replace(
        point,
        table=target.table,
        address=target.address,
        type=target.type,
        scale=target.scale,
        positive=target.positive or point.positive,
        write=None,
        not_implemented=None,
    )


def _whole_inverse(scale: float) -> int:
    """n where scale is 1/n: dividing by n gives the decimal that is meant (0.3, not 0.30000000000000004)."""
    inverse = round(1 / scale) if 0 < scale <= 1 else 0
    return inverse if inverse and math.isclose(inverse * scale, 1.0, rel_tol=1e-12) else 0


def _pack(name: str, value: Value, raw: float, kind: str, shift: int) -> bytes:
    if kind in ("f32", "f64"):
        try:
            return struct.pack(">" + _FORMAT[kind], raw)
        except OverflowError:
            raise RangeError(name, value, None, None, f"it is too large for {kind}") from None
    bits = _BITS[kind]
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)
    whole = round(raw) << shift
    if not low <= whole <= high:
        raise RangeError(name, value, low, high, f"{kind} holds {low} to {high}, this is {whole}")
    return whole.to_bytes(bits // 8, "big", signed=kind[0] == "s")


def _words(data: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
