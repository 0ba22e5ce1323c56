"""What a charging station offers for the car that is plugged in."""

from dataclasses import dataclass

from agents.evse.terminals import EvseSettings, EvseTerminals
from agents.kit.hardware import Values, number
from agents.kit.local_time import next_at
from agents.kit.offers import Offers
from agents.kit.skill import skill
from contracts.flexibility import Flexibility, StorageFlexibility, StorageTarget


@skill()
@dataclass
class OfferCharge(Offers):
    """A store that is filled until the car leaves. Where nothing tells its level, it is counted from the session."""

    settings: EvseSettings
    terminals: EvseTerminals
    _plugged_at: float | None = None

    def flexibility(self, values: Values, now: float) -> Flexibility | None:
        if values.get("state") not in ("connected", "charging"):
            self._plugged_at = None
            return None
        if self._plugged_at is None:
            self._plugged_at = now
        nominal, wanted = self.terminals.capabilities(values), self.settings
        level = number(values, "soc_percent")
        if level is None:
            charged = 100 * (number(values, "session_wh") or 0.0) / wanted.car_capacity_wh
            level = min(wanted.car_arrives_percent + charged, 100.0)
        leaves = None if wanted.leaves_at is None else next_at(wanted.leaves_at, self._plugged_at, wanted.time_zone)
        if leaves is not None and leaves.timestamp() <= now:
            leaves = None  # it has not left in time: nobody knows when it will
        targets = () if leaves is None else (StorageTarget(at=leaves, lower_percent=wanted.car_target_percent),)
        return StorageFlexibility(
            capacity_wh=wanted.car_capacity_wh,
            level_percent=level,
            fill_upper_w=nominal.nominal_upper_w,
            fill_least_w=nominal.minimum_run_w,
            targets=targets,
            leaves_at=leaves,
            incentive=wanted.incentive,
        )
