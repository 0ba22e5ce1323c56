"""A water heater: an element in a well-mixed tank, and the people who draw from it.

A heater that is asked for power heats with it until its target; one behind a contactor heats by its own thermostat
while it is supplied. Whatever is asked, the safety limit stays.
"""

import random
import zlib

import msgspec

from world.physics import tank as tanks

TARGET_C, LIMIT_C = 65.0, 90.0
"""Target as delivered, and where the safety limiter opens, whatever is asked; our choice."""
HYSTERESIS_K = 5.0
COLD_C, TAP_C = 10.0, 40.0
"""Mains water, and what comes out of the mixer."""
_DAY_S = 86_400.0
_LOCAL_S = 3_600.0  # Draws follow the household's clock: German winter time, all year.

Draw = tuple[float, float, float]
"""Seconds after midnight, duration in s, litres at the tap."""


class WaterHeater(msgspec.Struct, frozen=True, kw_only=True):
    rating_w: float
    volume_l: float = 200.0


class HeaterState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``on`` is the thermostat's contact; ``reached`` the target, until it has cooled by the hysteresis."""

    tank: tanks.TankState = tanks.TankState(temperature_c=50.0)
    on: bool = False
    reached: bool = False
    power_w: float = 0.0
    energy_wh: float = 0.0
    drawn_wh: float = 0.0


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``setpoint_w`` None: the heater's own thermostat, while it is ``supplied``."""

    setpoint_w: float | None = None
    supplied: bool = True
    target_c: float = TARGET_C


def step(heater: WaterHeater, state: HeaterState, dt_s: float, wish: Wish, draw_w: float) -> HeaterState:
    """Heat, lose and give for ``dt_s``. ``draw_w`` is the heat wanted at the taps; a cold tank gives less of it."""
    temperature = state.tank.temperature_c
    target = min(wish.target_c, LIMIT_C)
    reached = temperature >= target or (state.reached and temperature > target - HYSTERESIS_K)
    on = wish.supplied and not reached
    asked = heater.rating_w if wish.setpoint_w is None else min(max(wish.setpoint_w, 0.0), heater.rating_w)
    power = asked if on else 0.0
    given = draw_w * min(max((temperature - COLD_C) / (TAP_C - COLD_C), 0.0), 1.0)
    return HeaterState(
        tank=tanks.step(heater.volume_l, state.tank, dt_s, power, given),
        on=on,
        reached=reached,
        power_w=power,
        energy_wh=state.energy_wh + power * dt_s / 3600,
        drawn_wh=state.drawn_wh + given * dt_s / 3600,
    )


class Household:
    """What one household draws: showers in the morning and the evening, hands and dishes between; by its seed."""

    def __init__(self, seed: int, name: str) -> None:
        self._seed, self._name = seed, name
        self._day = -1
        self._draws: list[Draw] = []

    def draw_w(self, instant: float) -> float:
        """Heat that is wanted at the taps at ``instant``, unix seconds."""
        day, second = divmod(instant + _LOCAL_S, _DAY_S)
        if int(day) != self._day:
            self._day, self._draws = int(day), draws(self._seed, self._name, int(day))
        return sum(
            litres * tanks.WATER_WH_PER_L_K * (TAP_C - COLD_C) * 3600 / duration
            for begins, duration, litres in self._draws
            if begins <= second < begins + duration
        )


def draws(seed: int, name: str, day: int) -> list[Draw]:
    """One day's draws, in order; 3 to 10 kWh, around the load profiles M (5.8 kWh) and L (11.7 kWh) of EU 814/2013."""
    chance = random.Random(zlib.crc32(f"{seed}.{name}.hot_water.{day}".encode()))
    showers = [(6.0, 8.5)] * chance.randint(1, 3) + [(18.0, 21.5)] * chance.randint(1, 3)
    found = [(3600 * chance.uniform(*between), 300.0, chance.uniform(30.0, 50.0)) for between in showers]
    hands = range(chance.randint(4, 8))
    return sorted(found + [(3600 * chance.uniform(6.5, 22.0), 60.0, chance.uniform(2.0, 6.0)) for _ in hands])
