"""A washing machine that may start later: it offers, the CEM gives a start, it keeps to it and tells how it went."""

from datetime import timedelta
from typing import Any

import pytest

from agents.cem.agreed import Agreed
from bus.envelope import instant
from contracts.reasons import Reason
from tests.support.grid import eventually
from tests.support.negotiating import PLANNED, Negotiating, negotiating
from world.spec import DeviceSpec

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("home.flexible-start")]
MACHINE, DISPLAY = "h07.whitegoods.1", "h07.app.display"
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)
HOW: dict[str, Any] = {"ended_after_s": 60.0, "programme": "easy_care_40"}


async def armed(h: Negotiating) -> Any:
    h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
    return await h.cem.offer(MACHINE, lambda o: o is not None and o.state == "not_scheduled")


def supply(h: Negotiating) -> object:
    return h.home.shows("whitegoods1", "enabled")


@pytest.mark.use_case("home.reschedule")
async def test_it_offers_agrees_follows_the_last_start_and_tells_success() -> None:
    async with negotiating(SOCKET, speed=240.0, whitegoods1={**HOW, "ready_by": "20:00:00"}) as h:
        offer = await armed(h)
        assert f"{offer.done_by:%H:%M}" == "18:00"  # 20:00 in Berlin
        assert offer.latest_start is not None
        assert offer.alternatives[0].slots[1].power_w == 2_000
        now = h.run.clock.now()
        first = await h.cem.instruct(MACHINE, start=instant(now + 1800))
        assert isinstance(first, Agreed), first
        assert first.power[-1].start.timestamp() + first.power[-1].duration_s <= offer.done_by.timestamp()
        # the tariff moves: a new start replaces the one before, and is what it does
        moved = await h.cem.instruct(MACHINE, start=instant(now + 900))
        assert isinstance(moved, Agreed), moved
        assert moved.instruct.replaces == first.talk
        assert supply(h) is False
        assert await h.cem.tells(MACHINE, "started") == "started"
        begun = (await eventually(lambda: h.said("show_schedule", state="started")))[0]
        assert 0 <= (instant(now + 900) - _at(begun["start"])).total_seconds() * -1 < 400
        assert supply(h) is True
        # it runs: no start is sent any more, and none would be taken
        instructs = len(h.said("instruct"))
        late = await h.cem.instruct(MACHINE, start=instant(now + 9000))
        assert isinstance(late, Reason)
        assert late.code == "already_started"
        assert len(h.said("instruct")) == instructs
        assert not await h.cem.known.revoke(moved.device, PLANNED)
        h.run.clock_file.set_speed(600.0)
        assert await h.cem.tells(MACHINE, "succeeded") in ("done", "finished_early")
        await eventually(lambda: h.said("show_schedule", state="succeeded"))
        shown = dict.fromkeys((s["instruction"], s["state"]) for s in h.said("show_schedule"))  # it may be shown again
        assert [state for _, state in shown] == ["accepted", "accepted", "started", "succeeded"]
        assert h.cem.agreed(MACHINE) is None
        powers = [r["power_w"] for r in h.said("device_reading")]
        assert max(powers) > 1_900


def _at(text: str) -> Any:
    from datetime import datetime

    return datetime.fromisoformat(text)


async def test_a_start_outside_of_its_window_is_countered_and_the_counter_can_be_taken() -> None:
    async with negotiating(SOCKET, whitegoods1={**HOW, "longest_wait_s": 3 * 3600.0}) as h:
        offer = await armed(h)
        late = offer.done_by + timedelta(hours=1)
        seen: list[Any] = []
        refused = await h.cem.instruct(MACHINE, lambda counter: bool(seen.append(counter)), start=late)
        assert isinstance(refused, Reason)
        assert refused.code == "too_late"
        assert h.cem.agreed(MACHINE) is None
        assert seen[0].start <= offer.latest_start  # its user's longest wait goes before the plan
        taken = await h.cem.instruct(MACHINE, lambda _counter: True, start=late)
        assert isinstance(taken, Agreed), taken
        assert taken.start == pytest.approx(offer.latest_start.timestamp(), abs=2)
        shown = await h.words.until(lambda w: h.said("show_schedule", state="accepted"))
        assert shown[0]["instruction"] == taken.talk
        # a relative start, and back again
        relative = await h.cem.instruct(MACHINE, start_in_s=3600.0)
        assert isinstance(relative, Agreed)
        assert relative.start == pytest.approx(h.run.clock.now() + 3600, abs=120)
        assert await h.cem.known.revoke(relative.device, PLANNED)
        assert h.cem.agreed(MACHINE) is None
        await eventually(lambda: h.said("show_schedule")[-1]["state"] == "revoked")
        for word, code in (
            ({"offer": 99, "start": late}, "old_offer"),
            ({"sequence": "boil", "start": late}, "no_such_sequence"),
            ({}, "no_start"),
        ):
            answer = await h.cem.instruct(MACHINE, **word)
            assert isinstance(answer, Reason)
            assert answer.code == code


async def test_a_start_by_hand_goes_before_what_was_agreed_and_an_open_door_ends_it() -> None:
    """Every word of this is acknowledged, and the CEM knows the reason each time."""
    async with negotiating(SOCKET, speed=120.0, whitegoods1=HOW) as h:
        await armed(h)
        agreed = await h.cem.instruct(MACHINE, start_in_s=7200.0)
        assert isinstance(agreed, Agreed)
        h.home.world.units["h07.whitegoods1"].put({"enabled": True})  # the user presses the socket's button
        assert await h.cem.tells(MACHINE, "started") == "user_started"
        moved = h.cem.agreed(MACHINE)
        assert moved is not None
        assert moved.start is not None
        assert agreed.start is not None
        assert moved.start < agreed.start  # what is reserved for it moves with it
        h.home.happens("open_door", "whitegoods1")
        assert await h.cem.tells(MACHINE, "succeeded") == "finished_early"
        await eventually(lambda: h.cem.agreed(MACHINE) is None)
        await eventually(lambda: len(h.said("progress_noted")) == len(h.said("report_progress")))


@pytest.mark.parametrize("ready", [True, False])
async def test_a_start_whose_time_passed_while_it_was_dead_is_made_up_for_in_time_or_aborted(ready: bool) -> None:
    wait = {"longest_wait_s": 7200.0 if ready else 200.0}
    async with negotiating(SOCKET, speed=60.0, whitegoods1={**HOW, **wait}) as h:
        await armed(h)
        agreed = await h.cem.instruct(MACHINE, start_in_s=150.0)
        assert isinstance(agreed, Agreed)
        await h.run.stop(MACHINE)
        assert agreed.start is not None
        await h.run.clock.sleep_until(agreed.start + 150.0)
        await h.start(MACHINE)
        if ready:
            assert await h.cem.tells(MACHINE, "started") == "started"
        else:
            # by then its user's longest wait is over: it has begun by itself, or says why it does not
            await eventually(lambda: h.cem.progress(MACHINE) is not None)
            told = h.cem.progress(MACHINE)
            assert told in (("started", "user_started"), ("aborted", "too_late"))


async def test_the_user_sees_the_schedule_then_success_or_failure() -> None:
    async with negotiating(SOCKET, speed=60.0, others=(DISPLAY,), whitegoods1=HOW) as h:
        await h.start(DISPLAY, time_zone="UTC")

        def shown() -> dict[str, Any]:
            return h.said("shown")[-1]

        def job() -> dict[str, Any]:
            return shown()["jobs"].get("whitegoods.1") or {"state": None}

        await armed(h)
        agreed = await h.cem.instruct(MACHINE, start_in_s=180.0)
        assert isinstance(agreed, Agreed)
        await eventually(lambda: h.said("shown") and job()["state"] == "accepted")
        assert _at(job()["start"]) == agreed.power[0].start
        begins, ends = agreed.power[0].start, instant(agreed.power[-1].start.timestamp() + agreed.power[-1].duration_s)
        text = f"whitegoods.1: easy_care_40 starts at {begins:%H:%M} and ends at {ends:%H:%M}."
        await eventually(lambda: shown()["notices"][:1] == [text])
        await eventually(lambda: job()["state"] == "started")
        await eventually(lambda: shown()["notices"][0].startswith("whitegoods.1: easy_care_40 runs until "))
        await eventually(lambda: h.said("device_reading")[-1]["power_w"] > 30)
        h.home.happens("open_door", "whitegoods1")
        await eventually(lambda: job()["state"] == "succeeded")
        await eventually(lambda: any("easy_care_40 has succeeded: done" in text for text in shown()["notices"]))
        # the next one fails: what it hangs on falls silent while it runs
        await armed(h)
        assert isinstance(await h.cem.instruct(MACHINE, start_in_s=60.0), Agreed)
        await eventually(lambda: job()["state"] == "started")
        h.home.happens("fault", "whitegoods1", fault="silent")
        await eventually(lambda: job()["state"] == "aborted")
        failed = "easy_care_40 has failed: the hardware fell silent"
        await eventually(lambda: any(failed in text for text in shown()["notices"]))


async def test_a_programme_that_ran_on_while_its_hardware_was_silent_is_taken_up_again() -> None:
    async with negotiating(SOCKET, speed=60.0, whitegoods1=HOW) as h:
        await armed(h)
        assert isinstance(await h.cem.instruct(MACHINE, start_in_s=60.0), Agreed)
        await eventually(lambda: h.said("show_schedule", state="started"))
        await eventually(lambda: h.said("device_reading")[-1]["power_w"] > 30)
        h.home.happens("fault", "whitegoods1", fault="silent")
        assert await h.cem.tells(MACHINE, "aborted") == "silent"
        before = len(h.said("show_schedule"))
        h.home.happens("fault", "whitegoods1", fault="")
        await eventually(lambda: h.said("show_schedule")[before:])
        again = h.said("show_schedule")[before]
        assert (again["state"], again["reason"]["code"]) == ("started", "answers_again")
        h.home.happens("open_door", "whitegoods1")
        await eventually(lambda: h.said("show_schedule", state="succeeded"))
