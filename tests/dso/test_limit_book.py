"""What was stated ends when it should, is said again when it must be, and newest wins."""

from datetime import timedelta

from agents.dso.limit_book import Site, Statement, lifted
from agents.dso.plan_limits import fault_of
from agents.dso.report_action import Action, worked
from agents.dso.settings import DsoSettings
from agents.dso.steer_limits import tighter, worth_saying
from bus.address import Address
from bus.envelope import instant
from contracts.operator import OrderLimit
from contracts.power_limit import LimitSlot
from contracts.reasons import Reason
from tests.dso.test_grid_picture import AT

NOW = AT.timestamp()
WHY = Reason(code="test", text="A test.")


def limit(watts: float | None, **more: object) -> Statement:
    return Statement(direction="consumption", active=True, limit_w=watts, reason=WHY, **more)  # type: ignore[arg-type]


def slots(*watts: float) -> tuple[LimitSlot, ...]:
    return tuple(
        LimitSlot(start=AT + timedelta(minutes=15 * n), duration_s=900.0, limit_w=w) for n, w in enumerate(watts)
    )


def test_a_limit_without_duration_never_ends() -> None:
    statement = limit(4200.0)
    word = statement.word(NOW + 1e9)
    assert word is not None
    assert word.duration_s is None
    assert statement.bound_at(NOW + 1e9) == 4200.0


def test_a_restated_limit_has_only_the_time_that_is_left() -> None:
    statement = limit(4200.0, until=instant(NOW + 600))
    word = statement.word(NOW + 500)
    assert word is not None
    assert word.duration_s == 100.0
    assert statement.over(NOW + 600)
    assert statement.bound_at(NOW + 600) is None


def test_a_restated_profile_leaves_out_what_has_passed() -> None:
    statement = limit(None, profile=slots(5000, 4200, 6000))
    assert statement.bound_at(NOW + 1000) == 4200
    word = statement.word(NOW + 1000)
    assert word is not None
    assert [slot.limit_w for slot in word.profile] == [4200, 6000]
    assert statement.over(NOW + 2700)


def site() -> Site:
    return Site(Address("h01", "cem", "main"))


def test_newest_wins_and_the_same_is_not_said_twice() -> None:
    one = site()
    assert one.want(limit(5000), None)
    assert not one.want(limit(5000), None)
    assert one.want(limit(4000), None)
    assert one.wanted["consumption"].limit_w == 4000


def test_a_refused_limit_rests_unless_it_became_looser() -> None:
    one = site()
    one.want(limit(4000), None)
    one.refused["consumption"] = (NOW, limit(4000), WHY)
    assert one.next_due(NOW + 10, 300) is None
    assert one.next_due(NOW + 300, 300) == "consumption"
    one.want(limit(4500), None)
    assert one.next_due(NOW + 10, 300) == "consumption"


def test_a_site_that_comes_back_hears_both_directions_even_if_nothing_is_limited() -> None:
    one = site()
    one.restate()
    assert set(one.unsettled) == {"consumption", "production"}
    assert one.failsafe_due


def test_the_tighter_of_plan_and_need_holds() -> None:
    plan = limit(None, profile=slots(3000, 9000))
    cap = limit(5000)
    assert tighter("consumption", cap, plan, NOW + 10).limit_w == 3000
    assert tighter("consumption", cap, plan, NOW + 1000).limit_w == 5000
    assert tighter("consumption", cap, None, NOW).limit_w == 5000


def test_lifting_is_a_statement_too() -> None:
    word = lifted("production", "not_needed", "There is room.").word(NOW)
    assert word is not None
    assert (word.active, word.limit_w, word.profile) == (False, None, ())


def test_orders_that_make_no_sense_name_their_fault() -> None:
    assert fault_of(OrderLimit(site="h01", direction="consumption", limit_w=4200.0)) is None
    assert "either" in (fault_of(OrderLimit(site="h01", direction="consumption")) or "")
    assert "-1" in (fault_of(OrderLimit(site="h01", direction="consumption", limit_w=-1.0)) or "")
    assert "no production" in (fault_of(OrderLimit(site="h01", direction="production", limit_w=5.0)) or "")
    gap = (slots(1)[0], LimitSlot(start=AT + timedelta(hours=1), duration_s=900.0, limit_w=2))
    assert "begin" in (fault_of(OrderLimit(site="h01", direction="consumption", profile=gap)) or "")


def test_whether_an_action_worked_is_judged_by_the_meters() -> None:
    def action(kind: str, amount_w: float) -> Action:
        return Action("1", kind, "production", ("h01",), amount_w, NOW, -150_000.0, WHY)  # type: ignore[arg-type]

    assert worked(action("order", 20_000), -130_000, 0.9)
    assert not worked(action("order", 20_000), -170_000, 1.06)
    assert worked(action("request", 10_000), -144_000, 0.9)
    assert not worked(action("request", 10_000), -147_000, 0.9)
    assert not worked(action("request", 10_000), -160_000, 1.0)


def test_only_changes_that_matter_are_said_and_tightening_goes_before_loosening() -> None:
    def said(old_w: float | None, new_w: float | None, *, urgent: bool = False) -> bool:
        old = lifted("consumption", "c", "T.") if old_w is None else limit(old_w)
        new = lifted("consumption", "c", "T.") if new_w is None else limit(new_w)
        return worth_saying(old, new, NOW, urgent, DsoSettings())

    assert said(None, 9_000)
    assert said(9_000, None)
    assert not said(None, None)
    assert not said(9_000, 8_900), "under 2 %"
    assert said(9_000, 8_800)
    assert not said(9_000, 9_400), "under 5 %"
    assert said(9_000, 9_500)
    assert not said(1_000, 1_090), "under 100 W"
    assert said(9_000, 8_999, urgent=True)
    assert not said(9_000, 9_001, urgent=True)
    assert not worth_saying(None, lifted("consumption", "c", "T."), NOW, False, DsoSettings())
