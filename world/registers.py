"""The register space of a simulated unit: bytes as they go over the wire, and which addresses exist."""

from collections.abc import Iterable

from contracts.device_form import DeviceFile, Point, Table
from contracts.registers import as_written
from contracts.sunspec_models import END_MODEL, SUNS, Placed, model


class Space:
    """One table: registers as two bytes each, coils as one; only addresses that were added exist."""

    __slots__ = ("_width", "data", "exists", "first")

    def __init__(self, spans: Iterable[tuple[int, int]], width: int) -> None:
        spans = list(spans)
        self._width = width
        self.first = min((first for first, _ in spans), default=0)
        end = max((last + 1 for _, last in spans), default=0)
        self.data = bytearray((end - self.first) * width)
        self.exists = bytearray(end - self.first)
        for first, last in spans:
            self.exists[first - self.first : last + 1 - self.first] = b"\1" * (last + 1 - first)

    def read(self, address: int, count: int) -> bytes | None:
        """The raw bytes; None when one of the addresses does not exist."""
        start, end = address - self.first, address - self.first + count
        if start < 0 or end > len(self.exists) or self.exists.find(0, start, end) >= 0:
            return None
        return bytes(self.data[start * self._width : end * self._width])

    def write(self, address: int, raw: bytes) -> None:
        """Puts raw bytes at addresses that exist."""
        start = (address - self.first) * self._width
        self.data[start : start + len(raw)] = raw


def spans_of(device: DeviceFile) -> dict[Table, list[tuple[int, int]]]:
    """Addresses that a device of this file serves: its points, where they are written, and its documented ranges."""
    spans: dict[Table, list[tuple[int, int]]] = {}
    for point in device.points.values():
        for one in (point, as_written(point)):
            spans.setdefault(one.table, []).append((one.address, one.address + one.words - 1))
    for span in device.ranges:
        spans.setdefault(span.table, []).append((span.first, span.last))
    return spans


def build_chain(device: DeviceFile, models: tuple[int, ...]) -> tuple[int, bytes, tuple[Placed, ...], set[int]]:
    """A SunSpec map: its first address, its raw registers, its chain, and the addresses that a master may write.

    Every value starts as "not implemented"; the file's `simulated.values` and what the world puts in fill it.
    """
    form = device.sunspec
    assert form is not None
    base = form.base[0]
    raw = bytearray(b"".join(word.to_bytes(2, "big") for word in SUNS))
    chain: list[Placed] = []
    writable: set[int] = set()
    for number in models:
        shape = model(number)
        address = base + len(raw) // 2
        chain.append(Placed(id=number, address=address, length=shape.length))
        for name, point in shape.points.items():
            fixed = form.simulated.values.get(f"{number}.{name}")
            size = 2 * point.size
            if name in ("ID", "L"):
                raw += (number if name == "ID" else shape.length).to_bytes(2, "big")
            elif isinstance(fixed, str):
                raw += fixed.encode().ljust(size, b"\0")[:size]
            elif fixed is not None:
                raw += fixed.to_bytes(size, "big", signed=fixed < 0)
            elif name.endswith("_SF"):
                raw += b"\0\0"
            else:
                raw += (point.not_implemented or 0).to_bytes(size, "big")
            if point.writable:
                writable.update(range(address + point.offset, address + point.offset + point.size))
    raw += END_MODEL.to_bytes(2, "big") + b"\0\0"
    return base, bytes(raw), tuple(chain), writable


def writable_of(points: Iterable[Point]) -> set[tuple[Table, int]]:
    """Addresses where a master may write canonical points."""
    return {
        (target.table, address)
        for point in points
        if point.access == "rw"
        for target in (as_written(point),)
        for address in range(target.address, target.address + target.words)
    }
