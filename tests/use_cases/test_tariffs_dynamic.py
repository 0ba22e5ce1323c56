"""Prices of the next day reach their subscribers the day before, and the home runs by them. IC-FR-PUC8, IC-FR-HLUC2."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from agents.kit.local_day import bounds, quarters
from bus.bus import Bus
from bus.talk import Talk
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, TariffRefused, tariff_notice
from tests.support.grid import START, grid
from tests.support.open_home import STORE, open_home
from tests.support.plan_home import PLANS, at_connection, course, energy_wh, plans
from tests.support.priced import announce, priced_home, slots

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.dynamic")]
RETAILER, CEM, OTHER = "grid.retailer.main", "h07.cem.main", "h08.cem.main"
ZONE = "Europe/Berlin"
TODAY, TOMORROW = date(2016, 5, 20), date(2016, 5, 21)
CUSTOMERS = ({"site": "h07"},)


def market(path: Path, *days: date, dear: float = 90.0) -> None:
    """Quarter hours of whole local days: cheap from 2 to 5 o'clock, dear from 17 to 20."""
    rows = ["start,price_eur_per_mwh"]
    for day in days:
        for at in quarters(day, ZONE):
            hour = (at - bounds(day, ZONE)[0]) / 3600
            price = 10.0 if 2 <= hour < 5 else dear if 17 <= hour < 20 else 50.0
            rows.append(f"{datetime.fromtimestamp(at, UTC).isoformat()},{price}")
    path.write_text("\n".join(rows) + "\n")


def dynamic(path: Path, **more: Any) -> dict[str, Any]:
    tariff = {"name": "spot", "file": str(path), "factor": 1.19, "markup_eur_per_kwh": 0.15, "binding_s": None, **more}
    return {"tariffs": (tariff,), "customers": CUSTOMERS, "check_every_s": 20.0}


def of_day(words: list[tuple[str, dict[str, Any]]], day: date) -> list[tuple[str, dict[str, Any]]]:
    return [(s, e) for s, e in words if e["body"]["tariff"].startswith(f"spot {day}")]


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def local(day: date, hour: int) -> float:
    return bounds(day, ZONE)[0] + hour * 3600.0


async def test_the_prices_of_a_day_are_at_the_subscribed_homes_by_four_the_day_before_and_nowhere_else(
    tmp_path: Path,
) -> None:
    market(tmp_path / "prices.csv", TODAY, TOMORROW)
    async with grid(RETAILER, CEM, OTHER, speed=900.0) as run:
        words = await run.words()
        for name in (CEM, OTHER):
            await run.start(name)
        await run.start(RETAILER, dynamic(tmp_path / "prices.csv"))
        taken = await words.until(lambda w: of_day(w.of("tariff_taken"), TOMORROW))
        [(_, said), *_] = of_day(words.of("announce_tariff"), TOMORROW)
        assert local(TODAY, 13) <= at(said["at"]) <= at(taken[0][1]["at"]) <= local(TODAY, 16)
        slots = said["body"]["slots"]
        assert at(slots[0]["start"]) == bounds(TOMORROW, ZONE)[0]
        assert sum(slot["duration_s"] for slot in slots) == 86_400.0
        assert slots[12 * 4]["price_eur_per_kwh"] == pytest.approx(0.05 * 1.19 + 0.15)
        receivers = {s.split(".")[1] for s, _ in words.of("announce_tariff")}
        assert receivers == {"h07"}, "a price is confidential to its customers"


async def test_late_prices_are_announced_as_expected_ones_and_again_when_they_are_there(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    market(file, TODAY)
    settings = {**dynamic(file), "announce_at": "12:01:00", "latest_at": "12:10:00"}
    async with grid(RETAILER, CEM, speed=120.0) as run:
        words = await run.words()
        await run.start(CEM)
        await run.start(RETAILER, settings)
        [(_, guess)] = await words.until(lambda w: of_day(w.of("announce_tariff"), TOMORROW))
        assert guess["body"]["reason"]["code"] == "prices_late"
        assert {slot["binding"] for slot in guess["body"]["slots"]} == {"forecast"}
        market(file, TODAY, TOMORROW, dear=200.0)
        await words.until(lambda w: len(of_day(w.of("tariff_taken"), TOMORROW)) == 2)
        real = of_day(words.of("announce_tariff"), TOMORROW)[-1][1]["body"]
        assert real["reason"]["code"] == "computed"
        assert {slot.get("binding", "binding") for slot in real["slots"]} == {"binding"}


async def test_first_hours_bind_the_rest_is_a_forecast_until_it_binds(tmp_path: Path) -> None:
    market(tmp_path / "prices.csv", TODAY)
    async with grid(RETAILER, CEM, speed=1200.0) as run:
        words = await run.words()
        await run.start(CEM)
        await run.start(RETAILER, dynamic(tmp_path / "prices.csv", binding_s=7200.0))
        first, second, *_ = await words.until(lambda w: len(f := of_day(w.of("announce_tariff"), TODAY)) >= 2 and f)
        bound = [
            [s for s in e["body"]["slots"] if s.get("binding", "binding") == "binding"] for _, e in (first, second)
        ]
        for (_, envelope), part in zip((first, second), bound, strict=True):
            until = at(part[-1]["start"]) + part[-1]["duration_s"]
            assert 7000 <= until - at(envelope["at"]) <= 8200
        assert len(bound[0]) < len(first[1]["body"]["slots"])


async def test_a_cut_link_only_delays_a_tariff(tmp_path: Path) -> None:
    market(tmp_path / "prices.csv", TODAY)
    async with grid(RETAILER, CEM, speed=60.0) as run:
        words = await run.words()
        home = await run.words("h07")
        await run.start(CEM)
        await run.servers.cut("h07")
        await run.start(RETAILER, dynamic(tmp_path / "prices.csv"))
        await words.until(lambda w: of_day(w.of("announce_tariff"), TODAY))
        await run.clock.sleep(90.0)
        assert words.of("tariff_taken") == []
        await run.servers.mend("h07")
        await words.until(lambda w: of_day(w.of("tariff_taken"), TODAY))
        news = [e for _, e in home.of("display_notice") if "New prices" in e["body"]["text"]]
        assert len({e["id"] for e in news}) <= 2, "what was said twice is used once"


async def test_a_refusal_is_kept_with_its_reason_and_not_argued_with(tmp_path: Path) -> None:
    market(tmp_path / "prices.csv", TODAY)
    async with grid(RETAILER, CEM, OTHER, speed=600.0) as run:
        words = await run.words()

        async def refuse(talk: Talk, word: AnnounceTariff) -> None:
            reason = Reason(code="no_contract", text="There is no contract any more: stop sending.")
            await talk.say(TariffRefused(tariff=word.tariff, reason=reason))

        def answer(bus: Bus) -> None:
            bus.answer(tariff_notice, refuse)

        await run.bus(OTHER, answer)
        await run.start(CEM)
        customers = ({"site": "h07"}, {"site": "h08"})
        await run.start(RETAILER, {**dynamic(tmp_path / "prices.csv"), "customers": customers})
        await words.until(lambda w: w.of("tariff_refused") and w.of("tariff_taken"))
        before = len([s for s, _ in words.of("announce_tariff") if s.startswith("to.h08.")])
        await run.clock.sleep(900.0)
        again = [e for s, e in words.of("announce_tariff") if s.startswith("to.h08.")]
        assert len(again) == before == 1


@pytest.mark.use_case("home.price-plan", partial=True)
async def test_the_home_plans_by_the_retailers_prices_and_inside_its_power_limit(tmp_path: Path) -> None:
    market(tmp_path / "prices.csv", TODAY, TOMORROW, dear=400.0)
    contract_w = 6_000.0
    cem = {**PLANS, "time_zone": ZONE, "plan_horizon_s": 30 * 3600.0, "contract_consumption_w": contract_w}
    async with open_home(STORE, others=(RETAILER,), cem=cem) as home:
        settings = {**dynamic(tmp_path / "prices.csv"), "announce_at": "12:00:00"}
        await home.run.start(RETAILER, settings)
        night = (datetime.fromtimestamp(local(TOMORROW, 2), UTC), datetime.fromtimestamp(local(TOMORROW, 5), UTC))
        dear = (datetime.fromtimestamp(local(TODAY, 17), UTC), datetime.fromtimestamp(local(TODAY, 20), UTC))

        def by_price() -> list[dict[str, Any]]:
            return [p for p in plans(home) if energy_wh(course(p, "battery.1"), *night) > 500.0]

        plan = (await home.until(by_price))[-1]
        assert energy_wh(course(plan, "battery.1"), *dear) <= 50.0, "nothing is bought when it is dear"
        assert all(power <= contract_w + 1.0 for _, _, power in at_connection(plan))
        [battery] = [item for item in plan["items"] if item["device"] == "battery.1"]
        assert battery["reason"]["code"]


async def test_euros_saved_and_energy_avoided_are_told_by_day() -> None:
    """KPI 1 and 2 of IC-FR-HLUC2, as the home's own word."""
    async with priced_home("h07.evse.1", speed=120.0, plan=False, balance_every_s=60.0) as h:
        await h.device("evse.1", 4000.0)
        await announce(h.retailer, slots(START.timestamp(), [0.2] * 12))
        await h.lift()
        await h.until(lambda: [b for b in h.said("balance") if b["import_wh"] > 100.0])
        told = h.said("balance")[-1]
        assert told["cost_eur"] == pytest.approx(told["import_wh"] * 0.2 / 1000, rel=0.05)
        assert {"unplanned_cost_eur", "unplanned_import_wh"} <= told.keys(), "saved and avoided are the differences"
        assert told["unplanned_import_wh"] >= told["import_wh"] * 0.9
