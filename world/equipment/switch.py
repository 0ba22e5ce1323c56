"""A load behind a relay, a socket or a dimmer."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, single
from world.profiles import Profile
from world.spec import DeviceSpec


class SwitchedState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    energy_wh: float = 0.0


class SwitchedLoad(Equipment):
    """``rating_w``, by the profile if there is one, while it is switched on; dimmed in proportion."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str) -> None:
        self.spec, self.orders = spec, orders
        self.shares = single(spec, seed, site)
        self._profile = Profile(spec.profile) if spec.profile else None
        self._state = SwitchedState()

    def advance(self, moment: Moment) -> None:
        on = moment.live and self.orders.number("enabled") != 0
        dim = self.orders.number("dim_percent")
        share = 1.0 if self._profile is None else max(self._profile.active_share(moment.instant), 0.0)
        self.power_w = self.spec.rating_w * share * (1.0 if dim is None else dim / 100) if on else 0.0
        self._state = SwitchedState(energy_wh=self._state.energy_wh + self.power_w * moment.dt_s / 3600)

    def defaults(self) -> Readings:
        return {"enabled": True, "dim_percent": 100}

    def readings(self, moment: Moment) -> Readings:  # noqa: ARG002
        return {"power_w": self.power_w, "energy_wh": self._state.energy_wh}

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, SwitchedState)
