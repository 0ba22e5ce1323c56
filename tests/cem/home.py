"""A home around a real CEM: its meter, its devices and its energy guard as puppets with the least physics there is."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio

from agents.kit.agent import Agent
from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from bus.talk import Talk
from contracts.device import (
    Announce,
    AskStatus,
    DeviceClass,
    DeviceEvent,
    DeviceReading,
    DeviceStatus,
    DeviceWarning,
    Inventory,
    Operating,
    PowerApplied,
    PowerRefused,
    SetPower,
    TurnedAway,
    Welcome,
    device_join,
    power_control,
    status_check,
)
from contracts.hand import ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed
from contracts.metering import GcpReading
from contracts.power_limit import (
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    LimitRefused,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from contracts.units import Phases
from tests.support.grid import Grid, Words, eventually, grid

SITE, DSO, CEM = "h07", "grid.dso.north", "h07.cem.main"
WHY = Reason(code="congestion", text="test")
RANGES: dict[str, tuple[DeviceClass, float, float, float]] = {
    "evse": ("evse", 0.0, 11_040.0, 4140.0),
    "heatpump": ("heatpump", 0.0, 6000.0, 1500.0),
    "battery": ("battery", -5000.0, 5000.0, 0.0),
    "pv": ("pv", -10_000.0, 0.0, 0.0),
    "waterheater": ("waterheater", 0.0, 2000.0, 0.0),
    "hvac": ("hvac", 0.0, 1500.0, 0.0),
    "switch": ("switch", 0.0, 100.0, 0.0),
    "whitegoods": ("whitegoods", 0.0, 2200.0, 0.0),
}


@dataclass
class Puppet:
    """A device that does what it is told at once. ``want_w`` is what it takes or gives when it is free."""

    bus: Bus
    announce: Announce
    want_w: float
    order: SetPower | None = None
    orders: list[SetPower] = field(default_factory=list)
    refuses: Reason | None = None
    mute: bool = False
    deaf: bool = False
    unheard: int = 0
    """Orders that it left without an answer, or refused."""
    normal: bool = True
    asked: int = 0
    temperature_c: float | None = None
    hands: list[TakeControl] = field(default_factory=list)
    """What the user's hand asked of the device itself."""

    @property
    def power_w(self) -> float:
        if self.order is None:
            return self.want_w if self.announce.device_class != "battery" else 0.0
        o, a = self.order, self.announce
        if o.standby:
            return 0.0
        power = self.want_w if o.setpoint_w is None else o.setpoint_w
        if a.device_class == "pv":
            power = max(power, self.want_w)
        power = max(a.nominal_lower_w if o.lower_w is None else o.lower_w, power)
        power = min(a.nominal_upper_w if o.upper_w is None else o.upper_w, power)
        return 0.0 if 0 < power < a.minimum_run_w else power

    @property
    def planned(self) -> list[SetPower]:
        """Orders that are not a limit's, nor its end."""
        return [order for order in self.orders if order.reason.code not in ("free", "failsafe", "grid_limit")]

    @property
    def by_phase_w(self) -> Phases:
        n = len(self.announce.phases)
        parts = [self.power_w / n if p in self.announce.phases else 0.0 for p in (1, 2, 3)]
        return (parts[0], parts[1], parts[2])

    def reading(self, at: float) -> DeviceReading:
        a, power = self.announce, self.power_w
        operating: Operating = "running" if abs(power) > 50 else "paused" if self.want_w > 0 else "idle"
        lower, upper = a.nominal_lower_w, a.nominal_upper_w
        if a.device_class == "pv":
            lower = power
        elif a.device_class == "evse":
            upper = self.want_w
        return DeviceReading(
            at=instant(at),
            power_w=power,
            power_by_phase_w=self.by_phase_w,
            operating=operating,
            lower_w=lower,
            upper_w=upper,
            temperature_c=self.temperature_c,
        )

    async def by_hand(self, talk: Talk, word: TakeControl) -> None:
        self.hands.append(word)
        why = Reason(code="done", text="It was done.")
        await talk.say(ControlTaken(state="running", reason=why))

    async def obey(self, talk: Talk, order: SetPower) -> None:
        if self.deaf:
            self.unheard += 1
            return
        if self.refuses is not None:
            self.unheard += 1
            await talk.say(PowerRefused(reason=self.refuses))
            return
        self.order = order
        self.orders.append(order)
        await talk.say(PowerApplied(lower_w=order.lower_w, upper_w=order.upper_w, setpoint_w=order.setpoint_w))

    async def tell_status(self, talk: Talk, _ask: AskStatus) -> None:
        self.asked += 1
        if not self.deaf:
            why = Reason(code="looked", text="It was looked at.")
            await talk.say(DeviceStatus(operating="idle", normal=self.normal, reason=why))

    async def join(self) -> Welcome | TurnedAway | Lapsed:
        async with self.bus.talk(device_join, Address.parse(CEM)) as talk:
            await talk.say(self.announce)
            return await talk.hear(Welcome, TurnedAway, Lapsed)


class Home:
    """``base_w`` is household load per phase; ``measures`` False silences the meter."""

    def __init__(self, run: Grid, words: Words, beyond: Words) -> None:
        self.run, self.words, self.beyond = run, words, beyond
        self.devices: dict[str, Puppet] = {}
        self.base_w = [300.0, 300.0, 300.0]
        self.measures = True
        self.beats = True
        self.voltage_v = 230.0
        self.meter: Bus
        self.dso: Bus

    async def connect(self) -> None:
        self.meter = await self.run.bus(f"{SITE}.meter.main")
        self.dso = await self.run.bus(DSO, lambda bus: bus.on(Heartbeat, lambda _m, _h: None))

    async def device(self, name: str, want_w: float, **announced: Any) -> Puppet:
        """``evse.1`` and so on; joins when the CEM is there."""
        kind, lower, upper, least = RANGES[name.split(".")[0]]
        functions = ("measure", "limit_upper", "limit_lower", "setpoint", "standby", "absorb")
        fields = {"maker": "test", "model": "puppet", "functions": functions, "use_cases": ()}
        fields |= {"nominal_lower_w": lower, "nominal_upper_w": upper, "minimum_run_w": least} | announced
        announce = Announce(device_class=kind, **fields)  # type: ignore[arg-type]
        made: list[Puppet] = []

        def prepare(bus: Bus) -> None:
            puppet = Puppet(bus, announce, want_w)
            bus.answer(power_control, puppet.obey)
            bus.answer(status_check, puppet.tell_status)
            bus.answer(take_control, puppet.by_hand)
            for kind in (Inventory, DeviceWarning):
                bus.on(kind, lambda _m, _h: None)
            made.append(puppet)

        await self.run.bus(f"{SITE}.{name}", prepare)
        self.devices[name] = made[0]
        assert isinstance(await made[0].join(), Welcome)
        return made[0]

    @property
    def power_w(self) -> float:
        return sum(self.base_w) + sum(p.power_w for p in self.devices.values())

    async def live(self) -> None:
        """Readings every 5 s of run time; the guard's heartbeat every 60 s."""
        clock, beat_at = self.run.clock, 0.0
        while True:
            now = clock.now()
            for puppet in self.devices.values():
                if not puppet.mute:
                    puppet.bus.say(puppet.reading(now), home=True)
            if self.measures:
                self.meter.say(self.gcp(now), home=True)
            if self.beats and now - beat_at >= 60:
                beat_at = now
                self.dso.tell(Address.parse(CEM), Heartbeat(every_s=60.0))
            await clock.sleep_until(now + 5.0)

    def gcp(self, now: float) -> GcpReading:
        phases = [self.base_w[n] + sum(p.by_phase_w[n] for p in self.devices.values()) for n in range(3)]
        power = (phases[0], phases[1], phases[2])
        volts = self.voltage_v
        amps = (power[0] / 230.0, power[1] / 230.0, power[2] / 230.0)
        return GcpReading(
            at=instant(now),
            power_w=sum(phases),
            power_by_phase_w=power,
            current_by_phase_a=amps,
            voltage_by_phase_v=(volts, volts, volts),
            frequency_hz=50.0,
            reactive_power_var=0.0,
            import_wh=0.0,
            export_wh=0.0,
        )

    def beat(self) -> None:
        self.dso.tell(Address.parse(CEM), Heartbeat(every_s=60.0))

    async def limit(self, direction: str = "consumption", **fields: Any) -> LimitAccepted | LimitRefused | Lapsed:
        write = SetLimit(direction=direction, **{"active": True, "reason": WHY, **fields})  # type: ignore[arg-type]
        async with self.dso.talk(limit_write, Address.parse(CEM)) as talk:
            await talk.say(write)
            return await talk.hear(LimitAccepted, LimitRefused, Lapsed)

    async def lift(self) -> None:
        """The guard states that nothing is limited: out of init, failsafe and limits."""
        self.beat()
        for direction in ("consumption", "production"):
            assert isinstance(await self.limit(direction, active=False), LimitAccepted)

    async def failsafe(self, consumption_w: float, production_w: float) -> FailsafeAccepted | FailsafeRefused | Lapsed:
        async with self.dso.talk(failsafe_write, Address.parse(CEM)) as talk:
            await talk.say(SetFailsafe(consumption_w=consumption_w, production_w=production_w, duration_s=7200.0))
            return await talk.hear(FailsafeAccepted, FailsafeRefused, Lapsed)

    # ------------------------------------------------------------ what the bus shows

    def said(self, word: str) -> list[dict[str, Any]]:
        """Inside the home, in order."""
        return [envelope["body"] for _, envelope in self.words.of(word)]

    def sent(self, word: str) -> list[dict[str, Any]]:
        """As the grid side hears it, in order."""
        return [envelope["body"] for _, envelope in self.beyond.of(word)]

    def states(self) -> list[dict[str, Any]]:
        return self.sent("limit_state")

    async def until(self, there: Callable[[], object]) -> Any:
        return await self.words.until(lambda _w: there())

    async def metered(self, below_w: float = 1e9, above_w: float = -1e9, times: int = 3) -> list[float]:
        """Wait until that many readings of the connection point in a row lie between; returns them."""

        def inside() -> list[float]:
            last = [r["power_w"] for r in self.said("gcp_reading")[-times:]]
            return last if len(last) == times and all(above_w <= w <= below_w for w in last) else []

        return list(await self.until(inside))

    async def pass_time(self, seconds: float) -> None:
        await self.run.clock.sleep(seconds)

    def readings_since(self, count: int) -> list[float]:
        return [r["power_w"] for r in self.said("gcp_reading")[count:]]


@asynccontextmanager
async def home(
    *devices: str,
    speed: float = 120.0,
    start: bool = True,
    agents: Mapping[str, Agent] | None = None,
    **settings: Any,
) -> AsyncIterator[Home]:
    """Real servers, a real CEM with these settings, puppets for the rest: ``evse.1``, or whole addresses."""
    names = [d if d.count(".") == 2 else f"{SITE}.{d}" for d in devices]
    async with grid(DSO, "grid.hes.main", CEM, f"{SITE}.meter.main", *names, agents=agents, speed=speed) as run:
        here = Home(run, await run.words(SITE), await run.words())
        await here.connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.live)
            if start:
                await run.start(CEM, settings)
            yield here
            tasks.cancel_scope.cancel()


__all__ = ["CEM", "DSO", "SITE", "WHY", "DeviceEvent", "Home", "Puppet", "eventually", "home"]
