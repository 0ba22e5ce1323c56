"""Quarter-hour prices of the next day in the app, and an alert of a cycle planned when it is dear. IC-IT-HLUC4."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from agents.kit.local_day import bounds, quarters
from bus.bus import Bus
from bus.envelope import instant
from contracts.home_plan import PlanItem, PlanShown
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from deploy.topology import Run
from tests.support.grid import Words, grid, topology

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.day-ahead-alert")]
RETAILER, APP, CEM = "grid.retailer.main", "h07.app.display", "h07.cem.main"
ZONE = "Europe/Rome"
WHY = Reason(code="plan", text="the test's plan")


def prices(path: Path, day: date) -> None:
    """Dear from 18 to 21 o'clock, cheapest from 13 to 15; by ENTSO-E's table, in local time."""
    rows = ['"MTU (CET/CEST)","Day-ahead Price (EUR/MWh)","Sequence"']
    for at in quarters(day, ZONE):
        hour = (at - bounds(day, ZONE)[0]) / 3600
        price = 300 if 18 <= hour < 21 else 40 if 13 <= hour < 15 else 120
        begin, end = (_stamp(at + shift) for shift in (0.0, 900.0))
        rows.append(f'"{begin} - {end}","{price}","Sequence 1"')
    path.write_text("\n".join(rows) + "\n")


def _stamp(at: float) -> str:
    return f"{datetime.fromtimestamp(at, ZoneInfo('Europe/Brussels')):%d/%m/%Y %H:%M:%S}"


def retailer(path: Path) -> dict[str, Any]:
    tariff = {"name": "pun", "file": str(path), "binding_s": None}
    customers = ({"site": "h07", "to": ("app",)},)
    return {"tariffs": (tariff,), "customers": customers, "time_zone": ZONE, "check_every_s": 20.0}


def plan(name: str, start: float, power_w: float = 2000.0, lasts_s: float = 3600.0) -> PlanShown:
    power = (PlannedPower(start=instant(start), duration_s=lasts_s, power_w=power_w),)
    return PlanShown(
        plan=name,
        at=instant(start),
        items=(PlanItem(device="whitegoods.1", start=instant(start), power=power, reason=WHY),),
        cost_eur=0.0,
        unplanned_cost_eur=0.0,
        gap_share=0.0,
        solved_in_s=0.0,
        found_by="test",
    )


def alerts(words: Words) -> list[str]:
    return [e["body"]["text"] for s, e in words.of("display_notice") if ".app.display." in s]


@pytest.mark.parametrize(
    ("day", "count"), [(date(2016, 5, 21), 96), (date(2016, 3, 27), 92), (date(2016, 10, 30), 100)]
)
async def test_once_a_day_all_quarter_hours_reach_the_app_also_when_the_clock_changes(
    tmp_path: Path, day: date, count: int
) -> None:
    prices(tmp_path / "pun.csv", day)
    start = datetime.fromtimestamp(bounds(day - timedelta(days=1), ZONE)[0], UTC) + timedelta(hours=12, minutes=55)
    shape = topology((RETAILER, APP), speed=300.0)
    shape = msgspec.structs.replace(shape, run=Run(start=start, until=start + timedelta(hours=6), speed=300.0))
    async with grid(shape=shape, speed=300.0) as run:
        words, home = await run.words(), await run.words("h07")
        await run.start(APP, {"time_zone": ZONE})
        await run.start(RETAILER, retailer(tmp_path / "pun.csv"))
        [(_, said)] = await words.until(lambda w: w.of("announce_tariff"))
        slots = said["body"]["slots"]
        assert len(slots) == count
        assert {slot["duration_s"] for slot in slots} == {900.0}
        assert sum(slot["price_eur_per_kwh"] == pytest.approx(0.3) for slot in slots) == 12
        shown = await home.until(lambda w: [e for _, e in w.of("shown") if e["body"].get("prices")])
        covered = sum(slot["duration_s"] for slot in shown[-1]["body"]["prices"])
        assert covered == count * 900.0
        await run.clock.sleep(600.0)
        assert len(words.of("announce_tariff")) == 1, "once a day"


async def test_a_cycle_in_a_dear_period_alerts_and_names_a_cheaper_time(tmp_path: Path) -> None:
    day = date(2016, 5, 20)
    prices(tmp_path / "pun.csv", day)
    async with grid(RETAILER, APP, CEM, speed=60.0) as run:
        home = await run.words("h07")
        cem: Bus = await run.bus(CEM)
        await run.start(APP, {"time_zone": ZONE})
        await run.start(RETAILER, retailer(tmp_path / "pun.csv"))
        await home.until(lambda w: [e for _, e in w.of("shown") if e["body"].get("prices")])
        evening = bounds(day, ZONE)[0] + 19 * 3600.0
        cem.say(plan("p1", evening), home=True)
        [text] = await home.until(lambda w: alerts(w))
        assert "whitegoods.1 is planned for Fri 19:00" in text
        assert "Choose Fri 13:00 instead: 0.040 EUR/kWh, which saves 0.52 EUR" in text
        await home.until(lambda w: [e for _, e in w.of("shown") if text in e["body"]["notices"]])
        cem.say(plan("p2", evening), home=True)
        cem.say(plan("p3", bounds(day, ZONE)[0] + 16 * 3600.0), home=True)
        cem.say(plan("p4", evening - 1800.0), home=True)
        await home.until(lambda w: len(alerts(w)) == 2)
        assert "Fri 18:30" in alerts(home)[1], "the same start alerts once, one at a usual price never"


async def test_prices_that_come_after_the_plan_alert_too(tmp_path: Path) -> None:
    day = date(2016, 5, 20)
    prices(tmp_path / "pun.csv", day)
    async with grid(RETAILER, APP, CEM, speed=60.0) as run:
        home = await run.words("h07")
        cem = await run.bus(CEM)
        await run.start(APP, {"time_zone": ZONE})
        cem.say(plan("p1", bounds(day, ZONE)[0] + 20 * 3600.0), home=True)
        await home.until(lambda w: [e for _, e in w.of("shown") if e["body"].get("plan")])
        assert alerts(home) == []
        await run.start(RETAILER, retailer(tmp_path / "pun.csv"))
        await home.until(lambda w: alerts(w))
