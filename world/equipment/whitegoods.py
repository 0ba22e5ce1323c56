"""A washing machine, a dishwasher or a dryer, alone or behind a socket that measures and switches."""

import msgspec

from world.control import Orders
from world.equipment.base import Equipment, Moment, Readings, draw, single
from world.physics import appliance
from world.spec import DeviceSpec, WorldError


class Appliance(Equipment):
    """What its product can be told decides what it waits for.

    With a ``start`` point it waits for that, and ``enabled`` asks it to pause where it can. Without, ``enabled`` is
    the socket in front of it: supply or none, and an armed machine begins as soon as it has supply.
    """

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str) -> None:
        self.spec, self.orders = spec, orders
        self._seed, self._name = seed, f"{site}.{spec.name}"
        self.shares = single(spec, seed, site)
        self._state = appliance.ApplianceState()

    @property
    def phase(self) -> appliance.Phase:
        return self._state.phase

    def arm(self, programme: str, instant: float) -> None:
        """Raises WorldError for a programme that it does not have, or while it is busy."""
        if programme not in appliance.PROGRAMMES:
            known = ", ".join(appliance.PROGRAMMES)
            raise WorldError(self._name, f"no programme {programme!r}: choose one of {known}")
        if self._state.phase in ("armed", "running"):
            raise WorldError(self._name, f"is busy with {self._state.programme}: open its door first")
        chance = draw(self._seed, f"{self._name}.{self._state.armed_count}")
        early = chance.random() < appliance.EARLY_SHARE
        share = chance.uniform(appliance.SHORTEST_SHARE, 0.95) if early else 1.0
        self._state = appliance.arm(self._state, programme, instant, share)

    def open_door(self) -> None:
        self._state = appliance.open_door(self._state)

    def advance(self, moment: Moment) -> None:
        allowed = self.orders.number("enabled") != 0
        if self.orders.has("start"):
            go, supply, hold = self._told_to_start(moment.instant), moment.live, not allowed
        else:
            go, supply, hold = True, moment.live and allowed, False
        self._state = appliance.step(self._state, moment.dt_s, supply=supply, go=go, hold=hold)
        self.power_w = self._state.power_w

    def _told_to_start(self, instant: float) -> bool:
        """A start that was written for an earlier programme does not count."""
        written_at = instant - self.orders.age_s(instant, "start")
        return bool(self.orders.number("start")) and written_at >= self._state.armed_at

    def defaults(self) -> Readings:
        return {"enabled": True, "start": False}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        return {
            "state": "off" if not moment.live else "paused" if state.holding else state.phase,
            "power_w": self.power_w,
            "energy_wh": state.energy_wh,
            "programme": state.programme,
            "remaining_s": state.remaining_s,
            "remote_start_allowed": state.phase == "armed",
        }

    def dump(self) -> object:
        return self._state

    def load(self, state: object) -> None:
        self._state = msgspec.convert(state, appliance.ApplianceState)
