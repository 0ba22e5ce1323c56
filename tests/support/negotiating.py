"""A home that negotiates: real device agents on simulated hardware, and the real CEM's side of it, led by the test.

The CEM here has the skills that know devices and agree with them, without those that plan: the test says what it wants
by ``Lead``, and gets back what the device really answered.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgspec

from agents.cem.agent import AGENT
from agents.cem.agreed import Agreed
from agents.cem.join_devices import JoinDevices
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.preferences import Preferences
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Agent
from agents.kit.skill import skill
from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.device import SetPower, power_control
from contracts.flexibility import Flexibility
from contracts.instructions import CounterInstruction, Instruct
from contracts.kit import Lapsed
from contracts.own_plans import incentive
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice
from tests.support.cem_puppet import reading
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.simulated_home import Simulated, simulated
from world.spec import DeviceSpec

HOME = "h07.cem.main"
PLANNED = Reason(code="plan", text="the plan of the test")


@skill(opens=(power_control, incentive))
@dataclass
class Lead:
    """The test's hold on the CEM."""

    known: KnowFlexibility
    premises: Premises
    changes: list[str] = field(default_factory=list)
    made: ClassVar[list["Lead"]] = []

    def __post_init__(self) -> None:
        Lead.made.append(self)
        self.known.on_change.append(lambda device: self.changes.append(str(device)))

    def offered(self, device: str) -> Any:
        """What it offers now; None: nothing."""
        offer = self.known.offers.get(Address.parse(device))
        return None if offer is None else offer.flexibility

    async def offer(self, device: str, there: Callable[[Any], object] = bool) -> Flexibility:
        """Wait for an offer that suits."""
        await eventually(lambda: there(self.offered(device)))
        return self.offered(device)  # type: ignore[no-any-return]

    async def instruct(
        self, device: str, judge: Callable[[CounterInstruction], bool] | None = None, **word: Any
    ) -> Agreed | Reason:
        who = Address.parse(device)
        number = self.known.offers[who].offer
        return await self.known.instruct(who, Instruct(**{"offer": number, "reason": PLANNED, **word}), judge)

    def agreed(self, device: str) -> Agreed | None:
        return self.known.agreed.get(Address.parse(device))

    def progress(self, device: str) -> tuple[str, str] | None:
        """(state, reason code) that the device told last."""
        told = self.known.progress.get(Address.parse(device))
        return None if told is None else (told.state, told.reason.code)

    async def tells(self, device: str, state: str) -> str:
        """Wait until it has told that state; returns the reason's code."""
        await eventually(lambda: (self.progress(device) or ("", ""))[0] == state)
        told = self.progress(device)
        assert told is not None
        return told[1]

    async def order(self, device: str, **envelope: Any) -> None:
        async with self.known.bus.talk(power_control, Address.parse(device)) as talk:
            await talk.say(SetPower(reason=PLANNED, **envelope))


WHOLE_CEM = Agent(role=CEM, settings=CemSettings, skills=(*AGENT.skills, Lead))
"""The real one with all its skills, under the test's hold; start it with ``plan=False`` where the test decides."""
LED_CEM = Agent(role=CEM, settings=CemSettings, skills=(Premises, Preferences, JoinDevices, KnowFlexibility, Lead))


RETAILER, METER = "grid.retailer.main", "h07.meter.main"


@dataclass
class Negotiating:
    """``house_w`` is what the meter shows besides the devices, while ``metered`` runs."""

    run: Grid
    words: Words
    home: Simulated
    settings: dict[str, dict[str, Any]]
    house_w: float = 500.0
    import_wh: float = 0.0
    _retailer: Bus | None = None

    @property
    def cem(self) -> Lead:
        return Lead.made[-1]

    async def start(self, address: str, **settings: Any) -> None:
        await self.run.start(address, {**self.settings.get(address, {}), **settings})

    async def metered(self) -> None:
        """A meter that adds up what the devices say, every 5 s of run time. Runs until it is cancelled."""
        meter = await self.run.bus(METER)
        while True:
            devices: dict[str, float] = {}
            for subject, envelope in self.words.of("device_reading"):
                devices[subject.split(".")[4]] = envelope["body"]["power_w"]
            total = self.house_w + sum(devices.values())
            meter.say(
                msgspec.structs.replace(reading(self.run.clock.now(), total), import_wh=self.import_wh), home=True
            )
            await self.run.clock.sleep(5.0)

    async def prices(self, *hours: float, tariff: str = "flat", green: tuple[float, ...] = ()) -> TariffTaken:
        """The retailer announces one price per hour from the present hour on."""
        if self._retailer is None:
            self._retailer = await self.run.bus(RETAILER)
        now = self.run.clock.now()
        slots = tuple(
            PriceSlot(
                start=instant(now - now % 3600 + n * 3600),
                duration_s=3600,
                price_eur_per_kwh=price,
                green_percent=green[n] if green else None,
            )
            for n, price in enumerate(hours)
        )
        word = AnnounceTariff(tariff=tariff, component="energy", slots=slots, reason=PLANNED)
        async with self._retailer.talk(tariff_notice, Address.parse(HOME)) as talk:
            await talk.say(word)
            answer = await talk.hear(TariffTaken, TariffRefused, Lapsed)
        assert isinstance(answer, TariffTaken), answer
        return answer

    def said(self, word: str, **body: object) -> list[dict[str, Any]]:
        bodies = [e["body"] for _, e in self.words.of(word)]
        return [b for b in bodies if all(b.get(name) == value for name, value in body.items())]

    def senders(self, word: str) -> list[str]:
        """Who said it, in order."""
        return [".".join(subject.split(".")[5:8]) for subject, _ in self.words.of(word)]


@asynccontextmanager
async def negotiating(
    *devices: DeviceSpec,
    speed: float = 60.0,
    cem: Mapping[str, Any] | None = None,
    others: tuple[str, ...] = (),
    agents: Mapping[str, Agent] | None = None,
    start: bool = True,
    whole: bool = False,
    **settings: Mapping[str, Any],
) -> AsyncIterator[Negotiating]:
    """``whitegoods1`` becomes the agent ``h07.whitegoods.1``; ``settings`` by that name. All have joined."""
    addresses = {spec.name: f"h07.{spec.kind}.{spec.name.removeprefix(spec.kind)}" for spec in devices}
    roles = {"cem": WHOLE_CEM if whole else LED_CEM, **(agents or {})}
    async with (
        grid(HOME, *addresses.values(), *others, speed=speed, agents=roles) as run,
        simulated(run, *devices) as home,
    ):
        lines = {address: {**home.line(name), **settings.get(name, {})} for name, address in addresses.items()}
        here = Negotiating(run, await run.words("h07"), home, lines)
        await run.start(HOME, {**({"plan": False} if whole else {}), **(cem or {})})
        if start:
            for address in addresses.values():
                await here.start(address)
            await here.words.until(lambda w: len(w.of("welcome")) >= len(devices))
        yield here


def replaced(agent: Agent, *skills: type) -> Agent:
    """The agent with more skills, for a test's hold on it."""
    return Agent(role=agent.role, settings=agent.settings, skills=(*agent.skills, *skills), resources=agent.resources)
