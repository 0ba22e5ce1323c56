"""Each class of device keeps its own physics: what it may not do it does not do, whatever it is told."""

import math

import pytest

from world.physics import battery, driver, evse, heatpump, house, pv, tank
from world.physics.weather import outdoor_c

VOLTS = (230.0, 230.0, 230.0)
BATTERY = battery.Battery(rating_w=10_000, capacity_wh=20_000)


def run_battery(state: battery.BatteryState, wanted_w: float, hours: float) -> battery.BatteryState:
    for _ in range(int(hours * 60)):
        state = battery.step(BATTERY, state, 60.0, wanted_w)
    return state


def test_a_full_cycle_costs_what_the_efficiency_says() -> None:
    empty = battery.BatteryState(energy_wh=1_000)
    full = run_battery(empty, 10_000, 5)
    back = run_battery(full, -10_000, 5)
    assert battery.soc_percent(BATTERY, full) == pytest.approx(100, abs=0.1)
    assert back.export_wh / full.import_wh == pytest.approx(0.95, abs=0.002)


def test_a_battery_stops_at_full_at_its_reserve_and_at_its_rating() -> None:
    assert battery.step(BATTERY, battery.BatteryState(energy_wh=20_000), 1.0, 5_000).power_w == pytest.approx(
        1.1, abs=1.1
    )
    assert battery.step(BATTERY, battery.BatteryState(energy_wh=1_000), 1.0, -5_000).power_w == 0.0
    assert battery.step(BATTERY, battery.BatteryState(energy_wh=9_000), 1.0, 99_000).power_w == 10_000
    assert battery.step(BATTERY, battery.BatteryState(energy_wh=9_000), 1.0, -99_000).power_w == -10_000


def test_a_resting_battery_loses_its_self_discharge() -> None:
    state = battery.BatteryState(energy_wh=10_000)
    for _ in range(24):
        state = battery.step(BATTERY, state, 3600.0, 0.0)
    assert state.energy_wh == pytest.approx(10_000 * (1 - 0.0013), rel=1e-5)


def test_pv_falls_to_its_limit_on_a_ramp_and_never_gives_more_than_the_sun() -> None:
    state = pv.step(10_000, pv.PvState(ceiling_w=10_000), 1.0, 6_000, None)
    assert state.fed_w == 6_000
    seen = []
    for _ in range(6):
        state = pv.step(10_000, state, 1.0, 6_000, 2_000)
        seen.append(state.fed_w)
    assert seen[0] > 2_000
    assert seen[-1] == 2_000
    for _ in range(20):
        state = pv.step(10_000, state, 1.0, 6_000, None)
    assert state.fed_w == 6_000
    assert pv.step(10_000, state, 1.0, 6_000, -5).ceiling_w >= 0


def car(needed_wh: float = 20_000) -> evse.Car:
    return evse.Car(capacity_wh=60_000, energy_wh=10_000, needed_wh=needed_wh, leaves_at=1e12)


def charge(
    box: evse.Evse, state: evse.EvseState, limit_a: float, seconds: int, wanted_w: float = math.inf
) -> evse.EvseState:
    for _ in range(seconds):
        state = evse.step(box, state, 1.0, limit_a, wanted_w, VOLTS)
    return state


def test_a_car_follows_the_limit_within_five_seconds() -> None:
    box = evse.Evse(rating_a=16.0)
    state = charge(box, evse.plug_in(evse.EvseState(), car()), 16.0, 5)
    assert state.power_w == pytest.approx(16 * 690)
    assert charge(box, state, 8.0, 5).power_w == pytest.approx(8 * 690)
    assert charge(box, state, 99.0, 5).current_a == 16.0


def test_under_six_amperes_the_car_pauses_and_stays_connected() -> None:
    box = evse.Evse(rating_a=16.0, phases=(1,))
    state = charge(box, evse.plug_in(evse.EvseState(), car()), 16.0, 5)
    assert state.word == "charging"
    paused = charge(box, state, 5.9, 5)
    assert (paused.power_w, paused.word) == (0.0, "connected")
    assert charge(box, paused, 6.0, 5).current_a == pytest.approx(6.0)


def test_a_car_takes_what_it_needs_and_no_more() -> None:
    box = evse.Evse(rating_a=16.0)
    state = charge(box, evse.plug_in(evse.EvseState(), car(needed_wh=100)), 16.0, 120)
    assert state.energy_wh == pytest.approx(100)
    assert state.word == "connected"
    assert evse.unplug(state).word == "idle"
    assert evse.unplug(state).energy_wh == pytest.approx(100)


def test_a_dead_phase_stops_the_charge() -> None:
    box = evse.Evse(rating_a=16.0)
    state = charge(box, evse.plug_in(evse.EvseState(), car()), 16.0, 5)
    assert evse.step(box, state, 1.0, 16.0, math.inf, (230.0, 0.0, 230.0)).power_w == 0.0


def test_visits_are_the_runs_of_the_profile() -> None:
    found = driver.visits([0.0, 0.5, 1.0, 0.0, 0.0, 0.2], 11_000, 0.0, 1, "h05.evse1")
    assert [(one.comes_at, one.ends_at) for one in found] == [(900.0, 2700.0), (4500.0, 5400.0)]
    assert found[0].energy_wh == pytest.approx(4125)
    assert found[0].left_wh(1800.0 + 450.0) == pytest.approx(1375)
    assert found == driver.visits([0.0, 0.5, 1.0, 0.0, 0.0, 0.2], 11_000, 0.0, 1, "h05.evse1")


@pytest.mark.parametrize("shares", [[0.4, 1.0, 0.6], [0.1, 0.05], [1.0] * 4])
def test_left_alone_a_car_draws_its_profile(shares: list[float]) -> None:
    (visit,) = driver.visits(shares, 11_000, 0.0, 1, "x")
    box = evse.Evse(rating_a=16.0)
    state = evse.plug_in(evse.EvseState(), visit.car(0.0))
    for quarter, share in enumerate(shares):
        before = state.energy_wh
        for second in range(900):
            assert state.car is not None
            wanted = driver.wanted_w(state.car, visit, quarter * 900.0 + second, 3)
            state = evse.step(box, state, 1.0, 16.0, wanted, VOLTS)
        assert state.energy_wh - before == pytest.approx(share * 11_000 / 4, abs=45)


def test_held_back_a_car_makes_good_for_it() -> None:
    (visit,) = driver.visits([0.5, 0.5], 11_000, 0.0, 1, "x")
    box = evse.Evse(rating_a=16.0)
    state = evse.plug_in(evse.EvseState(), visit.car(0.0))
    powers = []
    for second in range(3600):
        assert state.car is not None
        limit = 0.0 if second < 900 else 16.0
        state = evse.step(box, state, 1.0, limit, driver.wanted_w(state.car, visit, float(second), 3), VOLTS)
        powers.append(state.power_w)
    assert max(powers) == pytest.approx(16 * 690)
    assert state.energy_wh == pytest.approx(visit.energy_wh, abs=31)


PUMP = heatpump.HeatPump(rating_w=3_000)


def heat(
    state: heatpump.HeatPumpState, minutes: int, profile_w: float, wish: heatpump.Wish = heatpump.FREE
) -> list[heatpump.HeatPumpState]:
    states = []
    for _ in range(minutes):
        state = heatpump.step(PUMP, state, 60.0, profile_w, 5.0, wish)
        states.append(state)
    return states


def test_left_alone_a_heat_pump_draws_its_profile_and_keeps_its_temperatures() -> None:
    states = heat(heatpump.HeatPumpState(), 240, 1_500)
    assert all(one.power_w == pytest.approx(1_500) for one in states)
    assert states[-1].tank.temperature_c == pytest.approx(heatpump.SET_C, abs=0.3)
    assert states[-1].house.temperature_c == pytest.approx(house.COMFORT_C, abs=0.1)


def test_blocked_it_takes_nothing_and_makes_good_for_it_afterwards() -> None:
    blocked = heat(heatpump.HeatPumpState(), 60, 1_500, heatpump.Wish(contacts=heatpump.SgReady.BLOCKED))
    assert {one.power_w for one in blocked} == {0.0}
    assert blocked[-1].tank.temperature_c < heatpump.SET_C - 3
    after = heat(blocked[-1], 300, 1_500)
    assert max(one.power_w for one in after) > 1_900
    assert after[-1].tank.temperature_c == pytest.approx(heatpump.SET_C, abs=1.0)
    taken_wh = after[-1].energy_wh
    assert taken_wh == pytest.approx(6 * 1_500, rel=0.06)


def test_dimmed_it_stays_under_the_limit() -> None:
    dimmed = heat(heatpump.HeatPumpState(), 60, 2_500, heatpump.Wish(limit_w=800))
    assert all(one.power_w <= 800 for one in dimmed)


def test_forced_it_stores_heat_until_the_tank_is_hot_and_draws_less_afterwards() -> None:
    forced = heat(heatpump.HeatPumpState(), 240, 500, heatpump.Wish(contacts=heatpump.SgReady.FORCED))
    assert forced[0].power_w == 3_000
    assert max(one.tank.temperature_c for one in forced) < heatpump.HIGHEST_C + 1.5
    assert forced[-1].tank.temperature_c > heatpump.HIGHEST_C - 4
    after = heat(forced[-1], 60, 500)
    assert sum(one.power_w for one in after) / 60 < 250


def test_a_setpoint_is_followed() -> None:
    asked = heat(heatpump.HeatPumpState(), 30, 0.0, heatpump.Wish(setpoint_w=2_000))
    assert asked[-1].power_w == 2_000


def test_the_compressor_rests_and_runs_its_minimum() -> None:
    running = heat(heatpump.HeatPumpState(), 2, 2_000)[-1]
    stopping = heat(running, 6, 0.0, heatpump.Wish(setpoint_w=0.0))
    assert stopping[0].power_w > 0
    assert stopping[-1].power_w == 0.0
    blocked = heat(running, 1, 2_000, heatpump.Wish(contacts=heatpump.SgReady.BLOCKED))[-1]
    assert blocked.power_w == 0.0
    again = heat(blocked, 15, 2_000)
    assert [one.power_w > 0 for one in again] == [False] * 9 + [True] * 6


@pytest.mark.parametrize(
    ("contact_1", "contact_2", "state"), [(True, False, 1), (False, False, 2), (False, True, 3), (True, True, 4)]
)
def test_the_four_states_of_sg_ready(contact_1: bool, contact_2: bool, state: int) -> None:
    assert heatpump.sg_ready(contact_1, contact_2) == state


def test_a_tank_cools_to_the_room_and_no_further() -> None:
    state = tank.TankState(temperature_c=60.0)
    for _ in range(24 * 60):
        state = tank.step(300.0, state, 3600.0, 0.0, 0.0)
    assert state.temperature_c == pytest.approx(tank.ROOM_C, abs=0.1)


def test_a_programme_has_an_end() -> None:
    assert house.programme_power_w("dishwasher", 400) == 2050
    assert house.programme_power_w("dishwasher", 1e5) is None


def test_january_is_colder_than_july_and_night_than_noon() -> None:
    january, july = 1453978800.0, 1469010000.0  # 2016-01-28 and 2016-07-20, late morning
    assert outdoor_c(january) < 5 < 18 < outdoor_c(july)
    assert outdoor_c(july + 43_200) < outdoor_c(july)
