"""The wire against whatever the network sends: typed errors, nothing dies, the next request works."""

import asyncio
import random
import socket
import struct
from contextlib import suppress

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.drivers.errors import BadAnswerError, ConnectError, DriverError, NoAnswerError, RefusedError
from agents.drivers.modbus import ModbusWire, Request


class Hostile(asyncio.Protocol):
    """A server that answers each request with the next script: bytes, or a function of the request."""

    def __init__(self, scripts: list[object]) -> None:
        self.scripts = scripts
        self.requests = 0

    def __call__(self) -> "Hostile":
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.requests += 1
        script = self.scripts.pop(0) if self.scripts else honest
        answer = script(data) if callable(script) else script
        assert isinstance(self.transport, asyncio.WriteTransport)
        if answer is None:
            self.transport.close()
        elif isinstance(answer, bytes):
            self.transport.write(answer)


def honest(request: bytes) -> bytes:
    tid, unit = request[:2], request[6:7]
    count = struct.unpack(">H", request[10:12])[0]
    data = b"\x12\x34" * count
    return tid + b"\0\0" + struct.pack(">H", 3 + len(data)) + unit + request[7:8] + bytes((len(data),)) + data


def framed(pdu: bytes, *, tid: int = 0, unit: int = 0):  # type: ignore[no-untyped-def]
    def answer(request: bytes) -> bytes:
        number = (struct.unpack(">H", request[:2])[0] + tid) & 0xFFFF
        return struct.pack(">HHHB", number, 0, len(pdu) + 1, (request[6] + unit) & 0xFF) + pdu

    return answer


async def against(scripts: list[object], expected: list[type[DriverError] | None], timeout_s: float = 1.0) -> Hostile:
    hostile = Hostile(list(scripts))
    server = await asyncio.get_running_loop().create_server(hostile, "127.0.0.1", 0)
    problems: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    wire = ModbusWire("127.0.0.1", server.sockets[0].getsockname()[1], timeout_s)
    request = Request(7, "holding", 100, 2)
    for error in expected:
        if error is None:
            assert await wire.read(request) == b"\x12\x34\x12\x34"
        else:
            with pytest.raises(error) as caught:
                await wire.read(request)
            assert caught.value.remedy
            assert "127.0.0.1" in str(caught.value)
    wire.close()
    server.close()
    await server.wait_closed()
    await asyncio.sleep(0)
    assert problems == []
    return hostile


CASES = {
    "exception answer": (framed(b"\x83\x02"), RefusedError),
    "unknown exception code": (framed(b"\x83\x77"), RefusedError),
    "exception without its code": (framed(b"\x83"), BadAnswerError),
    "too few registers": (framed(b"\x03\x02\x12\x34"), BadAnswerError),
    "too many registers": (framed(b"\x03\x06\x12\x34\x12\x34\x12\x34"), BadAnswerError),
    "odd byte count": (framed(b"\x03\x03\x12\x34\x12"), BadAnswerError),
    "byte count beyond the frame": (framed(b"\x03\xff\x12\x34"), BadAnswerError),
    "no data at all": (framed(b"\x03"), BadAnswerError),
    "another function": (framed(b"\x04\x04\x12\x34\x12\x34"), BadAnswerError),
    "a write's answer": (framed(b"\x06\x00\x64\x00\x01"), BadAnswerError),
    "a function that nobody knows": (framed(b"\x6e\x01\x02"), BadAnswerError),
    "another unit": (framed(b"\x03\x04\x12\x34\x12\x34", unit=1), BadAnswerError),
    "another transaction": (framed(b"\x03\x04\x12\x34\x12\x34", tid=1), NoAnswerError),
    "no Modbus": (b"HTTP/1.1 400 Bad Request\r\n\r\n", BadAnswerError),
    "a flood": (b"\xff" * 5000, BadAnswerError),
    "a length of 65535": (b"\x00\x01\x00\x00\xff\xff\x07\x03", BadAnswerError),
    "half a header": (b"\x00\x01\x00", NoAnswerError),
    "a hang-up": (lambda _: None, ConnectError),
    "silence": (b"", NoAnswerError),
}


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_answer_is_a_named_error_and_the_next_request_works(name: str) -> None:
    script, error = CASES[name]
    asyncio.run(against([script, honest, script, honest], [error, None, error, None]))


def test_an_answer_in_pieces_and_one_after_a_stale_one_are_understood() -> None:
    async def scenario() -> None:
        stale = framed(b"\x03\x04\xde\xad\xbe\xef", tid=-1)

        def both(request: bytes) -> bytes:
            return bytes(stale(request)) + honest(request)

        await against([both, honest], [None, None])

    asyncio.run(scenario())


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_bytes_are_survived(chunks: list[bytes], chance: random.Random) -> None:
    """Bytes of every kind, some behind a header that fits the request, never end the wire."""

    def disguised(raw: bytes):  # type: ignore[no-untyped-def]
        return framed(raw[:250]) if chance.random() < 0.5 else raw

    async def scenario() -> None:
        hostile = Hostile([disguised(raw) for raw in chunks])
        server = await asyncio.get_running_loop().create_server(hostile, "127.0.0.1", 0)
        problems: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        wire = ModbusWire("127.0.0.1", server.sockets[0].getsockname()[1], 5.0)
        request = Request(7, "holding", 100, 2)
        for _ in chunks:
            wire.timeout_s = 5.0
            await wire.connect()
            wire.timeout_s = 0.02
            with suppress(DriverError):
                assert len(await wire.read(request)) == 4
        wire.timeout_s = 5.0
        assert await wire.read(request) == b"\x12\x34\x12\x34"
        wire.close()
        server.close()
        await server.wait_closed()
        assert problems == []

    asyncio.run(scenario())


def test_coils_answered_short_or_long_are_refused() -> None:
    async def scenario() -> None:
        for pdu in (b"\x01\x00", b"\x01\x02\xff\xff", b"\x01\x01"):
            hostile = Hostile([framed(pdu)])
            server = await asyncio.get_running_loop().create_server(hostile, "127.0.0.1", 0)
            wire = ModbusWire("127.0.0.1", server.sockets[0].getsockname()[1], 5.0)
            with pytest.raises(BadAnswerError):
                await wire.read(Request(1, "coil", 0, 8))
            wire.close()
            server.close()
            await server.wait_closed()

    asyncio.run(scenario())


def test_a_write_confirmed_for_another_address_is_refused() -> None:
    async def scenario() -> None:
        hostile = Hostile([framed(b"\x10\x00\x65\x00\x02")])
        server = await asyncio.get_running_loop().create_server(hostile, "127.0.0.1", 0)
        wire = ModbusWire("127.0.0.1", server.sockets[0].getsockname()[1], 5.0)
        with pytest.raises(BadAnswerError, match="another function or address"):
            await wire.write(1, "holding", 100, (1, 2), False)
        wire.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_a_gateway_that_resets_each_connection_is_an_error_of_the_line_and_of_nothing_else() -> None:
    async def scenario() -> None:
        def slam(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            at_once = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
            writer.close()

        gateway = await asyncio.start_server(slam, "127.0.0.1", 0)
        wire = ModbusWire("127.0.0.1", gateway.sockets[0].getsockname()[1], 1.0)
        for _ in range(20):
            await wire.connect()
            with pytest.raises(DriverError):
                await wire.read(Request(1, "input", 0, 2))
        wire.close()
        gateway.close()

    uvloop.run(scenario())  # as agents run: there a closed transport raises where asyncio's only logs
