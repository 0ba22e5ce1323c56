"""metering.gcp-push: head-end and control room hear every listed value every 10 s, three phases apart. NG-04."""

from datetime import datetime
from itertools import pairwise

import pytest

from contracts.device import PowerApplied
from contracts.device_form import Value
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
METER: dict[str, Value] = {
    "power_w": -1_200.0,
    **{f"power_l{n}_w": -400.0 for n in (1, 2, 3)},
    **{f"current_l{n}_a": -1.75 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 + n for n in (1, 2, 3)},
    "frequency_hz": 50.0,
    "import_wh": 12_500.0,
    "export_wh": 3_000.0,
}
ROOF: dict[str, Value] = {"power_w": -3_000, "rating_w": 10_000, "state": "running"}


@pytest.mark.use_case("metering.gcp-push")
async def test_every_ten_seconds_the_grid_side_hears_all_values_and_the_pv_limit() -> None:
    names = ("grid.dso.north", "h07.cem.main", "h07.meter.main", "h07.pv.1")
    async with (
        products(meter=("eastron_sdm630", 1, METER), roof=("sunspec_inverter", 30, ROOF)) as hardware,
        grid(*names, agents=SCRIPTED_CEM, speed=15.0) as run,
    ):
        words = await run.words()  # as the grid side hears it, across the link
        cem = await home_cem(run)
        await run.start("h07.pv.1", hardware.line("roof"))
        await run.start("h07.meter.main", hardware.line("meter"))
        assert isinstance(await cem.order("h07.pv.1", lower_w=-3_000.0), PowerApplied)

        def pushed() -> list[dict[str, object]]:
            return [e["body"] for s, e in words.of("gcp_reading") if s.startswith("say.h07.meter.main.")]

        await words.until(lambda _: [1 for body in pushed() if body["pv_limit_percent"] == 30.0])
        count = len(pushed())
        await words.until(lambda _: len(pushed()) >= count + 6)
        instants = [datetime.fromisoformat(str(body["at"])).timestamp() for body in pushed()[count - 1 :]]
        for early, late in pairwise(instants):
            assert late - early == pytest.approx(10.0, abs=2.0)
        body = pushed()[-1]
        assert body["power_w"] == -1_200.0
        assert body["current_by_phase_a"] == [-1.75] * 3
        assert body["voltage_by_phase_v"] == [231.0, 232.0, 233.0]
        assert (body["import_wh"], body["export_wh"], body["frequency_hz"]) == (12_500.0, 3_000.0, 50.0)
        assert body["pv_limit_percent"] == 30.0
