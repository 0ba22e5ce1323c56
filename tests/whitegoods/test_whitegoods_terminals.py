"""Programmes, plans and readings of white goods, without a bus."""

from typing import Any

import msgspec
import pytest

from agents.kit.hardware import Envelope, Impossible, Plan
from agents.whitegoods.programmes import TYPICAL
from agents.whitegoods.terminals import WhitegoodsSettings, WhitegoodsTerminals
from contracts import device_file
from contracts.device_form import DeviceFile, Point, Value
from contracts.profiles import PowerSlot

SOCKET = device_file.load("netio_powercable_appliance")
HEATING = PowerSlot(duration_s=600.0, power_w=2000.0)
PROGRAMME = (
    PowerSlot(duration_s=300.0, power_w=100.0, interruptible=True),
    HEATING,
    PowerSlot(duration_s=900.0, power_w=150.0, interruptible=True),
)


class Machine:
    """The terminals, and a socket that does as it is told."""

    def __init__(self, file: DeviceFile = SOCKET, **settings: Any) -> None:
        chosen = {"programmes": {"test": PROGRAMME}, **settings}
        self.terminals = WhitegoodsTerminals(WhitegoodsSettings(**chosen), file)
        self.values: dict[str, Value | None] = {"enabled": True, "power_w": 1, "energy_wh": 0}
        self.at = 1000.0

    def look(self, power_w: float | None = None, after_s: float = 5.0, **more: Value) -> Any:
        self.at += after_s
        self.values |= {**({} if power_w is None else {"power_w": power_w}), **more}
        return self.terminals.reading(self.values, self.at)

    def do(self, plan: Plan, power_w: float = 0.0) -> Any:
        self.values |= plan.writes
        return self.look(power_w)

    def armed(self) -> "Machine":
        self.look(1)
        self.look(100)
        self.do(self.terminals.hold(self.values))
        assert self.terminals.run.phase == "waiting"
        return self

    def running(self, elapsed_s: float = 5.0, power_w: float = 100) -> "Machine":
        self.armed().do(self.terminals.start(self.values), 100)
        self.look(power_w, elapsed_s)
        assert self.terminals.run.phase == "running"
        return self


def test_an_idle_machine_offers_nothing_and_takes_nothing() -> None:
    machine = Machine()
    reading = machine.look(1)
    assert (reading.operating, reading.lower_w, reading.upper_w) == ("idle", 0.0, 1.0)
    assert machine.terminals.programme(machine.values) is None
    assert machine.terminals.sequences(machine.values) == ()
    with pytest.raises(Impossible) as refused:
        machine.terminals.start(machine.values)
    assert refused.value.reason.code == "not_armed"


def test_a_waiting_machine_says_what_would_run_and_how_much_it_may_take() -> None:
    machine = Machine(pause_at_most_s=600.0).armed()
    reading = machine.look(0)
    assert (reading.operating, reading.lower_w, reading.upper_w) == ("waiting", 0.0, 2000.0)
    assert machine.terminals.programme(machine.values) == "test"
    (sequence,) = machine.terminals.sequences(machine.values)
    assert (sequence.name, sequence.slots, sequence.pause_at_most_s) == ("test", PROGRAMME, 600.0)
    assert machine.terminals.remaining_s(machine.values) == 1800.0
    plan = machine.terminals.start(machine.values)
    assert (plan.writes, plan.once) == ({"enabled": True}, True)


def test_a_running_machine_knows_its_step_and_what_is_left() -> None:
    machine = Machine().running(elapsed_s=400.0)
    (sequence,) = machine.terminals.sequences(machine.values)
    assert [slot.duration_s for slot in sequence.slots] == [500.0, 900.0]
    assert machine.terminals.remaining_s(machine.values) == 1400.0
    reading = machine.look(2000, 10)
    assert (reading.operating, reading.lower_w, reading.upper_w) == ("running", 2000.0, 2000.0)


def test_it_pauses_in_an_interruptible_step_and_just_before_one_only() -> None:
    machine = Machine().running(elapsed_s=100.0)
    assert machine.terminals.pause(machine.values).writes == {"enabled": False}
    machine.look(2000, 400.0)
    with pytest.raises(Impossible) as refused:
        machine.terminals.pause(machine.values)
    assert refused.value.reason.code == "not_interruptible"
    assert refused.value.reason.inputs["remaining_s"] == 400.0
    machine.look(2000, 350.0)  # 50 s before the next step
    assert machine.do(machine.terminals.pause(machine.values)).operating == "paused"
    assert machine.do(machine.terminals.resume(machine.values), 2000).operating == "running"


def test_it_is_through_when_its_power_says_so_even_earlier_than_announced() -> None:
    machine = Machine().running(elapsed_s=900.0, power_w=150)
    assert machine.terminals.remaining_s(machine.values) == 900.0
    machine.look(1, 100)
    machine.look(1, 250)
    assert machine.terminals.run.phase == "finished"
    assert machine.look(1).operating == "finished"
    assert machine.terminals.sequences(machine.values) == ()
    assert machine.terminals.remaining_s(machine.values) == 0.0


def test_a_programme_longer_than_announced_is_in_its_last_step() -> None:
    machine = Machine().running(elapsed_s=4000.0)
    assert machine.terminals.remaining_s(machine.values) == 0.0
    reading = machine.look(150)
    assert (reading.operating, reading.upper_w) == ("running", 150.0)


def test_a_bound_stops_what_may_be_stopped_and_its_end_gives_it_back() -> None:
    machine = Machine().running(elapsed_s=100.0)
    held = machine.terminals.plan(Envelope(upper_w=1000.0), machine.values)
    assert (held.writes, held.upper_w, held.once) == ({"enabled": False}, 0.0, False)
    assert machine.do(held).operating == "paused"
    with pytest.raises(Impossible) as refused:
        machine.terminals.resume(machine.values)
    assert refused.value.reason.code == "no_room"
    free = machine.terminals.plan(Envelope(), machine.values)
    assert (free.writes, free.once) == ({"enabled": True}, True)
    assert machine.do(free, 100).operating == "running"


def test_the_end_of_a_bound_does_not_start_what_waits_nor_what_was_paused_for_another_reason() -> None:
    waiting = Machine().armed()
    assert waiting.terminals.plan(Envelope(upper_w=500.0), waiting.values).writes == {"enabled": False}
    with pytest.raises(Impossible):
        waiting.terminals.start(waiting.values)
    assert waiting.terminals.plan(Envelope(), waiting.values).writes == {}
    waiting.terminals.start(waiting.values)
    paused = Machine().running(elapsed_s=100.0)
    paused.do(paused.terminals.pause(paused.values))
    paused.terminals.plan(Envelope(upper_w=500.0), paused.values)
    assert paused.terminals.plan(Envelope(), paused.values).writes == {}


def test_a_heating_machine_refuses_a_bound_unless_it_is_urgent() -> None:
    machine = Machine().running(elapsed_s=500.0, power_w=2000)
    with pytest.raises(Impossible) as refused:
        machine.terminals.plan(Envelope(standby=True), machine.values)
    assert refused.value.reason.code == "not_interruptible"
    assert machine.terminals.held_w is None  # what was refused does not hold
    urgent = machine.terminals.plan(Envelope(standby=True, urgent=True), machine.values)
    assert urgent.writes == {"enabled": False}


def test_a_bound_above_what_it_draws_leaves_it_alone() -> None:
    machine = Machine().running(elapsed_s=1000.0, power_w=150)
    plan = machine.terminals.plan(Envelope(upper_w=500.0), machine.values)
    assert (plan.writes, plan.upper_w) == ({}, 500.0)
    with pytest.raises(Impossible):
        machine.terminals.plan(Envelope(upper_w=-10.0), machine.values)


def test_a_start_under_a_bound_is_held_even_where_none_waits() -> None:
    machine = Machine(holds_start=False)
    machine.look(1)
    machine.terminals.plan(Envelope(upper_w=500.0), machine.values)
    machine.look(100)
    assert machine.terminals.run.phase == "caught"


def test_what_it_announces_is_the_most_of_its_programmes() -> None:
    announce = Machine().terminals.capabilities({})
    assert (announce.nominal_upper_w, announce.minimum_run_w) == (2000.0, 2000.0)
    assert announce.functions == ("measure", "standby")
    assert not announce.steerable
    assert Machine(rating_w=2200.0).terminals.capabilities({}).nominal_upper_w == 2200.0


@pytest.mark.parametrize("kind", list(TYPICAL))
def test_typical_programmes_are_sane(kind: str) -> None:
    for slots in TYPICAL[kind].values():  # type: ignore[index]
        energy_wh = sum(slot.power_w * slot.duration_s for slot in slots) / 3600
        assert 500 < energy_wh < 3200
        assert 3600 <= sum(slot.duration_s for slot in slots) <= 4 * 3600
        assert slots[0].interruptible


def telling() -> DeviceFile:
    """The form of a product that tells its state and takes a start; its registers are of no maker."""

    def point(name: str, address: int, **more: Any) -> Point:
        return Point(**{"name": name, "table": "holding", "address": address, "type": "u16", "clause": "test", **more})

    codes = {0: "off", 1: "idle", 2: "armed", 3: "running", 4: "paused", 5: "finished", 6: "error"}
    points = {
        "state": point("state", 0, type="enum", values=codes),
        "power_w": point("power_w", 1, positive="taken"),
        "remaining_s": point("remaining_s", 2, scale=60.0),
        "programme": point("programme", 10, type="str", length=8),
        "start": point("start", 3, type="bool", access="rw"),
        "enabled": point("enabled", 4, type="bool", access="rw"),
    }
    return msgspec.structs.replace(SOCKET, points=points, device="a product that tells")


def test_a_product_that_tells_its_state_is_believed() -> None:
    machine = Machine(telling())
    assert machine.look(1, state="idle", programme="", remaining_s=0).operating == "idle"
    assert machine.look(1, state="armed", programme="test", remaining_s=1800).operating == "waiting"
    assert machine.terminals.programme(machine.values) == "test"
    assert machine.terminals.start(machine.values).writes == {"start": True}
    machine.look(2000, state="running", remaining_s=1300)
    assert machine.terminals.remaining_s(machine.values) == 1300
    (sequence,) = machine.terminals.sequences(machine.values)
    assert [slot.duration_s for slot in sequence.slots] == [400.0, 900.0]
    assert machine.look(150, state="running", remaining_s=850).lower_w == 0.0
    assert machine.terminals.pause(machine.values).writes == {"enabled": False}
    assert machine.look(1, state="paused").operating == "paused"
    assert machine.terminals.resume(machine.values).writes == {"enabled": True}
    assert machine.look(1, state="finished").operating == "finished"
    assert machine.look(1, state="error").operating == "fault"
