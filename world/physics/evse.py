"""A charging point and the car at it. The point says how much current there may be; the car takes it or less."""

import msgspec

MIN_CURRENT_A = 6.0
"""The lowest current that the pilot signal can announce. IEC 61851-1, Annex A."""
FOLLOW_S = 4.0
"""From full current to none; a car must follow a changed pilot signal within 5 s. IEC 61851-1, Annex A."""


class Evse(msgspec.Struct, frozen=True, kw_only=True):
    """``phases`` lists the grid's phases (0..2) that the point charges on."""

    rating_a: float
    phases: tuple[int, ...] = (0, 1, 2)


class Car(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``needed_wh`` is what the driver still wants; ``leaves_at`` is an instant, unix seconds."""

    capacity_wh: float
    energy_wh: float
    needed_wh: float
    leaves_at: float

    @property
    def soc_percent(self) -> float:
        return 100 * self.energy_wh / self.capacity_wh


class EvseState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``current_a`` is that of each charging phase; the counter only rises."""

    car: Car | None = None
    current_a: float = 0.0
    power_w: float = 0.0
    energy_wh: float = 0.0
    session_wh: float = 0.0

    @property
    def word(self) -> str:
        """The state as device files name it."""
        if self.car is None:
            return "idle"
        return "charging" if self.current_a > 0 else "connected"


def plug_in(state: EvseState, car: Car) -> EvseState:
    return EvseState(car=car, energy_wh=state.energy_wh)


def unplug(state: EvseState) -> EvseState:
    return EvseState(energy_wh=state.energy_wh)


def step(
    evse: Evse, state: EvseState, dt_s: float, limit_a: float, wanted_w: float, voltage_v: tuple[float, float, float]
) -> EvseState:
    """Charge for ``dt_s``.

    limit_a    what the box announces; under 6 A it announces nothing and the car pauses
    wanted_w   what the car would take by itself
    voltage_v  at the connection point, phase to neutral; a dead phase stops charging
    """
    car = state.car
    volts = [voltage_v[phase] for phase in evse.phases]
    if car is None or min(volts) <= 0.0:
        return EvseState(car=car, energy_wh=state.energy_wh, session_wh=state.session_wh)
    total_v = sum(volts)
    allowed = min(limit_a, evse.rating_a)
    if allowed < MIN_CURRENT_A or car.needed_wh <= 0 or wanted_w <= 0:
        target = 0.0
    else:
        target = min(allowed, max(wanted_w / total_v, MIN_CURRENT_A))
    reach = evse.rating_a / FOLLOW_S * dt_s
    current = min(max(target, state.current_a - reach), state.current_a + reach)
    hours = dt_s / 3600
    moved = min(current * total_v * hours, max(car.needed_wh, 0.0), max(car.capacity_wh - car.energy_wh, 0.0))
    current = 0.0 if moved <= 0.0 else moved / (total_v * hours)
    return EvseState(
        car=Car(
            capacity_wh=car.capacity_wh,
            energy_wh=car.energy_wh + moved,
            needed_wh=car.needed_wh - moved,
            leaves_at=car.leaves_at,
        ),
        current_a=current,
        power_w=moved / hours,
        energy_wh=state.energy_wh + moved,
        session_wh=state.session_wh + moved,
    )
