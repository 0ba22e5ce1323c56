"""A real CEM learns what is drawn from a tank, and lets it heat when a plan was wrong about it."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar

import anyio
import pytest

from agents.cem.agent import AGENT
from agents.cem.plan_home import PlanHome
from agents.cem.planner.problem import BadProblem, Problem, Thermal
from bus.address import Address
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    ThermalFlexibility,
    flexibility_offer,
)
from contracts.kit import Lapsed
from tests.cem.home import CEM, WHY, Home, Puppet, home
from tests.support.grid import START
from tests.support.plan_home import PLANS, RETAILER, announce

pytestmark = pytest.mark.anyio
BOILER = "waterheater.1"
SETTINGS: dict[str, Any] = {**PLANS, "failsafe_consumption_w": 30_000.0}
TANK = ThermalFlexibility(
    temperature_c=50.0,
    lowest_c=45.0,
    highest_c=60.0,
    capacity_wh_per_k=230.0,
    loss_w_per_k=2.0,
    ambient_c=20.0,
    upper_w=2000.0,
)
SEEN: list[Problem] = []


@dataclass
class Watched(PlanHome):
    """Shows what it poses; once it is told, there is no newer plan."""

    enough: ClassVar[bool] = False

    def pose(self) -> Problem:
        if Watched.enough:
            raise BadProblem("test", "no newer plan is to be had")
        SEEN.append(super().pose())
        return SEEN[-1]


WATCHED = {"cem": replace(AGENT, skills=tuple(Watched if skill is PlanHome else skill for skill in AGENT.skills))}


@pytest.fixture(autouse=True)
def afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    SEEN.clear()
    monkeypatch.setattr(Watched, "enough", False)


async def offer(boiler: Puppet) -> None:
    async with boiler.bus.talk(flexibility_offer, Address.parse(CEM)) as talk:
        await talk.say(OfferFlexibility(offer=1, controllable=True, flexibility=TANK, reason=WHY))
        assert isinstance(await talk.hear(FlexibilityTaken, FlexibilityRefused, Lapsed), FlexibilityTaken)


async def cools_down(here: Home, boiler: Puppet, k_per_h: float) -> None:
    began = here.run.clock.now()
    while True:
        boiler.temperature_c = round(50.0 - k_per_h * (here.run.clock.now() - began) / 3600, 1)
        await here.run.clock.sleep(5.0)


async def test_what_is_drawn_from_a_tank_is_learned_and_planned_with() -> None:
    async with home(BOILER, speed=240.0, agents=WATCHED, **SETTINGS) as here, anyio.create_task_group() as tasks:
        boiler = await here.device(BOILER, 0.0)
        tasks.start_soon(cools_down, here, boiler, 2.0)
        await here.lift()
        await offer(boiler)

        def learned() -> list[Thermal]:
            return [d for problem in SEEN for d in problem.devices if isinstance(d, Thermal) and d.demand_w]

        tank = (await here.until(learned))[-1]
        drawn = 2.0 * TANK.capacity_wh_per_k - TANK.loss_w_per_k * 29.5
        assert 8 * tank.demand_w[0] == pytest.approx(drawn, rel=0.25), "one quarter hour of eight"
        assert tank.temperature_c < 50.0
        tasks.cancel_scope.cancel()


async def test_a_plan_does_not_hold_what_has_got_too_cold() -> None:
    async with home(BOILER, RETAILER, speed=60.0, agents=WATCHED, **SETTINGS) as here:
        boiler = await here.device(BOILER, 2000.0)
        boiler.temperature_c = 50.0
        await here.lift()
        await offer(boiler)
        later = START + timedelta(hours=2)
        await announce(await here.run.bus(RETAILER), [(START, 0.60), (later, 0.05)], START + timedelta(hours=26))
        await here.metered(below_w=1000.0)
        Watched.enough = True
        boiler.temperature_c = TANK.lowest_c - 0.2
        await here.metered(below_w=1000.0)
        boiler.temperature_c = TANK.lowest_c - 1.0
        await here.metered(above_w=2500.0)
        boiler.temperature_c = TANK.lowest_c + 0.2
        await here.metered(above_w=2500.0)
        boiler.temperature_c = TANK.lowest_c + 1.0
        await here.metered(below_w=1000.0)
