"""Which requests fetch a set of points, worked out once and sent many times."""

from collections.abc import Iterable, Sequence

import msgspec

from agents.drivers.modbus import Request
from contracts.device_form import LineDefaults, Point, Range, Table, Value
from contracts.registers import Codec, GarbledError
from contracts.sunspec_models import Placed


class Cell(msgspec.Struct, frozen=True):
    """Registers that must be in one request."""

    table: Table
    address: int
    words: int


class _Item:
    __slots__ = ("block", "codec", "coil", "name", "offset", "scale_block", "scale_offset")

    def __init__(self, name: str, codec: Codec, block: int, offset: int, scale: tuple[int, int] | None) -> None:
        self.name, self.codec, self.block = name, codec, block
        self.coil = codec.point.table in ("coil", "discrete")
        self.offset = offset if self.coil else 2 * offset
        self.scale_block, self.scale_offset = (scale[0], 2 * scale[1]) if scale else (-1, 0)


class Plan:
    """The requests, and where in their answers each point is.

    headers  (block, byte offset, expected bytes): SunSpec model headers that prove the map unchanged
    """

    __slots__ = ("headers", "items", "requests")

    def __init__(
        self,
        unit: int,
        points: Iterable[Point],
        line: LineDefaults,
        spans: Sequence[Range],
        chain: Sequence[Placed] = (),
    ) -> None:
        points = list(points)
        cells = {Cell(p.table, p.address, p.words) for p in points}
        cells |= {Cell(p.table, p.scale_register, 1) for p in points if p.scale_register is not None}
        used = [one for one in chain if any(one.address <= c.address < one.address + one.length + 2 for c in cells)]
        cells |= {Cell("holding", one.address, 2) for one in used}
        blocks = _blocks(sorted(cells, key=lambda c: (c.table, c.address)), line.max_registers, spans)
        self.requests = tuple(Request(unit, b.table, b.address, b.words) for b in blocks)

        def find(table: Table, address: int) -> tuple[int, int]:
            for number, block in enumerate(blocks):
                if block.table == table and block.address <= address < block.address + block.words:
                    return number, address - block.address
            raise AssertionError(f"{table} {address} is in no block")

        self.items = tuple(
            _Item(
                p.name,
                Codec(p, line),
                *find(p.table, p.address),
                find(p.table, p.scale_register) if p.scale_register is not None else None,
            )
            for p in points
        )
        self.headers = tuple(
            (block, 2 * offset, one.id.to_bytes(2, "big") + one.length.to_bytes(2, "big"))
            for one in used
            for block, offset in (find("holding", one.address),)
        )

    def unchanged(self, answers: Sequence[bytes]) -> bool:
        """Whether the SunSpec models are still where they were scanned."""
        return all(answers[b][offset : offset + 4] == wanted for b, offset, wanted in self.headers)

    def exponent(self, item: _Item, answers: Sequence[bytes]) -> int:
        """The item's power of ten in these answers."""
        if item.scale_block < 0:
            return 0
        offset = item.scale_offset
        return int.from_bytes(answers[item.scale_block][offset : offset + 2], "big", signed=True)

    def decode(self, answers: Sequence[bytes], bad: dict[str, str]) -> dict[str, Value | None]:
        """Values by name; None for "not implemented" and for garbled ones, whose reasons go into `bad`."""
        values: dict[str, Value | None] = {}
        for item in self.items:
            data = answers[item.block]
            if item.coil:
                values[item.name] = bool(data[item.offset])
                continue
            try:
                exponent = self.exponent(item, answers) if item.scale_block >= 0 else 0
                value = item.codec.at(data, item.offset, exponent)
            except GarbledError as error:
                value = None
                bad[item.name] = str(error)
            values[item.name] = value
        return values


def _blocks(cells: Sequence[Cell], most: int, spans: Sequence[Range]) -> list[Cell]:
    """Merges cells that touch, or whose gap a documented range covers, while the request stays short enough."""
    blocks: list[Cell] = []
    for cell in cells:
        if blocks:
            last = blocks[-1]
            end = max(last.address + last.words, cell.address + cell.words)
            gap = range(last.address + last.words, cell.address)
            fits = last.table == cell.table and end - last.address <= most
            if fits and (not gap or any(_covers(span, cell.table, gap) for span in spans)):
                blocks[-1] = Cell(last.table, last.address, end - last.address)
                continue
        blocks.append(cell)
    return blocks


def _covers(span: Range, table: Table, gap: range) -> bool:
    return span.table == table and span.first <= gap.start and gap.stop - 1 <= span.last
