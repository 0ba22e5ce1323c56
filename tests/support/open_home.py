"""A home that third parties act on: the real CEM, meter and devices on simulated hardware, real parties beyond."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from agents.kit.agent import Agent
from bus.address import Address
from bus.bus import Bus
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.reasons import Reason
from tests.support.grid import Grid, Words, grid
from tests.support.simulated_home import Simulated, simulated
from world.spec import DeviceSpec

CEM, METER, DSO = "h07.cem.main", "h07.meter.main", "grid.dso.north"
WHY = Reason(code="test", text="the test wants it")
FREE = {"init_silence": "autonomous", "failsafe_consumption_w": 30_000.0, "failsafe_production_w": -30_000.0}
"""Nobody guards this home: what holds is what third parties say."""
CAR = DeviceSpec(name="evse1", kind="evse", product="abb_terra_ac", unit=10, rating_w=11_000)
SUN = DeviceSpec(name="pv1", kind="pv", product="sunspec_inverter", unit=30, rating_w=10_000, profile="PV5")
HEAT = DeviceSpec(
    name="heatpump1", kind="heatpump", product="lambda_eu_l", unit=20, rating_w=5_000, profile="Soil_Alternative_2"
)
STORE = DeviceSpec(
    name="battery1", kind="battery", product="sunspec_battery", unit=40, rating_w=5_000, capacity_wh=10_000
)


@dataclass
class OpenHome:
    """``words`` inside the home, ``beyond`` what crosses its border."""

    run: Grid
    words: Words
    beyond: Words
    world: Simulated
    settings: dict[str, dict[str, Any]]

    async def start(self, address: str, **settings: Any) -> Bus:
        return await self.run.start(address, {**self.settings.get(address, {}), **settings})

    def said(self, word: str, **body: object) -> list[dict[str, Any]]:
        """Bodies in order, inside the home first."""
        bodies = [e["body"] for _, e in (*self.words.of(word), *self.beyond.of(word))]
        return [b for b in bodies if all(b.get(name) == value for name, value in body.items())]

    def told(self, device: str) -> list[dict[str, Any]]:
        """Orders to a device (``evse.1``), in order."""
        return [e["body"] for s, e in self.words.of("set_power") if s.startswith(f"home.to.h07.{device}.")]

    def power_w(self) -> float:
        """The connection point as last metered."""
        readings = self.words.of("gcp_reading")
        return float(readings[-1][1]["body"]["power_w"]) if readings else 0.0

    async def until(self, there: Any) -> Any:
        return await self.words.until(lambda _w: there())

    async def beyond_until(self, there: Any) -> Any:
        return await self.beyond.until(lambda _w: there())

    async def metered(self, below_w: float = 1e9, above_w: float = -1e9, times: int = 3) -> list[float]:
        """Wait until that many readings of the connection point in a row lie between; returns them."""

        def inside() -> list[float]:
            last = [float(e["body"]["power_w"]) for _, e in self.words.of("gcp_reading")[-times:]]
            return last if len(last) == times and all(above_w <= w <= below_w for w in last) else []

        return list(await self.until(inside))

    async def limit(self, dso: Bus, limit_w: float | None, **more: Any) -> None:
        """A grid limit by the test's own control room."""
        cem = Address.parse(CEM)
        dso.tell(cem, Heartbeat(every_s=3600.0))
        fields = {"direction": "consumption", **more}
        async with dso.talk(limit_write, cem) as talk:
            await talk.say(SetLimit(active=limit_w is not None, limit_w=limit_w, reason=WHY, **fields))
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)


@asynccontextmanager
async def open_home(
    *devices: DeviceSpec,
    others: tuple[str, ...] = (),
    agents: Mapping[str, Agent] | None = None,
    speed: float = 60.0,
    cem: Mapping[str, Any] | None = None,
    start: bool = True,
    **settings: Mapping[str, Any],
) -> AsyncIterator[OpenHome]:
    """``evse1`` becomes ``h07.evse.1``; ``settings`` by that name. All have joined and the meter has spoken."""
    addresses = {spec.name: f"h07.{spec.kind}.{spec.name.removeprefix(spec.kind)}" for spec in devices}
    async with (
        grid(CEM, METER, *addresses.values(), *others, speed=speed, agents=agents) as run,
        simulated(run, *devices) as world,
    ):
        known = {
            address: {**world.line(name), "rating_w": spec.rating_w, **settings.get(name, {})}
            for (name, address), spec in zip(addresses.items(), devices, strict=True)
        }
        plain = {"contract_consumption_w": 30_000.0, "plan": False, "stale_after_periods": 12.0}
        known[CEM] = {**plain, **FREE, **(cem or {})}
        known[METER] = world.line("meter")
        here = OpenHome(run, await run.words("h07"), await run.words(), world, known)
        if start:
            await here.start(CEM)
            for address in addresses.values():
                await here.start(address)
            await here.words.until(lambda w: len(w.of("welcome")) >= len(devices))
            await here.start(METER)
            await here.words.until(lambda w: len(w.of("gcp_reading")) > 1)
        yield here


__all__ = ["CAR", "CEM", "DSO", "HEAT", "METER", "STORE", "SUN", "WHY", "OpenHome", "open_home"]
