"""Simulated hardware behind real Modbus TCP sockets, served by pymodbus.

A unit has the registers that its device file says, so the driver cannot tell it from the product.
"""

import asyncio
import struct
from collections.abc import Callable, Iterable
from typing import Any, cast

import msgspec
from pymodbus.exceptions import ModbusException
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from contracts.device_form import DeviceFile, Point, Table, Value
from contracts.registers import Codec, GarbledError, as_written
from contracts.sunspec_models import Placed, resolve
from world.registers import Space, build_chain, spans_of, writable_of

_ILLEGAL_FUNCTION, _ILLEGAL_ADDRESS, _ILLEGAL_VALUE, _NO_SUCH_UNIT = 1, 2, 3, 11
_READS: dict[int, Table] = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_WRITES: dict[int, Table] = {5: "coil", 6: "holding", 15: "coil", 16: "holding"}


class Faults(msgspec.Struct, kw_only=True):
    """What is wrong with a unit right now; set a field to break it, reset it to mend it.

    silent         it does not answer
    delay_s        it answers so much later, wall time
    garbage        these bytes come in place of the answer
    exception      it answers everything with this Modbus exception
    wrong_unit     it answers in the name of this unit
    wrong_tid      it answers to another transaction
    cut            so many bytes are missing at the end of the data (negative: are added)
    hang_up        it closes the connection in place of answering
    deaf_to_writes writes are acknowledged and forgotten
    moved          its registers are so many addresses further up (for SunSpec use `SimulatedUnit.remap`)
    """

    silent: bool = False
    delay_s: float = 0.0
    garbage: bytes = b""
    exception: int = 0
    wrong_unit: int | None = None
    wrong_tid: bool = False
    cut: int = 0
    hang_up: bool = False
    deaf_to_writes: bool = False
    moved: int = 0


class SimulatedUnit:
    """One product on a line.

    on_write  called with canonical name and new value after a master wrote; not called for `put`
    """

    def __init__(self, device: DeviceFile, unit: int, *, on_write: Callable[[str, Value], None] | None = None) -> None:
        self.device, self.unit, self.on_write = device, unit, on_write
        self.faults = Faults()
        self.requests = 0
        self.chain: tuple[Placed, ...] = ()
        self.points: dict[str, Point] = {}
        self._spaces: dict[Table, Space] = {}
        self._writable: set[tuple[Table, int]] = set()
        self._codecs: dict[str, Codec] = {}
        self._written: list[tuple[str, Point, Codec]] = []
        if device.sunspec is not None:
            self.remap(device.sunspec.simulated.models)
        else:
            self._spaces = {
                table: Space(spans, 1 if table in ("coil", "discrete") else 2)
                for table, spans in spans_of(device).items()
            }
            self._know(device.points)
            for name, point in device.points.items():
                if point.type in ("enum", "enum32"):
                    self.put({name: next(iter(point.values.values()))})  # code 0 may be none of the document's

    def remap(self, models: tuple[int, ...]) -> None:
        """Lays out another SunSpec chain, as a firmware update does. Values are lost."""
        base, raw, self.chain, writable = build_chain(self.device, models)
        space = Space([(base, base + len(raw) // 2 - 1)], 2)
        space.write(base, raw)
        self._spaces = {"holding": space}
        assert self.device.sunspec is not None
        self._know(resolve(self.device.sunspec, self.chain))
        self._writable |= {("holding", address) for address in writable}

    def _know(self, points: dict[str, Point]) -> None:
        self.points = dict(points)
        line = self.device.line
        self._codecs = {name: Codec(point, line) for name, point in points.items()}
        self._writable = writable_of(points.values())
        self._written = [
            (name, target, Codec(target, line))
            for name, point in points.items()
            if point.access == "rw"
            for target in (as_written(point),)
        ]

    def put(self, values: dict[str, Value | None]) -> None:
        """Measured values into the registers; None means not implemented. Names that the product lacks are skipped.

        raises  contracts.registers.RangeError for a value that the register cannot hold
        """
        for name, value in values.items():
            codec = self._codecs.get(name)
            if codec is None or not codec.point.echo:
                continue
            point = codec.point
            if point.table in ("coil", "discrete"):
                self._spaces[point.table].write(point.address, b"\1" if value else b"\0")
                continue
            if value is None:
                raw = (point.not_implemented or 0).to_bytes(2 * point.words, "big")
                if point.type in ("f32", "f64"):
                    raw = struct.pack(">f" if point.type == "f32" else ">d", float("nan"))
            else:
                words = codec.encode(value, self._exponent(point))
                raw = struct.pack(f">{len(words)}H", *words)
            space = self._spaces[point.table]
            if point.mask is not None:
                before = space.read(point.address, 1) or b"\0\0"
                kept = int.from_bytes(before, "big") & ~point.mask
                raw = (kept | int.from_bytes(raw, "big")).to_bytes(2, "big")
            space.write(point.address, raw)

    def get(self, name: str) -> Value | None:
        """The value that the registers show now, a master's writes included. Raises KeyError for unknown names."""
        codec = self._codecs[name]
        point = codec.point
        raw = self._spaces[point.table].read(point.address, point.words) or b""
        return bool(raw[0]) if point.table in ("coil", "discrete") else codec.at(raw, 0, self._exponent(point))

    def _exponent(self, point: Point) -> int:
        if point.scale_register is None:
            return 0
        return int.from_bytes(self._spaces["holding"].read(point.scale_register, 1) or b"", "big", signed=True)

    def serve_read(self, table: Table, address: int, count: int) -> bytes | int:
        """Raw bytes of the registers or coils, or a Modbus exception code."""
        space = self._spaces.get(table)
        raw = space.read(address - self.faults.moved, count) if space else None
        return _ILLEGAL_ADDRESS if raw is None else raw

    def serve_write(self, table: Table, address: int, raw: bytes) -> int:
        """Writes what a master sent; 0, or a Modbus exception code and nothing changed."""
        address -= self.faults.moved
        width = 1 if table == "coil" else 2
        count = len(raw) // width
        space = self._spaces.get(table)
        before = space.read(address, count) if space else None
        if (
            space is None
            or before is None
            or any((table, a) not in self._writable for a in range(address, address + count))
        ):
            return _ILLEGAL_ADDRESS
        if self.faults.deaf_to_writes:
            return 0
        space.write(address, raw)
        touched: list[tuple[str, Value]] = []
        for name, target, codec in self._written:
            if target.table != table or not (
                target.address < address + count and address < target.address + target.words
            ):
                continue
            value = self._accepted(target, codec, space)
            if value is None:
                space.write(address, before)
                return _ILLEGAL_VALUE
            touched.append((name, value))
        for name, value in touched:
            if self.points[name].write is not None:
                self.put({name: value})
            if self.on_write is not None:
                self.on_write(name, value)
        return 0

    def _accepted(self, target: Point, codec: Codec, space: Space) -> Value | None:
        """What a master wrote, or None where the product would not take it."""
        raw = space.read(target.address, target.words) or b""
        if target.table == "coil":
            return bool(raw[0])
        try:
            value = codec.at(raw, 0, self._exponent(target))
        except GarbledError:
            return None
        if isinstance(value, bool | str) or value is None:
            return value
        low, high = target.min, target.max
        # Half a step of slack: the ends themselves may not be multiples of the register's step.
        slack = codec.step(self._exponent(target)) / 2 + 1e-6 * abs(value)
        inside = (low is None or value >= low - slack) and (high is None or value <= high + slack)
        return value if inside else None


class _Handler(ServerRequestHandler):
    """One master's connection. Answers in the callback: pymodbus' own path makes a task and a thread-safe future of
    each request, which costs more than the answer."""

    server: "_Server"

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:  # noqa: ARG002
        used = 0
        while True:
            length, unit, tid, frame = self.framer.decode(data[used:])
            if not length:
                # No Modbus: a device would drop it as well. The rest of a frame may still come.
                return len(data) if data[used + 2 : used + 4] not in (b"", b"\0", b"\0\0") else used
            used += length
            if frame:
                self._serve(unit, tid, frame)

    def _serve(self, unit: int, tid: int, frame: bytes) -> None:
        found = self.server.units.get(unit)
        if found is None:
            self._send(bytes((frame[0] | 0x80, _NO_SUCH_UNIT)), unit, tid, 0.0)
            return
        found.requests += 1
        if self.server.on_request is not None:
            self.server.on_request(unit, frame)
        faults = found.faults
        if faults.silent:
            return
        if faults.hang_up:
            self.close()
            return
        answer = bytes((frame[0] | 0x80, faults.exception)) if faults.exception else _answer(found, frame)
        if faults.cut:
            answer = answer[: -faults.cut] if faults.cut > 0 else answer + bytes(-faults.cut)
        if faults.garbage:
            self._later(faults.garbage, faults.delay_s)
            return
        tid = (tid + 1) & 0xFFFF if faults.wrong_tid else tid
        self._send(answer, unit if faults.wrong_unit is None else faults.wrong_unit, tid, faults.delay_s)

    def _send(self, answer: bytes, unit: int, tid: int, delay_s: float) -> None:
        self._later(self.framer.encode(answer, unit, tid), delay_s)

    def _later(self, raw: bytes, delay_s: float) -> None:
        if delay_s:
            self.loop.call_later(delay_s, self._out, raw)
        else:
            self._out(raw)

    def _out(self, raw: bytes) -> None:
        # Not `send`: it forgets requests that arrived together with the one answered now.
        if self.transport:
            cast(asyncio.WriteTransport, self.transport).write(raw)


def _answer(unit: SimulatedUnit, frame: bytes) -> bytes:
    """The answer's function code and data for a request's."""
    function = frame[0]
    try:
        if function in _READS:
            address, count = struct.unpack(">HH", frame[1:5])
            table = _READS[function]
            if not 1 <= count <= (125 if function > 2 else 2000):
                return bytes((function | 0x80, _ILLEGAL_VALUE))
            raw = unit.serve_read(table, address, count)
            if isinstance(raw, int):
                return bytes((function | 0x80, raw))
            raw = raw if function > 2 else _packed(raw)
            return bytes((function, len(raw))) + raw
        if function in _WRITES:
            address, raw, echo = _written(frame)
            code = unit.serve_write(_WRITES[function], address, raw)
            return bytes((function | 0x80, code)) if code else echo
    except (struct.error, ValueError, IndexError):
        return bytes((function | 0x80, _ILLEGAL_VALUE))
    return bytes((function | 0x80, _ILLEGAL_FUNCTION))


def _written(frame: bytes) -> tuple[int, bytes, bytes]:
    """Address, raw registers or coils, and the echo that confirms, of a write request. Raises ValueError."""
    function = frame[0]
    address, word = struct.unpack(">HH", frame[1:5])
    if function == 5:
        if word not in (0, 0xFF00):
            raise ValueError("function 5 writes 0x0000 or 0xff00")
        return address, b"\1" if word else b"\0", frame[:5]
    if function == 6:
        return address, frame[3:5], frame[:5]
    data = frame[6:]
    wanted = 2 * word if function == 16 else (word + 7) // 8
    if not word or len(data) != wanted or frame[5] != wanted:
        raise ValueError("the byte count does not fit")
    raw = data if function == 16 else bytes(data[i // 8] >> i % 8 & 1 for i in range(word))
    return address, raw, frame[:5]


def _packed(coils: bytes) -> bytes:
    packed = bytearray((len(coils) + 7) // 8)
    for i, coil in enumerate(coils):
        packed[i // 8] |= coil << i % 8
    return bytes(packed)


class _Server(ModbusTcpServer):
    def __init__(self, units: dict[int, SimulatedUnit], address: tuple[str, int]) -> None:
        # The registers are ours: pymodbus' own store has one bit that nobody reads.
        unused = SimDevice(id=0, simdata=[SimData(0, datatype=DataType.REGISTERS, values=0)])
        super().__init__(unused, address=address)
        self.units = units
        self.on_request: Callable[[int, bytes], None] | None = None

    def callback_new_connection(self) -> _Handler:
        return _Handler(self, None, None, None)  # type: ignore[no-untyped-call]


class Gateway:
    """One Modbus TCP endpoint with the units of a site, as a serial gateway has them.

    port        0 takes a free one; `.port` says which after start
    """

    def __init__(self, units: Iterable[SimulatedUnit], host: str = "127.0.0.1", port: int = 0) -> None:
        self.units = {unit.unit: unit for unit in units}
        self.host, self.port = host, port
        self._watcher: Callable[[int, bytes], None] | None = None
        self._server: _Server | None = None

    def watch(self, watcher: Callable[[int, bytes], None]) -> None:
        """Has `watcher(unit, request)` called before each answer, the request's function code first: for measuring."""
        self._watcher = watcher
        if self._server is not None:
            self._server.on_request = watcher

    async def start(self) -> None:
        """Listens. Raises ModbusException when the port is taken."""
        server = _Server(self.units, (self.host, self.port))
        server.on_request = self._watcher
        if not await server.listen():
            raise ModbusException(f"{self.host}:{self.port} cannot be opened. Is another gateway or server using it?")
        self._server = server
        listener = cast(asyncio.Server, server.transport)  # pymodbus calls whatever it opened its transport
        self.port = listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and all connections; the same port is used again by the next start."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.shutdown()  # type: ignore[no-untyped-call]

    @property
    def connections(self) -> int:
        """Masters connected now."""
        return len(self._server.active_connections) if self._server else 0
