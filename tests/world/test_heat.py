"""Water heater, room and generator: what is warm cools, what is told heats, and limits hold whatever is told."""

from itertools import pairwise

import pytest

from world.physics import fuelcell, room, tank, waterheater

DAY = 86_400
HEATER = waterheater.WaterHeater(rating_w=3_500)
JULY, JANUARY = 1469016000.0, 1453291200.0  # 2016-07-20 and 2016-01-20, noon UTC


def boil(
    state: waterheater.HeaterState, hours: float, wish: waterheater.Wish, draw_w: float = 0.0
) -> list[waterheater.HeaterState]:
    states = []
    for _ in range(round(hours * 60)):
        state = waterheater.step(HEATER, state, 60.0, wish, draw_w)
        states.append(state)
    return states


def at(temperature_c: float) -> waterheater.HeaterState:
    return waterheater.HeaterState(tank=tank.TankState(temperature_c=temperature_c))


OFF = waterheater.Wish(setpoint_w=0.0)


def test_a_tank_left_off_cools_by_its_loss() -> None:
    after = boil(at(60.0), 24, OFF)[-1]
    assert after.energy_wh == 0.0
    assert after.tank.temperature_c == pytest.approx(60 - 1.8 * 40 * 24 / (200 * 1.163), abs=1.0)


def test_power_becomes_heat() -> None:
    after = boil(at(30.0), 1, waterheater.Wish(setpoint_w=2_000))[-1]
    assert after.power_w == 2_000
    assert after.tank.temperature_c - 30 == pytest.approx((2_000 - 1.8 * 14) / (200 * 1.163), rel=0.01)


def test_it_stops_at_its_target_and_starts_again_when_that_has_cooled() -> None:
    states = boil(at(55.0), 40, waterheater.Wish(target_c=60.0))
    assert max(one.tank.temperature_c for one in states) < 60.5
    assert states[-1].tank.temperature_c > 54.5
    switched = sum(one.on != other.on for one, other in pairwise(states))
    assert 2 <= switched < 8


def test_no_order_and_no_target_brings_it_above_the_limit() -> None:
    states = boil(at(85.0), 12, waterheater.Wish(setpoint_w=3_500, target_c=120.0))
    assert max(one.tank.temperature_c for one in states) < waterheater.LIMIT_C + 0.3


def test_an_unsupplied_heater_takes_nothing_and_more_than_its_rating_never() -> None:
    assert boil(at(20.0), 1, waterheater.Wish(supplied=False))[-1].energy_wh == 0.0
    assert boil(at(20.0), 1, waterheater.Wish(setpoint_w=9_000))[-1].power_w == 3_500


def test_taps_take_heat_and_a_cold_tank_gives_less() -> None:
    drawn = boil(at(55.0), 1, OFF, draw_w=3_000)[-1]
    assert drawn.drawn_wh == pytest.approx(3_000, rel=0.01)
    assert drawn.tank.temperature_c < 43.0
    assert boil(at(15.0), 1, OFF, draw_w=3_000)[-1].drawn_wh < 500


def test_a_household_draws_by_its_seed_mornings_and_evenings() -> None:
    days = [waterheater.draws(1, "h07.waterheater1", day) for day in range(60)]
    assert days == [waterheater.draws(1, "h07.waterheater1", day) for day in range(60)]
    assert days != [waterheater.draws(2, "h07.waterheater1", day) for day in range(60)]
    showers = [begins / 3600 for day in days for begins, duration, _ in day if duration == 300]
    assert all(6 <= hour < 8.5 or 18 <= hour < 21.5 for hour in showers)
    energy_wh = [sum(litres for _, _, litres in day) * 1.163 * 30 for day in days]
    assert 5_000 < sum(energy_wh) / 60 < 8_000


def test_what_is_drawn_is_what_the_draws_say() -> None:
    home, day = waterheater.Household(3, "x"), 17_000
    start = day * DAY - 3_600
    drawn = sum(home.draw_w(start + second) for second in range(DAY)) / 3600
    assert drawn == pytest.approx(sum(litres for _, _, litres in waterheater.draws(3, "x", day)) * 1.163 * 30, rel=0.03)


UNIT = room.AirConditioner(rating_w=1_000)


def live(
    state: room.RoomState, hours: float, wish: room.Wish, outdoor_c: float, gains_w: float = 0.0
) -> list[room.RoomState]:
    states = []
    for _ in range(round(hours * 360)):
        state = room.step(UNIT, state, 10.0, wish, outdoor_c, gains_w)
        states.append(state)
    return states


def test_a_hot_room_is_cooled_to_its_target_and_kept_there() -> None:
    states = live(room.RoomState(temperature_c=28.0), 8, room.Wish(target_c=24.0), 32.0, 600.0)
    assert states[-1].temperature_c == pytest.approx(24.0, abs=0.7)
    assert max(one.power_w for one in states) == pytest.approx(1_000)
    assert 0 < states[-1].energy_wh < 8_000


def test_off_it_follows_the_weather_and_takes_nothing() -> None:
    states = live(room.RoomState(temperature_c=22.0), 200, room.Wish(enabled=False), 10.0)
    assert states[-1].temperature_c == pytest.approx(10.0, abs=0.2)
    assert states[-1].energy_wh == 0.0
    sunny = live(room.RoomState(temperature_c=22.0), 200, room.Wish(enabled=False), 10.0, 600.0)
    assert sunny[-1].temperature_c == pytest.approx(20.0, abs=0.2)


def test_it_heats_and_never_the_wrong_way() -> None:
    warmed = live(room.RoomState(temperature_c=16.0), 12, room.Wish(mode="heat", target_c=21.0), 2.0)
    assert warmed[-1].temperature_c == pytest.approx(21.0, abs=0.7)
    assert {one.works for one in warmed} <= {"", "heat"}
    idle = live(room.RoomState(temperature_c=20.0), 1, room.Wish(mode="cool", target_c=24.0), 2.0)
    assert {one.works for one in idle} == {""}
    assert {one.works for one in live(room.RoomState(temperature_c=28.0), 1, room.Wish(mode="fan"), 30.0)} == {""}


def test_the_compressor_rests_its_minimum() -> None:
    running = live(room.RoomState(temperature_c=28.0), 0.1, room.Wish(), 30.0)[-1]
    stopped = room.step(UNIT, running, 10.0, room.Wish(enabled=False), 30.0, 0.0)
    again = live(stopped, 0.1, room.Wish(), 30.0)
    rested = next(place for place, one in enumerate(again) if one.works)
    assert rested == pytest.approx(room.MIN_OFF_S / 10, abs=2)


def test_a_slow_fan_takes_less() -> None:
    fast, slow = (
        live(room.RoomState(temperature_c=28.0), 0.1, room.Wish(fan=fan), 30.0)[-1] for fan in ("auto", "low")
    )
    assert slow.power_w < 0.6 * fast.power_w


def test_the_sun_is_high_in_july_low_in_january_and_gone_at_night() -> None:
    assert room.sun_w(JULY - 3_600) > 2 * room.sun_w(JANUARY - 3_600) > 0
    assert room.sun_w(JULY + DAY / 2) == 0.0


GENERATOR = fuelcell.Generator(rating_w=4_000)


def generate(
    state: fuelcell.GeneratorState, seconds: int, wanted_w: float | None, outdoor_c: float = 0.0
) -> list[fuelcell.GeneratorState]:
    states = []
    for _ in range(seconds):
        state = fuelcell.step(GENERATOR, state, 1.0, wanted_w, outdoor_c)
        states.append(state)
    return states


def test_it_starts_up_ramps_and_follows_its_order() -> None:
    states = generate(fuelcell.GeneratorState(), 600, 3_000)
    assert {one.phase for one in states[:179]} == {"starting"}
    assert states[100].power_w == fuelcell.CELLAR_W
    steps = [other.made_w - one.made_w for one, other in pairwise(states)]
    assert max(steps) == pytest.approx(40)
    assert states[-1].power_w == -3_000
    less = generate(states[-1], 60, 2_000)
    assert less[-1].power_w == -2_000


def test_below_its_least_it_stops() -> None:
    running = generate(fuelcell.GeneratorState(), 600, 3_000)[-1]
    assert generate(running, 5, 1_900)[-1].phase == "stopping"
    assert generate(running, 120, 0.0)[-1].phase == "standby"


def test_its_heat_warms_the_tank_and_too_hot_it_refuses_until_it_has_cooled() -> None:
    states = generate(fuelcell.GeneratorState(), 4 * 3600, 4_000, outdoor_c=20.0)
    assert max(one.tank.temperature_c for one in states) < fuelcell.HOT_C + 0.5
    assert states[-1].phase == "off"
    assert states[-1].heat_wh == pytest.approx(2.3 * states[-1].energy_wh)
    refused = generate(states[-1], 600, 4_000, outdoor_c=20.0)
    assert {one.made_w for one in refused} == {0.0}
    cooled = generate(states[-1], 4 * 3600, 4_000, outdoor_c=-5.0)
    assert any(one.made_w > 0 for one in cooled)


def test_left_alone_it_keeps_its_tank_warm() -> None:
    states = generate(fuelcell.GeneratorState(), DAY, None)
    settled = [one.tank.temperature_c for one in states[DAY // 2 :]]
    assert fuelcell.OWN_START_C - 3 < min(settled) < max(settled) < fuelcell.OWN_STOP_C + 3
    assert states[-1].energy_wh > 5_000
