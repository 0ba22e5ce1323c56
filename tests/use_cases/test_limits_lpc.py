"""A site is limited, heartbeat and failsafe supervise it, and limits end: read from the connection point's meter."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from contracts.power_limit import FailsafeAccepted, FailsafeRefused, LimitAccepted, LimitRefused
from contracts.reasons import Reason
from tests.cem.home import CEM, Home, home

pytestmark = pytest.mark.anyio
use_case = pytest.mark.use_case("limits.lpc")


@use_case
async def test_12_kw_fall_to_4200_w_and_rise_again_when_lifted() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        accepted = await h.limit(limit_w=4200.0)
        assert isinstance(accepted, LimitAccepted)
        assert [(s.device, s.share_w) for s in accepted.shares] == [("evse.1", 4200.0)]
        await h.metered(below_w=4200)
        assert car.orders[-1].reason.binding == "grid_limit"
        seen = len(h.said("gcp_reading"))
        await h.pass_time(300)
        assert max(h.readings_since(seen)) <= 4200, "it stays so until it is lifted"
        await h.limit(active=False)
        await h.metered(above_w=11_900)


@use_case
async def test_feed_in_is_limited_with_storage_first_and_pv_last() -> None:
    async with home("battery.1", "pv.1", use_surplus=False) as h:
        battery, sun = await h.device("battery.1", 0.0), await h.device("pv.1", -9000.0)
        await h.lift()
        await h.metered(below_w=-8000)
        assert isinstance(await h.limit("production", limit_w=-5000.0), LimitAccepted)
        await h.metered(above_w=-5000)
        await h.until(lambda: battery.power_w > 3000 and sun.power_w < -8900)
        await h.metered(above_w=-5000, times=10)
        await h.limit("production", limit_w=0.0)
        await h.metered(above_w=0)
        await h.until(lambda: battery.power_w > 4990)
        await h.limit("production", active=False)
        await h.metered(below_w=-8000)


@use_case
async def test_a_limit_with_a_duration_ends_without_a_further_message() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.limit(limit_w=6000.0, duration_s=240.0)
        await h.metered(below_w=6000)
        await h.metered(above_w=11_900)
        assert h.states()[-1]["state"] == "unlimited_controlled"
        assert h.states()[-1]["reason"]["code"] == "limit_over"


@use_case
async def test_silence_means_failsafe_and_a_valid_limit_replaces_it() -> None:
    async with home("evse.1", "pv.1") as h:
        await h.device("evse.1", 11_040.0)
        sun = await h.device("pv.1", 0.0)
        await h.lift()
        assert isinstance(await h.failsafe(5000.0, -2000.0), FailsafeAccepted)
        await h.metered(above_w=11_900)
        h.beats = False
        await h.until(lambda: h.states() and h.states()[-1]["state"] == "failsafe")
        assert h.states()[-1]["heartbeat_age_s"] > 120
        await h.metered(below_w=5000)
        h.devices["evse.1"].want_w, sun.want_w = 0.0, -8000.0
        await h.metered(above_w=-2000)
        h.devices["evse.1"].want_w, sun.want_w = 11_040.0, 0.0
        refused = await h.limit(active=False)
        assert isinstance(refused, LimitRefused)
        assert refused.reason.code == "heartbeat_first"
        h.beats = True
        h.beat()
        await h.lift()
        await h.metered(above_w=11_900)


@use_case
async def test_failsafe_holds_from_the_start_until_the_guard_has_spoken() -> None:
    async with home("evse.1", failsafe_consumption_w=5000.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.metered(below_w=5000)
        assert h.states()[0]["state"] == "init"
        await h.lift()
        await h.metered(above_w=11_900)


@use_case
async def test_the_last_valid_limit_survives_a_restart() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.limit(limit_w=6000.0)
        await h.metered(below_w=6000)
        await h.run.stop(CEM)
        said = len(h.states())
        h.devices["evse.1"].order = None  # the device lost it too
        await h.run.start(CEM)
        await h.until(lambda: h.states()[said:] and h.states()[-1]["state"] == "limited")
        assert h.states()[-1]["consumption_w"] == 6000.0
        await h.metered(below_w=6000)


@use_case
async def test_failsafe_holds_during_the_soft_start_after_a_blackout() -> None:
    async with home("evse.1", failsafe_consumption_w=5000.0, soft_start_s=120.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        h.voltage_v = 0.0
        await h.pass_time(20)
        h.voltage_v = 230.0
        await h.until(lambda: h.states()[-1]["reason"]["code"] == "soft_start")
        await h.metered(below_w=5000)
        await h.until(lambda: h.states()[-1]["reason"]["code"] == "soft_start_over")
        await h.metered(above_w=11_900)


@use_case
async def test_the_site_says_what_it_can_be_limited_to_and_refuses_what_it_may_not_bind() -> None:
    async with home("evse.1", "heatpump.1", "pv.1", fuse_a=63.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.device("heatpump.1", 0.0)
        await h.device("pv.1", 0.0)
        constraints = await h.until(lambda: [c for c in h.sent("constraints") if len(c["devices"]) == 3])
        assert constraints[-1]["nominal_production_w"] == -10_000.0, "installed generation, signed"
        assert constraints[-1]["nominal_consumption_w"] == 63 * 3 * 230
        assert constraints[-1]["minimum_consumption_w"] == pytest.approx(7560.0)
        await h.lift()
        await h.until(lambda: h.states()[-1]["state"] == "unlimited_controlled")
        before = len(h.states())
        for fields, code in (
            ({"limit_w": -1.0}, "wrong_sign"),
            ({"limit_w": 4200.0}, "below_minimum"),
            ({"limit_w": 1e8}, "absurd"),
            ({"limit_w": 9000.0, "duration_s": 0.0}, "bad_duration"),
            ({}, "setpoint_or_profile"),
        ):
            answer = await h.limit(**fields)
            assert isinstance(answer, LimitRefused)
            assert answer.reason.code == code
        assert isinstance(await h.failsafe(1000.0, 0.0), FailsafeRefused)
        assert len(h.states()) == before, "a refused word changes nothing"


@use_case
async def test_the_cem_beats_at_least_every_60_s_and_to_its_guard_only() -> None:
    async with home("evse.1") as h:
        await h.lift()
        own = await h.until(lambda: found if len(found := beats(h, CEM)) >= 5 else [])
        assert all(subject.startswith("to.grid.dso.north.") for subject, _ in own)
        at = [datetime.fromisoformat(envelope["at"]) for _, envelope in own]
        assert max(b - a for a, b in pairwise(at)) <= timedelta(seconds=65), "60 s and what a test machine is late"


def beats(h: Home, sender: str) -> list[tuple[str, dict[str, Any]]]:
    return [(s, e) for s, e in h.beyond.of("heartbeat") if f".{sender}.power_limit." in s]


@use_case
async def test_household_load_comes_on_top_where_the_limit_covers_the_devices() -> None:
    async with home("evse.1", limit_covers="devices") as h:
        h.base_w = [1000.0] * 3
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=13_900)
        await h.limit(limit_w=5000.0)
        await h.metered(below_w=8000, above_w=7300, times=20)
        assert car.power_w <= 5000


@use_case
async def test_only_the_sites_own_guard_may_write() -> None:
    async with home("evse.1", guard="grid.hes.main", failsafe_consumption_w=5000.0) as h:
        await h.device("evse.1", 11_040.0)
        h.beat()
        refused = await h.limit(active=False)
        assert isinstance(refused, LimitRefused)
        assert refused.reason.code == "not_the_guard"
        await h.until(lambda: h.states() and h.states()[-1]["state"] == "failsafe")
        assert h.states()[-1]["guard"] == "grid.hes.main", "another's heartbeat does not stand for it"
        await h.metered(below_w=5000)


@use_case
async def test_a_device_that_refuses_is_made_up_for_by_the_next_best() -> None:
    async with home("evse.1", "heatpump.1", refuse_below_minimum=False) as h:
        car, pump = await h.device("evse.1", 11_040.0), await h.device("heatpump.1", 6000.0)
        await h.lift()
        await h.metered(above_w=17_000)
        car.want_w = 8000.0
        await h.metered(below_w=15_500)
        car.refuses = Reason(code="minimum_on", text="wait", inputs={"remaining_s": 600.0})
        await h.limit(limit_w=10_000.0)
        await h.metered(below_w=10_000)
        assert pump.power_w <= 10_000 - 900 - 8000
