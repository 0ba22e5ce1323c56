"""A building stays below its contracted capacity: planned the day before, watched by day, reported at its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from agents.kit.agent import Agent, Settings
from agents.kit.skill import answers, every, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskSiteForecast, SiteForecastIs, site_forecast
from contracts.metering import SitePower
from contracts.profiles import Estimate
from contracts.questions import ComfortFeedback
from contracts.roles import CEM as CEM_ROLE
from contracts.site_power import (
    EnvelopeTaken,
    OrderAccepted,
    OrderFlexibility,
    SetEnvelope,
    flexibility_order,
    site_envelope,
)
from tests.support.grid import START, Grid, Words, grid
from tests.support.open_home import CAR, HEAT, WHY, open_home

pytestmark = pytest.mark.anyio
ESP, BUILDING, APP = "grid.esp.main", "grid.building.main", "h01.app.display"
CONTRACTED_W, BAND = 10_000.0, 0.1
SHAVING = {"sites": ["h01", "h02"], "contracted_w": CONTRACTED_W, "band_share": BAND, "building": BUILDING}


class FlatSettings(Settings, frozen=True, kw_only=True):
    """What the flat wants until noon UTC and after, and how it may be wrong about it."""

    before_w: float = 2_000.0
    after_w: float = 7_000.0
    wrong_by_w: float = 0.0


@skill(says_grid=(SitePower,))
@dataclass
class Flat:
    """An energy manager that foretells, obeys its envelope and reports its power each minute."""

    address: Address
    bus: Bus
    clock: Clock
    settings: FlatSettings
    envelope: SetEnvelope | None = None
    powers: list[tuple[float, float]] = field(default_factory=list)
    made: ClassVar[dict[str, "Flat"]] = {}

    def __post_init__(self) -> None:
        Flat.made[self.address.site] = self

    def wants(self, at: float) -> float:
        return self.settings.before_w if at < START.timestamp() + 7_200.0 else self.settings.after_w

    @answers(site_forecast)
    async def tell(self, talk: Talk, question: AskSiteForecast) -> None:
        now = self.clock.now() // 900 * 900
        starts = [now + n * 900.0 for n in range(int(question.horizon_s // 900))]
        values = tuple(Estimate(start=instant(at), duration_s=900.0, power_w=self.wants(at)) for at in starts)
        await talk.say(SiteForecastIs(at=instant(now), power_w=self.wants(now), values=values))

    @answers(site_envelope)
    async def bound(self, talk: Talk, word: SetEnvelope) -> None:
        self.envelope = word
        await talk.say(EnvelopeTaken(reason=WHY))

    @answers(flexibility_order)
    async def order(self, talk: Talk, _order: OrderFlexibility) -> None:
        await talk.say(OrderAccepted())

    @every(60.0)
    def report(self) -> None:
        now = self.clock.now()
        slots = self.envelope.slots if self.envelope is not None else ()
        here = [s for s in slots if s.start.timestamp() <= now < s.start.timestamp() + s.duration_s]
        power = min([self.wants(now) + self.settings.wrong_by_w, *(s.upper_w for s in here if s.upper_w is not None)])
        self.powers.append((now, power))
        self.bus.say(SitePower(at=instant(now), power_w=power, goal="zero_flow"), home=False)


FLAT = Agent(role=CEM_ROLE, settings=FlatSettings, skills=(Flat,))


@asynccontextmanager
async def building(speed: float = 120.0, **flat: Any) -> AsyncIterator[tuple[Grid, Words]]:
    names = (ESP, BUILDING, "h01.cem.main", "h02.cem.main", APP)
    async with grid(*names, agents={"cem": FLAT}, speed=speed) as run:
        words = await run.words()
        await run.start(BUILDING, {"advise_every_s": 1e6})
        await run.start("h01.cem.main", flat)
        await run.start("h02.cem.main", flat)
        yield run, words


def envelopes(words: Words, code: str = "") -> list[dict[str, Any]]:
    found = [e["body"] for _, e in words.of("set_envelope")]
    return [body for body in found if not code or body["reason"]["code"] == code]


def together_w(words: list[dict[str, Any]], at: datetime) -> float:
    return sum(
        slot["upper_w"]
        for body in words
        for slot in body["slots"]
        if datetime.fromisoformat(slot["start"]) <= at
        and at.timestamp() < datetime.fromisoformat(slot["start"]).timestamp() + slot["duration_s"]
    )


@pytest.mark.use_case("community.peak-shaving", "community.heatpump-peak")
async def test_a_baseline_above_the_capacity_is_planned_below_it_and_heat_pumps_are_limited_beforehand() -> None:
    async with building() as (run, words):
        pumps = {"heatpumps": {"h02": "heatpump.1"}, "heatpump_w": 600.0}
        await run.start(ESP, {"shaving": {**SHAVING, **pumps}})
        await words.until(lambda w: len(w.of("envelope_taken")) == 2 and w.of("order_accepted"))
        plan = envelopes(words, "peak")
        assert plan[0]["reason"]["inputs"]["baseline_w"] == 14_000.0
        for hours in (0, 1, 2, 5, 11):
            total = together_w(plan, START + timedelta(hours=hours, minutes=1))
            assert total <= CONTRACTED_W * (1 - BAND) + 1.0, "below the capacity with a safety band, all day"
        order = words.of("order_flexibility")[0][1]["body"]
        assert (order["device"], order["upper_w"]) == ("heatpump.1", 600.0)
        assert datetime.fromisoformat(order["start"]) == START + timedelta(hours=2)


@pytest.mark.use_case("community.peak-shaving")
async def test_within_the_capacity_a_surplus_is_used_at_home() -> None:
    async with building(after_w=-3_000.0) as (run, words):
        await run.start(ESP, {"shaving": SHAVING})
        await words.until(lambda w: len(w.of("envelope_taken")) == 2)
        plan = envelopes(words, "within_capacity")
        wishes = {s["start"]: s["wish_w"] for s in plan[0]["slots"]}
        noon = START + timedelta(hours=2)
        assert all((wish == 0.0) == (datetime.fromisoformat(at) >= noon) for at, wish in wishes.items())
        assert not words.of("order_flexibility")


@pytest.mark.use_case("community.peak-shaving")
async def test_a_large_deviation_restricts_first_and_is_optimised_anew_after() -> None:
    async with building(after_w=2_500.0, wrong_by_w=2_600.0) as (run, words):
        await run.start(ESP, {"shaving": SHAVING})
        await words.until(lambda w: envelopes(w, "large_deviation"))
        strict = envelopes(words, "large_deviation")
        await words.until(lambda w: [b for b in envelopes(w) if b["reason"]["binding"] == "large_deviation"])
        codes = [(b["reason"]["code"], b["reason"]["binding"]) for b in envelopes(words)]
        first = codes.index(("large_deviation", "contracted_capacity"))
        assert all(binding == "large_deviation" for _, binding in codes[first + 2 :]), "the new plan comes after"
        assert together_w(strict, instant(run.clock.now())) <= 0.7 * CONTRACTED_W + 1.0


@pytest.mark.use_case("community.peak-shaving")
async def test_no_slot_of_the_day_exceeds_the_capacity_and_the_building_gets_its_report() -> None:
    async with building(speed=2_400.0) as (run, words):
        await run.start(ESP, {"shaving": SHAVING, "time_zone": "Asia/Tokyo"})  # the day ends five hours from now
        app = await run.bus(APP)
        await app.tell_durably(Address.parse(ESP), ComfortFeedback(comfort="too_cold"))
        reports = await words.until(lambda w: w.of("performance_report"))
        report = reports[0][1]["body"]
        assert report["slots_above"] == 0
        assert 8_500.0 < report["highest_w"] <= CONTRACTED_W
        assert report["penalty_eur"] == 0.0
        assert report["comfort"] == {"too_cold": 1}
        assert ".to.grid.building.main.grid.esp.main." in reports[0][0]


@pytest.mark.use_case("community.heatpump-peak")
async def test_rising_demand_modulates_the_running_heat_pump_so_that_the_threshold_holds() -> None:
    settings = {"use_surplus": False, "priorities": {"heatpump.1": 9}}
    async with open_home(HEAT, CAR, others=(ESP,), cem=settings) as h:
        at = instant(h.run.clock.now())
        part = {"start": at, "duration_s": 3_600.0, "upper_w": 13_500.0}
        orders = {"envelopes": [{"at": at, "site": "h07", "parts": [part]}]}
        pump = h.world.world.sites[0].device("heatpump1")
        pump.orders.take("power_setpoint_w", 4_000.0, h.run.clock.now())
        await h.start(ESP, **orders)
        await h.beyond_until(lambda: h.said("envelope_taken"))
        warm = await h.metered(above_w=1_500.0)
        assert max(warm) <= 13_500.0
        h.world.happens("plug_in", "evse1", energy_wh=40_000.0)
        await h.until(lambda: [o for o in h.told("heatpump.1") if o["upper_w"] is not None])
        readings = await h.metered(above_w=9_000.0, times=6)
        assert max(readings) <= 13_500.0, "the threshold holds"
        assert h.told("heatpump.1")[-1]["reason"]["binding"] == "esp_envelope"
        tanks = [e["body"]["temperature_c"] for s, e in h.words.of("device_reading") if ".heatpump." in s]
        assert min(tanks) > 30.0, "heat comes from the tank"
