"""A home for tests of its agents: products behind a real Modbus socket, and a CEM that says what the test wants."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import agents.kit.agent as kit
from agents.kit.skill import answers, hears, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.talk import Talk
from contracts import device_file
from contracts.device import (
    Announce,
    AskStatus,
    DeviceStatus,
    DeviceWarning,
    Inventory,
    PowerApplied,
    PowerRefused,
    SetPower,
    TurnedAway,
    Welcome,
    device_join,
    power_control,
    status_check,
)
from contracts.device_form import Value
from contracts.emergency import DisplayNotice, emergency_begin, emergency_end
from contracts.kit import Lapsed
from contracts.metering import ContractNotice
from contracts.reasons import Reason
from contracts.roles import CEM, METER
from tests.support.grid import Grid, eventually
from world.modbus import Gateway, SimulatedUnit

BECAUSE = Reason(code="test", text="the test wants it")


@skill(opens=(power_control, status_check), says_home=(Inventory, DisplayNotice, DeviceWarning))
@dataclass
class Scripted:
    """What a CEM may say and answer at home; the test says it."""

    bus: Bus

    @answers(device_join)
    async def join(self, talk: Talk, announce: Announce) -> None: ...

    @hears(ContractNotice, of=(METER,), where="home")
    def near_limit(self, notice: ContractNotice, heard: Heard) -> None: ...

    @answers(emergency_begin)
    async def begin(self, talk: Talk, opening: object) -> None: ...

    @answers(emergency_end)
    async def end(self, talk: Talk, opening: object) -> None: ...


SCRIPTED_CEM = {"cem": kit.Agent(role=CEM, settings=kit.Settings, skills=(Scripted,))}
"""For ``grid(..., agents=SCRIPTED_CEM)``: the rights of a CEM whose words the test says by ``home_cem``."""


@dataclass
class HomeCem:
    """The voice of the site's CEM; ``announced`` are the devices that have joined, in order."""

    bus: Bus
    announced: list[tuple[str, Announce]]
    silent: bool = False
    turn_away: bool = False

    async def newcomer(self) -> tuple[str, Announce]:
        """Who announced itself first: what it says meanwhile may be heard before that."""
        await eventually(lambda: self.announced)
        return self.announced[0]

    async def welcome(self, talk: Talk, announce: Announce) -> None:
        self.announced.append((str(talk.peer), announce))
        if self.turn_away:
            await talk.say(TurnedAway(reason=BECAUSE))
        elif not self.silent:
            await talk.say(Welcome(reading_every_s=5.0, actions=announce.functions))

    async def order(self, device: str, **envelope: object) -> PowerApplied | PowerRefused | Lapsed:
        async with self.bus.talk(power_control, Address.parse(device)) as talk:
            await talk.say(SetPower(reason=BECAUSE, **envelope))  # type: ignore[arg-type]
            return await talk.hear(PowerApplied, PowerRefused, Lapsed)

    async def ask(self, device: str) -> DeviceStatus | Lapsed:
        async with self.bus.talk(status_check, Address.parse(device)) as talk:
            await talk.say(AskStatus())
            return await talk.hear(DeviceStatus, Lapsed)


async def home_cem(run: Grid, address: str = "h07.cem.main", **how: bool) -> HomeCem:
    """Speak as the CEM and welcome whoever joins."""
    made: list[HomeCem] = []

    def prepare(bus: Bus) -> None:
        made.append(HomeCem(bus, [], **how))
        bus.answer(device_join, made[0].welcome)

    await run.bus(address, prepare)
    return made[0]


@asynccontextmanager
async def products(**units: tuple[str, int, dict[str, Value]]) -> AsyncIterator["Products"]:
    """Simulated products behind one Modbus TCP gateway: name=(device file, unit, what its registers show)."""
    made: dict[str, SimulatedUnit] = {}
    for name, (file, unit, values) in units.items():
        made[name] = SimulatedUnit(device_file.load(file), unit)
        made[name].put(dict(values))
    gateway = Gateway(made.values())
    await gateway.start()
    try:
        yield Products(gateway, made)
    finally:
        await gateway.stop()


@dataclass
class Products:
    """``line`` is what an agent's settings need to reach a unit."""

    gateway: Gateway
    units: dict[str, SimulatedUnit]

    def __getitem__(self, name: str) -> SimulatedUnit:
        return self.units[name]

    def line(self, name: str) -> dict[str, object]:
        unit = self.units[name]
        return {"host": "127.0.0.1", "port": self.gateway.port, "unit": unit.unit, "device": unit.device.key}
