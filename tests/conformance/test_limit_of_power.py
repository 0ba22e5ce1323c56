"""EEBUS LPC and LPP, rule by rule, as a guard sees it from outside, in both directions.

Rule ids are those that field-notes quote. Where sources leave a choice (LPC-906, LPC-921, LPC-922), each choice is
tested by its setting.
"""

from datetime import datetime, timedelta
from typing import Any

import pytest

from bus.envelope import instant
from contracts.power_limit import Direction, FailsafeAccepted, FailsafeRefused, LimitAccepted, LimitRefused, LimitSlot
from tests.conformance.guard import FAILSAFE_W, LIMIT_W, SYSTEM, ScriptedGuard, system

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.use_case("limits.lpc"),
    pytest.mark.parametrize("direction", ["consumption", "production"]),
]
OTHER_SIGN_W = {"consumption": -1.0, "production": 1.0}
HOURS_S = 3600.0


async def silent(guard: ScriptedGuard, direction: Direction) -> dict[str, Any]:
    """The guard falls silent until the system is in failsafe."""
    guard.beats = False
    return await guard.until("failsafe", direction, FAILSAFE_W[direction])


async def test_lpc_001_a_limit_of_the_wrong_sign_is_refused_and_changes_nothing(direction: Direction) -> None:
    async with system(controlled=direction) as guard:
        answer = await guard.write(direction, OTHER_SIGN_W[direction])
        assert isinstance(answer, LimitRefused)
        assert answer.reason.code == "wrong_sign"
        await guard.stays("unlimited_controlled", 30)
        assert isinstance(await guard.write(direction, 0.0), LimitAccepted), "zero has no sign"


@pytest.mark.parametrize(("hours", "taken"), [(2.0, True), (24.0, True), (1.999, False), (24.001, False)], ids=str)
async def test_lpc_022_the_failsafe_duration_is_between_2_and_24_hours(
    direction: Direction, hours: float, taken: bool
) -> None:
    async with system(controlled=direction) as guard:
        answer = await guard.write_failsafe(hours * HOURS_S)
        assert isinstance(answer, FailsafeAccepted if taken else FailsafeRefused)


async def test_lpc_031_a_heartbeat_every_minute_keeps_the_limit_and_only_the_guards_own(direction: Direction) -> None:
    async with system(controlled=direction) as guard:
        assert isinstance(await guard.write(direction, LIMIT_W[direction]), LimitAccepted)
        await guard.until("limited", direction, LIMIT_W[direction])
        await guard.stays("limited", 600)
        gone = await silent(guard, direction)
        assert gone["heartbeat_age_s"] > 120


async def test_lpc_901_1_the_failsafe_limit_holds_in_init(direction: Direction) -> None:
    async with system() as guard:
        await guard.until("init", direction, FAILSAFE_W[direction])


@pytest.mark.parametrize("choice", ["failsafe", "autonomous"])
async def test_lpc_906_init_ends_after_120_s_without_any_guard(direction: Direction, choice: str) -> None:
    wanted: dict[str, tuple[str, float | None]] = {
        "failsafe": ("failsafe", FAILSAFE_W[direction]),
        "autonomous": ("unlimited_autonomous", None),
    }
    async with system(init_silence=choice) as guard:
        began = await guard.until("init", direction, FAILSAFE_W[direction])
        ended = await guard.until(wanted[choice][0], direction, wanted[choice][1])
        waited = datetime.fromisoformat(ended["since"]) - datetime.fromisoformat(began["since"])
        assert waited > timedelta(seconds=120)


async def test_lpc_906_init_ends_after_120_s_when_a_guard_beats_but_states_nothing(direction: Direction) -> None:
    async with system() as guard:
        guard.beats = True
        guard.beat()
        await guard.until("init", direction, FAILSAFE_W[direction])
        await guard.until("unlimited_autonomous", direction, None)


async def test_lpc_911_a_limited_system_goes_to_failsafe_when_heartbeats_stop(direction: Direction) -> None:
    async with system(controlled=direction) as guard:
        await guard.write(direction, LIMIT_W[direction])
        await guard.until("limited", direction, LIMIT_W[direction])
        await silent(guard, direction)


async def test_lpc_912_an_unlimited_controlled_system_goes_to_failsafe_too(direction: Direction) -> None:
    async with system(controlled=direction) as guard:
        await silent(guard, direction)


@pytest.mark.parametrize("active", [True, False], ids=["active", "inactive"])
async def test_lpc_913_heartbeat_and_a_limit_lead_out_of_init(direction: Direction, active: bool) -> None:
    async with system() as guard:
        guard.beats = True
        guard.beat()
        limit_w = LIMIT_W[direction] if active else None
        other: Direction = "production" if direction == "consumption" else "consumption"
        await guard.write(other, None)
        assert isinstance(await guard.write(direction, limit_w), LimitAccepted)
        await guard.until("limited" if active else "unlimited_controlled", direction, limit_w)


async def test_lpc_916_failsafe_ends_by_a_heartbeat_and_a_limit_after_it_not_by_one_of_them(
    direction: Direction,
) -> None:
    async with system(controlled=direction) as guard:
        await silent(guard, direction)
        refused = await guard.write(direction, LIMIT_W[direction])
        assert isinstance(refused, LimitRefused)
        assert refused.reason.code == "heartbeat_first"
        guard.beats = True
        guard.beat()
        await guard.stays("failsafe", 60)
        for each in ("consumption", "production"):
            assert isinstance(await guard.write(each, LIMIT_W[each]), LimitAccepted)
        await guard.until("limited", direction, LIMIT_W[direction])


@pytest.mark.parametrize("way", ["init", "limited", "profile"])
async def test_lpc_918_to_920_what_was_limited_before_failsafe_is_forgotten(direction: Direction, way: str) -> None:
    async with system(controlled=direction) as guard:
        if way == "limited":
            await guard.write(direction, LIMIT_W[direction])
        elif way == "profile":
            start = instant(guard.run.clock.now() + 300)
            slot = LimitSlot(start=start, duration_s=7200.0, limit_w=LIMIT_W[direction])
            assert isinstance(await guard.write(direction, None), LimitAccepted)
            accepted = await guard.write_profile(direction, slot)
            assert isinstance(accepted, LimitAccepted)
        await silent(guard, direction)
        await guard.stays("failsafe", 400)
        guard.beats = True
        guard.beat()
        for each in ("consumption", "production"):
            assert isinstance(await guard.write(each, None), LimitAccepted)
        await guard.until("unlimited_controlled", direction, None)
        await guard.stays("unlimited_controlled", 300)


@pytest.mark.parametrize("choice", ["stay", "autonomous"])
async def test_lpc_921_a_guard_that_is_back_but_states_no_limit(direction: Direction, choice: str) -> None:
    async with system(controlled=direction, heartbeat_without_limit=choice) as guard:
        await silent(guard, direction)
        guard.beats = True
        guard.beat()
        if choice == "stay":
            await guard.stays("failsafe", 400)
        else:
            await guard.until("unlimited_autonomous", direction, None)


@pytest.mark.parametrize("choice", ["stay", "autonomous"])
async def test_lpc_922_and_ts_012_failsafe_lasts_at_least_its_duration(direction: Direction, choice: str) -> None:
    async with system(controlled=direction, duration_over=choice) as guard:
        await silent(guard, direction)
        guard.run.clock_file.set_speed(1800.0)  # nobody beats any more, so nobody can be late
        await guard.stays("failsafe", 2 * HOURS_S - 600)  # LPC-TS-012
        if choice == "stay":
            await guard.stays("failsafe", HOURS_S)
        else:
            await guard.until("unlimited_autonomous", direction, None)


async def test_a_limit_without_a_duration_never_ends_and_one_with_a_duration_does(direction: Direction) -> None:
    async with system(controlled=direction) as guard:
        await guard.write(direction, LIMIT_W[direction], duration_s=300.0)
        await guard.until("limited", direction, LIMIT_W[direction])
        await guard.until("unlimited_controlled", direction, None)
        await guard.write(direction, LIMIT_W[direction])
        await guard.until("limited", direction, LIMIT_W[direction])
        await guard.stays("limited", HOURS_S / 3)


async def test_the_last_valid_limit_holds_after_a_restart_before_the_guard_is_heard(direction: Direction) -> None:
    async with system(controlled=direction, speed=60.0) as guard:
        await guard.write(direction, LIMIT_W[direction])
        await guard.until("limited", direction, LIMIT_W[direction])
        guard.beats = False
        await guard.run.stop(SYSTEM)
        before = len(guard.states())
        await guard.run.start(SYSTEM, {"failsafe_consumption_w": 5_000.0, "failsafe_production_w": -3_000.0})
        await guard.words.until(lambda _: len(guard.states()) > before)
        assert guard.states()[before]["state"] == "limited"
        assert guard.states()[before][f"{direction}_w"] == LIMIT_W[direction]
