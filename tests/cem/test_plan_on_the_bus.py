"""The plan among everything else that a home has to do: it yields, it waits to be asked, and it may fail."""

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.cem.agent import AGENT
from agents.cem.plan_home import PlanHome
from agents.cem.planner.plan import NEGATIVE_PRICE
from agents.cem.planner.problem import Problem
from bus.address import Address
from bus.bus import Bus
from contracts.kit import Lapsed
from contracts.preferences import DevicePreferences, PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from tests.cem.home import home as closed_home
from tests.support.grid import START
from tests.support.open_home import CAR, CEM, DSO, STORE, SUN, OpenHome, open_home
from tests.support.plan_home import PLANS, RETAILER, announce, plans

pytestmark = pytest.mark.anyio
APP, FORECASTER = "h07.app.display", "grid.forecaster.main"
HALF_FULL = msgspec.structs.replace(STORE, soc_percent=50.0)


async def cheap_now(home: OpenHome) -> None:
    retailer = await home.run.bus(RETAILER)
    later = START + timedelta(minutes=40)
    await announce(retailer, [(START, 0.05), (later, 0.60)], START + timedelta(hours=26))


async def want(app: Bus, **what: object) -> None:
    async with app.talk(preferences, Address.parse(CEM)) as talk:
        await talk.say(msgspec.convert({"user": "anna", **what}, SetPreferences))
        assert isinstance(await talk.hear(PreferencesTaken, PreferencesRefused, Lapsed), PreferencesTaken)


@dataclass
class Faulty(PlanHome):
    """A planner with a fault of its own."""

    def pose(self) -> Problem:
        return 1 / 0  # type: ignore[return-value]


async def test_a_fault_of_planning_leaves_the_limits_kept() -> None:
    skills = tuple(Faulty if skill is PlanHome else skill for skill in AGENT.skills)
    async with open_home(CAR, others=(DSO,), cem=PLANS, agents={"cem": replace(AGENT, skills=skills)}) as home:
        home.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await home.metered(above_w=10_000.0)
        dso = await home.run.bus(DSO)
        await home.limit(dso, 6_000.0)
        await home.metered(below_w=6_000.0)
        assert plans(home) == []


async def test_a_grid_limit_goes_before_the_plan_and_is_planned_with() -> None:
    async with open_home(HALF_FULL, others=(RETAILER, DSO), cem=PLANS) as home:
        await cheap_now(home)
        await home.metered(above_w=5_500.0)
        dso = await home.run.bus(DSO)
        await home.limit(dso, 4_800.0)
        await home.metered(below_w=4_800.0, above_w=2_000.0)
        bounded = await home.until(lambda: [p for p in plans(home) if p["gcp"][0]["power_w"] <= 4_800.5])
        assert any(item["power"][0]["power_w"] > 2_000.0 for item in bounded[-1]["items"])


async def test_without_consent_a_device_is_not_planned_and_told_nothing_of_a_plan() -> None:
    async with open_home(HALF_FULL, others=(RETAILER, APP), cem=PLANS) as home:
        app = await home.run.bus(APP)
        await want(app, devices={"battery": DevicePreferences(controlled=False)})
        before = len(plans(home))
        await cheap_now(home)
        await home.until(lambda: plans(home)[before + 1 :])
        assert all(item["device"] != "battery.1" for plan in plans(home)[before + 1 :] for item in plan["items"])
        assert all((order["setpoint_w"] or 0.0) < 3_000.0 for order in home.told("battery.1"))


async def test_a_stopped_service_plans_nothing_until_it_is_on_again() -> None:
    async with open_home(HALF_FULL, others=(RETAILER, APP), cem=PLANS) as home:
        app = await home.run.bus(APP)
        await cheap_now(home)
        await home.metered(above_w=5_500.0)
        await want(app, service=False)
        await home.metered(below_w=3_000.0)
        await want(app, service=True)
        await home.metered(above_w=5_500.0)


async def test_generation_is_held_back_while_feeding_in_costs_something(tmp_path: Path) -> None:
    sun = "".join(f"{START + timedelta(hours=n):%Y-%m-%dT%H:%MZ},700\n" for n in range(-1, 30))
    (tmp_path / "sun.csv").write_text(f"time,ghi\n{sun}")
    async with open_home(SUN, others=(RETAILER, FORECASTER), cem=PLANS) as home:
        await home.run.start(FORECASTER, {"weather": str(tmp_path / "sun.csv")})
        await home.metered(below_w=-1_000.0)
        retailer = await home.run.bus(RETAILER)
        for component, price in (("energy", 0.20), ("feed_in", -0.10)):
            await announce(retailer, [(START, price)], START + timedelta(hours=26), component)
        await home.until(lambda: [o for o in home.told("pv.1") if o["reason"]["code"] == NEGATIVE_PRICE])
        await home.metered(above_w=-700.0)
        await announce(retailer, [(START, 0.08)], START + timedelta(hours=26), "feed_in")
        await home.metered(below_w=-1_000.0)


async def test_a_device_that_offers_nothing_is_planned_around_and_never_held_by_the_plan() -> None:
    async with closed_home("evse.1", "battery.1", speed=60.0, **PLANS) as home:
        await home.device("evse.1", 11_040.0)
        await home.lift()
        await home.metered(above_w=11_900)
        told = len(home.said("set_power"))  # until now the failsafe of the start may have held it
        await home.until(lambda: [w for p in home.said("plan_shown") for w in _now_w(p, "evse.1") if w > 11_000.0])
        await home.metered(above_w=11_900, times=6)
        assert all(order["upper_w"] is None for order in home.said("set_power")[told:])


def _now_w(plan: dict[str, Any], device: str) -> list[float]:
    """Its power in the plan's first stretch, where it is in the plan."""
    return [item["power"][0]["power_w"] for item in plan["items"] if item["device"] == device]
