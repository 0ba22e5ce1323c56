"""Stations that charge on one phase or three, and that know the car's state of charge."""

import pytest

from agents.evse.terminals import EvseSettings, EvseTerminals
from agents.kit.hardware import Envelope
from contracts import device_file
from contracts.device import PowerApplied
from contracts.device_form import Value
from tests.support.grid import grid
from tests.support.home import SCRIPTED_CEM, home_cem
from tests.support.simulated_home import simulated
from world.spec import DeviceSpec

VOLTS: dict[str, Value] = {f"voltage_l{n}_v": 230 for n in (1, 2, 3)}
GOE = EvseTerminals(EvseSettings(rating_w=11_040.0, switches_phases=True), device_file.load("goe_charger"))
BENDER = EvseTerminals(EvseSettings(rating_w=11_040.0), device_file.load("bender_cc613"))


@pytest.mark.parametrize(
    ("upper_w", "writes", "holds_w"),
    [
        (11_040.0, {"current_limit_a": 16.0, "enabled": True, "phase_mode": "three"}, 11_040.0),
        (4_140.0, {"current_limit_a": 6.0, "enabled": True, "phase_mode": "three"}, 4_140.0),
        (4_139.0, {"phase_mode": "one", "current_limit_a": 16.0, "enabled": True}, 3_680.0),
        (1_500.0, {"phase_mode": "one", "current_limit_a": 6.0, "enabled": True}, 1_380.0),
        (1_379.0, {"enabled": False}, 0.0),
    ],
)
def test_below_three_times_six_amperes_one_phase_goes_on(
    upper_w: float, writes: dict[str, Value], holds_w: float
) -> None:
    plan = GOE.plan(Envelope(upper_w=upper_w), VOLTS)
    assert (plan.writes, plan.upper_w) == (writes, holds_w)


def test_no_order_of_writes_draws_more_than_is_allowed_in_between() -> None:
    up = list(GOE.plan(Envelope(upper_w=6_000.0), {**VOLTS, "phase_mode": "one"}).writes)
    down = list(GOE.plan(Envelope(upper_w=3_000.0), {**VOLTS, "phase_mode": "three"}).writes)
    assert up.index("current_limit_a") < up.index("phase_mode")
    assert down.index("phase_mode") < down.index("current_limit_a")


def test_it_announces_the_least_of_one_phase_only_if_it_may_switch() -> None:
    assert GOE.capabilities({}).minimum_run_w == 1_380.0
    stays = EvseTerminals(EvseSettings(rating_w=11_040.0), device_file.load("goe_charger"))
    assert stays.capabilities({}).minimum_run_w == 4_140.0
    assert stays.plan(Envelope(upper_w=3_000.0), VOLTS).writes == {"enabled": False}
    single = EvseTerminals(
        EvseSettings(rating_w=3_680.0, phases=(2,), switches_phases=True), device_file.load("goe_charger")
    )
    assert "phase_mode" not in single.plan(Envelope(upper_w=3_000.0), VOLTS).writes


def test_a_reading_carries_the_charge_and_the_session_while_a_car_is_there() -> None:
    values: dict[str, Value | None] = {**VOLTS, "state": "charging", "power_w": 3_680, "phases_used": "one"}
    values |= {"soc_percent": 64, "session_wh": 5_000, "energy_wh": 73_536}
    reading = BENDER.reading(values, 0.0)
    assert (reading.soc_percent, reading.session_wh, reading.energy_wh) == (64.0, 5_000.0, 73_536.0)
    assert reading.power_by_phase_w == (3_680.0, 0.0, 0.0)
    gone = BENDER.reading({**values, "state": "idle", "power_w": 0}, 0.0)
    assert (gone.soc_percent, gone.session_wh) == (None, None)
    assert BENDER.reading({**values, "soc_percent": None}, 0.0).soc_percent is None


@pytest.mark.anyio
async def test_under_a_small_bound_the_car_goes_on_on_one_phase_and_its_charge_is_said() -> None:
    goe = DeviceSpec(name="evse1", kind="evse", product="goe_charger", unit=10, rating_w=11_040)
    bender = DeviceSpec(name="evse2", kind="evse", product="bender_cc613", unit=11, rating_w=11_040)
    addresses = ("h07.evse.1", "h07.evse.2")
    async with grid("h07.cem.main", *addresses, agents=SCRIPTED_CEM) as run, simulated(run, goe, bender) as home:
        words = await run.words("h07")
        cem = await home_cem(run)
        for name in ("evse1", "evse2"):
            home.happens("plug_in", name, energy_wh=30_000.0, capacity_wh=60_000.0)
        common = {"rating_w": 11_040.0}
        await run.start("h07.evse.1", {**home.line("evse1"), **common, "switches_phases": True})
        await run.start("h07.evse.2", {**home.line("evse2"), **common})

        def last(address: str) -> dict[str, object]:
            said = [e["body"] for s, e in words.of("device_reading") if s.startswith(f"home.say.{address}.")]
            return said[-1] if said else {"power_w": 0.0, "soc_percent": None}

        await words.until(lambda _: all(float(str(last(one)["power_w"])) > 10_000 for one in addresses))
        assert 48 <= float(str(last("h07.evse.2")["soc_percent"])) <= 75  # half full when it came, charging since
        assert last("h07.evse.1")["soc_percent"] is None
        applied = await cem.order("h07.evse.1", upper_w=3_000.0)
        assert isinstance(applied, PowerApplied)
        assert home.shows("evse1", "phase_mode") == "one"
        assert home.shows("evse1", "current_limit_a") in (12, 13)  # the grid's voltage decides
        await words.until(lambda _: 2_500 < float(str(last("h07.evse.1")["power_w"])) <= 3_000)
        assert last("h07.evse.1")["power_by_phase_w"] == pytest.approx([last("h07.evse.1")["power_w"], 0.0, 0.0])
        assert isinstance(await cem.order("h07.evse.1", upper_w=8_500.0), PowerApplied)
        assert home.shows("evse1", "phase_mode") == "three"
        assert home.shows("evse1", "current_limit_a") in (11, 12)
        await words.until(lambda _: 7_500 < float(str(last("h07.evse.1")["power_w"])) <= 8_500)
        assert float(str(last("h07.evse.1")["session_wh"])) > 0
