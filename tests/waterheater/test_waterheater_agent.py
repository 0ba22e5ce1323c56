"""A water heater's agent in its home: joins, reads, obeys; with the simulated product behind a real socket."""

import pytest

from contracts.device import Announce, PowerApplied, PowerRefused
from contracts.device_form import Value
from tests.support.grid import eventually, grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
HEATER = "h07.waterheater.1"
WARM: dict[str, Value] = {
    "power_w": 0,
    "tank_temperature_c": 48.5,
    "target_temperature_c": 60.0,
    "state": "standby",
    "rating_w": 3_000,
    "setpoint_timeout_s": 60,
}


@pytest.mark.use_case("limits.lpc")
async def test_a_power_order_is_written_and_renewed_while_the_register_shows_what_flows() -> None:
    async with (
        products(heater=("mypv_ac_elwa_2", 30, WARM)) as hardware,
        grid("h07.cem.main", HEATER, agents=SCRIPTED_CEM) as run,
    ):
        writes: list[tuple[str, object]] = []
        hardware["heater"].on_write = lambda name, value: writes.append((name, value))
        words = await run.words("h07")
        cem = await home_cem(run)
        await run.start(HEATER, hardware.line("heater"))
        address, announce = await cem.newcomer()
        assert (address, announce.device_class, announce.nominal_upper_w) == (HEATER, "waterheater", 3_000.0)
        assert isinstance(announce, Announce)
        assert {"setpoint", "limit_upper", "absorb"} <= set(announce.functions)
        reading = (await words.until(lambda w: w.of("device_reading")))[0][1]["body"]
        assert (reading["temperature_c"], reading["operating"]) == (48.5, "idle")
        applied = await cem.order(HEATER, setpoint_w=2_500.0, upper_w=2_000.0)
        assert isinstance(applied, PowerApplied)
        assert (applied.setpoint_w, applied.upper_w, applied.readback) == (2_000.0, 2_000.0, {})
        hardware["heater"].put({"power_w": 1_990, "state": "heating"})
        await eventually(lambda: len(writes) >= 3)
        assert set(writes) == {("power_setpoint_w", 2_000)}
        assert not [event for _, event in words.of("device_event")]
        off = await cem.order(HEATER, upper_w=0.0)
        assert isinstance(off, PowerApplied)
        assert (off.upper_w, writes[-1]) == (0.0, ("power_setpoint_w", 0))


async def test_a_contactor_tells_its_real_bound_and_keeps_its_minimum_off_time() -> None:
    async with (
        products(
            relay=("water_heater_waveshare_relay", 30, {"enabled": True}),
            meter=("eastron_sdm72d", 31, {"power_w": 1_950.0, "import_wh": 0.0, "export_wh": 0.0}),
        ) as hardware,
        grid("h07.cem.main", HEATER, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        cem = await home_cem(run)
        settings = {"rating_w": 2_000.0, "minimum_off_s": 3_600.0}
        meter = {"submeter": "eastron_sdm72d", "submeter_unit": 31}
        await run.start(HEATER, {**hardware.line("relay"), **settings, **meter})
        await words.until(lambda w: any(e["body"]["power_w"] == 1_950.0 for _, e in w.of("device_reading")))
        applied = await cem.order(HEATER, upper_w=1_200.0)
        assert isinstance(applied, PowerApplied)
        assert (applied.upper_w, applied.readback) == (0.0, {"enabled": 0.0})
        assert hardware["relay"].get("enabled") is False
        hardware["meter"].put({"power_w": 0.0})
        await words.until(lambda w: any(e["body"]["power_w"] == 0.0 for _, e in w.of("device_reading")))
        refused = await cem.order(HEATER, setpoint_w=2_000.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "minimum_off"
        assert isinstance(await cem.order(HEATER, setpoint_w=2_000.0, urgent=True), PowerApplied)
        assert hardware["relay"].get("enabled") is True
