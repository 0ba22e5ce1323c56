"""A limit as a profile: each period holds at the connection point as it starts, and the site reports and forecasts."""

from datetime import datetime, timedelta

import pytest

from bus.envelope import instant
from contracts.power_limit import LimitAccepted, LimitRefused, LimitSlot
from tests.cem.home import Home, home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("limits.profile")]


def slots(h: Home, *limits_w: float, after_s: float = 120.0, each_s: float = 240.0) -> tuple[LimitSlot, ...]:
    first = h.run.clock.now() + after_s
    return tuple(
        LimitSlot(start=instant(first + n * each_s), duration_s=each_s, limit_w=w) for n, w in enumerate(limits_w)
    )


async def test_each_period_holds_when_it_starts_and_the_last_one_ends_it() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        assert isinstance(await h.limit(profile=slots(h, 9000.0, 6000.0)), LimitAccepted)
        await h.metered(below_w=9000)
        await h.metered(below_w=6000)
        await h.metered(above_w=11_900)
        told = [
            (s["state"], s["consumption_w"]) for s in h.states() if s["reason"]["code"] in ("next_period", "limit_over")
        ]
        assert told == [("limited", 9000.0), ("limited", 6000.0), ("unlimited_controlled", None)]


async def test_a_feed_in_profile_holds_too() -> None:
    async with home("pv.1") as h:
        await h.device("pv.1", -9000.0)
        await h.lift()
        await h.metered(below_w=-8000)
        profile = slots(h, -6000.0, -3000.0)
        assert isinstance(await h.limit("production", profile=profile), LimitAccepted)
        await h.metered(above_w=-6000)
        await h.metered(above_w=-3000)
        await h.metered(below_w=-8000)


async def test_devices_are_told_within_seconds_of_a_period_starting() -> None:
    async with home("evse.1", speed=30.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        [slot] = slots(h, 6000.0, after_s=30.0)
        await h.limit(profile=(slot,))
        await h.metered(below_w=6000)
        orders = [e for s, e in h.words.of("set_power") if (e["body"].get("upper_w") or 1e9) <= 6000]
        late = datetime.fromisoformat(orders[0]["at"]) - slot.start
        assert timedelta(0) <= late <= timedelta(seconds=5), "it does not wait for the meter's next reading"


@pytest.mark.parametrize("shift_s", [-30.0, 30.0])
async def test_a_profile_with_a_gap_or_an_overlap_changes_nothing(shift_s: float) -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.metered(above_w=11_900)
        first, second = slots(h, 6000.0, 5000.0, after_s=0.0)
        moved = LimitSlot(start=second.start + timedelta(seconds=shift_s), duration_s=60.0, limit_w=5000.0)
        answer = await h.limit(profile=(first, moved))
        assert isinstance(answer, LimitRefused)
        assert answer.reason.code == "bad_profile"
        await h.metered(above_w=11_900, times=5)


async def test_the_site_reports_actual_and_forecast_power_inside_its_bound() -> None:
    async with home("evse.1", report_every_s=60.0) as h:
        await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.limit(limit_w=6000.0)
        await h.metered(below_w=6000)
        seen = len(h.sent("site_power"))
        [report, *_] = await h.until(lambda: h.sent("site_power")[seen:])
        assert report["power_w"] <= 6000
        assert report["goal"] == "smallest_flow"
        assert len(report["forecast"]) == 4
        assert all(0 < f["power_w"] <= 6000 for f in report["forecast"])
