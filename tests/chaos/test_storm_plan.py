"""The plan of a storm: what its seed says and nothing else, and never two faults of one target at once."""

from itertools import combinations, pairwise
from pathlib import Path

import pytest

from deploy.topology import Topology, load
from tests.chaos.storm.plan import APART_S, KINDS, SPELL_S, draw

SMALL = load(Path(__file__).parent / "storm" / "small.toml")
HOUR_S = 36_000.0


def test_a_seed_is_one_plan_and_another_seed_another() -> None:
    assert draw(SMALL, 7, HOUR_S) == draw(SMALL, 7, HOUR_S)
    assert draw(SMALL, 7, HOUR_S) != draw(SMALL, 8, HOUR_S)


@pytest.mark.parametrize("topology", [SMALL, load("street")], ids=["small", "street"])
@pytest.mark.parametrize("seed", range(5))
def test_faults_are_of_every_kind_within_the_storm_and_apart_for_each_target(topology: Topology, seed: int) -> None:
    plan = draw(topology, seed, HOUR_S)
    assert {fault.kind for fault in plan.faults} == set(KINDS)
    assert all(fault.at >= 0 and fault.until < HOUR_S for fault in plan.faults)
    for one, other in combinations(plan.faults, 2):
        if one.target == other.target:
            assert one.at > other.until + APART_S or other.at > one.until + APART_S
    assert all(str(fault.number) in plan.text() for fault in plan.faults)


def test_there_are_quiet_spells_and_several_faults_at_once() -> None:
    faults = [fault for fault in draw(SMALL, 7, HOUR_S).faults if fault.kind != "order"]
    ends = [max(fault.until for fault in faults[: n + 1]) for n in range(len(faults))]
    gaps = [faults[n + 1].at - ends[n] for n in range(len(faults) - 1)]
    assert sum(gap >= SPELL_S[0] for gap in gaps) > 5
    assert sum(one.until > two.at for one, two in pairwise(faults)) > 5


def test_what_cannot_be_done_here_is_left_out_and_named() -> None:
    plan = draw(SMALL, 7, HOUR_S, {"disk": "no root"})
    assert "disk" not in {fault.kind for fault in plan.faults}
    assert "left out: disk, no root" in plan.text()
