"""The limit state machine, rule by rule, in both directions."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.cem.limit_state import (
    Control,
    Entered,
    Event,
    FailsafeWritten,
    GuardBack,
    HeartbeatHeard,
    Held,
    LimitWritten,
    Refused,
    Restarted,
    Rules,
    Slot,
    SoftStart,
    TakenBack,
    Tick,
    step,
)
from contracts.power_limit import Direction

GUARD, STRANGER = "grid.dso.north", "grid.hes.main"
T0 = 1_463_745_600.0
HOURS = 3600.0


@pytest.fixture(params=["consumption", "production"])
def direction(request: Any) -> Direction:
    return request.param


class Site:
    """A machine and its clock."""

    def __init__(self, direction: Direction, **rules: Any) -> None:
        self.sign = 1.0 if direction == "consumption" else -1.0
        self.failsafe_w = self.sign * 4200.0
        self.rules = Rules(**rules)
        self.now = T0
        self.control = Control(direction=direction, guard=GUARD, failsafe_w=self.failsafe_w, since=T0, grace_from=T0)

    def do(self, event: Event) -> list[object]:
        self.control, effects = step(self.control, event, self.rules)
        return list(effects)

    def beat(self, sender: str = GUARD) -> list[object]:
        return self.do(HeartbeatHeard(self.now, sender))

    def write(self, limit_w: float | None, duration_s: float | None = None, sender: str = GUARD) -> list[object]:
        end = None if duration_s is None else self.now + duration_s
        held = None if limit_w is None else Held(slots=(Slot(start=self.now, end=end, limit_w=limit_w * self.sign),))
        return self.do(LimitWritten(self.now, sender, held))

    def wait(self, seconds: float, beating: bool = False) -> list[object]:
        effects: list[object] = []
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 1.0)
            effects += self.do(Tick(self.now))
            if beating and (self.now - T0) % 60 == 0:
                effects += self.beat()
        return effects

    @property
    def mode(self) -> str:
        return self.control.mode

    @property
    def in_force_w(self) -> float | None:
        return self.control.in_force_w(self.now)


def limited(direction: Direction, limit_w: float = 3000.0, **rules: Any) -> Site:
    site = Site(direction, **rules)
    site.beat()
    site.write(limit_w)
    return site


def failed(direction: Direction, **rules: Any) -> Site:
    site = limited(direction, **rules)
    site.wait(121)
    assert site.mode == "failsafe"
    return site


def test_lpc_901_1_failsafe_holds_in_init(direction: Direction) -> None:
    site = Site(direction)
    assert (site.mode, site.in_force_w) == ("init", site.failsafe_w)


@pytest.mark.parametrize("heard", [True, False])
def test_lpc_906_init_without_statement_ends_after_the_full_grace(direction: Direction, heard: bool) -> None:
    site = Site(direction, init_silence="autonomous")
    if heard:
        site.beat()
    site.wait(120, beating=heard)
    assert site.mode == "init"
    site.wait(1, beating=heard)
    assert (site.mode, site.in_force_w) == ("unlimited_autonomous", None)


def test_lpc_906_a_guard_never_heard_means_failsafe_by_default(direction: Direction) -> None:
    site = Site(direction)
    site.wait(120)
    assert site.mode == "init"
    site.wait(1)
    assert (site.mode, site.in_force_w) == ("failsafe", site.failsafe_w)


def test_lpc_031_exactly_120_s_of_silence_are_allowed(direction: Direction) -> None:
    site = limited(direction)
    site.wait(120)
    assert site.mode == "limited"
    site.wait(1)
    assert site.mode == "failsafe"


def test_lpc_911_a_limited_site_falls_to_failsafe_on_silence(direction: Direction) -> None:
    site = limited(direction)
    effects = site.wait(121)
    assert [e.mode for e in effects if isinstance(e, Entered)] == ["failsafe"]
    assert site.in_force_w == site.failsafe_w


def test_lpc_912_an_unlimited_site_falls_to_failsafe_on_silence(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(None)
    assert (site.mode, site.in_force_w) == ("unlimited_controlled", None)
    site.wait(121)
    assert (site.mode, site.in_force_w) == ("failsafe", site.failsafe_w)


def test_lpc_913_heartbeat_and_limit_after_connect_are_in_force_at_once(direction: Direction) -> None:
    site = Site(direction)
    assert site.beat() == [GuardBack(GUARD)]
    site.write(3000)
    assert (site.mode, site.in_force_w) == ("limited", 3000 * site.sign)


def test_lpc_916_heartbeat_alone_does_not_leave_failsafe(direction: Direction) -> None:
    site = failed(direction)
    site.beat()
    site.wait(600, beating=True)
    assert (site.mode, site.in_force_w) == ("failsafe", site.failsafe_w)


def test_lpc_916_a_limit_without_heartbeat_does_not_leave_failsafe(direction: Direction) -> None:
    site = failed(direction)
    [refused] = site.write(9000)
    assert isinstance(refused, Refused)
    assert refused.reason.code == "heartbeat_first"
    assert site.mode == "failsafe"


@pytest.mark.parametrize(("limit_w", "mode"), [(2500.0, "limited"), (None, "unlimited_controlled")])
def test_lpc_916_heartbeat_and_a_following_write_leave_failsafe(
    direction: Direction, limit_w: float | None, mode: str
) -> None:
    site = failed(direction)
    assert site.beat() == [GuardBack(GUARD)]
    site.write(limit_w)
    assert site.mode == mode
    assert site.in_force_w == (None if limit_w is None else limit_w * site.sign)


def test_lpc_918_920_old_limits_are_discarded_on_failsafe_and_autonomous(direction: Direction) -> None:
    assert failed(direction).control.held is None
    site = failed(direction, heartbeat_without_limit="autonomous")
    site.beat()
    site.wait(121, beating=True)
    assert (site.mode, site.control.held, site.in_force_w) == ("unlimited_autonomous", None, None)


def test_lpc_921_heartbeat_back_without_write_may_end_failsafe_after_120_s(direction: Direction) -> None:
    site = failed(direction, heartbeat_without_limit="autonomous")
    site.beat()
    for _ in range(12):
        site.wait(10)
        site.beat()
    assert site.mode == "failsafe"
    site.wait(1)
    assert site.mode == "unlimited_autonomous"


def test_lpc_922_and_ts_012_failsafe_lasts_at_least_its_duration(direction: Direction) -> None:
    site = failed(direction, duration_over="autonomous")
    site.wait(2 * HOURS - 1)
    assert site.mode == "failsafe"
    site.wait(1)
    assert site.mode == "unlimited_autonomous"


def test_lpc_922_by_default_failsafe_stays_while_the_guard_is_away(direction: Direction) -> None:
    site = failed(direction)
    site.wait(25 * HOURS)
    assert site.mode == "failsafe"


@pytest.mark.parametrize("duration_s", [2 * HOURS - 1, 24 * HOURS + 1, 0.0, float("nan")])
def test_lpc_022_a_failsafe_duration_outside_2_to_24_h_is_refused(direction: Direction, duration_s: float) -> None:
    site = Site(direction)
    [refused] = site.do(FailsafeWritten(T0, GUARD, site.sign * 1000, duration_s))
    assert isinstance(refused, Refused)
    assert refused.reason.binding == "LPC-022"
    assert site.in_force_w == site.failsafe_w


@pytest.mark.parametrize("duration_s", [2 * HOURS, 24 * HOURS])
def test_lpc_022_the_ends_of_the_failsafe_duration_are_allowed(direction: Direction, duration_s: float) -> None:
    site = Site(direction)
    [entered] = site.do(FailsafeWritten(T0, GUARD, site.sign * 1000, duration_s))
    assert isinstance(entered, Entered)
    assert (site.in_force_w, site.control.failsafe_duration_s) == (site.sign * 1000, duration_s)


def test_a_limit_without_duration_never_expires(direction: Direction) -> None:
    site = limited(direction)
    for _ in range(30 * 24):
        site.now += 60
        site.beat()
        assert site.do(Tick(site.now)) == []
    assert (site.mode, site.in_force_w) == ("limited", 3000 * site.sign)


def test_a_limit_with_a_duration_ends_by_itself(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(3000, duration_s=100)
    site.wait(99)
    assert site.in_force_w == 3000 * site.sign
    effects = site.wait(1)
    assert [e.reason.code for e in effects if isinstance(e, Entered)] == ["limit_over"]
    assert (site.mode, site.in_force_w) == ("unlimited_controlled", None)


@pytest.mark.parametrize("sender", [STRANGER, "h07.cem.main"])
def test_own_or_foreign_heartbeats_do_not_count(direction: Direction, sender: str) -> None:
    site = limited(direction)
    for _ in range(13):
        site.wait(10)
        assert site.beat(sender) == []
    assert site.mode == "failsafe"


def test_a_stranger_writes_nothing(direction: Direction) -> None:
    site = limited(direction)
    before = site.control
    [refused] = site.write(1, sender=STRANGER)
    assert isinstance(refused, Refused)
    assert refused.reason.code == "not_the_guard"
    [refused] = site.do(FailsafeWritten(T0, STRANGER, 0.0, 2 * HOURS))
    assert isinstance(refused, Refused)
    assert site.control == before


def test_the_last_valid_limit_survives_a_restart_with_the_time_that_is_left(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(3000, duration_s=1000)
    site.control = msgspec.json.decode(msgspec.json.encode(site.control), type=Control)
    site.now += 600
    site.do(Restarted(site.now))
    assert (site.mode, site.in_force_w) == ("limited", 3000 * site.sign)
    site.beat()
    site.wait(399, beating=True)
    assert site.mode == "limited"
    site.wait(1)
    assert site.mode == "unlimited_controlled"


def test_a_limit_that_ran_out_during_the_outage_is_not_revived(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(3000, duration_s=100)
    site.now += 600
    site.do(Restarted(site.now))
    assert (site.mode, site.in_force_w) == ("unlimited_controlled", None)


def test_a_restart_gives_the_guard_the_full_grace(direction: Direction) -> None:
    site = limited(direction)
    site.now += 5000
    site.do(Restarted(site.now))
    site.wait(120)
    assert site.mode == "limited"
    site.wait(1)
    assert site.mode == "failsafe"


def test_failsafe_survives_a_restart_and_its_duration_counts_on(direction: Direction) -> None:
    site = failed(direction, duration_over="autonomous")
    site.wait(HOURS)
    site.do(Restarted(site.now))
    assert site.mode == "failsafe"
    [refused] = site.write(None)
    assert isinstance(refused, Refused)
    site.wait(HOURS)
    assert site.mode == "unlimited_autonomous"


def test_failsafe_limits_hold_during_the_soft_start_after_a_blackout(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(None)
    site.do(SoftStart(site.now, site.now + 60))
    assert site.in_force_w == site.failsafe_w
    effects = site.wait(60)
    assert [e.reason.code for e in effects if isinstance(e, Entered)] == ["soft_start_over"]
    assert site.in_force_w is None


def test_the_tighter_of_limit_and_soft_start_holds(direction: Direction) -> None:
    site = limited(direction, limit_w=1000)
    site.do(SoftStart(site.now, site.now + 60))
    assert site.in_force_w == 1000 * site.sign


def test_a_limit_that_was_said_before_the_one_in_force_comes_too_late(direction: Direction) -> None:
    """It waited in the stream while the site could not answer; the guard counts on the newer one."""
    site = Site(direction)
    site.beat()

    def said(seconds: float, limit_w: float) -> list[object]:
        held = Held(slots=(Slot(start=site.now, end=None, limit_w=limit_w * site.sign),))
        return site.do(LimitWritten(site.now, GUARD, held, T0 + seconds))

    said(10.0, 3000.0)
    [refused] = said(5.0, 9000.0)
    assert isinstance(refused, Refused)
    assert refused.reason.code == "overtaken"
    assert site.in_force_w == 3000.0 * site.sign
    said(10.0, 4000.0)
    assert site.in_force_w == 4000.0 * site.sign, "two of one instant: the later heard"
    said(86_400.0, 5000.0)
    said(20.0, 6000.0)
    assert site.in_force_w == 6000.0 * site.sign, "a guard's clock that was a day ahead and is put right"


def test_failsafe_values_that_were_said_before_those_taken_come_too_late(direction: Direction) -> None:
    site = Site(direction)
    site.beat()

    def said(seconds: float, limit_w: float) -> list[object]:
        return site.do(FailsafeWritten(site.now, GUARD, limit_w * site.sign, 2 * HOURS, T0 + seconds))

    said(10.0, 5000.0)
    [refused] = said(5.0, 9000.0)
    assert isinstance(refused, Refused)
    assert refused.reason.code == "overtaken"
    assert site.control.failsafe_w == 5000.0 * site.sign
    said(10.0, 5500.0)
    assert site.control.failsafe_w == 5500.0 * site.sign, "two of one instant: the later heard"
    said(86_400.0, 6000.0)
    said(20.0, 6500.0)
    assert site.control.failsafe_w == 6500.0 * site.sign, "a guard's clock that was a day ahead and is put right"


def test_each_period_of_a_profile_is_in_force_when_it_starts(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    slots = tuple(
        Slot(start=T0 + 30 + 60 * n, end=T0 + 90 + 60 * n, limit_w=site.sign * w)
        for n, w in enumerate([5000.0, 2000.0])
    )
    site.do(LimitWritten(site.now, GUARD, Held(slots=slots)))
    seen = {}
    for _ in range(160):
        site.wait(1, beating=True)
        seen[site.now - T0] = (site.mode, site.in_force_w)
    assert seen[29] == ("unlimited_controlled", None)
    assert seen[30] == seen[89] == ("limited", 5000 * site.sign)
    assert seen[90] == seen[149] == ("limited", 2000 * site.sign)
    assert seen[150] == ("unlimited_controlled", None)


def test_a_late_heartbeat_does_not_hide_the_silence_before_it(direction: Direction) -> None:
    site = limited(direction)
    site.now += 500  # nobody ticked
    site.beat()
    assert site.mode == "failsafe"


events = st.lists(
    st.one_of(
        st.tuples(st.just("beat"), st.sampled_from([GUARD, STRANGER])),
        st.tuples(st.just("write"), st.sampled_from([None, 0.0, 3000.0])),
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("restart"), st.none()),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(events, st.sampled_from(["consumption", "production"]))
def test_no_sequence_leaves_a_silent_guard_without_failsafe(sequence: list[Any], direction: Direction) -> None:
    """By default: whoever was silent for more than the grace is in failsafe, whatever happened before."""
    site = Site(direction)
    for what, value in sequence:
        match what:
            case "beat":
                site.beat(value)
            case "write":
                site.write(value)
            case "wait":
                site.now += value
                site.do(Tick(site.now))
            case _:
                site.do(Restarted(site.now))
        if site.now - site.control.quiet_since() > 120 and site.mode != "unlimited_autonomous":
            site.do(Tick(site.now))
            assert site.mode == "failsafe"
        if site.mode == "failsafe":
            assert site.in_force_w == site.failsafe_w


def test_a_write_whose_acceptance_never_got_out_gives_way_to_what_held_before(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    site.write(7000.0)
    before = site.control
    site.write(5000.0)
    after = site.control = msgspec.structs.replace(site.control, revision=before.revision + 1)
    assert site.do(TakenBack(site.now, after, before)) != []
    assert site.control.in_force_w(site.now) == 7000.0 * site.sign


def test_what_was_written_since_is_not_taken_back(direction: Direction) -> None:
    site = Site(direction)
    site.beat()
    before = site.control
    site.write(7000.0)
    after = msgspec.structs.replace(site.control, revision=1)
    site.write(5000.0)
    site.control = msgspec.structs.replace(site.control, revision=2)
    assert site.do(TakenBack(site.now, after, before)) == []
    assert site.control.in_force_w(site.now) == 5000.0 * site.sign
