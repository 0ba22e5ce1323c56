"""The retailer's other ways to price: fixed windows, the price of now; and files that are wrong."""

import logging
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.grid import START, grid

pytestmark = pytest.mark.anyio
RETAILER, CEM = "grid.retailer.main", "h07.cem.main"
CUSTOMERS = ({"site": "h07"},)
FIVE_MINUTES = [round(0.15 + n / 100, 6) for n in range(24)]
MARKS = [f"{(7 + n * 97) // 60:02d}:{(7 + n * 97) % 60:02d}:00" for n in range(14)]


def tariff(**fields: Any) -> dict[str, Any]:
    return {
        "tariffs": ({"name": "t", **fields},),
        "customers": CUSTOMERS,
        "check_every_s": 20.0,
        "real_time_every_s": 300.0,
    }


async def test_thirteen_windows_off_the_full_hour_are_thirteen_prices() -> None:
    windows = [{"start": a, "end": b, "eur_per_kwh": 0.2 + n / 100} for n, (a, b) in enumerate(pairwise(MARKS))]
    windows[7] |= {"threshold_wh": 3000.0, "beyond_eur_per_kwh": 0.9, "green_percent": 55.0}
    async with grid(RETAILER, CEM, speed=60.0) as run:
        words = await run.words()
        await run.start(CEM)
        await run.start(RETAILER, tariff(form="windows", windows=windows, otherwise_eur_per_kwh=0.1))
        await words.until(lambda w: w.of("tariff_taken"))
        body = words.of("announce_tariff")[0][1]["body"]
        assert body["form"] == "price_and_volume"
        priced = {round(slot["price_eur_per_kwh"], 3) for slot in body["slots"]}
        # At noon the first seven of them are over.
        assert priced >= {round(0.2 + n / 100, 3) for n in range(7, 13)}
        starts = {datetime.fromisoformat(slot["start"]).minute for slot in body["slots"]}
        assert starts - {0}, "not on full hours"
        [special] = [slot for slot in body["slots"] if slot.get("threshold_wh")]
        assert (special["beyond_eur_per_kwh"], special["green_percent"]) == (0.9, 55.0)


async def test_the_price_of_now_is_said_as_it_changes_and_may_be_an_hours_mean(tmp_path: Path) -> None:
    """IEC-JWG30xx-RTP: twelve five-minute prices, their mean plus the uplift."""
    rows = ["start,price eur/kwh"]
    rows += [f"{START + timedelta(minutes=5 * n):%Y-%m-%dT%H:%MZ},{0.10 + n / 100}" for n in range(24)]
    file = tmp_path / "now.csv"
    file.write_text("\n".join(rows) + "\n")
    async with grid(RETAILER, CEM, speed=60.0) as run:
        words = await run.words()
        await run.start(CEM)
        await run.start(RETAILER, tariff(form="real_time", file=str(file), markup_eur_per_kwh=0.05))
        await words.until(lambda w: len(w.of("tariff_taken")) >= 2)
        first, second = (e["body"] for _, e in words.of("announce_tariff")[:2])
        assert first["form"] == "real_time"
        for body in (first, second):  # each five minutes have their own
            slot = body["slots"][0]
            number = (datetime.fromisoformat(slot["start"]) - START) / timedelta(minutes=5)
            assert slot["price_eur_per_kwh"] == pytest.approx(0.15 + number / 100)
        assert second["slots"][0]["start"] > first["slots"][0]["start"]
        assert first["slots"][0]["duration_s"] == 300.0
        await run.stop(RETAILER)
        seen = len(words.of("announce_tariff"))
        await run.start(RETAILER, tariff(form="real_time", file=str(file), markup_eur_per_kwh=0.05, average_s=3600.0))

        def means() -> list[float]:  # what was on its way when the retailer stopped may be said once more before
            said = [e["body"]["slots"][0]["price_eur_per_kwh"] for _, e in words.of("announce_tariff")[seen:]]
            return [price for price in said if price not in FIVE_MINUTES]

        assert (await words.until(lambda _: means()))[0] == pytest.approx(0.155 + 0.05)


async def test_a_bad_file_is_named_once_and_the_mended_one_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("start,price eur/kwh\n2016-05-19T22:00Z,cheap\n")
    caplog.set_level(logging.ERROR, "gridparley.retailer")
    async with grid(RETAILER, CEM, speed=60.0) as run:
        words = await run.words()
        await run.start(CEM)
        await run.start(RETAILER, tariff(file=str(file)))
        await run.clock.sleep(70.0)
        named = [r.getMessage() for r in caplog.records if "line 2" in r.getMessage()]
        assert len(named) == 1
        assert str(file) in named[0]
        assert "decimal point" in named[0]
        rows = [f"{START.replace(hour=0) + timedelta(hours=h - 2):%Y-%m-%dT%H:%MZ},0.2" for h in range(24)]
        file.write_text("start,price eur/kwh\n" + "\n".join(rows) + "\n")
        await words.until(lambda w: w.of("tariff_taken"))
