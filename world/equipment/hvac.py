"""A split air conditioner with its room."""

from typing import get_args

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, draw, single
from world.physics import room
from world.spec import DeviceSpec

SUNNY_SHARE = (0.5, 1.0)
"""How much of the clear sky's sun reaches this room: windows, blinds, trees; by the seed."""


class AirConditionerUnit(Equipment):
    """It keeps its room by the settings that remote control and masters share."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str) -> None:
        self.spec, self.orders = spec, orders
        self.shares = single(spec, seed, site)
        self._sunny = draw(seed, f"{site}.{spec.name}.sun").uniform(*SUNNY_SHARE)
        self._unit = room.AirConditioner(rating_w=spec.rating_w)
        self._state = room.RoomState()

    def advance(self, moment: Moment) -> None:
        wish = self._wish() if moment.live else room.Wish(enabled=False)
        gains = self._sunny * room.sun_w(moment.instant) + room.PEOPLE_W
        self._state = room.step(self._unit, self._state, moment.dt_s, wish, moment.outdoor_c, gains)
        self.power_w = self._state.power_w

    def _wish(self) -> room.Wish:
        orders, free = self.orders, room.Wish()
        target, mode = orders.number("target_temperature_c"), orders.word("mode")
        return room.Wish(
            enabled=orders.number("enabled") != 0,
            mode=mode if mode in get_args(room.Mode) else free.mode,  # type: ignore[arg-type]
            target_c=free.target_c if target is None else target,
            fan=orders.word("fan") or free.fan,
        )

    def defaults(self) -> Readings:
        free = room.Wish()
        return {"enabled": True, "mode": free.mode, "fan": free.fan, "target_temperature_c": free.target_c}

    def readings(self, moment: Moment) -> Readings:
        return {
            "power_w": self.power_w,
            "energy_wh": self._state.energy_wh,
            "room_temperature_c": self._state.temperature_c,
            "outdoor_temperature_c": moment.outdoor_c,
            "state": self._word(moment),
            "error": False,
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        return {"heat": "heating", "cool": "cooling"}.get(self._state.works, "standby")

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, room.RoomState)
