"""What all equipment has in common."""

import random
import zlib
from abc import ABC, abstractmethod

import msgspec

from contracts.device_form import Value
from world.control import Orders
from world.spec import DeviceSpec

NOMINAL_V = 230.0
Phased = tuple[float, float, float]
DARK: Phased = (0.0, 0.0, 0.0)
BALANCED: Phased = (1 / 3, 1 / 3, 1 / 3)
Readings = dict[str, Value | None]
"""None: the device has such a value but not now, like the state of charge without a car."""


class Moment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One step as a site sees it. ``voltage_v`` is that of the step before."""

    instant: float
    dt_s: float
    outdoor_c: float
    voltage_v: Phased
    alone: bool = False
    """The site is an island, or dark: separated from the grid."""
    generation_share: float = 1.0
    """What generators give of what they could: an island's inverter holds them back by its frequency."""

    @property
    def live(self) -> bool:
        return self.voltage_v[0] > 0.0


class Equipment(ABC):
    """What a site knows of each of its devices.

    shares      how the power spreads over the phases
    residual_w  what the site exchanges without this device, set before each step; a battery looks at it
    """

    spec: DeviceSpec
    orders: Orders
    shares: Phased = BALANCED
    power_w: float = 0.0
    reactive_power_var: float = 0.0
    residual_w: float = 0.0

    @abstractmethod
    def advance(self, moment: Moment) -> None:
        """One step."""

    @abstractmethod
    def readings(self, moment: Moment) -> Readings:
        """What the registers show now."""

    def defaults(self) -> Readings:
        """What writable registers hold when the device has just been switched on."""
        return {}

    @property
    def soc_percent(self) -> float | None:
        """State of charge; None without a battery, or without a car."""
        return None

    @abstractmethod
    def dump(self) -> object:
        """The state, for a world that is restarted."""

    @abstractmethod
    def load(self, state: object) -> None:
        """Go on from a ``dump`` that went through JSON."""


def draw(seed: int, name: str) -> random.Random:
    """The seed's own source of chance for one thing; independent of all others."""
    return random.Random(zlib.crc32(f"{seed}.{name}".encode()))


def single(spec: DeviceSpec, seed: int, site: str) -> Phased:
    """Shares of a device on all phases, or on its one; which one, the seed says unless the specification does."""
    if spec.phases == 3:
        return BALANCED
    at = draw(seed, f"{site}.{spec.name}.phase").randrange(3) if spec.phase is None else spec.phase - 1
    one, two, three = (1.0 if n == at else 0.0 for n in range(3))
    return one, two, three


def electric(moment: Moment, power_w: float, shares: Phased) -> Readings:
    """Frequency, and per phase voltage, current and power, of a device that spreads ``power_w`` by ``shares``."""
    # Inverters count currents unsigned (SunSpec 103, 701); the direction is in the power.
    shown: Readings = {"frequency_hz": 50.0 if moment.live else 0.0}
    for n, (volts, share) in enumerate(zip(moment.voltage_v, shares, strict=True), 1):
        shown[f"voltage_l{n}_v"] = volts
        shown[f"power_l{n}_w"] = power_w * share
        shown[f"current_l{n}_a"] = abs(power_w) * share / volts if volts > 0 else 0.0
    return shown
