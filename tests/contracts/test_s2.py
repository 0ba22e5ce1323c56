"""Every kind of flexibility and every state has one shape in S2, and comes back from it as it was."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from contracts import s2
from contracts import s2_instructions as told
from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    OperationMode,
    ProfileFlexibility,
    StorageFlexibility,
    StorageTarget,
    ThermalFlexibility,
)
from contracts.instructions import Instruct
from contracts.profiles import PlannedPower, PowerSequence, PowerSlot
from contracts.reasons import Reason
from contracts.s2_words import NotInS2
from tests.support.grid import START

SLOT = PowerSlot(duration_s=600, power_w=100.0, interruptible=True)
OFFERS: dict[str, Flexibility] = {
    "profile": ProfileFlexibility(
        job="cotton",
        alternatives=(
            PowerSequence(
                name="cotton", slots=(SLOT, msgspec.structs.replace(SLOT, peak_w=900.0)), pause_at_most_s=300.0
            ),
            PowerSequence(name="eco", slots=(PowerSlot(duration_s=1200, power_w=2000.0),)),
        ),
        earliest_start=START,
        done_by=START + timedelta(hours=4),
        state="scheduled",
    ),
    "envelope": EnvelopeFlexibility(
        upper_from_w=0.0, upper_to_w=0.0, lower_from_w=-8000.0, lower_to_w=0.0, consequence="vanish"
    ),
    "storage": StorageFlexibility(
        capacity_wh=10_000.0,
        level_percent=40.0,
        lowest_percent=5.0,
        highest_percent=95.0,
        fill_upper_w=5000.0,
        fill_least_w=100.0,
        empty_lower_w=-4000.0,
        efficiency_share=0.9,
        loss_per_day_percent=0.5,
        targets=(StorageTarget(at=START + timedelta(hours=2), lower_percent=80.0),),
    ),
    "thermal": ThermalFlexibility(
        temperature_c=45.0,
        lowest_c=40.0,
        highest_c=60.0,
        capacity_wh_per_k=232.0,
        loss_w_per_k=1.8,
        ambient_c=20.0,
        cop_share=3.2,
        demand_w=240.0,
        upper_w=2000.0,
        least_w=500.0,
        minimum_on_s=360.0,
        minimum_off_s=600.0,
    ),
    "modes": ModesFlexibility(
        modes=(
            OperationMode(name="off", lower_w=0.0, upper_w=0.0),
            OperationMode(name="generate", lower_w=-4000.0, upper_w=-2000.0, minimum_s=1800.0),
        ),
        mode="generate",
        cost_eur_per_kwh=0.12,
    ),
    "demand": DemandFlexibility(
        demand_w=6000.0,
        modes=(
            OperationMode(name="pump", lower_w=500.0, upper_w=2000.0, minimum_s=600.0),
            OperationMode(name="boiler", lower_w=0.0, upper_w=0.0),
        ),
        mode="pump",
        cop_share=3.0,
    ),
}
WHY = Reason(code="s2", text="instructed over S2")


def two(first: float, second: float) -> tuple[PlannedPower, ...]:
    return (
        PlannedPower(start=START, duration_s=900, power_w=first),
        PlannedPower(start=START + timedelta(minutes=15), duration_s=900, power_w=second),
    )


@pytest.mark.parametrize("kind", OFFERS)
def test_every_kind_comes_back_as_it_went(kind: str) -> None:
    words = msgspec.json.decode(msgspec.json.encode(s2.to_s2(OFFERS[kind], START, "7")))
    assert all({"message_type", "message_id"} <= word.keys() for word in words)
    assert s2.from_s2(words) == OFFERS[kind]


def test_a_cooler_and_one_that_only_switches_come_back_too() -> None:
    cooler = msgspec.structs.replace(
        OFFERS["thermal"],
        heats=False,
        lowest_c=20.0,
        highest_c=26.0,
        ambient_c=32.0,
        steps_w=(800.0, 2000.0),
        least_w=800.0,
    )
    assert s2.from_s2(s2.to_s2(cooler, START, "7")) == cooler


def test_every_kind_is_known_and_has_one_control_type() -> None:
    assert set(s2.CONTROL_TYPES) == {type(offer) for offer in OFFERS.values()} == set(Flexibility.__args__)  # type: ignore[attr-defined]
    assert len(set(s2.CONTROL_TYPES.values())) == 5


@pytest.mark.parametrize(
    ("kind", "word", "type_"),
    [
        ("profile", {"sequence": "eco", "start": START}, "PPBC.ScheduleInstruction"),
        ("storage", {"power": two(2000.0, -1000.0)}, "FRBC.Instruction"),
        ("thermal", {"power": two(0.0, 1500.0)}, "FRBC.Instruction"),
        ("modes", {"mode": "generate", "start": START}, "OMBC.Instruction"),
        ("demand", {"mode": "boiler", "start": START}, "DDBC.Instruction"),
    ],
)
def test_every_instruction_comes_back_as_it_went(kind: str, word: dict[str, Any], type_: str) -> None:
    instruct = Instruct(offer=7, reason=WHY, **word)
    words = told.instruction_to_s2(instruct, OFFERS[kind], START, "9")
    assert {one["message_type"] for one in words} == {type_}
    back = told.instruction_from_s2(words, OFFERS[kind], 7, START + timedelta(minutes=30))
    assert [(p.start, p.duration_s) for p in back.power] == [(p.start, p.duration_s) for p in instruct.power]
    assert [p.power_w for p in back.power] == pytest.approx([p.power_w for p in instruct.power])
    assert (back.sequence, back.mode, back.start) == (instruct.sequence, instruct.mode, instruct.start)


def test_an_envelope_comes_back_with_both_bounds() -> None:
    power = tuple(msgspec.structs.replace(p, lower_w=p.power_w, upper_w=0.0) for p in two(-3000.0, -1000.0))
    instruct = Instruct(offer=7, power=power, reason=WHY)
    words = told.instruction_to_s2(instruct, OFFERS["envelope"], START, "9")
    assert told.instruction_from_s2(words, OFFERS["envelope"], 7, START) == instruct


@pytest.mark.parametrize("state", told.INSTRUCTION_STATES)
def test_every_state_comes_back(state: Any) -> None:
    assert told.status_from_s2(told.status_to_s2("t1", state, START, "m")) == ("t1", state)
    assert len(set(told.INSTRUCTION_STATES.values())) == 7
    assert len(set(s2.SEQUENCE_STATES.values())) == 6


def test_what_s2_has_no_shape_for_is_refused() -> None:
    with pytest.raises(NotInS2, match="9999 W"):
        told.instruction_to_s2(Instruct(offer=1, power=two(9999.0, 0.0), reason=WHY), OFFERS["storage"], START, "9")
    with pytest.raises(NotInS2, match="no mode"):
        told.instruction_to_s2(Instruct(offer=1, mode="x", reason=WHY), OFFERS["modes"], START, "9")
    with pytest.raises(NotInS2):
        s2.from_s2([])
    assert told.revocation_to_s2("t1", "FRBC.Instruction", "m")["object_type"] == "FRBC.Instruction"
