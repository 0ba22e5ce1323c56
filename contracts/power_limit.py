"""Limits of active power at the grid connection point, with heartbeat and failsafe values.

EEBUS Limitation of Power Consumption / Production 1.0 between an energy guard (grid side) and a controllable system
(the CEM of a site). Limits are signed bounds of the power at the connection point: consumption ``power <= limit_w``
with ``limit_w >= 0``, production ``power >= limit_w`` with ``limit_w <= 0``.
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import CEM, DSO, HES
from contracts.units import Instant, LimitW, Seconds, W

Direction = Literal["consumption", "production"]
State = Literal["init", "limited", "unlimited_controlled", "unlimited_autonomous", "failsafe"]

HEARTBEAT_EVERY_S = 60.0
"""The energy guard sends at least this often (EEBUS LPC; NG-01)."""
HEARTBEAT_MISSING_S = 120.0
"""More than this without a heartbeat and the failsafe limits apply (EEBUS LPC; NG-01)."""
FAILSAFE_DURATION_S = (2 * 3600.0, 24 * 3600.0)
"""Lowest and highest failsafe duration minimum (LPC-022)."""


class LimitSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a limit profile; slots follow one another without gap or overlap, in order."""

    start: Instant
    duration_s: Seconds
    limit_w: LimitW


class SetLimit(Message, frozen=True, kw_only=True):
    """One direction's limit, as a setpoint or as a profile over time (exactly one of the two).

    ``active=False`` lifts the limit. ``duration_s=None`` means until changed: such a limit never expires.
    A profile ends with its last slot.
    """

    topic = "power_limit"
    durable = True
    ttl_s = 60.0
    clause = "NG-01 active power limit; NG-02, IC-DE-HLUC3 setpoint or profile"

    direction: Direction
    active: bool
    limit_w: LimitW | None = None
    profile: tuple[LimitSlot, ...] = ()
    duration_s: Seconds | None = None
    reason: Reason


class DeviceShare(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a site's limit that one device gets, and why."""

    device: str
    floor_w: W
    share_w: W
    reason: Reason


class LimitAccepted(Message, frozen=True, kw_only=True):
    """The controllable system is bound: stored at its site before this word is said."""

    topic = "power_limit"
    durable = True
    ttl_s = 60.0

    direction: Direction
    limit_w: LimitW | None
    shares: tuple[DeviceShare, ...] = ()


class LimitRefused(Message, frozen=True, kw_only=True):
    """Nothing changed at the controllable system."""

    topic = "power_limit"
    durable = True
    ttl_s = 60.0

    direction: Direction
    reason: Reason


class SetFailsafe(Message, frozen=True, kw_only=True):
    """What holds when the energy guard falls silent, and for how long at least (2 h to 24 h, LPC-022)."""

    topic = "power_limit"
    durable = True
    ttl_s = 60.0
    clause = "NG-01 failsafe power limits"

    consumption_w: LimitW
    production_w: LimitW
    duration_s: Seconds


class FailsafeAccepted(Message, frozen=True, kw_only=True):
    """The failsafe values are stored."""

    topic = "power_limit"
    durable = True
    ttl_s = 60.0


class FailsafeRefused(Message, frozen=True, kw_only=True):
    """The failsafe values before this word still hold."""

    topic = "power_limit"
    durable = True
    ttl_s = 60.0

    reason: Reason


class Heartbeat(Message, frozen=True, kw_only=True):
    """I am here. Said both ways; counted per sender, so nobody's heartbeat stands for another's."""

    topic = "power_limit"
    ttl_s = 30.0
    clause = "NG-01 heartbeat"

    every_s: Seconds


class Constraints(Message, frozen=True, kw_only=True):
    """What the controllable system can be limited to. Said on joining and whenever it changes.

    ``minimum_consumption_w`` is the guaranteed power of the controllable devices (BK6-22-300, 4.5): no limit from the
    grid side goes below it.
    """

    topic = "power_limit"
    ttl_s = 86_400.0  # holds until said anew; who joins later reads the last value
    clause = "NG-01 constraints; EEBUS LPC scenario 4"

    nominal_consumption_w: W
    nominal_production_w: W
    contract_consumption_w: W
    contract_production_w: W
    minimum_consumption_w: W
    devices: tuple[str, ...] = ()


class LimitState(Message, frozen=True, kw_only=True):
    """What is in force at the site, said at every change and kept for the operator's log."""

    topic = "power_limit"
    durable = True
    ttl_s = 86_400.0

    state: State
    since: Instant
    consumption_w: LimitW | None
    production_w: LimitW | None
    heartbeat_age_s: Seconds | None
    guard: str | None
    reason: Reason


limit_write = Conversation(
    "limit_write",
    opener="energy_guard",
    opened_by=(DSO, HES),
    answerer="controllable_system",
    answered_by=(CEM,),
    turns=[
        Turn("start", "energy_guard", SetLimit, "asked"),
        Turn("asked", "controllable_system", LimitAccepted, END),
        Turn("asked", "controllable_system", LimitRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(LimitAccepted,),
    clause="EEBUS LPC/LPP 1.0 scenario 1; NG-01",
    use_cases=("limits.lpc", "limits.profile"),
)

failsafe_write = Conversation(
    "failsafe_write",
    opener="energy_guard",
    opened_by=(DSO, HES),
    answerer="controllable_system",
    answered_by=(CEM,),
    turns=[
        Turn("start", "energy_guard", SetFailsafe, "asked"),
        Turn("asked", "controllable_system", FailsafeAccepted, END),
        Turn("asked", "controllable_system", FailsafeRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(FailsafeAccepted,),
    clause="EEBUS LPC/LPP 1.0 scenario 2; NG-01",
    use_cases=("limits.lpc",),
)
