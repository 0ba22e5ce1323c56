"""metering.nrtd, the meter's side: a block at least every five minutes, numbered, stored for the grid side. NG-05."""

from datetime import datetime

import pytest

from bus.address import Address
from contracts.device_form import Value
from contracts.kit import Lapsed
from contracts.metering import CheckMeter, MeterStatus, meter_check
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, products

pytestmark = pytest.mark.anyio
METER: dict[str, Value] = {
    "power_w": 1_200.0,
    **{f"power_l{n}_w": 400.0 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 229.0 for n in (1, 2, 3)},
    "reactive_power_var": 90.0,
    "frequency_hz": 50.0,
    "import_wh": 10_000.0,
    "export_wh": 0.0,
}


@pytest.mark.use_case("metering.nrtd")
async def test_blocks_of_five_minutes_reach_the_grid_side_on_the_clock_with_all_quantities() -> None:
    async with (
        products(meter=("eastron_sdm630", 1, METER)) as hardware,
        grid("grid.dso.north", "h07.cem.main", "h07.meter.main", speed=240.0, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words()
        settings = {**hardware.line("meter"), "reading_every_s": 5.0}
        await run.start("h07.meter.main", settings)
        await words.until(lambda w: w.of("near_real_time"))
        hardware["meter"].put({"import_wh": 10_100.0})
        blocks = await words.until(lambda w: len(w.of("near_real_time")) >= 3 and w.of("near_real_time"))
        bodies = [envelope["body"] for _, envelope in blocks[:3]]
        assert [body["sequence"] for body in bodies] == [1, 2, 3]
        for n, body in enumerate(bodies):
            start = datetime.fromisoformat(body["start"]).timestamp()
            assert (start + body["period_s"] + 150) % 300 == pytest.approx(150.0, abs=1e-3)
            assert body["period_s"] <= 300.0
            assert n == 0 or body["period_s"] == 300.0  # the first begins when the meter does
            assert body["voltage_by_phase_v"] == pytest.approx([229.0] * 3)
            assert body["frequency_hz"] == pytest.approx(50.0)
            assert body["reactive_power_var"] == pytest.approx(90.0)
        energy = bodies[1]["import_wh"] - bodies[0]["import_wh"]
        assert energy == pytest.approx(100.0, abs=0.01)  # f32 kWh
        assert bodies[1]["power_w"] == pytest.approx(energy * 12, rel=0.1)


@pytest.mark.use_case("metering.nrtd")
async def test_a_meter_that_is_asked_says_whether_its_device_answers() -> None:
    hes = "grid.hes.main"
    async with (
        products(meter=("eastron_sdm630", 1, METER)) as hardware,
        grid(hes, "h07.cem.main", "h07.meter.main", speed=10.0, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        await run.start("h07.meter.main", hardware.line("meter"))
        await words.until(lambda w: w.of("gcp_reading"))
        bus = await run.bus(hes)

        async def check() -> MeterStatus | Lapsed:
            async with bus.talk(meter_check, Address.parse("h07.meter.main")) as talk:
                await talk.say(CheckMeter(missing_since=words_start))
                return await talk.hear(MeterStatus, Lapsed)

        words_start = datetime.fromisoformat(words.of("gcp_reading")[0][1]["body"]["at"])
        well = await check()
        assert isinstance(well, MeterStatus)
        assert (well.device_answers, well.next_sequence) == (True, 1)
        hardware["meter"].faults.hang_up = True
        ill = await check()
        assert isinstance(ill, MeterStatus)
        assert (ill.device_answers, ill.reason.code) == (False, "hardware_silent")
        assert ill.last_reading_at is not None
