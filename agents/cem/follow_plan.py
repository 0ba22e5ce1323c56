"""From a planned power to what the fast loop is asked to do. Pure.

A plan gives purpose and envelope, not figures to chase: where it means "use the surplus" the fast loop follows the
meter inside the plan's direction; where it means "this much from the grid" it gets a setpoint.
"""

from agents.cem.planner.plan import NEGATIVE_PRICE, Course
from agents.cem.wishes import Wish
from contracts.device import DeviceClass
from contracts.reasons import Reason

SAME_W = 150.0
"""Planned powers closer than this are alike: forecasts are not better."""
ON_W = 20.0


def wish_for(
    kind: DeviceClass,
    course: Course,
    slot: int,
    gcp_w: float,
    most_w: float,
    until: float,
    *,
    leave_room: bool = False,
    share: float = 1.0,
) -> Wish | None:
    """What to ask of a device in this slot; None: it is free.

    gcp_w       planned power at the connection point in the slot
    most_w      the highest power that the device can take
    until       run instant after which the plan says nothing; the wish drops out then
    share       of the planned power that is this device's: several plants are planned as one
    leave_room  a surplus must not be stored before its time: feeding in will be bounded, or cost something
    """
    power, why = course.power_w[slot], course.why[slot]
    match kind:
        case "battery":
            return _battery(power, gcp_w, why, until, leave_room)
        case "pv":
            return _wish(why, until, lower_w=share * power) if why.code == NEGATIVE_PRICE else None
        case "fuelcell":
            off = power > -ON_W
            return _wish(why, until, off=off, setpoint_w=None if off else power)
        case "evse":
            if power >= most_w - SAME_W:
                return None
            return _wish(why, until, upper_w=power if power > ON_W else 0.0)
        case "heatpump" | "waterheater" | "hvac":
            return _wish(why, until, upper_w=0.0) if power <= ON_W else _wish(why, until, setpoint_w=power)
        case _:
            return None


def _battery(power: float, gcp_w: float, why: Reason, until: float, leave_room: bool) -> Wish | None:
    """A direction wherever the meter knows better than a forecast; a figure only where energy is bought or sold."""
    if power > SAME_W:
        if gcp_w > SAME_W:
            return _wish(why, until, setpoint_w=power)
        return _wish(why, until, lower_w=0.0, upper_w=power if leave_room and gcp_w < -SAME_W else None)
    if power < -SAME_W:
        return _wish(why, until, setpoint_w=power) if gcp_w < -SAME_W else _wish(why, until, upper_w=0.0)
    if gcp_w > SAME_W:
        return _wish(why, until, lower_w=0.0)  # keeps what it has for a dearer hour, takes a surplus if there is one
    if gcp_w < -SAME_W and leave_room:
        return _wish(why, until, upper_w=0.0)
    return None


def _wish(
    why: Reason,
    until: float,
    *,
    lower_w: float | None = None,
    upper_w: float | None = None,
    setpoint_w: float | None = None,
    off: bool = False,
) -> Wish:
    return Wish(
        source="plan", reason=why, lower_w=lower_w, upper_w=upper_w, setpoint_w=setpoint_w, off=off, until=until
    )
