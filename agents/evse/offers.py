"""What a charging station offers for the car that is plugged in."""

import math
from dataclasses import dataclass
from datetime import datetime

from agents.evse.terminals import EvseSettings, EvseTerminals
from agents.kit.hardware import Values, number
from agents.kit.local_day import next_local
from agents.kit.offers import Offers
from agents.kit.skill import skill
from bus.envelope import instant
from contracts.flexibility import Flexibility, ProfileFlexibility, StorageFlexibility, StorageTarget
from contracts.profiles import SLOT_S, PowerSequence, PowerSlot


@skill()
@dataclass
class OfferCharge(Offers):
    """A store that is filled until the car leaves. Where nothing tells its level, it is counted from the session."""

    jobs_by_power = True
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
        leaves = (
            None
            if wanted.leaves_at is None
            else instant(next_local(wanted.leaves_at, self._plugged_at, wanted.time_zone))
        )
        if leaves is not None and leaves.timestamp() <= now:
            leaves = None  # it has not left in time: nobody knows when it will
        if wanted.starts_once and leaves is not None:
            return self._job(level, leaves, nominal.nominal_upper_w, now)
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

    def _job(self, level: float, leaves: datetime, watts: float, now: float) -> ProfileFlexibility | None:
        """The missing energy at full power, in whole quarter hours. IEC-JWG2."""
        wanted, since = self.settings, self._plugged_at or now
        missing_wh = max(wanted.car_target_percent - level, 0.0) / 100 * wanted.car_capacity_wh
        if missing_wh <= 0:
            return None
        lasts_s = math.ceil(missing_wh / watts * 3600 / SLOT_S) * SLOT_S
        charge = PowerSequence(name="charge", slots=(PowerSlot(duration_s=lasts_s, power_w=watts),))
        latest = leaves.timestamp() - lasts_s
        return ProfileFlexibility(
            job="charge",
            alternatives=(charge,),
            earliest_start=instant(min(since, latest)),
            # Who has to leave before it can be full is charged at once, for as long as he stays.
            done_by=instant(max(leaves.timestamp(), now + lasts_s)),
            incentive=wanted.incentive,
        )
