"""A heat pump on a tank. Left alone it draws its profile; the heat that this makes is what the house wants.

So the profile is the demand: demand = profile x COP. Held back, the tank cools and the house after it, and the pump
later makes good for it; asked for more, it heats the tank above its set temperature and draws less afterwards.
"""

from enum import IntEnum

import msgspec

from world.physics import house as houses
from world.physics import tank as tanks

COP_AT_7_C = 3.4
COP_PER_K = 0.07
"""COP at an outdoor temperature of 7 C and its slope; middle of published A7/W45 and B0/W45 ratings, our choice."""
MIN_ON_S = 360.0
MIN_OFF_S = 600.0
"""Compressor protection; our choice, makers' values are 5 to 20 minutes."""
SET_C, RAISED_C, HIGHEST_C, LOWEST_C = 45.0, 50.0, 58.0, 30.0
_CATCH_UP_H = 1.0
_DEAD_BAND_K = 0.5
_MODULATION_SHARE = 0.25


class SgReady(IntEnum):
    """Operating states by the two contacts (SG1:SG2). Bundesverband Waermepumpe, SG Ready label, version 2.0."""

    BLOCKED = 1  # 1:0
    NORMAL = 2  # 0:0
    RAISED = 3  # 0:1
    FORCED = 4  # 1:1


def sg_ready(contact_1: bool, contact_2: bool) -> SgReady:
    if contact_1:
        return SgReady.FORCED if contact_2 else SgReady.BLOCKED
    return SgReady.RAISED if contact_2 else SgReady.NORMAL


class HeatPump(msgspec.Struct, frozen=True, kw_only=True):
    rating_w: float
    volume_l: float = 500.0


class HeatPumpState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``since_s`` is how long the compressor has been as it is; counters only rise."""

    tank: tanks.TankState = tanks.TankState(temperature_c=SET_C)
    house: houses.HouseState = houses.HouseState()
    power_w: float = 0.0
    since_s: float = MIN_OFF_S
    energy_wh: float = 0.0
    heat_wh: float = 0.0


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a controller has told the pump. ``setpoint_w`` beats the contacts; ``limit_w`` dims whatever is wanted.

    ``tank_c`` is the tank's set temperature, where somebody asks for more than the pump's own.
    """

    contacts: SgReady = SgReady.NORMAL
    tank_c: float | None = None
    setpoint_w: float | None = None
    limit_w: float | None = None


FREE = Wish()


def cop(outdoor_c: float) -> float:
    return min(max(COP_AT_7_C + COP_PER_K * (outdoor_c - 7.0), 2.0), 5.0)


def step(
    pump: HeatPump, state: HeatPumpState, dt_s: float, profile_w: float, outdoor_c: float, wish: Wish = FREE
) -> HeatPumpState:
    """One step.

    profile_w  what the pump would draw if nobody ever interfered: it stands for the heat that the house wants
    """
    performance = cop(outdoor_c)
    demand = profile_w * performance
    wanted = _wanted_w(pump, state, profile_w, performance, wish)
    hard_stop = wish.contacts is SgReady.BLOCKED or (wish.limit_w is not None and wish.limit_w <= 0)
    power = _with_protection(pump, state, wanted, hard_stop)
    heat = power * performance
    warm = min(max((state.tank.temperature_c - LOWEST_C) / 5.0, 0.0), 1.0)
    cold_house = max(houses.COMFORT_C - state.house.temperature_c, 0.0) * houses.CAPACITY_WH_PER_K / 4
    draw = (demand + min(cold_house, pump.rating_w)) * warm
    switched = (power > 0) != (state.power_w > 0)
    return HeatPumpState(
        tank=tanks.step(pump.volume_l, state.tank, dt_s, heat + _standing_loss_w(), draw),
        house=houses.step(state.house, dt_s, draw, demand, outdoor_c),
        power_w=power,
        since_s=dt_s if switched else state.since_s + dt_s,
        energy_wh=state.energy_wh + power * dt_s / 3600,
        heat_wh=state.heat_wh + heat * dt_s / 3600,
    )


def _standing_loss_w() -> float:
    # The profile's demand already holds the tank's loss at its set temperature.
    return tanks.LOSS_W_PER_K * (SET_C - tanks.ROOM_C)


def _wanted_w(pump: HeatPump, state: HeatPumpState, profile_w: float, performance: float, wish: Wish) -> float:
    temperature = state.tank.temperature_c
    if wish.contacts is SgReady.BLOCKED and wish.setpoint_w is None:
        return 0.0
    if wish.setpoint_w is not None:
        wanted = wish.setpoint_w if temperature < HIGHEST_C else 0.0
    elif wish.contacts is SgReady.FORCED:
        wanted = pump.rating_w if temperature < HIGHEST_C else 0.0
    else:
        target = RAISED_C if wish.contacts is SgReady.RAISED else SET_C
        target = min(max(target, wish.tank_c or target), HIGHEST_C)
        gap = target - temperature
        wanted = profile_w
        if abs(gap) > _DEAD_BAND_K:
            wanted += gap * pump.volume_l * tanks.WATER_WH_PER_L_K / performance / _CATCH_UP_H
    if wish.limit_w is not None:
        wanted = min(wanted, wish.limit_w)
    return min(max(wanted, 0.0), pump.rating_w)


def _with_protection(pump: HeatPump, state: HeatPumpState, wanted: float, hard_stop: bool) -> float:
    running = state.power_w > 0
    if running and wanted <= 0:
        if hard_stop or state.since_s >= MIN_ON_S:
            return 0.0
        return min(state.power_w, _MODULATION_SHARE * pump.rating_w)
    if not running and wanted > 0 and state.since_s < MIN_OFF_S:
        return 0.0
    return wanted
