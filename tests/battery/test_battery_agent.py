"""A battery's agent: the setpoint in the registers, kept alive, and given back."""

import pytest

from contracts.device import PowerApplied, PowerRefused
from contracts.device_form import Value
from tests.support.grid import eventually, grid
from tests.support.home import SCRIPTED_CEM, home_cem, products

pytestmark = pytest.mark.anyio
BATTERY = "h07.battery.1"
HALF: dict[str, Value] = {
    "power_w": 0,
    "soc_percent": 50.0,
    "capacity_wh": 10_000,
    "rating_w": 5_000,
    "charge_limit_w": 5_000,
    "discharge_limit_w": 5_000,
}


@pytest.mark.use_case("limits.lpc")
async def test_a_setpoint_is_in_the_registers_with_the_hardwares_own_failsafe_and_given_back() -> None:
    async with (
        products(store=("sunspec_battery", 40, HALF)) as hardware,
        grid("h07.cem.main", BATTERY, agents=SCRIPTED_CEM) as run,
    ):
        cem = await home_cem(run)
        await run.start(BATTERY, hardware.line("store"))
        store = hardware["store"]
        applied = await cem.order(BATTERY, lower_w=-5_000.0, upper_w=2_000.0, setpoint_w=3_000.0)
        assert isinstance(applied, PowerApplied)
        assert applied.setpoint_w == 2_000.0
        assert (store.get("power_setpoint_w"), store.get("enabled"), store.get("setpoint_mode")) == (
            2_000,
            True,
            "watts",
        )
        assert store.get("setpoint_timeout_s") == 60
        assert isinstance(await cem.order(BATTERY), PowerApplied)
        assert store.get("enabled") is False


async def test_a_setpoint_is_told_again_before_the_hardware_forgets_it() -> None:
    async with (
        products(store=("sunspec_battery", 40, HALF)) as hardware,
        grid("h07.cem.main", BATTERY, agents=SCRIPTED_CEM) as run,
    ):
        writes: list[object] = []
        hardware["store"].on_write = lambda name, value: writes.append(value) if name == "power_setpoint_w" else None
        cem = await home_cem(run)
        await run.start(BATTERY, hardware.line("store"))
        await cem.order(BATTERY, setpoint_w=-1_500.0)
        begun = run.clock.now()
        await eventually(lambda: len(writes) >= 5)
        assert set(writes) == {-1_500}
        assert run.clock.now() - begun >= 4 * 15.0
        # The same order again is written again, though the register shows it: its timer has to start anew.
        said = len(writes)
        await cem.order(BATTERY, setpoint_w=-1_500.0)
        assert len(writes) > said


async def test_a_vendors_battery_takes_a_setpoint_only_when_it_was_handed_over() -> None:
    values: dict[str, Value] = {
        "soc_percent": 50,
        "power_w": 0,
        "charge_limit_w": 5_000.0,
        "discharge_limit_w": 5_000.0,
    }
    async with (
        products(store=("kostal_plenticore", 71, {**values, "control_mode": "internal"})) as hardware,
        grid("h07.cem.main", BATTERY, agents=SCRIPTED_CEM) as run,
    ):
        cem = await home_cem(run)
        await run.start(BATTERY, hardware.line("store"))
        refused = await cem.order(BATTERY, setpoint_w=1_000.0)
        assert isinstance(refused, PowerRefused)
        assert refused.reason.code == "not_in_control"
        hardware["store"].put({"control_mode": "external_modbus"})
        assert isinstance(await cem.order(BATTERY, setpoint_w=1_000.0), PowerApplied)
        assert hardware["store"].get("power_setpoint_w") == 1_000.0
