"""A heat pump that plans itself: it is told prices and sun and commanded nothing; its own plan does the rest."""

from typing import Any

import anyio
import pytest

from contracts.preferences import DevicePreferences
from tests.support.grid import eventually
from tests.support.negotiating import METER, RETAILER, Negotiating, negotiating
from tests.use_cases.test_limits_start_warning import APP, prefers
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.incentive-device")]
HEAT = DeviceSpec(
    name="heatpump1", kind="heatpump", product="lambda_eu_l", unit=20, rating_w=3_000, profile="Soil_Alternative_2"
)
HOW: dict[str, Any] = {
    "rating_w": 3_000.0,
    "comfort_low_c": 30.0,
    "comfort_high_c": 70.0,
    "minimum_on_s": 0.0,
    "demand_w": 2_000.0,
}


def setpoints(h: Negotiating) -> list[dict[str, Any]]:
    return [
        e["body"]
        for s, e in h.words.of("set_power")
        if ".heatpump." in s and (e["body"]["setpoint_w"] is not None or e["body"]["standby"])
    ]


async def test_it_puts_its_energy_into_cheap_hours_and_takes_the_sun_without_any_command() -> None:
    pv = DeviceSpec(name="pv1", kind="pv", product="sunspec_inverter", unit=40, rating_w=6_000, profile="PV5")
    async with (
        negotiating(HEAT, pv, whole=True, others=(METER, RETAILER, APP), heatpump1=HOW) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 3)
        await h.prices(0.40, 0.40, 0.10, 0.10, *[0.40] * 20)
        await prefers(app, devices={"heatpump.1": DevicePreferences(plans_itself=True)})
        given = (await h.words.until(lambda w: h.said("give_incentive")))[0]
        assert len(given["prices"]) >= 80
        assert given["pv_power_w"] <= 0.0
        plan = (await h.words.until(lambda w: h.said("own_plan")))[-1]["power"]
        assert plan
        assert all(0.0 <= p["power_w"] <= 3_000.0 for p in plan)
        # what it does is its own: inside its plan, without a setpoint from the CEM
        await eventually(lambda: h.said("show_schedule", job="own plan"))
        await eventually(lambda: h.said("device_reading")[-1] and len(h.said("own_plan")) >= 2)
        assert setpoints(h) == []
        # with the preference gone it is told no more
        await prefers(app, devices={"heatpump.1": DevicePreferences(plans_itself=False)})
        tasks.cancel_scope.cancel()
