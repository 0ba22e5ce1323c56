"""What each class of device puts behind negotiation: its flexibility, and how a job is begun. Pure."""

from abc import ABC, abstractmethod

from agents.kit.hardware import Plan, Values
from contracts.device import DeviceReading
from contracts.flexibility import (
    DemandFlexibility,
    EnvelopeFlexibility,
    Flexibility,
    ModesFlexibility,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.reasons import Reason

LEVEL_PERCENT, LEVEL_K, LEVEL_SHARE, LATER_S = 5.0, 1.0, 0.1, 300.0
"""What a CEM has to be told: smaller changes it sees in the readings anyway."""


class Offers(ABC):
    """One per class of device; each role has its own."""

    asks_to_start = False
    """Whether a start of its own is announced to the CEM before (IEC-JWG2113-S1)."""
    jobs_by_power = False
    """Its jobs have no programme of their own: it waits without power, then follows the confirmed profile."""

    @abstractmethod
    def flexibility(self, values: Values, now: float) -> Flexibility | None:
        """What may be chosen of it from now on; None: nothing. Raises Impossible while it cannot tell."""

    def start(self, values: Values) -> Plan | None:  # noqa: ARG002
        """What begins the job that was offered; None: its power does. Raises Impossible."""
        return None

    def trouble(self, values: Values, reading: DeviceReading) -> Reason | None:  # noqa: ARG002
        """Why a job that runs will not come to its end, besides faults: a door was opened."""
        return None


def changed_enough(told: Flexibility | None, now: Flexibility | None) -> bool:
    """Whether the CEM has to hear of it."""
    match told, now:
        case None, None:
            return False
        case ProfileFlexibility(), ProfileFlexibility():
            return _profile_changed(told, now)
        case EnvelopeFlexibility(), EnvelopeFlexibility():
            return _moved(told.lower_from_w, now.lower_from_w) or _moved(told.upper_to_w, now.upper_to_w)
        case StorageFlexibility(), StorageFlexibility():
            rest = ("capacity_wh", "fill_upper_w", "empty_lower_w", "targets", "leaves_at", "from_grid", "to_grid")
            level = abs(told.level_percent - now.level_percent) >= LEVEL_PERCENT
            return level or any(getattr(told, name) != getattr(now, name) for name in rest)
        case ThermalFlexibility(), ThermalFlexibility():
            fixed = ("lowest_c", "highest_c", "upper_w", "least_w", "heats", "target_c", "target_at")
            level = abs(told.temperature_c - now.temperature_c) >= LEVEL_K
            return level or any(getattr(told, name) != getattr(now, name) for name in fixed)
        case ModesFlexibility(), ModesFlexibility():
            return told != now
        case DemandFlexibility(), DemandFlexibility():
            return (told.modes, told.mode) != (now.modes, now.mode) or _moved(told.demand_w, now.demand_w)
        case _:
            return True


def _profile_changed(told: ProfileFlexibility, now: ProfileFlexibility) -> bool:
    """The rest of a job that runs gets shorter by itself: that is no news."""
    if (told.job, told.state, told.confirm) != (now.job, now.state, now.confirm):
        return True
    if told.state == "not_scheduled" and told.alternatives != now.alternatives:
        return True
    return abs((told.done_by - now.done_by).total_seconds()) > LATER_S


def _moved(before: float, now: float) -> bool:
    return abs(before - now) > LEVEL_SHARE * max(abs(before), abs(now), 100.0)
