from datetime import UTC, datetime

import pytest

from agents.cem.limit_rules import check_failsafe, read_limit
from agents.cem.limit_state import Held, Rules
from contracts.power_limit import LimitSlot, SetFailsafe, SetLimit
from contracts.reasons import Reason

NOW = 1_463_745_600.0
WHY = Reason(code="congestion", text="test")
RULES = Rules(minimum_w=4200.0, nominal_w=30_000.0)
NAN, INF = float("nan"), float("inf")


def slot(after_s: float, duration_s: float, limit_w: float) -> LimitSlot:
    return LimitSlot(start=datetime.fromtimestamp(NOW + after_s, UTC), duration_s=duration_s, limit_w=limit_w)


def asked(**fields: object) -> SetLimit:
    return SetLimit(**{"direction": "consumption", "active": True, "reason": WHY, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"limit_w": -1.0}, "wrong_sign"),
        ({"limit_w": 1.0, "direction": "production"}, "wrong_sign"),
        ({"limit_w": NAN}, "not_a_number"),
        ({"limit_w": INF}, "not_a_number"),
        ({"limit_w": 300_001.0}, "absurd"),
        ({"limit_w": -300_001.0, "direction": "production"}, "absurd"),
        ({"limit_w": 4199.0}, "below_minimum"),
        ({}, "setpoint_or_profile"),
        ({"limit_w": 5000.0, "profile": (slot(0, 60, 5000),)}, "setpoint_or_profile"),
        ({"limit_w": 5000.0, "duration_s": 0.0}, "bad_duration"),
        ({"limit_w": 5000.0, "duration_s": -5.0}, "bad_duration"),
        ({"limit_w": 5000.0, "duration_s": NAN}, "bad_duration"),
        ({"profile": (slot(0, 60, 5000),), "duration_s": 60.0}, "bad_duration"),
        ({"profile": (slot(0, 60, 5000), slot(61, 60, 5000))}, "bad_profile"),
        ({"profile": (slot(0, 60, 5000), slot(59, 60, 5000))}, "bad_profile"),
        ({"profile": (slot(60, 60, 5000), slot(0, 60, 5000))}, "bad_profile"),
        ({"profile": (slot(0, 0, 5000),)}, "bad_duration"),
        ({"profile": (slot(0, 60, -5000),)}, "wrong_sign"),
        ({"profile": (slot(0, 60, 1000),)}, "below_minimum"),
        ({"profile": (slot(-120, 60, 5000),)}, "already_over"),
    ],
)
def test_what_may_not_bind_is_refused_with_its_reason(fields: dict[str, object], code: str) -> None:
    answer = read_limit(asked(**fields), NOW, RULES)
    assert isinstance(answer, Reason)
    assert answer.code == code
    assert answer.text


def test_the_legal_minimum_may_be_switched_off() -> None:
    held = read_limit(asked(limit_w=0.0), NOW, Rules(minimum_w=4200.0, refuse_below_minimum=False))
    assert isinstance(held, Held)


def test_lifting_needs_no_value() -> None:
    assert read_limit(asked(active=False), NOW, RULES) is None


def test_no_duration_means_until_changed() -> None:
    held = read_limit(asked(limit_w=4200.0), NOW, RULES)
    assert isinstance(held, Held)
    assert held.slots[-1].end is None
    assert not held.over(NOW + 1e9)


def test_a_profile_has_no_instant_without_a_limit() -> None:
    held = read_limit(asked(profile=tuple(slot(n * 0.1, 0.1, 5000 + n) for n in range(50))), NOW, RULES)
    assert isinstance(held, Held)
    for before, after in zip(held.slots, held.slots[1:], strict=False):
        assert before.end == after.start


@pytest.mark.parametrize(
    ("consumption_w", "production_w", "code"),
    [
        (1000.0, 0.0, "below_minimum"),
        (-5.0, 0.0, "wrong_sign"),
        (4200.0, 5.0, "wrong_sign"),
        (NAN, 0.0, "not_a_number"),
    ],
)
def test_bad_failsafe_values_are_refused(consumption_w: float, production_w: float, code: str) -> None:
    answer = check_failsafe(
        SetFailsafe(consumption_w=consumption_w, production_w=production_w, duration_s=7200.0), RULES, RULES
    )
    assert answer is not None
    assert answer.code == code


def test_good_failsafe_values_pass() -> None:
    assert (
        check_failsafe(SetFailsafe(consumption_w=4200.0, production_w=-3000.0, duration_s=7200.0), RULES, RULES) is None
    )
