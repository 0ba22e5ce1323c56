"""A room with a split air conditioner: one thermal mass, the sun through the windows, an inverter compressor."""

import math
from datetime import UTC, datetime
from typing import Literal

import msgspec

Mode = Literal["auto", "heat", "dry", "fan", "cool"]
LATITUDE_DEG, LONGITUDE_DEG = 51.3, 9.5
"""Kassel, where SimBench was made."""
CAPACITY_WH_PER_K = 1500.0
LOSS_W_PER_K = 60.0
"""A living room of 30 m2 in a solid house: 50 Wh/(K m2), walls, windows and air together 2 W/(K m2); our choice."""
SUN_W = 900.0
"""Through some 4 m2 of window with the sun high and the sky clear; our choice."""
PEOPLE_W = 120.0
EER_AT_35_C, COP_AT_7_C, PER_K = 3.4, 3.8, 0.07
"""Published ratings of split units are given at 35 C outside (EER) and at 7 C (COP); the slope is our choice."""
MIN_OFF_S = 180.0
"""Compressor protection, three minutes as most makers have it; our choice."""
LEAST_SHARE = 0.25
_DEAD_BAND_K = 0.5
_FULL_AT_K = 1.5
FAN_W = 25.0
_FAN_SHARE = {"low": 0.5, "mid_low": 0.6, "mid": 0.75, "mid_high": 0.9}


class AirConditioner(msgspec.Struct, frozen=True, kw_only=True):
    """``rating_w`` is electric."""

    rating_w: float


class RoomState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``works`` is what the compressor does; ``since_s`` how long it has been running or resting."""

    temperature_c: float = 23.0
    works: Literal["", "heat", "cool"] = ""
    since_s: float = MIN_OFF_S
    power_w: float = 0.0
    energy_wh: float = 0.0


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The remote control's settings."""

    enabled: bool = True
    mode: Mode = "cool"
    target_c: float = 24.0
    fan: str = "auto"


def performance(works: str, outdoor_c: float) -> float:
    """Heat moved per electric energy."""
    if works == "cool":
        return min(max(EER_AT_35_C + PER_K * (35.0 - outdoor_c), 2.0), 6.0)
    return min(max(COP_AT_7_C + PER_K * (outdoor_c - 7.0), 1.5), 6.0)


def sun_w(instant: float) -> float:
    """Heat through the windows under a clear sky at ``instant``, unix seconds."""
    moment = datetime.fromtimestamp(instant, UTC)
    hour = moment.hour + moment.minute / 60 + moment.second / 3600 + LONGITUDE_DEG / 15
    declination = math.radians(-23.44) * math.cos(2 * math.pi * (moment.timetuple().tm_yday + 10) / 365.25)
    latitude, angle = math.radians(LATITUDE_DEG), math.radians(15 * (hour - 12))
    sine = math.sin(latitude) * math.sin(declination)
    sine += math.cos(latitude) * math.cos(declination) * math.cos(angle)
    return SUN_W * max(sine, 0.0)


def step(
    unit: AirConditioner, state: RoomState, dt_s: float, wish: Wish, outdoor_c: float, gains_w: float
) -> RoomState:
    """One step. ``gains_w``: sun, people and their appliances."""
    works = _works(state, wish)
    if works and not state.works and state.since_s < MIN_OFF_S:
        works = ""
    compressor = _power_w(unit, state, wish, works)
    moved = compressor * performance(works, outdoor_c) if works else 0.0
    heat = gains_w + (moved if works == "heat" else -moved)
    loss = LOSS_W_PER_K * (state.temperature_c - outdoor_c)
    power = compressor + (FAN_W if wish.enabled else 0.0)
    switched = bool(works) != bool(state.works)
    return RoomState(
        temperature_c=state.temperature_c + (heat - loss) * dt_s / 3600 / CAPACITY_WH_PER_K,
        works=works,
        since_s=dt_s if switched else state.since_s + dt_s,
        power_w=power,
        energy_wh=state.energy_wh + power * dt_s / 3600,
    )


def _works(state: RoomState, wish: Wish) -> Literal["", "heat", "cool"]:
    above = state.temperature_c - wish.target_c
    if not wish.enabled or wish.mode == "fan":
        return ""
    if wish.mode in ("cool", "dry", "auto") and above > (-_DEAD_BAND_K if state.works == "cool" else _DEAD_BAND_K):
        return "cool"
    if wish.mode in ("heat", "auto") and above < (_DEAD_BAND_K if state.works == "heat" else -_DEAD_BAND_K):
        return "heat"
    return ""


def _power_w(unit: AirConditioner, state: RoomState, wish: Wish, works: str) -> float:
    if not works:
        return 0.0
    gap = abs(state.temperature_c - wish.target_c) + _DEAD_BAND_K
    share = min(max(gap / (_FULL_AT_K + _DEAD_BAND_K), LEAST_SHARE), 1.0)
    return min(share, _FAN_SHARE.get(wish.fan, 1.0)) * (unit.rating_w - FAN_W)
