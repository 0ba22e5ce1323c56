"""One owner per physical line: who may speak when.

Gaps, timeouts and back-off are wall time, because the wire is real even when the run's clock is fast.
"""

import asyncio
from collections import deque
from typing import ClassVar, Protocol

from agents.drivers.errors import (
    BackingOffError,
    BadAnswerError,
    ClosedError,
    ConnectError,
    DriverError,
    LineTakenError,
    NoAnswerError,
    RefusedError,
)
from agents.drivers.modbus import ModbusWire, Request
from contracts.device_form import LineDefaults, Table

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 15.0
MOST_SILENCES = 3
"""Unanswered requests in a row until the connection is made anew: the other end may be gone without having said so."""
_GATEWAY_CODES = (10, 11)  # the gateway says for the unit what a direct line would say by silence


class Clock(Protocol):
    """The run's clock."""

    def now(self) -> float:
        """Unix seconds of the run."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after so many seconds of the run."""
        ...


class UnitState:
    """What the line knows of one unit, and who waits to speak to it."""

    __slots__ = ("backoff_s", "gap_s", "last", "not_before", "reads", "timeout_s", "writes")

    def __init__(self, gap_s: float, timeout_s: float) -> None:
        self.gap_s, self.timeout_s = gap_s, timeout_s
        self.backoff_s = 0.0
        self.not_before = 0.0
        self.last = ""
        self.writes: deque[asyncio.Future[None]] = deque()
        self.reads: deque[asyncio.Future[None]] = deque()


class Line:
    """The only way to a physical line (host, port). Requests take turns: writes first, then units in rotation."""

    _owned: ClassVar[dict[tuple[str, int], "Line"]] = {}

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self.host, self.port = host, port
        self.wire = ModbusWire(host, port, timeout_s)
        self.units: dict[int, UnitState] = {}
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._closed = False
        self._quiet_since = 0.0
        self._silences = 0
        self._connect_backoff_s = 0.0
        self._connect_not_before = 0.0
        self._connect_last = ""

    @classmethod
    def open(cls, host: str, port: int, timeout_s: float = 1.0) -> "Line":
        """Becomes the owner. Raises LineTakenError while another one in this process is open."""
        known = cls._owned.get((host, port))
        if known is not None and not known._loop.is_closed():
            raise LineTakenError(f"{host}:{port}", "the line")
        line = cls._owned[host, port] = cls(host, port, timeout_s)
        return line

    @classmethod
    def shared(cls, host: str, port: int, timeout_s: float = 1.0) -> "Line":
        """The line's owner in this process, opened when there is none. Closed with its last unit."""
        known = cls._owned.get((host, port))
        return known if known is not None and not known._loop.is_closed() else cls.open(host, port, timeout_s)

    def add(self, unit: int, defaults: LineDefaults, timeout_s: float | None = None) -> None:
        """Takes a unit. Raises LineTakenError when somebody has it."""
        if unit in self.units:
            raise LineTakenError(self.wire.where(unit), "the unit")
        self.units[unit] = UnitState(defaults.gap_ms / 1000, defaults.timeout_s if timeout_s is None else timeout_s)

    def drop(self, unit: int) -> None:
        """Gives a unit back; the line closes with the last one."""
        state = self.units.pop(unit, None)
        for waiter in [*state.writes, *state.reads] if state else ():
            if not waiter.done():
                waiter.set_exception(ClosedError(self.wire.where(unit)))
        if not self.units:
            self.close()

    def close(self) -> None:
        """Gives the line back; whoever waits gets ClosedError."""
        self._closed = True
        self.wire.close()
        if Line._owned.get((self.host, self.port)) is self:
            del Line._owned[self.host, self.port]
        for unit in list(self.units):
            self.drop(unit)

    def backing_off_s(self, unit: int) -> float:
        """Wall seconds until the unit is tried again; 0 when it is not backing off."""
        state = self.units.get(unit)
        return max(0.0, state.not_before - self._loop.time()) if state else 0.0

    def retry_now(self, unit: int) -> None:
        """Ends the back-off of a unit and of the connection: the next request goes out."""
        self._connect_not_before = 0.0
        if unit in self.units:
            self.units[unit].not_before = 0.0

    async def read(self, request: Request, *, for_write: bool = False) -> bytes:
        """Sends a prepared read in its turn; reads that belong to a write have a write's turn. Raises DriverError."""
        state = self._ready(request.unit)
        await self._turn(state.writes if for_write else state.reads)
        try:
            await self._before(state, request.unit)
            answer = await self.wire.read(request)
        except DriverError as error:
            self._failed(state, error)
            if self._closed:
                raise ClosedError(self.wire.where()) from error
            raise
        else:
            state.backoff_s, self._silences = 0.0, 0
            return answer
        finally:
            self._release()

    async def write(self, unit: int, table: Table, address: int, words: tuple[int, ...], single: bool) -> None:
        """Writes in its turn, before all reads that wait. Raises DriverError."""
        state = self._ready(unit)
        await self._turn(state.writes)
        try:
            await self._before(state, unit)
            await self.wire.write(unit, table, address, words, single)
        except DriverError as error:
            self._failed(state, error)
            if self._closed:
                raise ClosedError(self.wire.where()) from error
            raise
        else:
            state.backoff_s, self._silences = 0.0, 0
        finally:
            self._release()

    def _ready(self, unit: int) -> UnitState:
        state = self.units.get(unit)
        if self._closed or state is None:
            raise ClosedError(self.wire.where(unit))
        return state

    async def _turn(self, queue: deque[asyncio.Future[None]]) -> None:
        if not self._busy:
            self._busy = True
            return
        waiter: asyncio.Future[None] = self._loop.create_future()
        queue.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release()  # the turn had come: somebody else gets it
            elif waiter in queue:
                queue.remove(waiter)
            raise

    def _release(self) -> None:
        self._quiet_since = self._loop.time()
        for writes in (True, False):
            for unit, state in self.units.items():
                queue = state.writes if writes else state.reads
                while queue:
                    waiter = queue.popleft()
                    if not waiter.done():
                        # To the end of the rotation: the next turn starts with the units after this one.
                        self.units[unit] = self.units.pop(unit)
                        waiter.set_result(None)
                        return
        self._busy = False

    async def _before(self, state: UnitState, unit: int) -> None:
        """Back-off is checked when the turn has come: the unit may have died while this request waited."""
        now = self._loop.time()
        if now < state.not_before:
            raise BackingOffError(self.wire.where(unit), state.not_before - now, state.last)
        self.wire.timeout_s = state.timeout_s
        if not self.wire.connected:
            if now < self._connect_not_before:
                raise ConnectError(self.wire.where(), self._connect_last, self._connect_not_before - now)
            await self._connect()
        pause = self._quiet_since + state.gap_s - self._loop.time()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _connect(self) -> None:
        try:
            await self.wire.connect()
        except ConnectError as error:
            self._connect_backoff_s = min(max(2 * self._connect_backoff_s, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            self._connect_not_before = self._loop.time() + self._connect_backoff_s
            self._connect_last = error.reason
            raise
        self._connect_backoff_s = 0.0

    def _failed(self, state: UnitState, error: DriverError) -> None:
        if isinstance(error, NoAnswerError):
            self._silences += 1
            if self._silences >= MOST_SILENCES:
                self._silences = 0
                self.wire.close()
        elif isinstance(error, RefusedError | BadAnswerError):
            self._silences = 0
        silent = isinstance(error, NoAnswerError | BadAnswerError)
        silent = silent or (isinstance(error, RefusedError) and error.code in _GATEWAY_CODES)
        if silent:
            state.backoff_s = min(max(2 * state.backoff_s, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            state.not_before = self._loop.time() + state.backoff_s
            state.last = error.cause
