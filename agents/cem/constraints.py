"""What a site tells its energy guard of itself: nominal and contracted power, and the least it can take. Pure."""

from collections.abc import Sequence

from agents.cem.premises import Device
from agents.cem.settings import CemSettings
from contracts.power_limit import Constraints


def constraints(settings: CemSettings, devices: Sequence[Device], minimum_w: float) -> Constraints:
    """Of the devices that are there now; ``minimum_w`` is the least that the controllable ones can be held to."""
    generation_w = _generation_w(settings, devices)
    return Constraints(
        nominal_consumption_w=settings.nominal_w("consumption"),
        nominal_production_w=-generation_w,
        contract_consumption_w=settings.contract_consumption_w or settings.nominal_w("consumption"),
        contract_production_w=-(settings.contract_production_w or generation_w),
        minimum_consumption_w=minimum_w,
        devices=tuple(sorted(device.name for device in devices)),
    )


def _generation_w(settings: CemSettings, devices: Sequence[Device]) -> float:
    """Installed generation as a magnitude, at most what the connection carries. Storage generates nothing."""
    if settings.nominal_production_w is not None:
        return settings.nominal_production_w
    installed = -sum(device.announce.nominal_lower_w for device in devices if device.announce.device_class == "pv")
    return min(installed, settings.nominal_w("production")) + 0.0
