"""A wish takes what the bounds leave, and is named where it is what binds."""

from math import inf

import pytest

from agents.cem.allocate import Envelope, Unit
from agents.cem.fit_wish import fit_unit, with_wish
from agents.cem.wishes import Wish
from contracts.device import Announce
from contracts.reasons import Reason

PLAN = Reason(code="waits_for_cheaper_slot", text="It waits.")
LIMIT = Reason(code="grid_limit", text="It is held.")
CAR = Announce(
    device_class="evse",
    maker="m",
    model="m",
    functions=("limit_upper", "setpoint"),
    use_cases=(),
    nominal_lower_w=0.0,
    nominal_upper_w=11_040.0,
    minimum_run_w=4140.0,
)
BATTERY = Announce(
    device_class="battery",
    maker="m",
    model="m",
    functions=("setpoint",),
    use_cases=(),
    nominal_lower_w=-5000.0,
    nominal_upper_w=5000.0,
)


def car(wants_w: float = 11_040.0, fresh: bool = True) -> Unit:
    return Unit("evse.1", "evse", 0.0, 0.0, 11_040.0, 0.0, 11_040.0, wants_w, minimum_run_w=4140.0, fresh=fresh)


def wish(**what: float | bool) -> Wish:
    return Wish(source="plan", reason=PLAN, **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (wish(off=True), 0.0),
        (wish(upper_w=6000.0), 6000.0),
        (wish(setpoint_w=7000.0), 7000.0),
        (wish(setpoint_w=20_000.0), 11_040.0),
        (wish(lower_w=4140.0, upper_w=5000.0), 5000.0),
    ],
)
def test_a_device_wants_what_is_wished_of_it_within_what_it_can(given: Wish, expected: float) -> None:
    assert fit_unit(car(), given).wants_w == expected


def test_a_device_that_is_not_heard_of_is_reserved_at_its_worst_whatever_is_wished() -> None:
    assert fit_unit(car(fresh=False), wish(off=True)) == car(fresh=False)


def test_the_wish_binds_where_it_is_tighter() -> None:
    assert with_wish(Envelope(None, 8000.0, None, LIMIT), wish(upper_w=6000.0), CAR) == Envelope(
        None, 6000.0, None, PLAN
    )


def test_the_limit_stays_and_is_named_where_it_is_tighter() -> None:
    assert with_wish(Envelope(None, 4200.0, None, LIMIT), wish(upper_w=6000.0), CAR) == Envelope(
        None, 4200.0, None, LIMIT
    )


@pytest.mark.parametrize("upper", [None, 0.0, 2500.0])
@pytest.mark.parametrize("lower", [None, -3000.0, 0.0])
@pytest.mark.parametrize("setpoint", [-9000.0, -1000.0, 0.0, 9000.0])
def test_no_wish_leaves_the_envelope(upper: float | None, lower: float | None, setpoint: float) -> None:
    for one in (wish(setpoint_w=setpoint), wish(lower_w=setpoint), wish(upper_w=setpoint), wish(off=True)):
        got = with_wish(Envelope(lower, upper, 0.0 if upper is None else upper, LIMIT), one, BATTERY)
        assert (inf if got.upper_w is None else got.upper_w) <= (inf if upper is None else upper)
        assert (-inf if got.lower_w is None else got.lower_w) >= (-inf if lower is None else lower)
        assert got.setpoint_w is not None
        assert (-inf if got.lower_w is None else got.lower_w) <= got.setpoint_w
        assert got.setpoint_w <= (inf if got.upper_w is None else got.upper_w)


def test_off_is_off_in_both_directions() -> None:
    got = with_wish(Envelope(None, None, -2000.0, LIMIT), wish(off=True), BATTERY)
    assert (got.lower_w, got.upper_w, got.setpoint_w) == (0.0, 0.0, 0.0)
