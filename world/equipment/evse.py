"""A charging point with the cars that come to it."""

import msgspec

from world.control import Orders
from world.equipment.base import NOMINAL_V, Equipment, Moment, Phased, Readings, draw
from world.physics import driver, evse
from world.profiles import Profile
from world.spec import DeviceSpec, WorldError


class ChargingPoint(Equipment):
    """A box, its car, and the driver who comes by the profile. Its registers count the phases as the grid does."""

    def __init__(self, spec: DeviceSpec, orders: Orders, seed: int, site: str, start: float) -> None:
        self.spec, self.orders = spec, orders
        drawn = draw(seed, f"{site}.{spec.name}.phase").randrange(3)
        phases = (0, 1, 2) if spec.phases == 3 else (drawn if spec.phase is None else spec.phase - 1,)
        self._wired = self._box = evse.Evse(
            rating_a=float(round(spec.rating_w / (NOMINAL_V * len(phases)))), phases=phases
        )
        self._spread()
        self._state = evse.EvseState()
        self._visit: driver.Visit | None = None
        quarter = start - start % driver.QUARTER_S
        planned: list[driver.Visit] = []
        if spec.profile:
            shares = Profile(spec.profile).ahead(quarter)
            planned = driver.visits(shares, spec.rating_w, quarter, seed, f"{site}.{spec.name}")
        self._driver = driver.Driver(planned)

    def _spread(self) -> None:
        phases = self._box.phases
        one, two, three = (1 / len(phases) if p in phases else 0.0 for p in range(3))
        self.shares: Phased = (one, two, three)

    def _switch_phases(self) -> None:
        """A station that can charges on its first phase alone; its contactor opens for that, so the car starts anew."""
        one = self.orders.word("phase_mode") == "one"
        box = msgspec.structs.replace(self._wired, phases=self._wired.phases[:1]) if one else self._wired
        if box.phases != self._box.phases:
            self._box, self._state = box, msgspec.structs.replace(self._state, current_a=0.0)
            self._spread()

    @property
    def soc_percent(self) -> float | None:
        car = self._state.car
        return None if car is None else car.soc_percent

    def plug_in(self, car: evse.Car) -> None:
        """A car comes by itself; one of the profile makes room. Raises WorldError when another such car is there."""
        if self._state.car is not None and self._visit is None:
            raise WorldError(self.spec.name, "a car is plugged in already: unplug it first")
        self._visit, self._state = None, evse.plug_in(self._state, car)

    def unplug(self) -> None:
        self._visit, self._state = None, evse.unplug(self._state)

    def advance(self, moment: Moment) -> None:
        self._come_and_go(moment.instant)
        self._switch_phases()
        car = self._state.car
        wanted = 0.0 if car is None else driver.wanted_w(car, self._visit, moment.instant, len(self._box.phases))
        limit = self._limit_a(moment)
        self._state = evse.step(self._box, self._state, moment.dt_s, limit, wanted, moment.voltage_v)
        self.power_w = self._state.power_w

    def _come_and_go(self, instant: float) -> None:
        car = self._state.car
        due = self._driver.visit_at(instant)
        if car is not None and (instant >= car.leaves_at or (due is not None and self._visit not in (None, due))):
            self.unplug()
            car = None
        if car is None and due is not None and due.left_wh(instant) > 0:
            self._visit, self._state = due, evse.plug_in(self._state, due.car(instant))

    def _limit_a(self, moment: Moment) -> float:
        orders = self.orders
        if orders.number("enabled") == 0:
            return 0.0
        limit = orders.number("current_limit_a")
        timeout = orders.number("timeout_s") or self.spec.silence_s
        if timeout and orders.silent_s(moment.instant) > timeout:
            failsafe = orders.number("failsafe_current_a")
            return self.spec.failsafe_a if failsafe is None else failsafe
        return self._box.rating_a if limit is None else limit

    def defaults(self) -> Readings:
        return {"current_limit_a": self._box.rating_a, "enabled": True, "phase_mode": "auto"}

    def readings(self, moment: Moment) -> Readings:
        state = self._state
        currents = [state.current_a if phase in self._box.phases else 0.0 for phase in range(3)]
        return {
            "state": state.word,
            "power_w": state.power_w,
            **{f"current_l{n}_a": current for n, current in enumerate(currents, 1)},
            **{f"voltage_l{n}_v": volts for n, volts in enumerate(moment.voltage_v, 1)},
            "energy_wh": state.energy_wh,
            "session_wh": state.session_wh,
            "hardware_limit_a": self._box.rating_a,
            "phases_used": self._phases_used(),
            "soc_percent": self.soc_percent,
        }

    def _phases_used(self) -> str:
        if self._state.current_a <= 0:
            return "none"
        return "one" if len(self._box.phases) == 1 else "three"

    def dump(self) -> object:
        return (self._state, self._visit)

    def load(self, state: object) -> None:
        self._state, self._visit = msgspec.convert(state, tuple[evse.EvseState, driver.Visit | None])
