"""A PV plant with its inverter."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, electric
from world.physics import pv
from world.profiles import CLOUD_AMPLITUDE, Noise, Profile
from world.spec import DeviceSpec


class PvPlant(Equipment):
    """Available power from profile and sky; a limit in the registers curtails it."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str, sky: Noise) -> None:
        self.spec, self.orders = spec, orders
        self._profile = Profile(spec.profile)
        self._noise = Noise(seed, f"{site}.{spec.name}", CLOUD_AMPLITUDE, sky)
        self._state = pv.PvState(ceiling_w=spec.rating_w)

    def advance(self, moment: Moment) -> None:
        if not moment.live:
            self._state = pv.PvState(ceiling_w=0.0, fed_wh=self._state.fed_wh)
        else:
            share = self._profile.active_share(moment.instant) * (1 + self._noise.at(moment.instant))
            available = self.spec.rating_w * min(max(share, 0.0), 1.0) * moment.generation_share
            self._state = pv.step(self.spec.rating_w, self._state, moment.dt_s, available, self._limit_w(moment))
        self.power_w = 0.0 - self._state.fed_w

    def _limit_w(self, moment: Moment) -> float | None:
        orders = self.orders
        percent = orders.number("power_limit_percent")
        if percent is None or (orders.has("power_limit_enabled") and not orders.number("power_limit_enabled")):
            return None
        timeout = orders.number("limit_timeout_s")
        if timeout and orders.age_s(moment.instant, "power_limit_percent", "power_limit_enabled") > timeout:
            return None
        return self.spec.rating_w * percent / 100

    def defaults(self) -> Readings:
        return {"power_limit_percent": 100, "power_limit_enabled": False}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        return {
            "power_w": self.power_w,
            **electric(moment, self.power_w, self.shares),
            "energy_wh": state.fed_wh,
            "rating_w": self.spec.rating_w,
            "state": self._word(moment),
        }

    def _word(self, moment: Moment) -> str:
        if not moment.live:
            return "off"
        if self._state.fed_w < self._state.available_w - 1.0:
            return "throttled"
        return "running" if self._state.fed_w else "sleeping"

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, pv.PvState)
