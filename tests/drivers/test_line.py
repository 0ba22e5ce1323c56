"""One owner per line: turns, gaps, back-off, cancelling. Over real sockets, measured at the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from agents.drivers.device import Device
from agents.drivers.errors import BackingOffError, ClosedError, ConnectError, LineTakenError, NoAnswerError
from agents.drivers.line import FIRST_BACKOFF_S, MOST_SILENCES, Line
from agents.drivers.modbus import Request
from contracts.device_file import load
from contracts.device_form import LineDefaults
from world.modbus import Gateway, SimulatedUnit

METER = load("eastron_sdm630")


class WallClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def served(
    *numbers: int,
) -> AsyncIterator[tuple[Gateway, dict[int, SimulatedUnit], list[tuple[float, int, int]]]]:
    """A gateway with meters, and the requests that it saw: loop time, unit, function."""
    units = {number: SimulatedUnit(METER, number) for number in numbers}
    gateway = Gateway(units.values())
    seen: list[tuple[float, int, int]] = []
    loop = asyncio.get_running_loop()
    gateway.watch(lambda unit, frame: seen.append((loop.time(), unit, frame[0])))
    await gateway.start()
    try:
        yield gateway, units, seen
    finally:
        await gateway.stop()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 100)

    asyncio.run(bounded())


def power(unit: int) -> Request:
    return Request(unit, "input", 0x34, 2)


def test_a_second_owner_of_a_line_or_unit_is_refused_until_the_first_gives_it_back() -> None:
    async def scenario() -> None:
        async with served(1, 2) as (gateway, _, _):
            one = await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock())
            with pytest.raises(LineTakenError, match="the unit already has an owner"):
                await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock())
            with pytest.raises(LineTakenError, match="the line already has an owner"):
                Line.open("127.0.0.1", gateway.port)
            two = await Device.open(METER, "127.0.0.1", gateway.port, 2, clock=WallClock())
            await asyncio.gather(one.read(), two.read())
            assert gateway.connections == 1
            await one.close()
            again = await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock())
            await again.read()
            await again.close()
            await two.close()
            line = Line.open("127.0.0.1", gateway.port)
            line.close()

    run(scenario)


def test_the_gap_of_a_unit_is_kept_between_frames() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, units, seen):
            units[1].faults.delay_s = 0.01
            line = Line.open("127.0.0.1", gateway.port)
            line.add(1, LineDefaults(gap_ms=40))
            await asyncio.gather(*(line.read(power(1)) for _ in range(5)))
            times = [at for at, _, _ in seen]
            # From the end of an answer (10 ms after its request) to the next request: at least the gap.
            assert all(later - earlier >= 0.050 - 0.002 for earlier, later in pairwise(times))
            line.close()

    run(scenario)


def test_writes_go_before_reads_and_units_take_turns() -> None:
    async def scenario() -> None:
        evse = load("abb_terra_ac")
        units = [SimulatedUnit(evse, number) for number in (1, 2)]
        gateway = Gateway(units)
        order: list[tuple[int, int]] = []
        gateway.watch(lambda unit, frame: order.append((unit, frame[0])))
        await gateway.start()
        line = Line.open("127.0.0.1", gateway.port)
        for number in (1, 2):
            line.add(number, evse.line)
        reads = [line.read(Request(unit, "holding", 0x400C, 2)) for unit in (1, 1, 1, 1, 2, 2)]
        write = line.write(2, "holding", 0x4100, (0, 16000), False)
        await asyncio.gather(*reads, write)
        assert order[0] == (1, 3)  # it was on the wire when the write came
        assert order[1] == (2, 16)
        assert [unit for unit, _ in order[2:6]] == [1, 2, 1, 2]
        line.close()
        await gateway.stop()

    run(scenario)


def test_a_dead_unit_backs_off_and_does_not_block_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.drivers.line.FIRST_BACKOFF_S", 15.0)  # longer than the test, however busy the machine

    async def scenario() -> None:
        async with served(1, 2) as (gateway, units, seen):
            dead = await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock(), timeout_s=0.05)
            well = await Device.open(METER, "127.0.0.1", gateway.port, 2, clock=WallClock())
            await well.read()
            units[1].faults.silent = True
            with pytest.raises(NoAnswerError, match=r"no answer within 0\.05 s"):
                await dead.read()
            for _ in range(20):
                with pytest.raises(BackingOffError) as caught:
                    await dead.read()
                await well.read()
            assert 0 < caught.value.retry_in_s <= 15.0
            assert "no answer" in str(caught.value)
            assert [unit for _, unit, _ in seen].count(1) == 1
            assert [unit for _, unit, _ in seen].count(2) == 21
            assert dead.health.retry_in_s > 0
            await dead.close()
            await well.close()

    run(scenario)


def test_a_mended_unit_is_asked_again_by_itself() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, units, _):
            device = await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock(), timeout_s=1.0)
            units[1].faults.silent = True
            with pytest.raises(NoAnswerError):
                await device.read()
            units[1].faults.silent = False
            await asyncio.sleep(device.health.retry_in_s)
            await device.read()
            assert device.health.ok
            await device.close()

    run(scenario)


def test_back_off_doubles_up_to_its_cap_and_ends_with_an_answer() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, units, _):
            line = Line.open("127.0.0.1", gateway.port)
            line.add(1, METER.line)
            await line.read(power(1))
            units[1].faults.silent = True
            line.units[1].timeout_s = 0.01
            line.wire.close = lambda: None  # type: ignore[method-assign]  # connecting anew is another test's
            waits = []
            for _ in range(8):
                line.retry_now(1)
                with pytest.raises(NoAnswerError):
                    await line.read(power(1))
                waits.append(line.units[1].backoff_s)
                assert 0 < line.backing_off_s(1) <= waits[-1]
            assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
            units[1].faults.silent = False
            line.retry_now(1)
            line.units[1].timeout_s = 1.0
            await line.read(power(1))
            units[1].faults.silent = True
            line.units[1].timeout_s = 0.01
            with pytest.raises(NoAnswerError):
                await line.read(power(1))
            assert line.units[1].backoff_s == FIRST_BACKOFF_S
            del line.wire.close
            line.close()

    run(scenario)


def test_a_cancelled_request_leaves_the_line_to_the_others() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, units, _):
            arrived = asyncio.Event()
            gateway.watch(lambda *_: arrived.set())
            units[1].faults.delay_s = 0.1
            line = Line.open("127.0.0.1", gateway.port)
            line.add(1, METER.line)
            on_the_wire, waiting, last = (asyncio.create_task(line.read(power(1))) for _ in range(3))
            await arrived.wait()
            waiting.cancel()
            on_the_wire.cancel()
            units[1].faults.delay_s = 0.0
            assert await last == b"\0\0\0\0"
            assert on_the_wire.cancelled()
            assert waiting.cancelled()
            units[1].put({"power_w": 1.0})
            await asyncio.sleep(0.15)  # the late answer to the cancelled request arrives meanwhile
            assert await line.read(power(1)) == b"\x3f\x80\0\0"
            line.close()

    run(scenario)


def test_a_request_cancelled_just_as_its_turn_comes_passes_the_turn_on() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, _, _):
            line = Line.open("127.0.0.1", gateway.port)
            line.add(1, METER.line)

            async def first() -> None:
                await line.read(power(1))
                second.cancel()  # its turn was given in the same step, it has not run yet

            leading = asyncio.create_task(first())
            second, third = (asyncio.create_task(line.read(power(1))) for _ in range(2))
            await leading
            assert await asyncio.wait_for(third, 5) == b"\0\0\0\0"
            assert second.cancelled()
            line.close()

    run(scenario)


def test_who_waits_when_the_line_closes_is_told() -> None:
    async def scenario() -> None:
        async with served(1) as (gateway, units, _):
            arrived = asyncio.Event()
            gateway.watch(lambda *_: arrived.set())
            units[1].faults.silent = True
            line = Line.open("127.0.0.1", gateway.port)
            line.add(1, LineDefaults(timeout_s=0.2))
            first, second = (asyncio.create_task(line.read(power(1))) for _ in range(2))
            await arrived.wait()
            line.close()
            with pytest.raises(ClosedError):
                await second
            with pytest.raises(ClosedError):
                await first
            with pytest.raises(ClosedError):
                await line.read(power(1))

    run(scenario)


def test_a_connection_that_went_dead_without_a_word_is_made_anew() -> None:
    async def scenario() -> None:
        meter = SimulatedUnit(METER, 1)
        gateway = Gateway([meter])
        await gateway.start()
        connections: list[asyncio.StreamWriter] = []

        async def black_hole_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            """A path whose first connection swallows everything; later ones lead to the meter."""
            connections.append(writer)
            if len(connections) == 1:
                await reader.read()
                return
            there_reader, there = await asyncio.open_connection("127.0.0.1", gateway.port)
            connections.append(there)
            while data := await reader.read(300):
                there.write(data)
                writer.write(await there_reader.read(300))

        path = await asyncio.start_server(black_hole_first, "127.0.0.1", 0)
        port = path.sockets[0].getsockname()[1]
        device = await Device.open(METER, "127.0.0.1", port, 1, clock=WallClock(), timeout_s=1.0)
        for _ in range(MOST_SILENCES):
            with pytest.raises(NoAnswerError):
                await device.read()
            device.retry_now()
        await device.read()
        assert device.health.ok
        await device.close()
        for writer in connections:
            writer.close()
        path.close()
        await gateway.stop()

    run(scenario)


def test_a_refused_connection_says_what_to_check_and_is_not_hammered_and_comes_back_by_itself() -> None:
    async def scenario() -> None:
        gateway = Gateway([SimulatedUnit(METER, 1)])
        await gateway.start()
        await gateway.stop()
        device = await Device.open(METER, "127.0.0.1", gateway.port, 1, clock=WallClock())
        with pytest.raises(ConnectError, match="Modbus TCP is switched on") as caught:
            await device.read()
        assert "refused" in caught.value.reason.lower() or "connect" in caught.value.reason.lower()
        with pytest.raises(ConnectError) as caught:
            await device.read()
        assert caught.value.retry_in_s > 0
        await gateway.start()
        await asyncio.sleep(caught.value.retry_in_s)
        await device.read()
        await gateway.stop()
        with pytest.raises(ConnectError):
            await device.read()
        await gateway.start()
        device.retry_now()
        await device.read()
        await device.close()
        await gateway.stop()

    run(scenario)
