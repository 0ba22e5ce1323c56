"""Grid emergency (every device to its preset mode) and the congestion command that goes to one CEM or one device.

Both travel from the grid side to the CEM directly, or through the site's gateway, which relays without deciding.
"""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import AGGREGATOR, CEM, DSO, EVSE, GATEWAY, HEATPUMP, HES
from contracts.units import Instant, Seconds, W


class BeginEmergency(Message, frozen=True, kw_only=True):
    """All devices into their preset mode. Without ``duration_s`` only the end message ends it.

    ``starts`` in the future announces a scheduled blackout beforehand.
    """

    topic = "emergency"
    durable = True
    ttl_s = 60.0
    clause = "IEC-JWG2122-1; IEC-JWG8"

    level: Literal["normal", "severe"] = "normal"
    starts: Instant | None = None
    duration_s: Seconds | None = None
    confirm: bool = False
    reason: Reason


class EmergencyConfirmed(Message, frozen=True, kw_only=True):
    """Stored and ordered; ``change_w`` is the change of power to expect where it can be told."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0

    change_w: W | None = None
    exempt: tuple[str, ...] = ()


class EmergencyRefused(Message, frozen=True, kw_only=True):
    """Not begun or not ended, and why."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0

    reason: Reason


class EndEmergency(Message, frozen=True, kw_only=True):
    """Normal operation is allowed, not ordered."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0
    clause = "IEC-JWG2122-2"

    confirm: bool = False


class ControlCommand(Message, frozen=True, kw_only=True):
    """Congestion: emergency or clearance. ``device`` names the one device that a gateway passes it to."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0
    clause = "IEC-JWG3032; IEC-JWG3033"

    kind: Literal["emergency", "clearance"]
    device: str | None = None
    upper_w: W | None = None
    reason: Reason


class CommandTaken(Message, frozen=True, kw_only=True):
    """Application-level acknowledgement. The source has none; without it a lost command would go unseen (ours)."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0

    reason: Reason


class CommandRefused(Message, frozen=True, kw_only=True):
    """Nothing was switched."""

    topic = "emergency"
    durable = True
    ttl_s = 60.0

    reason: Reason


class DisplayNotice(Message, frozen=True, kw_only=True):
    """What the consumer's display has to show, said by whoever informs it."""

    topic = "emergency"
    ttl_s = 60.0
    clause = "IEC-JWG3032 steps 4a, 8a; IEC-JWG3033 steps 3a, 6a"

    kind: Literal["emergency", "clearance", "warning", "info"]
    text: str
    device: str | None = None


emergency_begin = Conversation(
    "emergency_begin",
    opener="caller",
    opened_by=(DSO, HES, AGGREGATOR, GATEWAY),
    answerer="premises",
    answered_by=(CEM, GATEWAY),
    turns=[
        Turn("start", "caller", BeginEmergency, "asked"),
        Turn("asked", "premises", EmergencyConfirmed, END),
        Turn("asked", "premises", EmergencyRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IEC-JWG2122-1",
    use_cases=("limits.emergency",),
)

emergency_end = Conversation(
    "emergency_end",
    opener="caller",
    opened_by=(DSO, HES, AGGREGATOR, GATEWAY),
    answerer="premises",
    answered_by=(CEM, GATEWAY),
    turns=[
        Turn("start", "caller", EndEmergency, "asked"),
        Turn("asked", "premises", EmergencyConfirmed, END),
        Turn("asked", "premises", EmergencyRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IEC-JWG2122-2",
    use_cases=("limits.emergency",),
)

direct_control = Conversation(
    "direct_control",
    opener="operator",
    opened_by=(DSO, GATEWAY),
    answerer="premises",
    answered_by=(CEM, GATEWAY, HEATPUMP, EVSE),
    turns=[
        Turn("start", "operator", ControlCommand, "asked"),
        Turn("asked", "premises", CommandTaken, END),
        Turn("asked", "premises", CommandRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    clause="IEC-JWG3032; IEC-JWG3033",
    use_cases=("limits.congestion-direct",),
)
