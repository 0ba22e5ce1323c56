"""The owner of a line for many masters: over real sockets, measured at the gateway."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from agents.drivers.device import Device
from agents.drivers.errors import BackingOffError, ConnectError, RefusedError
from agents.drivers.front import BUSY, FIRST_BACKOFF_S, NO_ANSWER, NO_PATH, Front, FrontSettings
from agents.drivers.line import Line
from agents.drivers.modbus import Request
from bus.clock import WallClock
from contracts.device_file import load
from contracts.device_form import LineDefaults
from world.modbus import Gateway, SimulatedUnit

INVERTER = load("sunspec_inverter")
METER = load("eastron_sdm630")
PATIENT = FrontSettings(timeout_s=5.0)
"""Where nobody is to be too late, however busy the machine is."""


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(scenario(), 100)

    asyncio.run(bounded())


class Master:
    """A raw master: what a careless or hostile one sends is sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Master":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def ask(self, tid: int, unit: int, pdu: bytes) -> None:
        self.writer.write(struct.pack(">HHHB", tid, 0, len(pdu) + 1, unit) + pdu)

    async def hear(self) -> tuple[int, int, bytes]:
        """Transaction, unit, function code and data."""
        tid, _, length, unit = struct.unpack(">HHHB", await self.reader.readexactly(7))
        return tid, unit, await self.reader.readexactly(length - 1)

    async def exchange(self, unit: int, pdu: bytes, tid: int = 7) -> bytes:
        self.ask(tid, unit, pdu)
        answered, by, answer = await self.hear()
        assert (answered, by) == (tid, unit)
        return answer

    async def hung_up_on(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        await asyncio.gather(self.writer.wait_closed(), return_exceptions=True)


def read_pdu(address: int, count: int = 2, function: int = 4) -> bytes:
    return struct.pack(">BHH", function, address, count)


def write_pdu(address: int, value: int) -> bytes:
    return struct.pack(">BHH", 6, address, value)


def refused(function: int, code: int) -> bytes:
    return bytes((function | 0x80, code))


class Bench:
    """A gateway with meters and what it saw, a front before it, masters that are closed at the end."""

    def __init__(self, gateway: Gateway, units: dict[int, SimulatedUnit], front: Front) -> None:
        self.gateway, self.units, self.front = gateway, units, front
        self.seen: list[tuple[float, int, bytes]] = []
        self._masters: list[Master] = []

    async def master(self) -> Master:
        self._masters.append(await Master.connect(self.front.port))
        return self._masters[-1]

    async def close(self) -> None:
        for master in self._masters:
            await master.close()
        await self.front.stop()
        await self.gateway.stop()


@asynccontextmanager
async def bench(*numbers: int, settings: FrontSettings | None = None) -> AsyncIterator[Bench]:
    units = {number: SimulatedUnit(METER, number) for number in numbers}
    gateway = Gateway(units.values())
    await gateway.start()
    front = Front((gateway.host, gateway.port), settings or PATIENT)
    await front.start()
    made = Bench(gateway, units, front)
    loop = asyncio.get_running_loop()
    gateway.watch(lambda unit, frame: made.seen.append((loop.time(), unit, frame)))
    try:
        yield made
    finally:
        await made.close()


async def until(there: Callable[[], object]) -> None:
    while not there():  # noqa: ASYNC110  what is waited for happens at the other end of a socket
        await asyncio.sleep(0.005)


async def until_said(master: Master, unit: int, function: int, code: int | None = None) -> None:
    """Asks until the answer is of this function, and this exception code if there is one."""
    answer = b""
    while answer[:1] != bytes((function,)) or (code is not None and answer[1] != code):
        await asyncio.sleep(0.02)
        answer = await master.exchange(unit, read_pdu(0x34))


def test_many_masters_are_one_connection_upstream_and_each_gets_its_own_answers() -> None:
    async def scenario() -> None:
        async with bench(1, 2, 3, 4, 5) as at:
            chance = random.Random(22)
            for number, unit in at.units.items():
                unit.put({"voltage_l1_v": 200.0 + number, "power_w": -1000.0 * number})
            truth = {
                (unit, address, count): at.units[unit].serve_read("input", address, count)
                for unit in at.units
                for address in (0, 2, 4, 6, 0x34)
                for count in (1, 2)
            }
            connections = set()

            async def ask(number: int) -> None:
                master = await at.master()
                for first in range(0, 200, 8):
                    asked = {}
                    for tid in range(first, first + 8):  # several open at once; all masters use the same ids
                        asked[tid] = chance.choice(list(truth))
                        unit, address, count = asked[tid]
                        master.ask(tid, unit, read_pdu(address, count))
                    for _ in range(8):
                        tid, by, answer = await master.hear()
                        unit, address, count = asked.pop(tid)
                        connections.add(at.gateway.connections)
                        assert (by, answer) == (unit, bytes((4, 2 * count)) + bytes(truth[unit, address, count]))

            await asyncio.gather(*(ask(number) for number in range(5)))
            assert len(at.seen) == 5 * 200
            assert connections == {1}

    run(scenario)


def test_devices_of_five_agents_read_and_write_through_it_unchanged() -> None:
    async def scenario() -> None:
        units = [SimulatedUnit(INVERTER, number) for number in range(1, 6)]
        gateway = Gateway(units)
        await gateway.start()
        front = Front((gateway.host, gateway.port), PATIENT)
        await front.start()
        lines = [Line("127.0.0.1", front.port, 10.0) for _ in units]  # as in five processes
        try:
            for number, line in enumerate(lines, 1):
                line.add(number, LineDefaults(timeout_s=10.0))
            devices = [Device(INVERTER, line, number, WallClock()) for number, line in enumerate(lines, 1)]

            async def use(number: int, device: Device) -> None:
                for step in range(5):
                    await device.write("power_limit_percent", 10.0 * number + step)
                    reading = await device.read(["power_limit_percent"])
                    assert reading["power_limit_percent"].value == 10.0 * number + step

            await asyncio.gather(*(use(number, device) for number, device in enumerate(devices, 1)))
            assert gateway.connections == 1
        finally:
            for line in lines:
                line.close()
            await front.stop()
            await gateway.stop()

    run(scenario)


def test_writes_go_before_reads_that_wait_and_units_take_turns() -> None:
    async def scenario() -> None:
        async with bench(1, 2) as at:
            at.units[1].faults.delay_s = 0.3
            one, two = await at.master(), await at.master()
            for tid in range(4):
                one.ask(tid, 1, read_pdu(tid))
            await until(lambda: at.seen)
            two.ask(9, 2, read_pdu(0x34))
            two.ask(10, 2, write_pdu(0x0C, 1))
            answers = [await two.hear(), await two.hear()]
            assert [tid for tid, _, _ in answers] == [10, 9]
            for _ in range(4):
                await one.hear()
            order = [(unit, frame[0]) for _, unit, frame in at.seen]
            assert order[:4] == [(1, 4), (2, 6), (1, 4), (2, 4)]

    run(scenario)


def test_the_gap_is_kept_whoever_asks() -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(gap_ms=30, timeout_s=5.0)) as at:
            masters = [await at.master() for _ in range(3)]
            for unit in at.units.values():
                unit.faults.delay_s = 0.01
            await asyncio.gather(
                *(master.exchange(1 + n % 2, read_pdu(0x34)) for n, master in enumerate(masters) for _ in (0,)),
            )
            await asyncio.gather(*(master.exchange(1, read_pdu(0x34)) for master in masters))
            times = [moment for moment, _, _ in at.seen]
            assert len(times) == 6
            # From the end of an answer (10 ms after its request) to the next request: at least the gap.
            assert all(later - earlier >= 0.040 - 0.002 for earlier, later in pairwise(times))

    run(scenario)


def test_a_silent_unit_is_left_alone_and_its_neighbours_are_served() -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(timeout_s=5.0, unit_timeout_s={1: 0.2})) as at:
            dead, well = await at.master(), await at.master()
            at.units[1].faults.silent = True
            assert await dead.exchange(1, read_pdu(0x34)) == refused(4, NO_ANSWER)
            asked = at.units[1].requests
            for _ in range(20):
                assert await dead.exchange(1, read_pdu(0x34)) == refused(4, NO_ANSWER)
                assert (await well.exchange(2, read_pdu(0x34)))[0] == 4
            assert (
                at.units[1].requests <= asked + 5
            )  # as often as its pauses double within this test; what is not sent keeps nobody waiting
            at.units[1].faults.silent = False
            await until_said(dead, 1, 4)

    run(scenario)


def test_the_pause_of_a_dead_unit_grows() -> None:
    async def scenario() -> None:
        async with bench(1, settings=FrontSettings(timeout_s=0.02)) as at:
            master = await at.master()
            at.units[1].faults.silent = True
            while len(at.seen) < 3:
                assert await master.exchange(1, read_pdu(0x34)) == refused(4, NO_ANSWER)
                await asyncio.sleep(0.01)
            first, second, third = (moment for moment, _, _ in at.seen)
            assert second - first >= FIRST_BACKOFF_S
            assert third - second >= 2 * FIRST_BACKOFF_S

    run(scenario)


def test_a_late_answer_is_nobodys() -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(timeout_s=1.5)) as at:
            master = await at.master()
            at.units[1].faults.delay_s = 1.7
            at.units[2].put({"power_w": 5.0})
            assert await master.exchange(1, read_pdu(0x34), 1) == refused(4, NO_ANSWER)
            at.units[2].faults.delay_s = 0.5  # the answer of the first comes while this one is open
            assert (await master.exchange(2, read_pdu(0x34), 2))[2:] == struct.pack(">f", 5.0)
            at.units[2].faults.delay_s = 0.0
            assert (await master.exchange(2, read_pdu(0x34), 3))[2:] == struct.pack(">f", 5.0)
            assert at.gateway.connections == 1

    run(scenario)


def test_without_a_gateway_there_is_no_path_and_a_gateway_that_is_back_is_found() -> None:
    async def scenario() -> None:
        async with bench(1, 2) as at:
            master = await at.master()
            await master.exchange(1, read_pdu(0x34))
            await at.gateway.stop()
            await until_said(master, 2, 0x84, NO_PATH)
            assert await master.exchange(1, read_pdu(0x34)) == refused(4, NO_PATH)
            await at.gateway.start()
            for unit in (1, 2):
                await until_said(master, unit, 4)
            assert at.gateway.connections == 1

    run(scenario)


def test_a_unit_that_makes_the_gateway_hang_up_does_not_take_its_neighbours_with_it() -> None:
    async def scenario() -> None:
        async with bench(1, 2) as at:
            master = await at.master()
            assert (await master.exchange(2, read_pdu(0x34)))[0] == 4
            at.units[1].faults.hang_up = True
            assert await master.exchange(1, read_pdu(0x34)) == refused(4, NO_PATH)
            assert (await master.exchange(2, read_pdu(0x34)))[0] == 4
            assert await master.exchange(1, read_pdu(0x34)) == refused(4, NO_ANSWER)  # left alone

    run(scenario)


HOSTILE = [
    bytes.fromhex("0001 0007 0006 01 04 0034 0002"),  # protocol id
    bytes.fromhex("0001 0000 ffff 01 04 0034 0002"),  # longer than any frame
    bytes.fromhex("0001 0000 0001 01"),  # no function code
    b"GET / HTTP/1.1\r\nHost: line\r\n\r\n",
    bytes(300),
]


@pytest.mark.parametrize("sent", HOSTILE)
def test_a_master_that_speaks_no_modbus_is_hung_up_on_alone(sent: bytes) -> None:
    async def scenario() -> None:
        async with bench(1) as at:
            well, hostile = await at.master(), await at.master()
            hostile.writer.write(sent)
            assert await hostile.hung_up_on()
            assert (await well.exchange(1, read_pdu(0x34)))[0] == 4
            assert len(at.seen) == 1

    run(scenario)


def test_what_a_master_sends_in_pieces_or_with_a_strange_function_is_answered() -> None:
    async def scenario() -> None:
        async with bench(1) as at:
            master = await at.master()
            for byte in bytes.fromhex("0005 0000 0006 01 04 0034 0002"):
                master.writer.write(bytes((byte,)))
                await master.writer.drain()
                await asyncio.sleep(0)
            tid, _, answer = await master.hear()
            assert (tid, answer[0]) == (5, 4)
            assert await master.exchange(1, b"\x84\x02") == refused(4, 1)
            assert await master.exchange(1, b"\x00") == refused(0, 1)
            assert await master.exchange(1, b"\x2b\x0e\x01\x00") == refused(0x2B, 1)  # the unit's own refusal
            assert len(at.seen) == 2

    run(scenario)


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 300,
        b"SSH-2.0-OpenSSH\r\n",
        bytes.fromhex("0001 0000 0003 01 84"),  # half a frame
        bytes.fromhex("0001 0000 0007 09 04 04 00000000"),  # another unit
        bytes.fromhex("0001 0000 0007 01 03 04 00000000"),  # another function
        bytes.fromhex("0777 0000 0007 01 04 04 00000000"),  # another transaction
        bytes.fromhex("0001 0000 0004 01 84 0102"),  # an exception that is too long
    ],
)
def test_nonsense_from_a_gateway_is_no_answer_and_never_somebody_elses(said: bytes) -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(timeout_s=5.0, unit_timeout_s={1: 0.2})) as at:
            master = await at.master()
            at.units[1].faults.garbage = said
            at.units[2].put({"power_w": 5.0})
            assert await master.exchange(1, read_pdu(0x34)) == refused(4, NO_ANSWER)
            for _ in range(3):
                assert (await master.exchange(2, read_pdu(0x34)))[2:] == struct.pack(">f", 5.0)

    run(scenario)


def test_random_bytes_of_either_side_never_end_it() -> None:
    async def scenario() -> None:
        chance = random.Random(5)
        async with bench(1, 2, settings=FrontSettings(timeout_s=5.0, unit_timeout_s={1: 0.05})) as at:
            at.units[2].put({"power_w": 5.0})
            well = await at.master()
            for _ in range(60):
                hostile = await at.master()
                hostile.writer.write(chance.randbytes(chance.randrange(1, 400)))
                at.units[1].faults.garbage = chance.randbytes(chance.randrange(1, 400))
                well.ask(1, 1, read_pdu(0x34))
                well.ask(2, 2, read_pdu(0x34))
                answers = dict([(await well.hear())[::2], (await well.hear())[::2]])
                assert answers[1] == refused(4, NO_ANSWER)
                assert answers[2][2:] == struct.pack(">f", 5.0)
                await hostile.close()

    run(scenario)


def test_a_full_queue_says_busy_and_what_waited_too_long_is_not_sent() -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(queue=4, timeout_s=5.0, unit_timeout_s={2: 0.05})) as at:
            master = await at.master()
            at.units[1].faults.delay_s = 0.6
            for tid in range(8):
                master.ask(tid, 1, read_pdu(0x34))
            await until(lambda: at.seen)
            master.ask(100, 2, write_pdu(0x0C, 1))
            said = dict([(await master.hear())[::2] for _ in range(9)])
            assert sum(answer == refused(4, BUSY) for answer in said.values()) >= 3
            assert said[100] == refused(6, BUSY)  # its turn came after its master may have given up
            assert at.units[2].requests == 0

    run(scenario)


def test_what_a_master_asked_for_that_hung_up_is_not_sent() -> None:
    async def scenario() -> None:
        async with bench(1, 2) as at:
            one, two = await at.master(), await at.master()
            at.units[1].faults.delay_s = 0.6
            one.ask(1, 1, read_pdu(0x34))
            await until(lambda: at.seen)
            two.ask(1, 2, write_pdu(0x0C, 1))
            await two.writer.drain()
            await asyncio.sleep(0.02)
            await two.close()
            await one.hear()
            await one.exchange(1, read_pdu(0x34))
            assert at.units[2].requests == 0

    run(scenario)


def test_a_driver_takes_its_refusals_as_typed_errors_with_cause_and_remedy_and_backs_off() -> None:
    async def scenario() -> None:
        async with bench(1, 2, settings=FrontSettings(timeout_s=5.0, unit_timeout_s={1: 0.1})) as at:
            line = Line("127.0.0.1", at.front.port, 1.0)
            for unit in (1, 2):
                line.add(unit, LineDefaults())
            at.units[1].faults.silent = True
            with pytest.raises(RefusedError, match=r"the gateway got no answer from it\. Check the unit's power") as no:
                await line.read(Request(1, "input", 0x34, 2))
            assert no.value.code == NO_ANSWER
            with pytest.raises(BackingOffError):
                await line.read(Request(1, "input", 0x34, 2))
            await line.read(Request(2, "input", 0x34, 2))
            await at.gateway.stop()
            with pytest.raises(RefusedError, match=r"the gateway has no path to it\. Check that what is behind it"):
                await line.read(Request(2, "input", 0x34, 2))
            await at.gateway.start()
            at.units[1].faults.silent = False
            for unit in (1, 2):  # back-off on both ends: the driver's retry is not wasted on the front's
                await asyncio.sleep(line.backing_off_s(unit))
                while True:
                    try:
                        await line.read(Request(unit, "input", 0x34, 2))
                        break
                    except (RefusedError, BackingOffError):
                        await asyncio.sleep(line.backing_off_s(unit))
            await at.front.stop()
            with pytest.raises(ConnectError):
                await line.read(Request(2, "input", 0x34, 2))
            line.close()

    run(scenario)


def test_a_port_that_is_taken_is_said_at_start() -> None:
    async def scenario() -> None:
        async with bench(1) as at:
            with pytest.raises(OSError, match=str(at.front.port)):
                await Front(("127.0.0.1", 1), port=at.front.port).start()

    run(scenario)
