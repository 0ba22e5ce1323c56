"""The level of a connection against its contract."""

from hypothesis import given
from hypothesis import strategies as st

from agents.meter.settings import MeterSettings
from agents.meter.watch_contract import Watch, step

SETTINGS = MeterSettings()
CONTRACT_W = 6_000.0


def run(*powers: float, every_s: float = 1.0) -> list[str]:
    watch, said = Watch(), []
    for n, power in enumerate(powers):
        watch, due = step(watch, power, CONTRACT_W, n * every_s, SETTINGS)
        if due:
            said.append(watch.level)
    return said


def test_each_level_is_said_when_it_is_entered() -> None:
    assert run(5_000, 5_399, 5_400, 6_000, 6_001, 5_300, 4_000) == ["warning", "alarm", "warning", "clear"]
    assert run(9_000) == ["alarm"]


@given(st.lists(st.floats(-20_000, 5_399), max_size=50))
def test_below_the_share_nothing_is_ever_said(powers: list[float]) -> None:
    assert run(*powers) == []


def test_power_that_swings_around_a_threshold_is_said_once() -> None:
    assert run(*[6_010, 5_990] * 20) == ["alarm"]
    assert run(*[5_410, 5_390] * 20) == ["warning"]


def test_what_stands_is_repeated_and_what_is_over_is_not() -> None:
    assert run(*[6_500] * 130) == ["alarm", "alarm", "alarm"]
    assert run(6_500, *[1_000] * 200) == ["alarm", "clear"]
