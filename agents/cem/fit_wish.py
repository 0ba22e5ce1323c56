"""A wish fitted into what the allocator sees and into the envelope that it gives. Pure.

Before allocation a wish changes what a device would take; afterwards it narrows the envelope, never widens it.
"""

from dataclasses import replace

from agents.cem.allocate import Envelope, Unit
from agents.cem.wishes import Wish
from contracts.device import Announce

HAND_RANK = -1
"""What the user holds by hand is served before everything else."""


def fit_unit(unit: Unit, wish: Wish) -> Unit:
    """The unit as it will be: it wants no more and no less than the wish says, within what it can do now."""
    if not unit.fresh or unit.kind == "pv":
        return unit
    if wish.source == "hand":
        unit = replace(unit, rank=HAND_RANK)
    if wish.off:
        return replace(unit, wants_w=0.0)
    wants = unit.wants_w if wish.setpoint_w is None else wish.setpoint_w
    if wish.upper_w is not None:
        wants = min(wants, wish.upper_w)
    if wish.lower_w is not None:
        wants = max(wants, wish.lower_w)
    return replace(unit, wants_w=min(max(wants, unit.lower_w), unit.upper_w))


def with_wish(envelope: Envelope, wish: Wish, announce: Announce) -> Envelope:
    """The envelope narrowed by the wish; its reason is the wish's where the wish is what binds."""
    lower, upper, setpoint = envelope.lower_w, envelope.upper_w, envelope.setpoint_w
    binds = False
    wished_upper = 0.0 if wish.off and announce.nominal_upper_w > 0 else wish.upper_w
    wished_lower = 0.0 if wish.off and announce.nominal_lower_w < 0 else wish.lower_w
    if wished_upper is not None and (upper is None or wished_upper < upper) and wished_upper < announce.nominal_upper_w:
        upper, binds = max(wished_upper, lower) if lower is not None else wished_upper, True
    if wished_lower is not None and (lower is None or wished_lower > lower) and wished_lower > announce.nominal_lower_w:
        binds = binds or upper is None or wished_lower <= upper
        lower = min(wished_lower, upper) if upper is not None else wished_lower
    if wish.setpoint_w is not None and "setpoint" in announce.functions:
        setpoint = wish.setpoint_w
        binds = binds or ((upper is None or setpoint <= upper) and (lower is None or setpoint >= lower))
    if setpoint is not None:
        setpoint = min(setpoint, upper) if upper is not None else setpoint
        setpoint = max(setpoint, lower) if lower is not None else setpoint
    return Envelope(lower, upper, setpoint, wish.reason if binds else envelope.reason)
