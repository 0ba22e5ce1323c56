"""Modbus TCP by pymodbus, one connection, one request at a time.

Everything the network sends is hostile until it is the right answer to the open request. pymodbus' own protocol object
lets a frame that it cannot decode tear down the event loop's protocol, and reports most faults as one exception: the
subclasses here turn each fault into an error of `agents.drivers.errors` at once.
"""

import asyncio
import logging
import struct
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import (
    ReadCoilsRequest,
    ReadCoilsResponse,
    ReadDiscreteInputsRequest,
    ReadDiscreteInputsResponse,
    WriteMultipleCoilsRequest,
    WriteSingleCoilRequest,
)
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)
from pymodbus.transaction import TransactionManager

from agents.drivers.errors import BadAnswerError, ConnectError, DriverError, NoAnswerError, RefusedError
from contracts.device_form import Table

# What pymodbus logs about hostile input arrives here as a typed error; its own lines would repeat each of them.
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)


class _Registers(ModbusPDU):
    """A register answer kept as the raw bytes that it arrived in: decoding is the codec's, once, in place."""

    data: bytes = b""

    def decode(self, data: bytes) -> None:
        self.data = bytes(data[1:]) if data and data[0] == len(data) - 1 else b""

    def __str__(self) -> str:
        return self.__class__.__name__  # pymodbus formats every answer for its debug log, asked or not


class _Holding(_Registers):
    function_code = 3


class _Input(_Registers):
    function_code = 4


_READS: dict[Table, type[ModbusPDU]] = {
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
}


class Request:
    """A prepared read: made once by a read plan, sent many times."""

    __slots__ = ("address", "count", "pdu", "table", "unit")

    def __init__(self, unit: int, table: Table, address: int, count: int) -> None:
        self.unit, self.table, self.address, self.count = unit, table, address, count
        self.pdu = _READS[table](dev_id=unit, address=address, count=count)

    def __str__(self) -> str:
        return f"reading {self.table} {self.address} to {self.address + self.count - 1}"


class _Transactions(TransactionManager):
    """pymodbus' transaction manager that never raises into the event loop and never waits when waiting is useless."""

    open = False
    """A request waits for its answer."""
    fault = ""

    def data_received(self, data: bytes) -> None:
        if self.open and len(self.recv_buffer) + len(data) > self.max_buffer_size:
            self._fail(f"{len(self.recv_buffer) + len(data)} bytes, more than a Modbus frame holds")
            return
        super().data_received(data)

    def callback_data(self, data: bytes, addr: tuple[Any, ...] | None = None) -> int:
        if not self.open:
            return len(data)  # nobody asked
        used = self._stale(data)
        if fault := self._header_fault(data[used:]):
            self._fail(fault)
            return len(data)
        try:
            return used + super().callback_data(data[used:], addr)
        except (ModbusException, ValueError, IndexError, struct.error) as error:
            self._fail(str(error))
            return len(data)

    def callback_disconnected(self, exc: Exception | None) -> None:
        super().callback_disconnected(exc)
        if self.open and not self.response_future.done():
            self.response_future.set_exception(ConnectionError("closed by the other side"))

    def _stale(self, data: bytes) -> int:
        """Bytes of whole frames that answer an earlier request; pymodbus would take transaction 0 for any."""
        used = 0
        while len(data) - used >= 8 and data[used + 2 : used + 4] == b"\0\0":
            length = 6 + int.from_bytes(data[used + 4 : used + 6], "big")
            ours = int.from_bytes(data[used : used + 2], "big") == self.request_transaction_id
            if ours or length > len(data) - used:
                break
            used += length
        return used

    def _header_fault(self, data: bytes) -> str:
        """What is wrong with the seven bytes that every Modbus TCP frame starts with; empty when nothing is."""
        if len(data) >= 6:
            if data[2:4] != b"\0\0":
                return f"protocol id {data[2:4].hex()} is not Modbus"
            if not 2 <= int.from_bytes(data[4:6], "big") <= 254:
                return f"length {int.from_bytes(data[4:6], 'big')} is none that Modbus allows"
        ours = len(data) >= 7 and int.from_bytes(data[0:2], "big") == self.request_transaction_id
        return f"it comes from unit {data[6]}" if ours and data[6] != self.request_dev_id else ""

    def _fail(self, fault: str) -> None:
        if self.open and not self.response_future.done():
            self.fault = fault
            self.response_future.set_exception(ModbusException(fault))


class ModbusWire:
    """One TCP connection. Not for use by two callers at once: `Line` sees to that.

    timeout_s  wall time for connecting and for each answer
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.host, self.port = host, port
        # No retries and no reconnecting in the background: the line decides when to try what again.
        self._client = AsyncModbusTcpClient(host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0)
        self._context = _Transactions(
            self._client.comm_params, FramerSocket(DecodePDU(False)), 0, False, None, None, None
        )
        self._client.ctx = self._context
        self._client.register(_Holding)
        self._client.register(_Input)
        # One silent unit must not cost its neighbours the connection.
        self._client.set_max_no_responses(1 << 30)

    @property
    def timeout_s(self) -> float:
        """Wall time for connecting and for the next answer."""
        return self._context.comm_params.timeout_connect

    @timeout_s.setter
    def timeout_s(self, seconds: float) -> None:
        self._context.comm_params.timeout_connect = seconds

    def where(self, unit: int | None = None) -> str:
        """The name of this wire, and of a unit on it, in errors."""
        return f"{self.host}:{self.port}" + (f" unit {unit}" if unit is not None else "")

    @property
    def connected(self) -> bool:
        """Whether there is a TCP connection now."""
        return bool(self._client.connected)

    async def connect(self) -> None:
        """Connects if it is not. Raises ConnectError with the operating system's reason."""
        if self._client.connected:
            return
        try:
            # pymodbus' connect() logs the reason and returns False: called one step below, the reason arrives.
            self._context.reset_delay()
            self._context.is_closing = False
            transport, _ = await asyncio.wait_for(self._context.call_create(), self.timeout_s)
        except TimeoutError:
            raise ConnectError(self.where(), f"no answer to the connection request in {self.timeout_s:g} s") from None
        except OSError as error:
            raise ConnectError(self.where(), error.strerror or str(error)) from error
        self._context.transport = transport

    async def read(self, request: Request) -> bytes:
        """The raw bytes of the registers (two each, big-endian), or one byte, 0 or 1, per coil. Raises DriverError."""
        answer = await self._exchange(request.pdu, request, request.unit)
        if request.table in ("coil", "discrete"):
            bits = isinstance(answer, ReadCoilsResponse | ReadDiscreteInputsResponse)
            if not bits or answer.function_code != request.pdu.function_code:
                raise BadAnswerError(self.where(request.unit), f"answers {request} with another function")
            if len(answer.bits) != (request.count + 7) // 8 * 8:
                raise BadAnswerError(
                    self.where(request.unit),
                    f"answers {request} with {len(answer.bits)} bits in place of {request.count}",
                )
            return bytes(answer.bits[: request.count])
        if not isinstance(answer, _Registers) or answer.function_code != request.pdu.function_code:
            raise BadAnswerError(self.where(request.unit), f"answers {request} with another function")
        if len(answer.data) != 2 * request.count:
            raise BadAnswerError(
                self.where(request.unit),
                f"answers {request} with {len(answer.data)} bytes in place of {2 * request.count}",
            )
        return answer.data

    async def write(self, unit: int, table: Table, address: int, words: tuple[int, ...], single: bool) -> None:
        """Writes registers or coils. `single` uses function 6 or 5. Raises DriverError."""
        pdu: ModbusPDU
        if table == "coil":
            pdu = (
                WriteSingleCoilRequest(dev_id=unit, address=address, bits=[bool(words[0])])
                if single
                else WriteMultipleCoilsRequest(dev_id=unit, address=address, bits=[bool(w) for w in words])
            )
        elif single:
            pdu = WriteSingleRegisterRequest(dev_id=unit, address=address, registers=list(words))
        else:
            pdu = WriteMultipleRegistersRequest(dev_id=unit, address=address, registers=list(words))
        what = f"writing {table} {address}"
        answer = await self._exchange(pdu, what, unit)
        if answer.function_code != pdu.function_code or answer.address != address:
            raise BadAnswerError(self.where(unit), f"answers {what} with another function or address")

    async def _exchange(self, pdu: ModbusPDU, what: object, unit: int) -> ModbusPDU:
        await self.connect()
        self._context.fault, self._context.open = "", True
        try:
            answer = await self._context.execute(False, pdu)
        except (ModbusException, ConnectionError) as error:
            raise self._typed(unit, what) from error
        except RuntimeError as error:  # uvloop's, of a transport that is closed before the client was told so
            self._client.close()
            raise ConnectError(self.where(), f"closed by the other side while {what}") from error
        finally:
            self._context.open = False
        if isinstance(answer, ExceptionResponse):
            raise RefusedError(self.where(unit), answer.exception_code, str(what))
        return answer

    def _typed(self, unit: int, what: object) -> DriverError:
        if self._context.fault:
            # The stream may be out of step after garbage: a new connection is the only sure way back into step.
            self._client.close()
            return BadAnswerError(self.where(unit), f"answers {what} with garbage ({self._context.fault})")
        if not self._client.connected:
            return ConnectError(self.where(), f"closed by the other side while {what}")
        return NoAnswerError(self.where(unit), self.timeout_s)

    def close(self) -> None:
        """Closes the connection; an open request fails at once, the next one opens it again."""
        self._client.close()
        self._context.callback_disconnected(None)
