"""Instructions against offers: taken as they are possible, countered with what is, refused with a reason."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.kit.bargain import Counter, Terms, Verdict, bounds_of, end_of, judge, slot_at
from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    OperationMode,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.instructions import Instruct
from contracts.profiles import PlannedPower, PowerSequence, PowerSlot
from contracts.reasons import Reason
from tests.support.grid import START

NOW = START.timestamp()
WASH = PowerSequence(
    name="cotton",
    slots=(PowerSlot(duration_s=600, power_w=100), PowerSlot(duration_s=1200, power_w=2000, peak_w=2200)),
)
JOB = ProfileFlexibility(
    job="cotton",
    alternatives=(WASH,),
    earliest_start=START + timedelta(minutes=10),
    done_by=START + timedelta(hours=4),
    latest_start=START + timedelta(hours=3),
)
STORE = StorageFlexibility(
    capacity_wh=10_000, level_percent=50, lowest_percent=10, fill_upper_w=3000, fill_least_w=1400, empty_lower_w=-3000
)
TANK = ThermalFlexibility(
    temperature_c=45,
    lowest_c=40,
    highest_c=60,
    capacity_wh_per_k=230,
    loss_w_per_k=2,
    ambient_c=20,
    upper_w=3000,
    minimum_on_s=1800,
)
CELL = ModesFlexibility(
    modes=(
        OperationMode(name="off", lower_w=0, upper_w=0),
        OperationMode(name="generate", lower_w=-1500, upper_w=-750, minimum_s=3600),
    ),
    mode="off",
)
PUMP = DemandFlexibility(demand_w=2000, modes=(OperationMode(name="pump", lower_w=500, upper_w=2000),), mode="pump")
SUN = EnvelopeFlexibility(upper_from_w=0, upper_to_w=0, lower_from_w=-8000, lower_to_w=0, consequence="vanish")


def powers(*watts: float, start: datetime = START, each_s: float = 900) -> tuple[PlannedPower, ...]:
    return tuple(
        PlannedPower(start=start + timedelta(seconds=n * each_s), duration_s=each_s, power_w=w)
        for n, w in enumerate(watts)
    )


def asked(offer: Flexibility | None, now: float = NOW, **word: Any) -> Verdict:
    return judge(offer, Instruct(offer=1, reason=Reason(code="t", text="t"), **word), now)


def code(verdict: Verdict) -> str:
    return verdict.code if isinstance(verdict, Reason) else verdict.reason.code if isinstance(verdict, Counter) else ""


def test_a_start_inside_the_window_is_taken_with_the_whole_profile() -> None:
    start = START + timedelta(hours=1)
    terms = asked(JOB, start=start)
    assert isinstance(terms, Terms)
    assert [(p.start, p.power_w, p.upper_w) for p in terms.power] == [
        (start, 100, 100),
        (start + timedelta(minutes=10), 2000, 2200),
    ]
    assert end_of(terms.power[-1]) == (start + timedelta(minutes=30)).timestamp()
    assert terms.latest == (START + timedelta(hours=3)).timestamp()


def test_a_relative_start_counts_from_its_arrival() -> None:
    terms = asked(JOB, now=NOW + 900, start_in_s=300.0)
    assert isinstance(terms, Terms)
    assert terms.begins == NOW + 1200


def test_a_late_start_is_countered_with_the_latest_and_an_early_one_with_the_earliest() -> None:
    late = asked(JOB, start=START + timedelta(hours=3, minutes=45))
    assert isinstance(late, Counter)
    assert late.reason.code == "too_late"
    assert late.terms.start == START + timedelta(hours=3)
    early = asked(JOB, start=START)
    assert isinstance(early, Counter)
    assert early.reason.code == "too_early"
    assert early.terms.start == START + timedelta(minutes=10)


def test_less_power_than_the_programme_needs_is_countered_with_the_profile() -> None:
    start = START + timedelta(hours=1)
    counter = asked(JOB, power=powers(1000, 1000, start=start))
    assert isinstance(counter, Counter)
    assert counter.reason.code == "needs_more"
    assert counter.reason.inputs["lacks_w"] == 1000
    assert counter.terms.start == start
    assert isinstance(asked(JOB, power=powers(2200, 2200, start=start)), Terms)


@pytest.mark.parametrize(
    ("offer", "word", "why"),
    [
        (None, {"start": START}, "nothing_offered"),
        (JOB, {}, "no_start"),
        (JOB, {"start": START, "start_in_s": 5.0}, "two_starts"),
        (JOB, {"start": START, "sequence": "spin"}, "no_such_sequence"),
        (JOB, {"power": powers(5, each_s=0)}, "no_duration"),
        (JOB, {"power": powers(*[100.0] * 289)}, "too_many_slots"),
        (JOB, {"power": powers(5, start=START - timedelta(hours=2))}, "over"),
        (JOB, {"power": (*powers(5), *powers(5))}, "overlap"),
        (CELL, {"mode": "turbo"}, "no_such_mode"),
        (PUMP, {"mode": "turbo"}, "no_such_mode"),
        (TANK, {"start": START}, "no_power"),
        (SUN, {}, "no_power"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(
    offer: Flexibility | None, word: dict[str, Any], why: str
) -> None:
    verdict = asked(offer, **word)
    assert isinstance(verdict, Reason)
    assert verdict.code == why
    assert len(verdict.text) > 20


@pytest.mark.parametrize(("state", "why"), [("executing", "already_started"), ("finished", "over")])
def test_a_job_that_has_begun_is_not_moved(state: Any, why: str) -> None:
    import msgspec

    verdict = asked(msgspec.structs.replace(JOB, state=state), start=START + timedelta(hours=1))
    assert isinstance(verdict, Reason)
    assert verdict.code == why


def test_a_job_whose_window_is_over_can_only_start_at_once() -> None:
    verdict = asked(JOB, now=NOW + 3.9 * 3600, start=START + timedelta(hours=3))
    assert code(verdict) == "window_over"


def test_a_store_gives_and_takes_what_it_can_and_says_so() -> None:
    assert isinstance(asked(STORE, power=powers(2000, -2000)), Terms)
    counter = asked(STORE, power=powers(9000, 1000))
    assert isinstance(counter, Counter)
    assert [p.power_w for p in counter.terms.power] == [3000, 0]
    # 5 kWh of room: four hours at 3 kW do not fit, the last slot stops by itself
    full = asked(STORE, power=powers(3000, 3000, 0, each_s=3600))
    assert isinstance(full, Counter)
    assert full.reason.code == "too_full"
    assert full.terms.power[1].power_w == pytest.approx(2000)
    empty = asked(STORE, power=powers(-3000, -3000, 0, each_s=3600))
    assert isinstance(empty, Counter)
    assert empty.terms.power[1].power_w == pytest.approx(-1000)


def test_a_start_alone_fills_a_store() -> None:
    start = START + timedelta(hours=2)
    terms = asked(STORE, start=start)
    assert isinstance(terms, Terms)
    assert terms.start == start
    assert terms.power[0].power_w == 3000
    assert terms.power[0].duration_s == pytest.approx(5000 / 3000 * 3600)


def test_minimum_times_are_kept_by_a_counter() -> None:
    assert isinstance(asked(TANK, power=powers(3000, 3000, 0)), Terms)
    counter = asked(TANK, power=powers(3000, 0, 0))
    assert isinstance(counter, Counter)
    assert counter.reason.code == "minimum_time"
    assert [p.power_w for p in counter.terms.power] == [3000, 3000, 0]
    short = asked(CELL, mode="generate", power=powers(-1000))
    assert isinstance(short, Counter)
    assert short.terms.power[0].duration_s == 3600
    beyond = asked(PUMP, mode="pump", power=powers(9000))
    assert isinstance(beyond, Counter)
    assert beyond.terms.power[0].power_w == 2000


def test_a_generator_that_is_not_ready_refuses_to_run_and_agrees_to_stop() -> None:
    import msgspec

    cold = msgspec.structs.replace(CELL, ready=False)
    assert code(asked(cold, mode="generate")) == "not_ready"
    assert isinstance(asked(cold, mode="off"), Terms)
    running = asked(CELL, mode="generate")
    assert isinstance(running, Terms)
    assert running.power[0].power_w == -1500


def test_an_envelope_is_bounded_inside_its_ranges() -> None:
    assert isinstance(asked(SUN, power=powers(-3000)), Terms)
    counter = asked(SUN, power=powers(-9000, 500))
    assert isinstance(counter, Counter)
    assert [p.power_w for p in counter.terms.power] == [-8000, 0]


def test_what_was_countered_is_taken_when_it_is_asked_for() -> None:
    """A counter is always possible, whatever was asked."""
    for offer, word in (
        (STORE, {"power": powers(9000, -9000, 700, 3000)}),
        (TANK, {"power": powers(9000, 0, 9000, 0, 0, 3000, 3000)}),
        (SUN, {"power": powers(-9000, 10)}),
        (CELL, {"mode": "generate", "power": powers(-9000)}),
    ):
        counter = asked(offer, **word)
        assert isinstance(counter, Counter), offer
        assert isinstance(asked(offer, mode=counter.terms.mode, power=counter.terms.power), Terms), offer
    late = asked(JOB, start=START + timedelta(hours=9))
    assert isinstance(late, Counter)
    assert isinstance(asked(JOB, start=late.terms.start), Terms)


def test_a_confirmed_slot_bounds_in_its_own_direction() -> None:
    take, give = powers(2000, -2000)
    assert bounds_of(take) == (None, 2000, 2000)
    assert bounds_of(give) == (-2000, None, -2000)
    assert slot_at((take, give), NOW + 901) == give
    assert slot_at((take, give), NOW + 1801) is None
