"""What a home could take less, and more, than its plan has it: its provider is told. Pure. IC-PT-HLUC1-PUC2."""

import msgspec

from agents.cem.premises import Premises
from contracts.home_plan import PlanShown
from contracts.profiles import PlannedPower

HELD_BY_NOBODY = ("pv", "whitegoods", "submeter")


def room(shown: PlanShown, premises: Premises) -> tuple[tuple[PlannedPower, ...], tuple[PlannedPower, ...]]:
    """(less, more): magnitudes against the plan, of the devices that can be held."""
    less: list[PlannedPower] = []
    more: list[PlannedPower] = []
    for item in shown.items:
        device = premises.by_name(item.device)
        if device is None or device.announce.device_class in HELD_BY_NOBODY:
            continue
        a = device.announce
        for slot in item.power:
            down, up = slot.power_w - max(a.nominal_lower_w, 0.0), a.nominal_upper_w - slot.power_w
            if down > 0 and slot.power_w > 0:
                less.append(msgspec.structs.replace(slot, power_w=down))
            if up > 0 and abs(slot.power_w) > 0:
                more.append(msgspec.structs.replace(slot, power_w=up))
    return tuple(less), tuple(more)
