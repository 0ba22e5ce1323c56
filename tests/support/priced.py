"""A home whose CEM is told prices: the issuers' voices, an app, and devices that do as they are told."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import anyio

from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.kit import Lapsed
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, Component, TariffRefused, TariffTaken, tariff_notice
from tests.cem.home import CEM, DSO, SITE, Home
from tests.support.grid import Grid, Words, grid

RETAILER, APP, METER = "grid.retailer.main", f"{SITE}.app.display", f"{SITE}.meter.main"
PRICED = Reason(code="computed", text="test")


def slots(start: float, prices: Sequence[float], each_s: float = 3600.0, **more: Any) -> tuple[PriceSlot, ...]:
    """One after the other."""
    return tuple(
        PriceSlot(start=instant(start + n * each_s), duration_s=each_s, price_eur_per_kwh=price, **more)
        for n, price in enumerate(prices)
    )


async def announce(
    issuer: Bus,
    priced: Sequence[PriceSlot],
    *,
    to: str = CEM,
    tariff: str = "test",
    component: Component = "energy",
    **more: Any,
) -> TariffTaken | TariffRefused | Lapsed:
    word = AnnounceTariff(tariff=tariff, component=component, slots=tuple(priced), reason=PRICED, **more)
    async with issuer.talk(tariff_notice, Address.parse(to)) as talk:
        await talk.say(word)
        return await talk.hear(TariffTaken, TariffRefused, Lapsed)


class PricedHome(Home):
    """``retailer`` speaks as the issuer over the energy management channel, ``dso`` as the one behind the meter."""

    retailer: Bus

    async def connect(self) -> None:
        await super().connect()
        self.retailer = await self.run.bus(RETAILER)

    def infos(self, receiver: str) -> list[dict[str, Any]]:
        """Price information told to one agent of the home."""
        return [e["body"] for s, e in self.words.of("price_info") if s.startswith(f"home.to.{receiver}.")]

    def notices(self, kind: str) -> list[dict[str, Any]]:
        """Envelopes of what was said for the display."""
        return [e for _, e in self.words.of("display_notice") if e["body"]["kind"] == kind]

    def shown(self) -> dict[str, Any]:
        """The display's latest picture."""
        said = self.said("shown")
        return said[-1] if said else {}

    async def until_price(self, at: float, eur_per_kwh: float, receiver: str = APP) -> None:
        """Until that is what was told last for an instant."""

        def told() -> bool:
            infos = self.infos(receiver)
            return bool(infos) and abs(price_at(infos[-1]["slots"], at) - eur_per_kwh) < 1e-6

        await self.until(told)


def price_at(told: Sequence[Mapping[str, Any]], at: float) -> float:
    for slot in told:
        start = datetime.fromisoformat(slot["start"]).timestamp()
        if start <= at < start + slot["duration_s"]:
            return float(slot["price_eur_per_kwh"])
    raise LookupError(f"no price at {instant(at)}")


@asynccontextmanager
async def priced_home(
    *more: str, speed: float = 120.0, start: bool = True, app: Mapping[str, Any] | None = None, **settings: Any
) -> AsyncIterator[PricedHome]:
    """Real servers, a real CEM and a real app; ``more`` are further addresses (``h07.evse.1``)."""
    names = [DSO, RETAILER, CEM, METER, APP, *more]
    async with grid(*names, speed=speed) as run:
        here = PricedHome(run, await run.words(SITE), await run.words())
        await here.connect()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(here.live)
            await run.start(APP, dict(app or {}))
            if start:
                await run.start(CEM, settings)
            yield here
            tasks.cancel_scope.cancel()


__all__ = ["APP", "METER", "RETAILER", "Grid", "PricedHome", "Words", "announce", "price_at", "priced_home", "slots"]
