"""Absurd offers are seen through; a device that takes more than it confirmed is caught, measuring errors are not."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agents.cem.weigh_offer import absurd, beyond, moved, worst
from agents.kit.bargain import profile_from
from contracts.device import Announce
from contracts.flexibility import Flexibility, ProfileFlexibility, StorageTarget
from contracts.profiles import PowerSequence, PowerSlot
from tests.kit.test_bargain import CELL, JOB, NOW, STORE, SUN, TANK, WASH
from tests.support.grid import START

MACHINE = Announce(
    device_class="whitegoods",
    maker="t",
    model="t",
    functions=("measure",),
    use_cases=(),
    nominal_lower_w=-8000.0,
    nominal_upper_w=3000.0,
)
change = msgspec.structs.replace


def job(*slots: PowerSlot, **more: Any) -> ProfileFlexibility:
    return change(JOB, alternatives=(PowerSequence(name="x", slots=slots),), **more)


def test_what_makes_sense_is_taken() -> None:
    assert [absurd(offer, MACHINE, NOW) for offer in (JOB, STORE, TANK, CELL, SUN)] == [None] * 5


@pytest.mark.parametrize(
    ("offer", "why"),
    [
        (job(PowerSlot(duration_s=0, power_w=100)), "no_duration"),
        (job(PowerSlot(duration_s=60, power_w=9000)), "beyond_nominal"),
        (job(PowerSlot(duration_s=60, power_w=100, peak_w=9000)), "beyond_nominal"),
        (job(*[PowerSlot(duration_s=1, power_w=1)] * 289), "too_many_slots"),
        (job(), "empty"),
        (change(JOB, done_by=START - timedelta(hours=1)), "done_by_over"),
        (change(JOB, done_by=START + timedelta(minutes=20)), "window_too_short"),
        (change(STORE, capacity_wh=0.0), "no_capacity"),
        (change(STORE, fill_upper_w=90_000.0), "beyond_nominal"),
        (change(STORE, level_percent=180.0), "bad_level"),
        (change(STORE, empty_lower_w=100.0), "wrong_sign"),
        (change(STORE, targets=(StorageTarget(at=START - timedelta(days=1), lower_percent=80),)), "target_over"),
        (change(TANK, lowest_c=70.0), "empty_band"),
        (change(TANK, upper_w=9000.0), "beyond_nominal"),
        (change(CELL, modes=()), "no_modes"),
        (change(CELL, modes=(change(CELL.modes[1], lower_w=-90_000.0),)), "beyond_nominal"),
        (change(SUN, lower_from_w=10.0), "empty_range"),
    ],
)
def test_what_makes_none_is_refused_with_its_reason(offer: Flexibility, why: str) -> None:
    reason = absurd(offer, MACHINE, NOW)
    assert reason is not None
    assert reason.code == why


def test_a_lie_is_what_lies_beyond_measuring() -> None:
    power = profile_from(WASH, NOW)
    assert beyond(power, 190.0, NOW + 60) == 0.0
    assert beyond(power, 1500.0, NOW + 60) == 1300.0
    assert beyond(power, 2300.0, NOW + 700) == 0.0
    assert beyond(power, 9000.0, NOW + 9000) == 0.0  # the profile is over: nothing was promised for then
    assert [slot.upper_w for slot in worst(power, 1500.0)] == [1500.0, 2200.0]


def test_a_profile_moves_as_a_whole() -> None:
    later = moved(profile_from(WASH, NOW), NOW + 600)
    assert [slot.start.timestamp() for slot in later] == [NOW + 600, NOW + 1200]
