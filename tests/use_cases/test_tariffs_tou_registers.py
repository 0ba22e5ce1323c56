"""Time-of-use registers: only the one in force grows, each is read on schedule; prices shown. ENA-08-01, ENA-09-01."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from agents.hes.database import Database
from bus.address import Address
from bus.bus import Bus
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.tariff import BandsRefused, BandsSet, SetBands, bands_write
from tests.cem.home import DSO, SITE
from tests.support.grid import Grid, Words, eventually, grid
from tests.support.home import Products, products

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.tou-registers")]
METER, APP, HES = f"{SITE}.meter.main", f"{SITE}.app.display", "grid.hes.main"
LOAD_W = 36_000.0
BANDS = (
    {"register": "high", "start": "12:01:00", "end": "12:05:00", "price_eur_per_kwh": 0.5},
    {"register": "low", "start": "12:05:00", "end": "06:10:00", "price_eur_per_kwh": 0.1},
)
"""The run begins at 12:00 local; ``standard`` before 12:01."""


class Scene:
    """A meter whose load is steady; ``counted_wh`` is what its device shows."""

    def __init__(self, run: Grid, home: Words, beyond: Words, hardware: Products) -> None:
        self.run, self.home, self.beyond, self.hardware = run, home, beyond, hardware
        self.counted_wh = 10_000.0
        self.operator: Bus

    async def consume(self) -> None:
        before = self.run.clock.now()
        while True:
            await anyio.sleep(0.02)
            now = self.run.clock.now()
            self.counted_wh += LOAD_W * (now - before) / 3600
            before = now
            self.hardware["mains"].put({"power_w": LOAD_W, "import_wh": self.counted_wh})

    async def meter(self) -> None:
        await self.run.start(METER, {**self.hardware.line("mains"), "reading_every_s": 2.0})

    def readings(self) -> list[dict[str, Any]]:
        return [e["body"] for _, e in self.beyond.of("tou_reading")]

    def bands_in_force(self) -> list[str]:
        return [e["body"]["register"] for _, e in self.home.of("active_tariff")]


@asynccontextmanager
async def scene(speed: float = 60.0) -> AsyncIterator[Scene]:
    values: dict[str, Value] = {"power_w": LOAD_W, "import_wh": 10_000.0, "export_wh": 0.0}
    async with (
        products(mains=("eastron_sdm630", 1, values)) as hardware,
        grid(DSO, HES, METER, APP, speed=speed) as run,
        anyio.create_task_group() as tasks,
    ):
        here = Scene(run, await run.words(SITE), await run.words(), hardware)
        tasks.start_soon(here.consume)
        yield here
        tasks.cancel_scope.cancel()


def grown(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    old = before["import_by_register_wh"]
    return {name for name, wh in after["import_by_register_wh"].items() if wh > old.get(name, 0.0) + 1e-6}


async def test_only_the_register_of_the_band_in_force_grows_and_each_is_read_on_schedule(tmp_path: Path) -> None:
    async with scene(speed=5.0) as s:
        await s.run.start(APP)
        await s.run.start(HES, {"database": str(tmp_path / "readings.db")})
        await s.meter()
        bands = ({"sites": (SITE,), "bands": BANDS, "report_every_s": 60.0},)
        await s.run.start(DSO, {"meter_bands": bands, "tariffs_every_s": 5.0})
        s.run.clock_file.set_speed(40.0)  # only now: the dear band is four minutes
        await s.beyond.until(lambda _: len([r for r in s.readings() if r["active"] == "low"]) >= 2)
        said = s.readings()
        assert [r["sequence"] for r in said] == list(range(1, len(said) + 1))
        for reading in said:
            assert set(reading["import_by_register_wh"]) == {"high", "low", "standard"}, "one reading per register"
        same = [(a, b) for a, b in pairwise(said) if a["active"] == b["active"]]
        assert {a["active"] for a, _ in same} >= {"high", "low"}
        for before, after in same:
            assert grown(before, after) == {before["active"]}
        total = sum(said[-1]["import_by_register_wh"].values()) - sum(said[0]["import_by_register_wh"].values())
        span_s = at(said[-1]) - at(said[0])
        assert total == pytest.approx(LOAD_W * span_s / 3600, rel=0.2), "all that was taken is in one of them"
        order = [band for n, band in enumerate(s.bands_in_force()) if n == 0 or band != s.bands_in_force()[n - 1]]
        assert order in (["standard", "high", "low"], ["high", "low"])
        await s.home.until(lambda w: [1 for _, e in w.of("shown") if e["body"].get("price_eur_per_kwh") == 0.1])
        database = Database(str(tmp_path / "readings.db"))
        loaded = await eventually(lambda: [row for row in database.tou(METER) if row[0] >= said[-1]["sequence"]])
        database.close()
        assert {register for _, _, register, _ in loaded} == {"high", "low", "standard"}, "the operator has loaded it"


def at(reading: dict[str, Any]) -> float:
    return datetime.fromisoformat(reading["at"]).timestamp()


async def tell(operator: Bus, **word: Any) -> BandsSet | BandsRefused | Lapsed:
    fields = {"bands": (), "otherwise": "standard", "time_zone": "Europe/Berlin", "report_every_s": 60.0}
    async with operator.talk(bands_write, Address.parse(METER)) as talk:
        await talk.say(SetBands(**{**fields, **word}))
        return await talk.hear(BandsSet, BandsRefused, Lapsed)


async def test_registers_outlive_a_restart_and_no_energy_is_lost() -> None:
    async with scene() as s:
        operator = await s.run.bus(DSO)
        await s.meter()
        assert isinstance(await tell(operator), BandsSet)
        await s.beyond.until(lambda _: s.readings())
        await s.run.stop(METER)
        was = s.readings()[-1]
        await s.meter()
        await s.beyond.until(lambda _: s.readings()[-1]["sequence"] >= 3)
        after = s.readings()[-1]
        by_number = {r["sequence"]: r for r in s.readings()}
        assert sorted(by_number) == list(range(1, after["sequence"] + 1))
        assert all(by_number[r["sequence"]] == r for r in s.readings()), "said again, a reading is the same"
        counted = after["import_by_register_wh"]["standard"] - was["import_by_register_wh"]["standard"]
        assert counted == pytest.approx(LOAD_W * (at(after) - at(was)) / 3600, rel=0.2)


async def test_what_no_meter_can_keep_is_refused_and_the_bands_before_still_hold() -> None:
    async with scene() as s:
        operator = await s.run.bus(DSO)
        await s.meter()
        assert isinstance(await tell(operator), BandsSet)
        bad: dict[str, dict[str, Any]] = {
            "unknown_zone": {"time_zone": "Atlantis"},
            "no_name": {"otherwise": ""},
            "too_often": {"report_every_s": 1.0},
        }
        for code, word in bad.items():
            answer = await tell(operator, **word)
            assert isinstance(answer, BandsRefused)
            assert answer.reason.code == code
        await s.beyond.until(lambda _: s.readings())
        assert s.readings()[-1]["active"] == "standard"
