"""A device that plans itself plans for what its user has said in the app: how warm, how full, and by when."""

from datetime import datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest

from agents.kit.plan_by_incentive import as_wished, plan_by_incentive, slots_of, temperatures
from bus.envelope import instant
from contracts.flexibility import ThermalFlexibility
from contracts.own_plans import GiveIncentive
from contracts.preferences import DevicePreferences
from tests.kit.test_bargain import NOW
from tests.kit.test_plan_by_incentive import CAR, HOUSE, TARIFF
from tests.support.negotiating import METER, RETAILER, negotiating
from tests.use_cases.test_home_incentive_device import HEAT
from tests.use_cases.test_limits_start_warning import APP, prefers

pytestmark = pytest.mark.use_case("home.incentive-device")
AT_TWO = instant(NOW + 2 * 3600)
"""Before it is cheap: cheap hours begin at four."""


def wished(**wishes: Any) -> GiveIncentive:
    return msgspec.structs.replace(TARIFF, **wishes)


def course(store: ThermalFlexibility, word: GiveIncentive) -> list[float]:
    power = plan_by_incentive(store, word, NOW)
    assert power is not None
    return temperatures(store, slots_of(word, NOW), [p.power_w for p in power])


def test_the_band_that_its_user_has_set_replaces_the_devices_own() -> None:
    shown = course(HOUSE, wished(lowest_c=21.0, highest_c=22.0))
    assert min(shown) >= 21.0 - 0.02
    assert max(shown) <= 22.0 + 0.02
    assert min(course(HOUSE, TARIFF)) < 20.5, "without it the device keeps its own"


def test_it_is_as_warm_as_its_user_wants_at_the_time_he_has_said_although_it_is_dear_until_then() -> None:
    at_two = 2 * 4 - 1
    assert course(HOUSE, wished(target_c=22.5, ready_at=AT_TWO))[at_two] >= 22.5 - 0.02
    assert course(HOUSE, TARIFF)[at_two] < 21.5


def test_a_cooler_is_as_cool_as_its_user_wants_by_then() -> None:
    room = msgspec.structs.replace(HOUSE, heats=False, temperature_c=27, lowest_c=22, highest_c=28, ambient_c=34)
    assert course(room, wished(target_c=24.0, ready_at=AT_TWO))[2 * 4 - 1] <= 24.0 + 0.02
    assert course(room, TARIFF)[2 * 4 - 1] > 26.0


def test_a_charge_is_done_by_the_time_that_its_user_has_said() -> None:
    low = msgspec.structs.replace(CAR, level_percent=50.0, highest_percent=60.0, targets=())
    power = plan_by_incentive(low, wished(charge_lower_percent=60.0, ready_at=AT_TWO), NOW)
    assert power is not None
    charged = sum(p.power_w * p.duration_s / 3600 for p in power if p.start < AT_TWO)
    assert charged == pytest.approx(0.10 * 50_000.0)
    later = plan_by_incentive(low, TARIFF, NOW)
    assert later is not None
    assert sum(p.power_w for p in later if p.start < AT_TWO) == 0.0, "without it the cheap hours come first"


def test_what_was_not_said_stays_the_devices_own() -> None:
    assert as_wished(HOUSE, TARIFF) == HOUSE
    assert as_wished(CAR, TARIFF) == CAR


@pytest.mark.anyio
async def test_the_energy_manager_passes_the_wish_on_and_the_heat_pumps_own_plan_keeps_it() -> None:
    how = {"rating_w": 3_000.0, "comfort_low_c": 30.0, "comfort_high_c": 70.0, "minimum_on_s": 0.0}
    async with (
        negotiating(HEAT, whole=True, others=(METER, RETAILER, APP), cem={"time_zone": "UTC"}, heatpump1=how) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 3)
        await h.prices(*[0.40] * 6, *[0.10] * 4, *[0.40] * 14)
        ready = instant(h.run.clock.now() // 900 * 900 + 3 * 3600)

        def before_ready_wh(plan: dict[str, Any]) -> float:
            starts = ((datetime.fromisoformat(p["start"]), p) for p in plan["power"])
            return sum(float(p["power_w"]) * float(p["duration_s"]) / 3600 for at, p in starts if at < ready)

        await prefers(app, devices={"heatpump.1": DevicePreferences(plans_itself=True)})
        free = (await h.words.until(lambda w: h.said("own_plan")))[-1]
        assert h.said("give_incentive")[-1]["ready_at"] is None
        assert before_ready_wh(free) < 100.0, "it is warm enough until it is cheap"
        wish = DevicePreferences(lowest_c=35.0, highest_c=69.0, target_c=68.0, ready_by=ready.time())
        told = len(h.said("own_plan"))
        await prefers(app, devices={"heatpump.1": wish})
        given = (await h.words.until(lambda w: [g for g in h.said("give_incentive") if g["ready_at"]]))[-1]
        assert datetime.fromisoformat(given["ready_at"]) - ready < timedelta(seconds=1)
        assert (given["highest_c"], given["target_c"]) == (69.0, 68.0)
        assert given["lowest_c"] == pytest.approx(35.0, abs=1.0), "as the season shifts it"
        await h.words.until(lambda w: [p for p in h.said("own_plan")[told:] if before_ready_wh(p) > 500.0])
        tasks.cancel_scope.cancel()
