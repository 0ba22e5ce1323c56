"""From the noon tariff and the household's conditions a plan for the next day, committed by the user. IEC-JWG1110."""

from datetime import datetime, time, timedelta
from typing import Any

import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    ThermalFlexibility,
    flexibility_offer,
)
from contracts.home_plan import ConfirmPlan, PlanItem, ProposePlan
from contracts.kit import Lapsed
from contracts.preferences import DevicePreferences, SetPreferences
from contracts.profiles import PriceSlot
from contracts.tariff import AnnounceTariff, TariffRefused, TariffTaken, tariff_notice
from tests.cem.home import CEM, WHY, Puppet, home
from tests.support.people import phone

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.price-plan")]
CHEAP_HOURS = (1, 2, 3, 4, 5)
"""UTC; local 03:00 to 08:00."""


def price(at: datetime) -> float:
    return 0.10 if at.hour in CHEAP_HOURS else 0.40


async def noon_tariff(retailer: Any, start: datetime) -> None:
    hours = [start + timedelta(hours=n) for n in range(24)]
    slots = tuple(PriceSlot(start=at, duration_s=3600.0, price_eur_per_kwh=price(at)) for at in hours)
    async with retailer.talk(tariff_notice, Address.parse(CEM)) as talk:
        await talk.say(AnnounceTariff(tariff="day", component="energy", slots=slots, reason=WHY))
        answer = await talk.hear(TariffTaken, TariffRefused, Lapsed)
        assert isinstance(answer, TariffTaken), answer


async def offer(device: Puppet, flexibility: ThermalFlexibility) -> None:
    async with device.bus.talk(flexibility_offer, Address.parse(CEM)) as talk:
        await talk.say(OfferFlexibility(offer=1, flexibility=flexibility, reason=WHY))
        answer = await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed)
        assert isinstance(answer, FlexibilityTaken), answer


def energy_wh(item: PlanItem, before: datetime | None = None, cheap: bool | None = None) -> float:
    """Planned energy, quarter by quarter, as far as it is wanted."""
    total = 0.0
    for slot in item.power:
        for n in range(round(slot.duration_s / 900)):
            at = slot.start + timedelta(seconds=900 * n)
            if (before is None or at < before) and (cheap is None or cheap == (price(at) < 0.2)):
                total += slot.power_w / 4
    return total


async def test_each_finish_time_is_kept_in_the_cheap_slots_and_nothing_is_commanded_before_the_commitment() -> None:
    settings: dict[str, Any] = {"plans": "confirm", "plan_at_least_s": 5.0, "failsafe_consumption_w": 30_000.0}
    devices = ("waterheater.1", "hvac.1", "app.phone", "app.display", "grid.retailer.main")
    async with home(*devices, speed=60.0, **settings) as h:
        boiler, cool = await h.device("waterheater.1", 0.0), await h.device("hvac.1", 0.0)
        boiler.temperature_c, cool.temperature_c = 30.0, 29.0
        retailer = await h.run.bus("grid.retailer.main")
        await h.run.start("h07.app.display")
        await h.lift()
        await h.metered()
        now = instant(h.run.clock.now())
        seven = datetime(2016, 5, 21, 5, 0, tzinfo=now.tzinfo)
        async with phone(h.run) as ada:
            wanted = {
                "waterheater.1": DevicePreferences(target_c=90.0, ready_by=time(7)),
                "hvac.1": DevicePreferences(target_c=27.0, ready_by=time(10)),
            }
            assert (await ada.home.prefer(SetPreferences(user="ada", devices=wanted))).saved
            await noon_tariff(retailer, now.replace(minute=0, second=0, microsecond=0))
            await offer(
                boiler,
                ThermalFlexibility(
                    temperature_c=30.0,
                    lowest_c=20.0,
                    highest_c=95.0,
                    capacity_wh_per_k=58.0,
                    loss_w_per_k=0.5,
                    ambient_c=20.0,
                    upper_w=2000.0,
                ),
            )
            await offer(
                cool,
                ThermalFlexibility(
                    temperature_c=29.0,
                    lowest_c=18.0,
                    highest_c=32.0,
                    capacity_wh_per_k=1500.0,
                    loss_w_per_k=60.0,
                    ambient_c=30.0,
                    heats=False,
                    cop_share=3.0,
                    upper_w=1500.0,
                ),
            )

            def proposed() -> ProposePlan | None:
                kept = ada.proposals.waiting
                busy = {i.device for i in kept.word.items if energy_wh(i) > 100} if kept is not None else set()
                return kept.word if kept is not None and "waterheater.1" in busy else None

            plan = await h.until(proposed)
            items = {item.device: item for item in plan.items}
            ends = max(slot.start + timedelta(seconds=slot.duration_s) for slot in items["waterheater.1"].power)
            assert ends >= now + timedelta(hours=23.5), "it covers the following day"
            heat = items["waterheater.1"]
            needed = (90.0 - 30.0) * 58.0
            assert energy_wh(heat, before=seven) >= needed * 0.95, "hot by 07:00"
            assert energy_wh(heat, before=seven, cheap=True) >= 0.9 * energy_wh(heat, before=seven)
            assert (boiler.planned, cool.planned) == ([], []), "not committed, nothing is commanded"
            await h.until(lambda: [s for s in h.said("shown") if s["prices"]])
            await h.until(lambda: [s for s in h.said("shown") if s["proposal"]])
            await ada.proposals.answer(lambda _plan: ConfirmPlan(user="ada"))
            await h.until(lambda: boiler.planned)
