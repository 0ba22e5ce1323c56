"""A household: what nobody controls."""

from world.equipment.base import Phased, draw
from world.profiles import FLICKER_AMPLITUDE, Noise, Profile
from world.spec import HouseholdSpec


class Household:
    """Base load, lights and the appliances that run by programme; spread unevenly over the phases."""

    def __init__(self, spec: HouseholdSpec, seed: int, site: str) -> None:
        self._spec, self._profile = spec, Profile(spec.profile)
        self._noise = Noise(seed, f"{site}.household", FLICKER_AMPLITUDE)
        chance = draw(seed, f"{site}.phases")
        weights = [chance.uniform(0.5, 1.5) for _ in range(3)]
        self.shares: Phased = (weights[0] / sum(weights), weights[1] / sum(weights), weights[2] / sum(weights))

    def power_w(self, instant: float) -> float:
        return self._spec.power_w * self._profile.active_share(instant) * (1 + self._noise.at(instant))

    def reactive_power_var(self, instant: float) -> float:
        return self._spec.reactive_var * self._profile.reactive_share(instant)
