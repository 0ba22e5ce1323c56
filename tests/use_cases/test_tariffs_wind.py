"""A tariff that follows wind and the state of the grid; where that is not enough, the operator's own limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from agents.kit.agent import Agent
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskSiteForecast, SiteForecastIs, site_forecast
from contracts.profiles import Estimate
from contracts.tariff import AnnounceTariff, TariffTaken, tariff_notice
from tests.support.cem_puppet import PUPPET, Feeder, PuppetSettings, forget_limits
from tests.support.grid import START, Grid, Words, grid
from tests.support.open_home import CAR, DSO, open_home
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.wind")]
ESP, FORECASTER, APP = "grid.esp.main", "grid.forecaster.main", "h07.app.display"
SUBSTATION = "grid.meter.substation"
RULES = {"rating_w": 5_000.0, "every_s": 3_600.0, "horizon_s": 8 * 3_600.0}
WINDY_FROM, WINDY_UNTIL = START + timedelta(hours=2), START + timedelta(hours=4)
PEAK_AT, PEAK_W = START + timedelta(hours=3), 9_900.0


def weather(folder: Path) -> dict[str, Any]:
    """A forecast with a storm from two to four hours after the start, calm before and after."""
    rows = ["time,wind", f"{START - timedelta(hours=1):%Y-%m-%dT%H:%MZ},0.5"]
    rows += [f"{WINDY_FROM:%Y-%m-%dT%H:%MZ},14.0", f"{WINDY_FROM + timedelta(hours=1):%Y-%m-%dT%H:%MZ},14.0"]
    rows += [f"{WINDY_UNTIL + timedelta(hours=n):%Y-%m-%dT%H:%MZ},0.5" for n in range(24)]
    file = folder / "wind.csv"
    file.write_text("\n".join(rows) + "\n")
    return {"weather": str(file)}


def windy(slot: dict[str, Any]) -> bool:
    return WINDY_FROM <= datetime.fromisoformat(slot["start"]) < WINDY_UNTIL


@skill()
@dataclass
class Expects:
    """A home that lets its forecast be known: a peak at three hours from the start."""

    clock: Clock
    settings: PuppetSettings

    @answers(site_forecast)
    async def tell(self, talk: Talk, _question: AskSiteForecast) -> None:
        now = self.clock.now() // 900 * 900
        slots = [instant(now + n * 900.0) for n in range(28)]
        values = tuple(Estimate(start=at, duration_s=900.0, power_w=PEAK_W if at == PEAK_AT else 500.0) for at in slots)
        await talk.say(SiteForecastIs(at=instant(now), power_w=500.0, values=values))

    @answers(tariff_notice)
    async def take(self, talk: Talk, word: AnnounceTariff) -> None:
        await talk.say(TariffTaken(tariff=word.tariff))


HOME = Agent(role=PUPPET.role, settings=PUPPET.settings, skills=(*PUPPET.skills, Expects))


@asynccontextmanager
async def area(folder: Path) -> AsyncIterator[tuple[Grid, Feeder, Words]]:
    """Real control room, provider and forecaster; a scripted home that tells what it expects."""
    forget_limits()
    names = (DSO, SUBSTATION, ESP, FORECASTER, "h01.cem.main", "h01.meter.main")
    async with grid(*names, agents={"cem": HOME}, speed=60.0) as run:
        feeder = Feeder(run)
        await feeder.connect(("h01",))
        words = await run.words()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder)
            feeder.base_w, feeder.wishes_w = 2_000.0, {"h01": 500.0}
            await run.start("h01.cem.main")
            await run.start(DSO, {"transformer_va": 10_000.0, "warn_every_s": 60.0})
            await run.start(FORECASTER, weather(folder))
            await words.until(lambda w: w.of("grid_state") and len(w.of("set_limit")) >= 2)
            await run.start(ESP, {"wind": RULES})
            yield run, feeder, words
            tasks.cancel_scope.cancel()


def tariffs(words: Words) -> list[dict[str, Any]]:
    return [e["body"] for _, e in words.of("announce_tariff")]


async def test_coming_congestion_changes_the_tariff_and_a_critical_one_brings_a_limit(tmp_path: Path) -> None:
    async with area(tmp_path) as (_run, feeder, words):
        await words.until(lambda w: w.of("critical_load_noted"))
        notice = words.of("notify_critical_load")[0][1]["body"]
        assert datetime.fromisoformat(notice["start"]) == PEAK_AT
        assert notice["excess_w"] == pytest.approx(PEAK_W + 2_000.0 - 9_700.0, abs=200.0)
        dearer = await words.until(lambda w: [t for t in tariffs(w) if t["reason"]["code"] == "critical_load"])
        prices = {s["start"]: s["price_eur_per_kwh"] for s in dearer[0]["slots"]}
        peak = next(p for at, p in prices.items() if datetime.fromisoformat(at) == PEAK_AT)
        after = next(p for at, p in prices.items() if datetime.fromisoformat(at) == PEAK_AT + timedelta(hours=2))
        assert peak > after, "it is dearer where load would be critical, in spite of the wind"
        assert "dearer" in dearer[0]["warning"]
        assert not [e for _, e in words.of("set_limit") if e["body"]["active"]], "no limit while time is not pressing"
        feeder.base_w, feeder.wishes_w = 2_000.0, {"h01": 9_000.0}
        limits = await words.until(lambda w: [e for _, e in w.of("set_limit") if e["body"]["active"]])
        assert limits[0]["body"]["direction"] == "consumption"


async def test_wind_state_and_use_make_a_tariff_for_every_home_and_user(tmp_path: Path) -> None:
    machine = DeviceSpec(
        name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
    )
    ready = {"evse.1": {"ready_by": "18:00:00", "charge_lower_percent": 50.0}}
    settings = {"plan": True, "consents": {ESP: ["forecast"]}, "preferences": ready}
    others = (ESP, FORECASTER, DSO, SUBSTATION, APP)
    waits = {"ended_after_s": 60.0, "programme": "easy_care_40"}
    async with open_home(CAR, machine, others=others, cem=settings, whitegoods1=waits, speed=20.0) as h:
        feeder = Feeder(h.run)
        await feeder.connect(())
        feeder.base_w = 2_000.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(feeder)
            await h.run.start(DSO)
            await h.run.start(APP)
            await h.run.start(FORECASTER, weather(tmp_path))
            await h.beyond_until(lambda: h.said("grid_state"))
            h.world.happens("plug_in", "evse1", energy_wh=8_000.0)
            h.world.happens("start_programme", "whitegoods1", programme="easy_care_40")
            await h.run.start(ESP, {"wind": RULES})
            await h.beyond_until(lambda: len(h.said("tariff_taken")) >= 2)
            assert not h.said("site_forecast_unknown"), h.said("site_forecast_unknown")
            for word in ("connection_status_is", "forecast_is", "site_forecast_is"):
                assert h.said(word), f"{word} went into it"
            told = {s.split(".")[2] for s, _ in h.beyond.of("announce_tariff")}
            assert told == {"cem", "app"}, "it is pushed to the energy manager and to its user"
            slots = h.said("announce_tariff")[0]["slots"]
            cheap = max(s["price_eur_per_kwh"] for s in slots if windy(s))
            assert cheap < min(s["price_eur_per_kwh"] for s in slots if not windy(s))
            await h.until(lambda: any(shown["prices"] for shown in h.said("shown")))
            start = await h.until(lambda: [i for i in h.said("instruct") if i["start"]])
            assert WINDY_FROM <= datetime.fromisoformat(start[-1]["start"]) <= WINDY_UNTIL
            held = await h.until(lambda: [o for o in h.told("evse.1") if o["upper_w"] is not None or o["standby"]])
            assert held[-1]["standby"] or held[-1]["upper_w"] < 11_000.0, "the car is modulated: it waits for the wind"
            tasks.cancel_scope.cancel()
