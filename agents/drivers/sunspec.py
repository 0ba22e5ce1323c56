"""Finding a SunSpec device's models: the marker, then the chain. SunSpec Device Information Model Specification, 6."""

from agents.drivers.errors import NotThisProductError, RefusedError
from agents.drivers.line import Line
from agents.drivers.modbus import Request
from contracts.device_form import Range, Sunspec
from contracts.sunspec_models import END_MODEL, SUNS, Placed, model

_MARKER = b"".join(word.to_bytes(2, "big") for word in SUNS)
_LONGEST_CHAIN = 64
"""Real devices have about 20 models: a longer chain is a device that answers anything."""


async def scan(line: Line, unit: int, bases: tuple[int, ...]) -> tuple[Placed, ...]:
    """The models of a device, in order. Raises NotThisProductError where there is no SunSpec, DriverError otherwise."""
    where = line.wire.where(unit)
    for base in bases:
        try:
            marker = await line.read(Request(unit, "holding", base, 2))
        except RefusedError:
            continue  # nothing at this base: the specification names three
        if marker == _MARKER:
            return await _walk(line, unit, base + 2, where)
    raise NotThisProductError(where, f"there is no SunSpec marker at {', '.join(map(str, bases))}")


async def _walk(line: Line, unit: int, address: int, where: str) -> tuple[Placed, ...]:
    chain: list[Placed] = []
    while len(chain) < _LONGEST_CHAIN and address <= 65534:
        header = await line.read(Request(unit, "holding", address, 2))
        number, length = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:], "big")
        if number == END_MODEL:
            return tuple(chain)
        chain.append(Placed(id=number, address=address, length=length))
        address += 2 + length
    raise NotThisProductError(where, f"its SunSpec chain has no end after {len(chain)} models")


def check(sunspec: Sunspec, chain: tuple[Placed, ...], where: str) -> None:
    """Raises NotThisProductError when a kind of model that the file needs is missing."""
    present = {one.id for one in chain}
    for choice in sunspec.models:
        if not present & set(choice):
            names = ", ".join(f"{number} ({model(number).name})" for number in choice)
            raise NotThisProductError(where, f"has the SunSpec models {sorted(present)}, none of {names}")


def ranges(chain: tuple[Placed, ...]) -> tuple[Range, ...]:
    """The whole chain may be read in any portions: it has no holes."""
    if not chain:
        return ()
    last = chain[-1].address + chain[-1].length + 1
    return (Range(table="holding", first=chain[0].address, last=last, clause="SunSpec chain"),)
