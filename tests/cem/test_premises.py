"""What the energy manager believes of readings: words of one device may be wrong, and must not stay so."""

from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from agents.cem.premises import Device, Premises
from agents.cem.run_island import ISLAND, RunIsland
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from bus.address import Address
from bus.bus import Heard
from bus.clock import SteppedClock
from bus.envelope import instant
from contracts.device import Announce, DeviceReading
from contracts.kit import Message
from contracts.metering import GcpReading
from tests.bus.samples import sample

PV, BATTERY, METER = (Address("h07", role, name) for role, name in (("pv", "1"), ("battery", "1"), ("meter", "main")))


def heard(sender: Address) -> Heard:
    return Heard(sender, "x-1", 0.0, None, None, True, None)


def premises() -> Premises:
    clock = SteppedClock()
    made = Premises(Address.parse("h07.cem.main"), clock, CemSettings(), Peers(addresses=(METER,)))
    for address, of in ((PV, "pv"), (BATTERY, "battery")):
        announce = msgspec.structs.replace(sample(Announce), device_class=of)
        made.devices[address] = Device(address, announce, known_since=clock.now())
    return made


def reads(of: Premises, ahead_s: float, power_w: float, sender: Address = PV, **more: object) -> DeviceReading:
    at = instant(of.clock.now() + ahead_s)
    fields = {"lower_w": -5000.0, "upper_w": 0.0, "power_by_phase_w": (power_w / 3,) * 3, "operating": "running"}
    reading = DeviceReading(at=at, power_w=power_w, **{**fields, **more})  # type: ignore[arg-type]
    of.hear_device(reading, heard(sender))
    return reading


def test_a_devices_reading_of_the_future_does_not_stand_in_the_way_of_the_true_ones() -> None:
    home = premises()
    device = home.devices[PV]
    reads(home, 86_400.0, -8e8)
    assert device.reading is None, "nobody can have measured that"
    reads(home, 6.0, -3000.0)
    reads(home, 0.0, -2000.0)
    assert device.reading is not None
    assert device.reading.power_w == -2000.0, "a clock that was ahead and is put right"
    reads(home, -1.0, -1000.0)
    assert device.reading.power_w == -2000.0, "of the past the younger counts"


def test_nor_does_the_meters() -> None:
    home = premises()
    for ahead_s in (86_400.0, 6.0, 0.0, -5.0):
        reading = sample(GcpReading)
        at = instant(home.clock.now()) + timedelta(seconds=ahead_s)
        home.hear_meter(type(reading)(**{**_fields(reading), "at": at, "power_w": ahead_s}), heard(METER))
    assert home.gcp is not None
    assert home.gcp.power_w == 0.0


def _fields(message: Message) -> dict[str, object]:
    return {name: getattr(message, name) for name in message.__struct_fields__}


@dataclass
class Told:
    """What the island tells others: the bus and the limits of a home, as far as it uses them."""

    said: list[Message] = field(default_factory=list)
    starts: int = 0

    def say(self, message: Message, *, home: bool) -> None:
        self.said.append(message)

    def soft_start(self) -> None:
        self.starts += 1


def test_only_a_battery_shows_an_island_and_only_as_long_as_it_says_so() -> None:
    home, told = premises(), Told()
    island = RunIsland(told, home, told)  # type: ignore[arg-type]
    mark = next(mark for mark in RunIsland.watch.__marks__)  # type: ignore[attr-defined]
    assert [role.name for role in mark.of] == ["battery"], "the word of no other device is asked"
    island.watch(reads(home, 0.0, 0.0, BATTERY, grid_connected=False), heard(BATTERY))
    assert ISLAND in home.claims
    island.watch(reads(home, 0.0, 0.0, BATTERY, operating="fault"), heard(BATTERY))
    assert ISLAND in home.claims, "who cannot see does not end it"
    island.watch(reads(home, 0.0, 0.0, BATTERY), heard(BATTERY))
    assert ISLAND not in home.claims, "its next reading does not say it any more: a lie does not last"
    assert told.starts == 1
