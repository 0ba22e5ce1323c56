"""The form of a hardware description: what a file in `devices/` may say.

One file per product. Driver, simulator, tests and the list of supported devices read the same file.
Powers in a file are given as the maker's document has them; `positive` says what a positive value means there,
and the codec turns it into ours: + = taken from the grid / consumed, - = fed in / generated.
"""

from typing import Literal

import msgspec

Table = Literal["input", "holding", "coil", "discrete"]
Kind = Literal["u16", "s16", "u32", "s32", "u64", "s64", "f32", "f64", "bool", "enum", "enum32", "str"]
Order = Literal["big", "little"]
Class = Literal[
    "meter", "pv", "battery", "evse", "heatpump", "relay", "whitegoods", "waterheater", "hvac", "fuelcell", "switch"
]
Grade = Literal["bronze", "silver", "gold"]
Value = float | int | bool | str
"""A canonical value: SI base units for numbers, a word of the class's vocabulary for enums."""

WORDS_OF_KIND: dict[str, int] = {
    "u16": 1,
    "s16": 1,
    "bool": 1,
    "enum": 1,
    "u32": 2,
    "enum32": 2,
    "s32": 2,
    "f32": 2,
    "u64": 4,
    "s64": 4,
    "f64": 4,
}


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class Document(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a file's facts come from: title and edition as printed, the maker's name, where it was published."""

    title: str
    edition: str
    publisher: str
    url: str = ""


class LineDefaults(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the product is reached when the installation says nothing else.

    gap_ms         quiet time the device needs between two frames on its line, wall time
    timeout_s      how long an answer may take, wall time
    max_registers  most registers in one request (Modbus allows 125)
    """

    port: int = 502
    unit: int = 1
    baud: int | None = None
    parity: Literal["none", "even", "odd"] | None = None
    word_order: Order = "big"
    byte_order: Order = "big"
    gap_ms: float = 0.0
    timeout_s: float = 1.0
    max_registers: int = 125


class WriteTo(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a point is written when that is not where it is read back."""

    table: Literal["holding", "coil"] = "holding"
    address: int
    type: Kind
    scale: float = 1.0
    positive: Literal["taken", "fed"] | None = None
    clause: str


class Point(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity of a device: where it is, how it is coded, what it may be.

    address          as on the wire, counted from 0
    scale            canonical value = raw * scale + offset; always positive, the sign is said by `positive`
    positive         what a positive raw value means: "taken" from the grid, or "fed" into it
    length           characters of a `str` (two per register)
    min, max         of the canonical value; for writable points the range that the device accepts
    not_implemented  the raw pattern (unsigned) that means "this device has no such value"
    values           raw code -> canonical word of an `enum`; the first code of a word is the one written
    mask             only these bits of the register belong to the point
    bit_true         raw value that a writable `bool` in a register writes for true
    scale_register   address of a signed register with a power-of-ten exponent that multiplies the value (SunSpec)
    function         Modbus function for writing: 6 (single), 16 (multiple), or by the number of words
    settle_ms        how long the device may take until a write can be read back, wall time
    echo             false: its register shows something else than what was written (the power that flows, not the one
                     that was asked for), so it cannot be read back, and another point may have the same address
    document         key in the file's `documents`; the first one when empty
    clause           where in that document
    """

    name: str = ""
    table: Table
    address: int
    type: Kind
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    access: Literal["r", "rw"] = "r"
    positive: Literal["taken", "fed"] | None = None
    length: int = 0
    min: float | None = None
    max: float | None = None
    not_implemented: int | None = None
    values: dict[int, str] = {}
    mask: int | None = None
    bit_true: int = 1
    scale_register: int | None = None
    write: WriteTo | None = None
    function: Literal["auto", "single", "multiple"] = "auto"
    settle_ms: float = 0.0
    echo: bool = True
    document: str = ""
    clause: str

    @property
    def words(self) -> int:
        """Registers (or coils) that the point occupies where it is read."""
        return (self.length + 1) // 2 if self.type == "str" else WORDS_OF_KIND[self.type]


class Range(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses that may be read in one request although no point of ours is at some of them."""

    table: Table
    first: int
    last: int
    document: str = ""
    clause: str


class SunspecPoint(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A canonical point of a SunSpec device: the first of `at` ("model.point") that the device has is taken."""

    at: tuple[str, ...]
    type: Literal["bool", "enum"] | None = None
    access: Literal["r", "rw"] = "r"
    unit: str = ""
    positive: Literal["taken", "fed"] | None = None
    min: float | None = None
    max: float | None = None
    values: dict[int, str] = {}
    settle_ms: float = 0.0
    document: str = ""
    clause: str = ""


class Simulated(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the simulator shows of a SunSpec product: the chain of models, and fixed raw values by "model.point"."""

    models: tuple[int, ...]
    values: dict[str, int | str] = {}


class Sunspec(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A SunSpec device: its registers are found at run time by walking the model chain.

    models  at least one model id of each group must be there, or the device is not this product
    """

    base: tuple[int, ...] = (40000, 50000, 0)
    models: tuple[tuple[int, ...], ...]
    points: dict[str, SunspecPoint]
    simulated: Simulated


class Proof(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Registers, and what they say.

    read    first address
    words   raw registers (coils: 0 or 1)
    says    canonical point name -> value
    origin  "recorded" from a device, or "computed from the document"
    """

    table: Table
    read: int
    words: tuple[int, ...]
    says: dict[str, Value]
    origin: Literal["recorded", "computed from the document"]


class DeviceFile(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hardware product.

    rating       what the product can do, by suffix (power_w, current_a); empty where it depends on the model
    grade_rules  rule of the grade -> "done", or "exempt: why"
    """

    device: str
    maker: str
    model: str
    class_: Class = msgspec.field(name="class")
    grade: Grade
    grade_rules: dict[str, str] = {}
    note: str = ""
    documents: dict[str, Document]
    line: LineDefaults = LineDefaults()
    rating: dict[str, float] = {}
    points: dict[str, Point] = {}
    ranges: tuple[Range, ...] = ()
    sunspec: Sunspec | None = None
    proof: tuple[Proof, ...] = ()
    file: str = ""

    @property
    def key(self) -> str:
        """The product's name in topologies and on the command line: its file name without `.toml`."""
        return self.file
