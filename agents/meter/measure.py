"""Read the meter's device and give each fresh sample to the skills that say something of it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import copysign

import anyio
import msgspec

from agents.drivers.device import Device
from agents.drivers.errors import DriverError
from agents.kit.skill import every, restores, skill, started
from agents.meter.counter import Counter, step
from agents.meter.settings import MeterSettings
from bus.address import Address
from bus.clock import Clock
from bus.store import State
from contracts import device_file
from contracts.device_form import Value
from contracts.metering import Quality
from contracts.units import Phases

log = logging.getLogger("gridparley.meter")
NOMINAL_V = 230.0
NOMINAL_HZ = 50.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The connection point at one instant of the run clock; units by suffix, + = taken from the grid."""

    at: float
    quality: Quality
    power_w: float
    power_by_phase_w: Phases
    current_by_phase_a: Phases
    voltage_by_phase_v: Phases
    frequency_hz: float
    reactive_power_var: float
    import_wh: float
    export_wh: float


class Unusable(Exception):
    """What the device says is no reading."""


class Counters(msgspec.Struct, frozen=True, kw_only=True):
    """Both energy registers as told; durable, so that they go on over an exchange of the device."""

    taken: Counter
    fed: Counter


@skill()
@dataclass
class Measure:
    """Each period one look at the device. A look that fails gives no sample, so nothing false is ever said."""

    settings: MeterSettings
    device: Device
    state: State
    latest: Sample | None = None
    failing: str = ""
    """Why the last look gave no sample; empty when it did."""
    counters: Counters | None = None
    listeners: list[Callable[[Sample], Awaitable[None]]] = field(default_factory=list)
    _names: tuple[str, ...] | None = None
    _one_look: anyio.Lock = field(default_factory=anyio.Lock)

    @restores
    async def take_up(self) -> None:
        self.counters = await self.state.get("counters", Counters)

    async def keep(self) -> None:
        """Store the registers as told. Raises NotStored."""
        await self.state.put("counters", self.counters)

    @started
    async def first(self) -> None:
        await self.look()

    @every("reading_every_s")
    async def look(self) -> Sample | None:
        """Read, and let everybody deal with it before the next look: registers are counted in order."""
        async with self._one_look:
            return await self._look()

    async def _look(self) -> Sample | None:
        try:
            sample = await self._sample()
        except (DriverError, Unusable) as problem:
            if not self.failing:
                log.warning("no reading: %s", problem)
            self.failing = str(problem)
            return None
        self.failing = ""
        self.latest = sample
        for listener in self.listeners:
            await listener(sample)
        return sample

    async def _sample(self) -> Sample:
        try:
            if self._names is None:
                await self.device.read()
                self._names = tuple(name for name in _WANTED if self.device.has(name))
            answers = await self.device.read(self._names)
        except DriverError:
            self._names = None
            raise
        at = next(iter(answers.values())).at
        return self._made({name: answer.value for name, answer in answers.items()}, at)

    def _made(self, values: Mapping[str, Value | None], at: float) -> Sample:
        power = _number(values, "power_w")
        taken, fed = _number(values, "import_wh"), _number(values, "export_wh")
        if power is None or taken is None or fed is None:
            raise Unusable(
                f"{self.device.where} says no power or no energy: compare its device file with its registers"
            )
        if abs(power) > self.settings.most_w:
            raise Unusable(f"{self.device.where} says {power:.0f} W, more than its connection can carry")
        jumped = self._count(taken, fed, at)
        assert self.counters is not None
        powers = _phases(values, "power_l{}_w")
        volts = _phases(values, "voltage_l{}_v")
        currents = _phases(values, "current_l{}_a")
        hertz = _number(values, "frequency_hz")
        whole = None not in (powers, volts, hertz)
        powers = powers or (power / 3, power / 3, power / 3)
        volts = volts or (NOMINAL_V, NOMINAL_V, NOMINAL_V)
        one, two, three = (
            copysign(abs(amps), watts)
            for amps, watts in zip(
                currents or [w / v if v else 0.0 for w, v in zip(powers, volts, strict=True)], powers, strict=True
            )
        )
        return Sample(
            at=at,
            quality="corrected" if jumped else "measured" if whole else "estimated",
            power_w=power,
            power_by_phase_w=powers,
            current_by_phase_a=(one, two, three),
            voltage_by_phase_v=volts,
            frequency_hz=NOMINAL_HZ if hertz is None else hertz,
            reactive_power_var=_number(values, "reactive_power_var") or 0.0,
            import_wh=self.counters.taken.said_wh,
            export_wh=self.counters.fed.said_wh,
        )

    def _count(self, taken: float, fed: float, at: float) -> bool:
        before, most = self.counters, self.settings.most_w
        one, jump = step(before.taken if before else None, taken, at, most)
        two, jump_too = step(before.fed if before else None, fed, at, most)
        self.counters = Counters(taken=one, fed=two)
        if jump or jump_too:
            log.warning("%s: an energy register jumped to %.0f / %.0f Wh", self.device.where, taken, fed)
        return jump or jump_too


_WANTED = (
    "power_w",
    *(f"{what}_l{n}_{unit}" for what, unit in (("power", "w"), ("voltage", "v"), ("current", "a")) for n in (1, 2, 3)),
    "reactive_power_var",
    "frequency_hz",
    "import_wh",
    "export_wh",
)


def _number(values: Mapping[str, Value | None], name: str) -> float | None:
    value = values.get(name)
    return None if value is None or isinstance(value, str) else float(value)


def _phases(values: Mapping[str, Value | None], form: str) -> Phases | None:
    """All three, or none: a meter at one phase shows the others as zero or not at all."""
    found = [_number(values, form.format(n)) for n in (1, 2, 3)]
    if all(value is None for value in found):
        return None
    one, two, three = (value or 0.0 for value in found)
    return one, two, three


@asynccontextmanager
async def meter_device(
    settings: MeterSettings, _address: Address, clock: Clock
) -> AsyncIterator[Mapping[type, object]]:
    """The meter's product on its line."""
    file = device_file.load(settings.device)
    if file.class_ != "meter":
        raise device_file.DeviceFileError(settings.device, "class", 0, f"is a {file.class_}; this agent is for meters")
    device = await Device.open(file, settings.host, settings.port, settings.unit, clock=clock)
    try:
        yield {Device: device}
    finally:
        await device.close()
