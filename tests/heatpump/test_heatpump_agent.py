"""A heat pump's agent: by power register, by contacts, and under a gateway's direct command."""

import pytest

from contracts.device import PowerApplied
from contracts.device_form import Value
from tests.support.grid import eventually, grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
PUMP = "h07.heatpump.1"
WARM: dict[str, Value] = {"state": "heating", "power_w": 2_000, "power_setpoint_w": 4_000}


@pytest.mark.use_case("limits.lpc")
async def test_a_bound_is_in_the_power_register_and_renewed() -> None:
    async with (
        products(pump=("lambda_eu_l", 20, WARM)) as hardware,
        grid("h07.cem.main", PUMP, agents=SCRIPTED_CEM) as run,
    ):
        writes: list[object] = []
        hardware["pump"].on_write = lambda _name, value: writes.append(value)
        cem = await home_cem(run)
        await run.start(PUMP, {**hardware.line("pump"), "rating_w": 4_000.0})
        applied = await cem.order(PUMP, upper_w=1_500.0)
        assert isinstance(applied, PowerApplied)
        assert (applied.upper_w, hardware["pump"].get("power_setpoint_w")) == (1_500.0, 1_500)
        await eventually(lambda: len(writes) >= 3)
        assert set(writes) == {1_500}


async def test_contacts_block_and_release_and_the_submeter_measures() -> None:
    async with (
        products(
            relay=("sg_ready_waveshare_relay", 20, {}),
            meter=("eastron_sdm72d", 21, {"power_w": 1_800.0, "import_wh": 0.0, "export_wh": 0.0}),
        ) as hardware,
        grid("h07.cem.main", PUMP, agents=SCRIPTED_CEM) as run,
    ):
        words = await run.words("h07")
        cem = await home_cem(run)
        meter = {"submeter": "eastron_sdm72d", "submeter_unit": 21}
        await run.start(PUMP, {**hardware.line("relay"), "rating_w": 3_000.0, **meter})
        reading = (await words.until(lambda w: w.of("device_reading")))[0][1]["body"]
        assert (reading["power_w"], reading["quality"]) == (1_800.0, "measured")
        blocked = await cem.order(PUMP, upper_w=2_000.0)
        assert isinstance(blocked, PowerApplied)
        assert blocked.upper_w == 0.0
        relay = hardware["relay"]
        assert (relay.get("sg_ready_1"), relay.get("sg_ready_2")) == (True, False)
        await cem.order(PUMP, setpoint_w=1_000.0)
        assert (relay.get("sg_ready_1"), relay.get("sg_ready_2")) == (False, True)
        await cem.order(PUMP)
        assert (relay.get("sg_ready_1"), relay.get("sg_ready_2")) == (False, False)
