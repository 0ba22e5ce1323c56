"""A home that plans, and a retailer's voice that announces prices to it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from bus.address import Address
from bus.bus import Bus
from contracts.kit import Lapsed
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, Component, TariffRefused, TariffTaken, tariff_notice
from tests.support.open_home import CEM, OpenHome

RETAILER = "grid.retailer.main"
PLANS = {"plan": True, "plan_at_least_s": 5.0, "time_zone": "UTC"}
"""Settings of an energy manager that plans soon after each event; local time is the run's."""


async def announce(
    retailer: Bus, prices: Sequence[tuple[datetime, float]], until: datetime, component: Component = "energy"
) -> None:
    """Prices from each instant on, until the next one; the customer takes them, said again if it is too busy."""
    ends = [at for at, _ in prices[1:]] + [until]
    slots = tuple(
        PriceSlot(start=at, duration_s=(end - at).total_seconds(), price_eur_per_kwh=price)
        for (at, price), end in zip(prices, ends, strict=True)
    )
    word = AnnounceTariff(
        tariff=component, component=component, slots=slots, reason=Reason(code="test", text="the test's prices")
    )
    answer: TariffTaken | TariffRefused | Lapsed | None = None
    while answer is None or isinstance(answer, Lapsed):
        async with retailer.talk(tariff_notice, Address.parse(CEM)) as talk:
            await talk.say(word)
            answer = await talk.hear(TariffTaken, TariffRefused, Lapsed)
    assert isinstance(answer, TariffTaken)


def plans(home: OpenHome) -> list[dict[str, Any]]:
    """Every plan that was shown, in order."""
    return home.said("plan_shown")


def course(plan: dict[str, Any], device: str) -> list[tuple[datetime, datetime, float]]:
    """(start, end, W) of a device in a plan."""
    return _parts(next((i["power"] for i in plan["items"] if i["device"] == device), []))


def at_connection(plan: dict[str, Any]) -> list[tuple[datetime, datetime, float]]:
    """(start, end, W) of the connection point in a plan."""
    return _parts(plan["gcp"])


def _parts(power: list[dict[str, Any]]) -> list[tuple[datetime, datetime, float]]:
    found = []
    for part in power:
        start = datetime.fromisoformat(part["start"].replace("Z", "+00:00"))
        found.append((start, start + timedelta(seconds=part["duration_s"]), float(part["power_w"])))
    return found


def energy_wh(parts: Sequence[tuple[datetime, datetime, float]], start: datetime, end: datetime) -> float:
    """What is planned between two instants, Wh, signed."""
    total = 0.0
    for begin, stop, power in parts:
        inside = (min(stop, end) - max(begin, start)).total_seconds()
        total += power * max(0.0, inside) / 3600
    return total
