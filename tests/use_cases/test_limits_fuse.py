"""The fuse is kept phase by phase from inside the home; strong asymmetry is reduced."""

import pytest

from tests.cem.home import Home, home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.fuse")]
FUSE = {"fuse_a": 25.0, "fuse_share": 0.95}
FREE = {"init_silence": "autonomous", "failsafe_consumption_w": 50_000.0, "failsafe_production_w": -50_000.0}


def currents(h: Home, last: int = 3) -> list[list[float]]:
    return [r["current_by_phase_a"] for r in h.said("gcp_reading")[-last:]]


async def test_a_charging_car_is_cut_back_before_the_fuse_trips_and_gets_it_back() -> None:
    async with home("evse.1", **FUSE, **FREE) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered(above_w=11_900)
        h.base_w = [4000.0, 300.0, 300.0]  # L1: 17.4 A and the car's 16 A
        await h.until(lambda: max(currents(h, 1)[0]) > 25)
        await h.until(lambda: len(currents(h)) == 3 and max(max(c) for c in currents(h)) <= 25)
        assert 4140 <= car.power_w < 11_040, "reduced, not switched off"
        assert car.orders[-1].reason.binding == "fuse_l1"
        h.base_w = [300.0, 300.0, 300.0]
        await h.metered(above_w=11_900)


async def test_the_fuse_is_kept_with_the_grid_side_link_down() -> None:
    async with home("evse.1", **FUSE, **FREE) as h:
        await h.device("evse.1", 11_040.0)
        await h.metered(above_w=11_900)
        await h.run.servers.cut("h07")
        h.base_w = [300.0, 4500.0, 300.0]
        await h.until(lambda: max(currents(h, 1)[0]) > 25)
        await h.until(lambda: max(max(c) for c in currents(h)) <= 25)


async def test_a_car_that_does_not_fit_at_its_least_current_is_stopped() -> None:
    async with home("evse.1", **FUSE, **FREE) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered(above_w=11_900)
        h.base_w = [4600.0, 300.0, 300.0]
        await h.until(lambda: car.power_w == 0.0)
        await h.until(lambda: max(max(c) for c in currents(h)) <= 25)


async def test_strong_asymmetry_of_a_single_phase_car_is_reduced() -> None:
    async with home("evse.1", fuse_a=63.0, asymmetry_w=4600.0, **FREE) as h:
        car = await h.device("evse.1", 7360.0, phases=(1,), nominal_upper_w=7360.0, minimum_run_w=1380.0)
        await h.until(lambda: car.orders and car.orders[-1].reason.binding == "asymmetry_l1")

        def even() -> bool:
            last = [r["power_by_phase_w"] for r in h.said("gcp_reading")[-3:]]
            return len(last) == 3 and all(max(p) - min(p) <= 4600 for p in last)

        await h.until(even)
        assert car.power_w > 3000


async def test_a_silent_meter_leaves_the_safe_budget_only() -> None:
    async with home("evse.1", "heatpump.1", **FUSE, **FREE, household_reserve_w=3500.0) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered(above_w=11_900)
        h.measures = False
        await h.until(lambda: car.orders and 0 < (car.orders[-1].upper_w or 1e9) < 7000)
