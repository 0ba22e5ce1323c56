"""What an operator's hand orders from the control room: each order is one talk, answered once it is done.

Only operators' tools may say these words; the control room does the ordering towards sites and answers for it.
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.power_limit import Direction, LimitSlot
from contracts.reasons import Reason
from contracts.roles import DSO, OPS
from contracts.units import Instant, LimitW, Seconds, W

ORDER_S = 120.0
"""An order to many sites may wait for the slowest of them."""


class SiteOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order at one site."""

    site: str
    done: bool
    reason: Reason


class OrderEmergency(Message, frozen=True, kw_only=True):
    """Begin a grid emergency at these sites, at all of the area if none is named."""

    topic = "operator"
    clause = "IEC-JWG2122-1"

    sites: tuple[str, ...] = ()
    level: Literal["normal", "severe"] = "normal"
    starts: Instant | None = None
    duration_s: Seconds | None = None
    confirm: bool = True
    text: str = ""


class OrderAllClear(Message, frozen=True, kw_only=True):
    """End the emergency at these sites, at all if none is named."""

    topic = "operator"
    clause = "IEC-JWG2122-2"

    sites: tuple[str, ...] = ()
    confirm: bool = True


class OrderCommand(Message, frozen=True, kw_only=True):
    """Congestion: emergency or clearance to one site's CEM, or through its gateway to one device."""

    topic = "operator"
    clause = "IEC-JWG3032; IEC-JWG3033"

    site: str
    kind: Literal["emergency", "clearance"]
    device: str | None = None
    upper_w: W | None = None
    text: str = ""


class OrderLimit(Message, frozen=True, kw_only=True):
    """A limit by hand, as a setpoint or as a profile; ``active=False`` takes it back.

    It is stated together with what the control room finds by itself: the tighter of the two holds.
    """

    topic = "operator"
    clause = "NG-02; IC-DE-HLUC3"

    site: str
    direction: Direction
    active: bool = True
    limit_w: LimitW | None = None
    profile: tuple[LimitSlot, ...] = ()
    duration_s: Seconds | None = None


class OrderGroupMessage(Message, frozen=True, kw_only=True):
    """One message to a group; ``Done.id`` is what answers are asked by."""

    topic = "operator"
    clause = "ETSI-5.3.4"

    group: str
    kind: Literal["notice", "display", "maintenance"] = "notice"
    text: str
    valid_until: Instant | None = None


class OrderAnswers(Message, frozen=True, kw_only=True):
    """Who has acknowledged the group message with this id until now."""

    topic = "operator"
    clause = "ETSI-5.3.4 R5.3.4-2"

    id: str


class OrderPower(Message, frozen=True, kw_only=True):
    """Ask a building for its present power."""

    topic = "operator"
    clause = "IC-SVC-DE-MONITOR"

    site: str


class Done(Message, frozen=True, kw_only=True):
    """The order is carried out; where it went to several sites, each tells its own outcome."""

    topic = "operator"

    id: str = ""
    power_w: W | None = None
    outcomes: tuple[SiteOutcome, ...] = ()
    members: tuple[str, ...] = ()


class NotDone(Message, frozen=True, kw_only=True):
    """Nothing was ordered, or nobody took it."""

    topic = "operator"

    reason: Reason
    outcomes: tuple[SiteOutcome, ...] = ()


def _order(name: str, order: type[Message], *use_cases: str) -> Conversation:
    return Conversation(
        name,
        opener="operator",
        opened_by=(OPS,),
        answerer="control_room",
        answered_by=(DSO,),
        turns=[
            Turn("start", "operator", order, "ordered"),
            Turn("ordered", "control_room", Done, END),
            Turn("ordered", "control_room", NotDone, END),
        ],
        lapses=[Lapse("ordered", after=ORDER_S)],
        clause=order.clause,
        use_cases=use_cases,
    )


order_emergency = _order("order_emergency", OrderEmergency, "limits.emergency")
order_all_clear = _order("order_all_clear", OrderAllClear, "limits.emergency")
order_command = _order("order_command", OrderCommand, "limits.congestion-direct")
order_limit = _order("order_limit", OrderLimit, "limits.profile", "limits.lpc")
order_group_message = _order("order_group_message", OrderGroupMessage, "ops.group-message")
order_answers = _order("order_answers", OrderAnswers, "ops.group-message")
order_power = _order("order_power", OrderPower, "metering.gcp-to-cem")

ORDERS = (
    order_emergency,
    order_all_clear,
    order_command,
    order_limit,
    order_group_message,
    order_answers,
    order_power,
)
"""Everything that an operator's tool may open."""
