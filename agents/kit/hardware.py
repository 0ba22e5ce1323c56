"""What all device agents share: settings, the envelope that holds, and one product's registers behind it.

A class of device is a `Terminals`: it turns registers into a reading and an envelope into register values, and is pure.
`Hardware` is the only one that asks and writes; what it wrote it has read back.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from agents.drivers.device import Device
from agents.drivers.errors import (
    BackingOffError,
    ConnectError,
    DriverError,
    NoAnswerError,
    RefusedError,
    WriteNotConfirmedError,
)
from agents.kit.agent import Resources, Settings
from bus import tracing
from bus.address import Address
from bus.clock import Clock
from contracts import device_file
from contracts.device import Announce, DeviceReading
from contracts.device_form import DeviceFile, Value
from contracts.reasons import Reason
from contracts.registers import RangeError

NOMINAL_V = 230.0
"""Phase to neutral. IEC 60038."""
RUNNING_W = 50.0
"""More than this is a device at work, less is its electronics."""

Values = Mapping[str, Value | None]
"""Canonical point -> value; None where the product has or says nothing."""


class HardwareSettings(Settings, frozen=True, kw_only=True):
    """Where the product is and what holds at this place.

    Each agent process holds a connection of its own to the site's Modbus gateway. Where a gateway takes one client
    only, the site's device agents have to run in one process: there they share the line and its one owner.

    port, unit         None: as the product is delivered
    device             name of its file in ``devices/``
    rating_w           most that it can draw or feed; None: as the product says itself
    phases             the grid's phases that it is wired to
    safe_*_w           the envelope that it takes by itself when an order's hold runs out; None: no bound
    essential          stays on in an emergency by the agreed profile
    steerable          falls under direct control by law (BK6-22-300)
    fault_after        failed readings in a row that make a fault
    """

    host: str = "127.0.0.1"
    port: int | None = None
    unit: int | None = None
    device: str = ""
    rating_w: float | None = None
    phases: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    reading_every_s: float = 5.0
    minimum_on_s: float = 0.0
    minimum_off_s: float = 0.0
    safe_lower_w: float | None = None
    safe_upper_w: float | None = None
    essential: bool = False
    steerable: bool = True
    fault_after: int = 2


class Impossible(Exception):
    """The product cannot do this; the reason says why and what can be done."""

    def __init__(self, code: str, text: str, **inputs: float) -> None:
        super().__init__(text)
        self.reason = Reason(code=code, text=text, binding="product", inputs=inputs)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds at the device's terminals, and the value inside them that is asked for; all None: its own mode.

    urgent  safety: also what would otherwise not be interrupted
    """

    lower_w: float | None = None
    upper_w: float | None = None
    setpoint_w: float | None = None
    standby: bool = False
    urgent: bool = False

    def within(self, other: "Envelope") -> "Envelope":
        """The tightest of both; ``other``'s setpoint gives way."""
        return Envelope(
            lower_w=_tightest(max, self.lower_w, other.lower_w),
            upper_w=_tightest(min, self.upper_w, other.upper_w),
            setpoint_w=self.setpoint_w if self.setpoint_w is not None else other.setpoint_w,
            standby=self.standby or other.standby,
            urgent=self.urgent or other.urgent,
        )

    def clip(self, value_w: float) -> float:
        """The value inside the bounds that is nearest; the upper bound wins where they cross."""
        if self.lower_w is not None:
            value_w = max(value_w, self.lower_w)
        return value_w if self.upper_w is None else min(value_w, self.upper_w)


def _tightest(pick: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return pick(a, b)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write, in this order, and what then really holds.

    renew_every_s  run seconds after which the product wants to be told again; None: it holds what it has
    once           what is written only starts something: the product's own course may change it afterwards
    """

    writes: dict[str, Value]
    lower_w: float | None = None
    upper_w: float | None = None
    setpoint_w: float | None = None
    renew_every_s: float | None = None
    once: bool = False


class Terminals(ABC):
    """One class of device, over the registers of any product of that class. Pure.

    wanted     points that a reading is made of, as far as the product has them
    control    points that orders are written to
    generates  it runs when its power is negative
    """

    generates: bool = False
    classes: tuple[str, ...]
    wanted: tuple[str, ...]
    control: tuple[str, ...]

    def __init__(self, settings: Any, file: DeviceFile) -> None:
        self.settings, self.file = settings, file

    @abstractmethod
    def capabilities(self, values: Values) -> Announce:
        """What it tells its CEM. Raises Impossible while the product has not said its rating and no setting does."""

    @abstractmethod
    def reading(self, values: Values, at: float) -> DeviceReading:
        """Raises Impossible when the registers do not make one."""

    @abstractmethod
    def plan(self, envelope: Envelope, values: Values) -> Plan:
        """Raises Impossible."""

    def rating_w(self, values: Values) -> float:
        """The setting, else what the product says. Raises Impossible."""
        known = self.settings.rating_w or number(values, "rating_w") or self.file.rating.get("power_w")
        if not known:
            text = f"{self.file.device} does not say its rating: set rating_w for this agent"
            raise Impossible("no_rating", text)
        return float(known)


def number(values: Values, name: str) -> float | None:
    value = values.get(name)
    return None if value is None or isinstance(value, str) else float(value)


def needed(values: Values, name: str) -> float:
    """A value without which there is no reading. Raises Impossible."""
    value = number(values, name)
    if value is None:
        raise Impossible("no_value", f"the product says no {name}: compare its device file with its registers")
    return value


def by_phase(values: Values, total_w: float, phases: tuple[int, ...]) -> tuple[float, float, float]:
    """Per phase as measured; by the phase currents where only those are; evenly over the wired phases else."""
    measured = [number(values, f"power_l{n}_w") for n in (1, 2, 3)]
    if any(value is not None for value in measured):
        one, two, three = (value or 0.0 for value in measured)
        return one, two, three
    currents = [abs(number(values, f"current_l{n}_a") or 0.0) for n in (1, 2, 3)]
    if sum(currents) > 0:
        one, two, three = (total_w * current / sum(currents) for current in currents)
        return one, two, three
    one, two, three = (total_w / len(phases) if n in phases else 0.0 for n in (1, 2, 3))
    return one, two, three


@dataclass
class Hardware:
    """One product on its line; this process is its only master. ``submeter`` measures what the product does not."""

    device: Device
    terminals: Terminals
    submeter: Device | None = None
    at: float = 0.0
    """Run clock of the last complete look."""
    writing: int = 0
    """Counts up before and after each write: who compares a look with an order sees whether one came between."""

    def __post_init__(self) -> None:
        self._names: tuple[str, ...] | None = None

    async def look(self) -> Values:
        """All that a reading and the orders in force are made of, fresh. Raises DriverError."""
        try:
            if self._names is None:
                # Which points a SunSpec product has shows with its first answer.
                await self.device.read()
                known = (*self.terminals.wanted, *self.terminals.control)
                self._names = tuple(name for name in known if self.device.has(name))
            answers = await self.device.read(self._names)
        except DriverError:
            self._names = None
            raise
        values = {name: answer.value for name, answer in answers.items()}
        self.at = next(iter(answers.values())).at
        if self.submeter is not None:
            values |= await self._measured(self.submeter)
        return values

    async def _measured(self, meter: Device) -> dict[str, Value | None]:
        names = ("power_w", "power_l1_w", "power_l2_w", "power_l3_w", "import_wh")
        answers = await meter.read([name for name in names if meter.has(name)])
        return {"energy_wh" if name == "import_wh" else name: answer.value for name, answer in answers.items()}

    async def put(self, plan: Plan, values: Values, *, renew: bool = False) -> dict[str, float]:
        """Write what differs (``renew``: all) and return what the registers show.

        ``values`` is a fresh look. A product's memory is spared, and what is held already is not written again.
        Raises DriverError, RangeError; whatever was written before that stays written.
        """
        self.writing += 1
        try:
            for name, value in plan.writes.items():
                if renew or values.get(name) != value:
                    await self._write(name, value)
        finally:
            self.writing += 1
        shown = self.device.last()
        return {
            name: float(reading.value)
            for name in plan.writes
            if (reading := shown.get(name)) is not None
            and reading.value is not None
            and not isinstance(reading.value, str)
        }

    async def _write(self, name: str, value: Value) -> None:
        attributes: tracing.Attributes = {"gridparley.value": value, "gridparley.where": self.device.where}
        with tracing.span(f"write {name}", attributes, root=False) as mark:
            try:
                await self.device.write(name, value)
            except (DriverError, RangeError) as problem:
                mark.failed(why(problem))
                raise


def why(problem: Exception) -> Reason:
    """The reason that a failed look or write gives to others."""
    match problem:
        case Impossible():
            return problem.reason
        case WriteNotConfirmedError():
            code = "not_read_back"
        case ConnectError() | NoAnswerError() | BackingOffError():
            code = "hardware_silent"
        case RefusedError():
            code = "hardware_refuses"
        case RangeError():
            code = "out_of_range"
        case _:
            code = "hardware_garbled"
    return Reason(code=code, text=str(problem), binding="hardware")


def hardware(kind: type[Terminals]) -> Resources:
    """The resources of a device agent: its product's file, its line, and ``kind`` over them."""

    @asynccontextmanager
    async def opened(
        settings: HardwareSettings, _address: Address, clock: Clock
    ) -> AsyncIterator[Mapping[type, object]]:
        file = device_file.load(settings.device)
        if file.class_ not in kind.classes:
            raise device_file.DeviceFileError(
                settings.device, "class", 0, f"is a {file.class_}; this agent is for {' or '.join(kind.classes)}"
            )
        device = await Device.open(file, settings.host, settings.port, settings.unit, clock=clock)
        terminals = kind(settings, file)
        try:
            async with _submeter(settings, clock) as submeter:
                yield {Hardware: Hardware(device, terminals, submeter), kind: terminals}
        finally:
            await device.close()

    return opened


@asynccontextmanager
async def _submeter(settings: HardwareSettings, clock: Clock) -> AsyncIterator[Device | None]:
    name = getattr(settings, "submeter", None)
    if name is None:
        yield None
        return
    unit = getattr(settings, "submeter_unit", None)
    meter = await Device.open(name, settings.host, settings.port, unit, clock=clock)
    try:
        yield meter
    finally:
        await meter.close()
