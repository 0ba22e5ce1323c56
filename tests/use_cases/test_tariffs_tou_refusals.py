"""Bands that this meter cannot keep, each named. ENA-08-01."""

from datetime import time
from typing import Any

import pytest

from contracts.tariff import BandsRefused, BandsSet, TouBand
from tests.cem.home import DSO
from tests.use_cases.test_tariffs_tou_registers import scene, tell

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("tariffs.tou-registers")]


def band(register: str, **more: Any) -> TouBand:
    return TouBand(register=register, start=time(6), end=time(20), **more)


async def test_too_many_registers_and_days_that_no_week_has_are_refused_and_nothing_is_read() -> None:
    async with scene() as s:
        operator = await s.run.bus(DSO)
        await s.meter()
        for code, bands in (
            ("too_many_registers", tuple(band(f"r{n}") for n in range(48))),
            ("unknown_day", (band("high", days=(0, 7)),)),
        ):
            answer = await tell(operator, bands=bands)
            assert isinstance(answer, BandsRefused)
            assert answer.reason.code == code
        most = await tell(operator, bands=tuple(band(f"r{n}") for n in range(47)))
        assert isinstance(most, BandsSet), "one for each, and one for all other times"
        assert len(most.registers) == 48
        await s.beyond.until(lambda _: s.readings())
        assert all(len(reading["import_by_register_wh"]) == 48 for reading in s.readings())
