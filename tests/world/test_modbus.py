"""Simulated units on real sockets, asked by pymodbus' own client: they are what a foreign master would meet."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from contracts.device_file import load
from contracts.device_form import Value
from contracts.registers import RangeError
from world.modbus import Gateway, SimulatedUnit


@asynccontextmanager
async def asked(*units: SimulatedUnit) -> AsyncIterator[tuple[Gateway, AsyncModbusTcpClient]]:
    gateway = Gateway(units)
    await gateway.start()
    client = AsyncModbusTcpClient("127.0.0.1", port=gateway.port, timeout=10, retries=0)
    assert await client.connect()
    try:
        yield gateway, client
    finally:
        client.close()
        await gateway.stop()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(bounded(scenario))


async def bounded(scenario: Callable[[], Awaitable[None]]) -> None:
    await asyncio.wait_for(scenario(), 100)


def test_a_foreign_master_reads_what_the_document_says() -> None:
    async def scenario() -> None:
        meter = SimulatedUnit(load("eastron_sdm630"), 4)
        meter.put({"power_w": 1234.5625})
        async with asked(meter) as (_, client):
            answer = await client.read_input_registers(0x34, count=2, device_id=4)
            assert answer.registers == [0x449A, 0x5200]
            inverter = await client.read_holding_registers(0x34, count=2, device_id=4)
            assert inverter.exception_code == 2
            assert (await client.read_input_registers(0x4B, count=2, device_id=4)).exception_code == 2
            assert (await client.read_input_registers(0, count=2, device_id=5)).exception_code == 11

    run(scenario)


def test_coils_are_read_and_written_one_and_many() -> None:
    async def scenario() -> None:
        seen: list[tuple[str, Value]] = []
        board = SimulatedUnit(load("waveshare_modbus_relay_8"), 1, on_write=lambda n, v: seen.append((n, v)))
        async with asked(board) as (_, client):
            await client.write_coil(2, True, device_id=1)
            assert seen == [("relay_3", True)]
            await client.write_coils(0, [True, False, False, True, False, True, False, True], device_id=1)
            answer = await client.read_coils(0, count=8, device_id=1)
            assert answer.bits == [True, False, False, True, False, True, False, True]
            assert board.get("relay_8") is True
            assert (await client.write_coil(8, True, device_id=1)).exception_code == 2

    run(scenario)


def test_what_a_master_writes_reaches_the_world_where_it_is_read_back() -> None:
    async def scenario() -> None:
        seen: list[tuple[str, Value]] = []
        evse = SimulatedUnit(load("abb_terra_ac"), 1, on_write=lambda n, v: seen.append((n, v)))
        async with asked(evse) as (_, client):
            await client.write_registers(0x4100, [0, 16000], device_id=1)
            assert seen == [("current_limit_a", 16.0)]
            answer = await client.read_holding_registers(0x400E, count=2, device_id=1)
            assert answer.registers == [0, 16000]

    run(scenario)


def test_absurd_writes_are_refused_and_change_nothing() -> None:
    async def scenario() -> None:
        seen: list[tuple[str, Value]] = []
        evse = SimulatedUnit(load("abb_terra_ac"), 1, on_write=lambda n, v: seen.append((n, v)))
        evse.put({"current_limit_a": 10})
        async with asked(evse) as (_, client):
            await client.write_registers(0x4100, [0, 10000], device_id=1)
            seen.clear()
            assert (await client.write_registers(0x4100, [0, 33000], device_id=1)).exception_code == 3
            kept = await client.read_holding_registers(0x4100, count=2, device_id=1)
            assert kept.registers == [0, 10000]
            assert (await client.write_registers(0x401C, [0, 1], device_id=1)).exception_code == 2
            assert (await client.write_registers(0x5000, [1], device_id=1)).exception_code == 2
        assert seen == []
        assert evse.get("current_limit_a") == 10

    run(scenario)


def test_a_sunspec_chain_is_laid_out_as_specified() -> None:
    async def scenario() -> None:
        unit = SimulatedUnit(load("sunspec_battery"), 1)
        async with asked(unit) as (_, client):
            address, models = 40002, []
            assert (await client.read_holding_registers(40000, count=2, device_id=1)).registers == [0x5375, 0x6E53]
            while (header := (await client.read_holding_registers(address, count=2, device_id=1)).registers)[
                0
            ] != 0xFFFF:
                models.append(header[0])
                address += 2 + header[1]
            assert models == [1, 701, 702, 704, 713, 714]
            common = (await client.read_holding_registers(40004, count=16, device_id=1)).registers
            assert struct.pack(">16H", *common).rstrip(b"\0") == b"Gridparley"

    run(scenario)


def test_scale_factors_of_the_device_are_used() -> None:
    unit = SimulatedUnit(load("sunspec_inverter"), 1)
    unit.put({"power_w": -237_000.0, "power_limit_percent": 33.33})
    assert unit.get("power_w") == -237_000
    assert unit.get("power_limit_percent") == 33.33
    with pytest.raises(RangeError):
        unit.put({"power_w": -1e6})
    unit.put({"power_w": None, "unknown_point": 3})
    assert unit.get("power_w") is None


def test_requests_that_arrive_together_or_in_pieces_are_all_answered() -> None:
    async def scenario() -> None:
        meter = SimulatedUnit(load("eastron_sdm630"), 1)
        async with asked(meter) as (gateway, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            frame = bytes.fromhex("0001000000060104003400020002000000060104003c0002")
            writer.write(frame)
            for tid in (1, 2):
                answer = await reader.readexactly(13)
                assert answer == struct.pack(">HHHBBB", tid, 0, 7, 1, 4, 4) + bytes(4)
            for byte in frame[:12]:
                writer.write(bytes((byte,)))
                await writer.drain()
            assert (await reader.readexactly(13))[:2] == b"\0\1"
            writer.close()
            await writer.wait_closed()

    run(scenario)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff" * 300,
        b"GET / HTTP/1.1\r\n\r\n",
        bytes.fromhex("00010000000201") + b"\x03",
        bytes.fromhex("000100000006012b00000001"),
    ],
    ids=["noise", "http", "no data", "unknown function"],
)
def test_a_hostile_master_does_not_disturb_the_others(raw: bytes) -> None:
    async def scenario() -> None:
        meter = SimulatedUnit(load("eastron_sdm630"), 1)
        problems: list[dict[str, object]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
        async with asked(meter) as (gateway, client):
            _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(raw)
            await writer.drain()
            assert (await client.read_input_registers(0, count=2, device_id=1)).registers == [0, 0]
            writer.close()
            await writer.wait_closed()
        assert problems == []

    run(scenario)


def test_the_port_is_free_again_after_stop_and_taken_ports_are_named() -> None:
    async def scenario() -> None:
        gateway = Gateway([SimulatedUnit(load("eastron_sdm630"), 1)])
        await gateway.start()
        with pytest.raises(ModbusException, match="cannot be opened"):
            await Gateway([], port=gateway.port).start()
        await gateway.stop()
        await gateway.start()
        await gateway.stop()

    run(scenario)
