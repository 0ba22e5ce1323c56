"""The owner of one physical line for all agents of a site: Modbus TCP to many local masters, one connection upstream.

Raw frames are passed on: what they mean is the masters' business. Whatever cannot be passed on is answered with a
Modbus exception, so a master never waits longer than it would for a device. Times are wall time.

0x06 busy       the queue is full, or the request waited so long that its master may have given up: it was not sent
0x0A no path    there is no connection upstream; the next try is due when its back-off has ended
0x0B no answer  the unit did not answer, or answered nonsense, or is left alone since it did
"""

import asyncio
import logging
from collections import Counter, deque
from time import monotonic
from typing import cast

import msgspec

from agents.drivers.frames import Frames

WRITES = frozenset((5, 6, 15, 16, 22, 23))
"""Function codes that change something."""
BUSY, NO_PATH, NO_ANSWER = 0x06, 0x0A, 0x0B
_ILLEGAL_FUNCTION = 0x01
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 10.0
"""Below a driver's own longest: a unit that is back is asked at the driver's next try."""
MOST_SILENCES = 3
"""Unanswered requests in a row until the connection is made anew: the other end may be gone without having said so."""
_LATE_KEPT = 64
_CAUSES = {_ILLEGAL_FUNCTION: "illegal_function", BUSY: "busy", NO_PATH: "no_path", NO_ANSWER: "no_answer"}
log = logging.getLogger("gridparley.line")


class FrontSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a line is used.

    gap_ms          quiet time between an answer and the next request
    timeout_s       how long a unit may take to answer, and a request may wait before it is not sent any more. The sum
                    of both is to be less than a master's own timeout: so nothing is written whose master gave up
    unit_timeout_s  the same for units that differ
    queue           most requests that wait per unit, reads and writes each
    masters         most connections of masters
    """

    gap_ms: float = 0.0
    timeout_s: float = 0.45
    unit_timeout_s: dict[int, float] = {}
    queue: int = 32
    masters: int = 64


class _Request:
    __slots__ = ("due", "frame", "master")

    def __init__(self, frame: bytes, master: "_Master", due: float) -> None:
        self.frame, self.master, self.due = frame, master, due


class _Unit:
    """What the front knows of one unit, and what waits for it."""

    __slots__ = ("backoff_s", "not_before", "number", "reads", "timeout_s", "writes")

    def __init__(self, number: int, timeout_s: float) -> None:
        self.number, self.timeout_s = number, timeout_s
        self.backoff_s = self.not_before = 0.0
        self.reads: deque[_Request] = deque()
        self.writes: deque[_Request] = deque()


class _Master(asyncio.Protocol):
    """A connection of a local master."""

    def __init__(self, front: "Front") -> None:
        self.front, self._frames = front, Frames()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.front.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self.transport = None  # what it asked for is not sent any more
        self.front.left(self)

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.cut(data):
            self.front.take(frame, self)
        if self._frames.fault and self.transport is not None:
            log.warning("a master at %s is hung up on: %s", self.front.name, self._frames.fault)
            self.transport.abort()

    def pause_writing(self) -> None:
        """It does not read its answers: no more questions until it does."""
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def say(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)


class _Upstream(asyncio.Protocol):
    """The line's only connection."""

    def __init__(self, front: "Front") -> None:
        self._front = front
        self.frames = Frames()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._front.lost(self, str(exc) if exc else "closed by the other side")

    def data_received(self, data: bytes) -> None:
        for frame in self.frames.cut(data):
            self._front.answered(self, frame)
        if self.frames.fault:
            self._front.nonsense(self, self.frames.fault)


class Front:
    """One line, started and stopped once. `port` 0 takes a free one; `.port` says which after start.

    ``outcomes`` counts what became of requests. ``heard_at``: the last answer, else the start, of ``time.monotonic``.
    """

    def __init__(
        self,
        upstream: tuple[str, int],
        settings: FrontSettings | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.settings = settings or FrontSettings()
        self.upstream, self.host, self.port = upstream, host, port
        self._gap_s = self.settings.gap_ms / 1000
        self._units: dict[int, _Unit] = {}
        self._masters: set[_Master] = set()
        self._server: asyncio.Server | None = None
        self._writing: deque[_Unit] = deque()  # units with something to write, in turn
        self._reading: deque[_Unit] = deque()
        self._wire: _Upstream | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connect_backoff_s = self._connect_not_before = 0.0
        self._proven = False
        """It answered since it was connected."""
        self._open: _Request | None = None
        self._open_unit: _Unit | None = None
        self._tid = 0
        self._late: deque[bytes] = deque(maxlen=_LATE_KEPT)
        self._timeout: asyncio.TimerHandle | None = None
        self._gap: asyncio.TimerHandle | None = None
        self._quiet_since = 0.0
        self._silences = 0
        self.outcomes: Counter[str] = Counter()
        self.heard_at = monotonic()

    @property
    def name(self) -> str:
        """Of the line, in logs."""
        return f"{self.upstream[0]}:{self.upstream[1]}"

    async def start(self) -> None:
        """Listens; upstream is connected for the first request. Raises OSError when the port is taken."""
        self._loop = asyncio.get_running_loop()
        self._server = await self._loop.create_server(lambda: _Master(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes port and connections; nothing that waits is sent."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for handle in (self._timeout, self._gap):
            if handle is not None:
                handle.cancel()
        for master in list(self._masters):
            if master.transport is not None:
                master.transport.abort()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        wire, self._wire = self._wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.abort()
        await asyncio.sleep(0)  # aborted transports close their sockets in the loop's next turn

    # ---------------------------------------------------------------- masters

    def joined(self, master: _Master) -> None:
        """A master connected."""
        if self._server is None or len(self._masters) >= self.settings.masters:
            log.warning("%s: more than %d masters; one is hung up on", self.name, self.settings.masters)
            assert master.transport is not None
            master.transport.abort()
            return
        self._masters.add(master)

    def left(self, master: _Master) -> None:
        """A master is gone."""
        self._masters.discard(master)

    def take(self, frame: bytes, master: _Master) -> None:
        """A master's request."""
        function = frame[7]
        if not 0 < function < 0x80:
            _refuse(_Request(frame, master, 0.0), _ILLEGAL_FUNCTION)
            return
        number = frame[6]
        unit = self._units.get(number)
        if unit is None:
            timeout_s = self.settings.unit_timeout_s.get(number, self.settings.timeout_s)
            unit = self._units[number] = _Unit(number, timeout_s)
        request = _Request(frame, master, self._loop.time() + unit.timeout_s)
        queue, turns = (unit.writes, self._writing) if function in WRITES else (unit.reads, self._reading)
        if len(queue) >= self.settings.queue:
            _refuse(request, BUSY)
            return
        queue.append(request)
        if len(queue) == 1:
            turns.append(unit)
        if self._open is None:
            self._next()

    # ---------------------------------------------------------------- turns

    def _next(self) -> None:
        """Sends what is due, if anything is and the line is free."""
        while self._open is None and self._gap is None and self._connecting is None:
            writes = bool(self._writing)
            turns = self._writing if writes else self._reading
            if not turns:
                return
            unit = turns[0]
            queue = unit.writes if writes else unit.reads
            request, now = queue[0], self._loop.time()
            refusal = self._refusal(unit, request, now)
            if not refusal and request.master.transport is not None:
                if self._wire is None:
                    self._connecting = self._loop.create_task(self._connect(unit.timeout_s))
                    return
                pause = self._quiet_since + self._gap_s - now
                if pause > 0:  # who goes first is settled when it is over: a write may come meanwhile
                    self._gap = self._loop.call_later(pause, self._gap_over)
                    return
            turns.popleft()
            queue.popleft()
            if queue:
                turns.append(unit)
            if request.master.transport is None:
                continue
            if refusal:
                _refuse(request, refusal)
            else:
                self._send(unit, request)

    def _refusal(self, unit: _Unit, request: _Request, now: float) -> int:
        if now < unit.not_before:
            return NO_ANSWER
        if self._wire is None and now < self._connect_not_before:
            return NO_PATH
        return BUSY if now > request.due else 0

    def _gap_over(self) -> None:
        self._gap = None
        self._next()

    def _send(self, unit: _Unit, request: _Request) -> None:
        assert self._wire is not None
        self._tid = self._tid + 1 & 0xFFFF
        self._open, self._open_unit = request, unit
        self._timeout = self._loop.call_later(unit.timeout_s, self._silent)
        transport = self._wire.transport
        if transport is not None:
            transport.write(self._tid.to_bytes(2, "big") + request.frame[2:])

    def _close_request(self) -> tuple[_Request, _Unit]:
        """The open request is over, one way or the other."""
        request, unit = self._open, self._open_unit
        assert request is not None
        assert unit is not None
        self._open = self._open_unit = None
        if self._timeout is not None:
            self._timeout.cancel()
            self._timeout = None
        self._quiet_since = self._loop.time()
        return request, unit

    def _fail(self, code: int) -> None:
        """The open request has no answer; its unit is left alone for a while."""
        request, unit = self._close_request()
        if not unit.backoff_s:
            log.warning("%s unit %d is left alone after failing", self.name, unit.number)
        unit.backoff_s = min(max(2 * unit.backoff_s, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
        unit.not_before = self._quiet_since + unit.backoff_s
        _refuse(request, code)

    def _silent(self) -> None:
        self._timeout = None
        self._late.append(self._tid.to_bytes(2, "big"))
        self._silences += 1
        wire = self._wire
        self._fail(NO_ANSWER)
        if wire is not None and (wire.frames.rest or self._silences >= MOST_SILENCES):
            self._hang_up()  # half a frame would be taken for the beginning of the next one
        self._next()

    # ---------------------------------------------------------------- upstream

    async def _connect(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                _, wire = await self._loop.create_connection(lambda: _Upstream(self), *self.upstream)
        except OSError as problem:  # TimeoutError is one
            self._connecting = None
            self._unreachable(str(problem) or f"no answer to the connection request in {timeout_s:g} s")
        else:
            self._connecting = None
            self._silences, self._proven = 0, False
            self._late.clear()
            if wire.transport is not None:
                self._wire = wire
            else:
                self._unreachable("closed by the other side")
        self._next()

    def _unreachable(self, cause: str) -> None:
        if not self._connect_backoff_s:
            log.warning("%s has no connection: %s", self.name, cause)
        self._connect_backoff_s = min(max(2 * self._connect_backoff_s, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
        self._connect_not_before = self._loop.time() + self._connect_backoff_s

    def _hang_up(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None and wire.transport is not None:
            wire.transport.abort()

    def answered(self, wire: _Upstream, frame: bytes) -> None:
        """A whole frame from upstream."""
        if wire is not self._wire:
            return
        if self._open is None or frame[:2] != self._tid.to_bytes(2, "big"):
            if frame[:2] in self._late:
                self._late.remove(frame[:2])  # its master was told that there is none
            else:
                self.nonsense(wire, "an answer that nobody asked for")
            return
        asked = self._open.frame
        if frame[6] != asked[6] or frame[7] & 0x7F != asked[7] or (frame[7] & 0x80 and len(frame) != 9):
            self.nonsense(wire, f"unit {frame[6]} function {frame[7]} answers unit {asked[6]} function {asked[7]}")
            return
        request, unit = self._close_request()
        if unit.backoff_s:
            log.info("%s unit %d answers again", self.name, unit.number)
        unit.backoff_s = self._connect_backoff_s = 0.0
        self._silences, self._proven = 0, True
        self.heard_at = monotonic()
        self.outcomes["exception" if frame[7] & 0x80 else "answered"] += 1
        request.master.say(request.frame[:2] + frame[2:])
        self._next()

    def nonsense(self, wire: _Upstream, fault: str) -> None:
        """What came is no answer: a new connection is the only sure way back into step."""
        if wire is not self._wire:
            return
        log.warning("%s says nonsense and is connected anew: %s", self.name, fault)
        self._hang_up()
        if self._open is not None:
            self._fail(NO_ANSWER)
        self._next()

    def lost(self, wire: _Upstream, cause: str) -> None:
        """The connection is gone."""
        if wire is not self._wire:
            return
        self._wire = None
        if self._open is not None:
            if not self._proven:  # else it may be this unit alone that makes the gateway hang up
                self._unreachable(cause)
            self._fail(NO_PATH)
        self._next()


def _refuse(request: _Request, code: int) -> None:
    """Answers with a Modbus exception."""
    frame = request.frame
    request.master.front.outcomes[_CAUSES[code]] += 1
    request.master.say(frame[:4] + bytes((0, 3, frame[6], frame[7] | 0x80, code)))
