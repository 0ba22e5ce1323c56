"""A device as its agent sees it: canonical names and values, whatever speaks on the wire."""

import asyncio
from pathlib import Path

import msgspec

from agents.drivers import sunspec
from agents.drivers.errors import (
    DriverError,
    MapChangedError,
    ReadOnlyError,
    RefusedError,
    UnknownPointError,
    WriteNotConfirmedError,
)
from agents.drivers.line import Clock, Line
from agents.drivers.plan import Plan
from bus import metrics, tracing
from contracts import device_file
from contracts.device_form import DeviceFile, Point, Range, Value
from contracts.registers import Codec, as_written, write_target
from contracts.sunspec_models import Placed, resolve

_ILLEGAL_ADDRESS = 2
_RECHECK_S = 0.05
"""Wall time between two looks at a point that its document allows to settle."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A value and when it was measured.

    value  None: the device does not have it, or says something impossible (see `Health.bad_points`)
    at     run clock, unix seconds
    age    run seconds since then, when this reading was handed out
    """

    value: Value | None
    at: float
    age: float


class Health(msgspec.Struct, kw_only=True):
    """How a device is doing.

    ok_at       run clock of the last complete answer; None before the first
    failures    failed requests since then
    last_error  why the last one failed, with cause and remedy
    retry_in_s  wall seconds until a device that backs off is tried again
    bad_points  point -> why its value in the last read is impossible
    """

    ok_at: float | None = None
    failures: int = 0
    last_error: str = ""
    retry_in_s: float = 0.0
    bad_points: dict[str, str] = {}

    @property
    def ok(self) -> bool:
        """Whether the last request went well."""
        return self.ok_at is not None and not self.failures


class Device:
    """One unit on a line. All values by canonical point name, in SI base units, + = taken from the grid."""

    def __init__(self, file: DeviceFile, line: Line, unit: int, clock: Clock) -> None:
        self.file, self.unit = file, unit
        self.points: dict[str, Point] = dict(file.points)
        self.chain: tuple[Placed, ...] = ()
        self._line, self._clock = line, clock
        self._spans: tuple[Range, ...] = file.ranges
        self._plans: dict[tuple[str, ...] | None, Plan] = {}
        self._last: dict[str, tuple[Value | None, float]] = {}
        self._scanned = file.sunspec is None
        self._health = Health()
        metrics.observe(metrics.AGE, self._age)

    @classmethod
    async def open(
        cls,
        file: DeviceFile | str | Path,
        host: str,
        port: int | None = None,
        unit: int | None = None,
        *,
        clock: Clock,
        timeout_s: float | None = None,
    ) -> "Device":
        """Takes the unit on its line; port, unit and timeout (wall time) default to the product's. Nothing is sent yet.

        raises  DeviceFileError; LineTakenError when the unit has an owner in this process
        """
        if not isinstance(file, DeviceFile):
            file = device_file.load(file)
        unit = file.line.unit if unit is None else unit
        line = Line.shared(host, file.line.port if port is None else port, file.line.timeout_s)
        line.add(unit, file.line, timeout_s)
        return cls(file, line, unit, clock)

    async def close(self) -> None:
        """Gives the unit back; the line closes with its last unit."""
        self._line.drop(self.unit)

    @property
    def where(self) -> str:
        """host:port and unit, as errors name it."""
        return self._line.wire.where(self.unit)

    @property
    def health(self) -> Health:
        """How it is doing now."""
        return msgspec.structs.replace(self._health, retry_in_s=self._line.backing_off_s(self.unit))

    def retry_now(self) -> None:
        """Ends the back-off: the next read asks the device."""
        self._line.retry_now(self.unit)

    def has(self, name: str) -> bool:
        """Whether the product has the point; for SunSpec devices before their first answer: whether it may have it."""
        if name in self.points:
            return True
        return not self._scanned and self.file.sunspec is not None and name in self.file.sunspec.points

    def last(self) -> dict[str, Reading]:
        """The last values that arrived, with their ages now. Asks nobody."""
        now = self._clock.now()
        return {name: Reading(value=value, at=at, age=now - at) for name, (value, at) in self._last.items()}

    async def read(self, names: tuple[str, ...] | list[str] | None = None) -> dict[str, Reading]:
        """Asks the device, in as few requests as its document allows; all points without `names`.

        Points without echo show nothing of their own, so they are left out of the answer.

        raises  DriverError; UnknownPointError for a name that the device does not have
        """
        values, at = await self._values(tuple(names) if names is not None else None)
        return {name: Reading(value=value, at=at, age=0.0) for name, value in values.items()}

    async def write(self, name: str, value: Value) -> None:
        """Writes and reads back: returns only when the device shows the value, or took it where there is no echo.

        raises  UnknownPointError, ReadOnlyError, contracts.registers.RangeError before anything is written;
                WriteNotConfirmedError when the device shows something else; DriverError
        """
        answers, plan = await self._fresh((name,), True) if self.file.sunspec else (None, None)
        point = self.points.get(name)
        if point is None:
            raise UnknownPointError(self.where, name, tuple(self.points))
        if point.access != "rw":
            raise ReadOnlyError(self.where, name)
        codec = Codec(point, self.file.line)
        exponent = plan.exponent(plan.items[0], answers) if plan is not None and answers is not None else 0
        words = codec.encode_write(value, exponent)
        target = write_target(point)
        single = point.function == "single" or (point.function == "auto" and len(words) == 1)
        try:
            await self._line.write(
                self.unit, "coil" if target.table == "coil" else "holding", target.address, words, single
            )
        except DriverError as error:
            self._failed(error)
            metrics.count(metrics.MODBUS_WRITES, device=self.where, outcome="failed")
            raise
        if not point.echo:
            metrics.count(metrics.MODBUS_WRITES, device=self.where, outcome="taken")
            return
        with tracing.span(f"read back {name}", {"gridparley.where": self.where}, root=False) as mark:
            try:
                mark.set({"gridparley.value": await self._confirm(name, value, point, exponent)})
            except DriverError as error:
                metrics.count(metrics.MODBUS_WRITES, device=self.where, outcome="failed")
                if isinstance(error, WriteNotConfirmedError):
                    self._count(error)
                mark.failed(str(error))
                raise
        metrics.count(metrics.MODBUS_WRITES, device=self.where, outcome="read_back")

    async def _confirm(self, name: str, value: Value, point: Point, exponent: int) -> Value:
        """What the device shows, once that is the value. Raises DriverError."""
        line = self.file.line
        step = max(Codec(point, line).step(exponent), Codec(as_written(point), line).step(exponent))
        loop = asyncio.get_running_loop()
        until = loop.time() + point.settle_ms / 1000
        while True:
            shown = (await self._values((name,), True))[0][name]
            if shown is not None and _shows(shown, value, step):
                return shown
            if loop.time() >= until:
                raise WriteNotConfirmedError(self.where, name, value, shown)
            await asyncio.sleep(_RECHECK_S)

    async def _values(
        self, names: tuple[str, ...] | None, for_write: bool = False
    ) -> tuple[dict[str, Value | None], float]:
        answers, plan = await self._fresh(names, for_write)
        bad: dict[str, str] = {}
        values = plan.decode(answers, bad)
        at = self._clock.now()
        health = self._health
        health.ok_at, health.failures, health.last_error, health.bad_points = at, 0, "", bad
        for name, value in values.items():
            self._last[name] = (value, at)
        return values, at

    async def _fresh(self, names: tuple[str, ...] | None, for_write: bool = False) -> tuple[list[bytes], Plan]:
        """The answers to a plan's requests, proven to come from the map that was scanned."""
        try:
            if not self._scanned:
                await self._scan()
            plan = self._plan(names)
            answers = [await self._line.read(request, for_write=for_write) for request in plan.requests]
            if not plan.unchanged(answers):
                raise MapChangedError(self.where, "a SunSpec model is no longer where it was")
        except RefusedError as error:
            known = self._health.ok_at is not None
            if error.code != _ILLEGAL_ADDRESS or not known:
                self._failed(error)
                raise
            changed = MapChangedError(self.where, f"{error.request} is refused, it was answered before")
            self._failed(changed)
            raise changed from error
        except UnknownPointError:
            raise
        except DriverError as error:
            self._failed(error)
            raise
        return answers, plan

    async def _scan(self) -> None:
        form = self.file.sunspec
        assert form is not None
        chain = await sunspec.scan(self._line, self.unit, form.base)
        sunspec.check(form, chain, self.where)
        self.chain, self.points, self._spans = chain, resolve(form, chain), sunspec.ranges(chain)
        self._plans.clear()
        self._scanned = True

    def _plan(self, names: tuple[str, ...] | None) -> Plan:
        plan = self._plans.get(names)
        if plan is None:
            for name in names or ():
                if name not in self.points:
                    raise UnknownPointError(self.where, name, tuple(self.points))
            wanted = self.points.values() if names is None else [self.points[name] for name in names]
            points = [point for point in wanted if point.echo]
            plan = self._plans[names] = Plan(self.unit, points, self.file.line, self._spans, self.chain)
        return plan

    def _age(self) -> list[tuple[float, dict[str, str]]]:
        at = self._health.ok_at
        return [] if at is None else [(self._clock.now() - at, {"device": self.where})]

    def _count(self, error: DriverError) -> None:
        metrics.count(metrics.MODBUS_ERRORS, device=self.where, error=type(error).__name__.removesuffix("Error"))

    def _failed(self, error: DriverError) -> None:
        self._count(error)
        self._health.failures += 1
        self._health.last_error = str(error)
        if isinstance(error, MapChangedError) and self.file.sunspec is not None:
            self._scanned = False  # the next read walks the chain again


def _shows(shown: Value | None, wanted: Value, step: float) -> bool:
    if shown is None or isinstance(shown, str) or isinstance(wanted, str):
        return shown == wanted
    return abs(shown - wanted) <= 0.501 * step + 1e-6 * abs(wanted)
