"""What a socket's supply and power tell of the machine behind it."""

import pytest

from agents.whitegoods.run import Run, Signs, aligned, follow
from contracts.profiles import PowerSlot

SIGNS = Signs(starts_at_w=10.0, ended_below_w=5.0, ended_after_s=300.0)


def seen(*looks: tuple[bool, float], every_s: float = 5.0, signs: Signs = SIGNS, run: Run | None = None) -> Run:
    run = run or Run()
    for supply, power_w in looks:
        run = follow(run, signs, supply=supply, power_w=power_w, at=(run.at or 1000.0) + every_s)
    return run


def test_a_start_by_hand_is_caught_and_waits_once_its_supply_is_gone() -> None:
    assert seen((True, 1.0)).phase == "idle"
    caught = seen((True, 1.0), (True, 120.0))
    assert caught.phase == "caught"
    assert seen((True, 120.0), run=caught).phase == "caught"  # the socket has not obeyed yet
    waiting = seen((True, 120.0), (False, 0.0), run=caught)
    assert waiting.phase == "waiting"
    assert waiting.elapsed_s == 5.0  # what it did before it was held is done
    assert seen((False, 0.0), (False, 0.0), run=waiting).since == waiting.since


def test_a_start_that_need_not_wait_runs() -> None:
    free = Signs(starts_at_w=10.0, ended_below_w=5.0, ended_after_s=300.0, holds=False)
    assert seen((True, 120.0), signs=free).phase == "running"


def test_only_work_counts_as_elapsed() -> None:
    run = seen((True, 120.0), (False, 0.0), (False, 0.0), (True, 120.0), (True, 2000.0), (True, 2000.0))
    assert (run.phase, run.elapsed_s) == ("running", 10.0)
    paused = seen((False, 0.0), (False, 0.0), run=run)
    assert (paused.phase, paused.elapsed_s) == ("paused", 10.0)
    assert seen((True, 2000.0), (True, 2000.0), run=paused).elapsed_s == 15.0


@pytest.mark.parametrize(("quiet_looks", "phase"), [(59, "running"), (61, "finished")])
def test_a_quiet_machine_is_through_after_a_while(quiet_looks: int, phase: str) -> None:
    run = seen((True, 120.0), (False, 0.0), (True, 120.0), (True, 120.0))
    assert seen(*[(True, 1.0)] * quiet_looks, run=run).phase == phase


def test_a_short_rest_between_steps_is_no_end() -> None:
    run = seen((True, 120.0), (False, 0.0), (True, 120.0))
    rests = [*[(True, 1.0)] * 50, (True, 180.0), *[(True, 1.0)] * 50]
    assert seen(*rests, run=run).phase == "running"


def test_the_next_filling_starts_anew() -> None:
    run = seen((True, 120.0), (False, 0.0), (True, 120.0), *[(True, 1.0)] * 62)
    assert run.phase == "finished"
    again = seen((True, 120.0), run=run)
    assert (again.phase, again.elapsed_s) == ("caught", 0.0)


FILL, HEAT, WASH = (PowerSlot(duration_s=d, power_w=p) for d, p in ((300.0, 100.0), (600.0, 2_000.0), (900.0, 150.0)))


@pytest.mark.parametrize(
    ("elapsed_s", "power_w", "is_at_s"),
    [
        (200.0, 90.0, 200.0),
        (200.0, 1_900.0, 300.0),  # it heats already
        (500.0, 60.0, 500.0),  # the thermostat rests
        (700.0, 60.0, 900.0),  # it was warm earlier than announced
        (1_000.0, 400.0, 1_000.0),
        (1_000.0, 1_900.0, 1_000.0),  # nothing of the programme explains it
        (5_000.0, 150.0, 5_000.0),
    ],
)
def test_heating_shows_where_in_its_programme_a_machine_is(elapsed_s: float, power_w: float, is_at_s: float) -> None:
    assert aligned((FILL, HEAT, WASH), elapsed_s, power_w) == is_at_s
