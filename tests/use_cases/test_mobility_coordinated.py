"""The car decides its plan inside what the home offers; what it does and how full it is are seen at home."""

from datetime import timedelta
from typing import Any

import anyio
import pytest

from bus.address import Address
from bus.envelope import instant
from contracts.charging import (
    ChargingDemand,
    ChargingOffer,
    ChargingPlan,
    ChargingPlanRefused,
    ChargingPlanTaken,
    DemandRefused,
    charging_plan,
)
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from tests.support.grid import eventually
from tests.support.negotiating import HOME, METER, RETAILER, negotiating
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("mobility.coordinated")]
STATION = DeviceSpec(name="evse1", kind="evse", product="goe_charger", unit=10, rating_w=11_040)
EVSE, CAR, APP = "h07.evse.1", "h07.ev.car", "h07.app.display"
HOW: dict[str, Any] = {
    "capacity_wh": 60_000.0,
    "arrives_percent": 50.0,
    "target_percent": 51.0,
    "leaves_at": "20:00:00",
}


@pytest.mark.use_case("mobility.monitor")
async def test_demand_offer_plan_charge_status_and_the_notice_that_it_is_full() -> None:
    names = (METER, RETAILER, CAR, APP)
    cem = {"contract_consumption_w": 9_000.0, "raise_step_w": 20_000.0}
    async with (
        negotiating(STATION, speed=60.0, whole=True, others=names, cem=cem, evse1={"rating_w": 11_040.0}) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        await h.prices(0.40, 0.40, 0.10, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40)
        await h.run.start(APP)
        await h.run.start(CAR, HOW)
        h.home.happens("plug_in", "evse1", energy_wh=40_000.0, stays_s=36_000.0)
        taken = await h.words.until(lambda w: w.of("charging_plan_taken"))
        assert taken
        demand, offer, plan = (h.said(word)[0] for word in ("charging_demand", "charging_offer", "charging_plan"))
        assert 400 < demand["energy_wh"] <= 692  # 1 % of it with its losses, less what it got before it asked
        assert demand["leaves_at"].startswith("2016-05-20T18:00")
        assert offer["maximum_a"] == 16.0
        assert max(p["upper_w"] for p in offer["maximum"]) < 9_000.0  # the connection has no more
        most = offer["maximum_a"] * 690.0
        assert all(0 <= p["power_w"] <= min(most, 9_000.0) for p in plan["power"])
        charging = [p for p in plan["power"] if p["power_w"] > 0]
        assert all(p["start"].startswith("2016-05-20T12:") for p in charging), "the cheap hour"
        planned = instant(h.run.clock.now())
        # nothing flows before its own plan lets it
        await eventually(
            lambda: h.said("charging_status", state="plugged") or h.said("charging_status", state="paused")
        )
        # a new price: it asks again and plans anew, now for the present hour
        await h.prices(0.05, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40, 0.40)
        await h.words.until(lambda w: len(w.of("charging_plan_taken")) >= 2)
        h.run.clock_file.set_speed(120.0)
        await eventually(lambda: h.said("charging_status", state="charging"))
        flowing = h.said("charging_status", state="charging")[-1]
        assert flowing["power_w"] > 3_000.0
        # dashboard: power, energy, state and level, while it charges and when it is full
        full = await eventually(lambda: h.said("charging_status", state="finished"))
        assert full[0]["soc_percent"] >= 50.95
        assert full[0]["energy_wh"] > 500
        levels = [s["soc_percent"] for s in h.said("charging_status") if s["soc_percent"] is not None]
        assert levels == sorted(levels)
        notices = await eventually(lambda: [n for n in h.said("display_notice") if "finished charging" in n["text"]])
        assert len(notices) == 1
        shown = await eventually(
            lambda: [s for s in h.said("shown") if any("finished charging" in n for n in s["notices"])]
        )
        assert shown
        assert instant(h.run.clock.now()) - planned < timedelta(hours=1)
        tasks.cancel_scope.cancel()


async def test_a_plan_outside_of_the_offer_is_refused_and_what_cannot_be_served_is_said() -> None:
    async with negotiating(STATION, whole=True, others=(CAR,), evse1={"rating_w": 11_040.0}) as h:
        car = await h.run.bus(CAR)
        asked = ChargingDemand(evse="evse.1", energy_wh=8_000.0, capacity_wh=60_000.0)

        async def plans(power: tuple[PlannedPower, ...]) -> object:
            async with car.talk(charging_plan, Address.parse(HOME)) as talk:
                await talk.say(asked)
                offer = await talk.hear(ChargingOffer, DemandRefused, Lapsed)
                assert isinstance(offer, ChargingOffer), offer
                await talk.say(ChargingPlan(power=power, energy_wh=1.0))
                return await talk.hear(ChargingPlanTaken, ChargingPlanRefused, Lapsed)

        start = instant(h.run.clock.now())
        refused = await plans((PlannedPower(start=start, duration_s=900, power_w=22_000.0),))
        assert isinstance(refused, ChargingPlanRefused)
        assert refused.reason.code == "above_maximum"
        assert isinstance(await plans((PlannedPower(start=start, duration_s=900, power_w=6_000.0),)), ChargingPlanTaken)
        for evse, leaves, code in (
            ("evse.9", None, "unknown_evse"),
            ("evse.1", start - timedelta(hours=1), "left_already"),
            ("evse.1", start + timedelta(minutes=10), "not_in_time"),
        ):
            async with car.talk(charging_plan, Address.parse(HOME)) as talk:
                await talk.say(ChargingDemand(evse=evse, energy_wh=8e3, capacity_wh=6e4, leaves_at=leaves))
                answer = await talk.hear(ChargingOffer, DemandRefused, Lapsed)
            assert isinstance(answer, DemandRefused)
            assert answer.reason.code == code
