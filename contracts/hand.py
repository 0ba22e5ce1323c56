"""The user's hand: control of one device, or of all, taken now and given back. It goes before plans and orders."""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import APP, CEM, DEVICES, GATEWAY
from contracts.units import Celsius, Instant, Percent, W

HandAction = Literal[
    "on",
    "off",
    "dim",
    "power",
    "start_now",
    "start_at",
    "pause",
    "resume",
    "abort",
    "hot_water",
    "business_as_usual",
    "overrule",
    "release",
]


class TakeControl(Message, frozen=True, kw_only=True):
    """The user's hand on one device, or on all (``device=None``). ``release`` gives it back.

    ``on`` with ``target_c`` sets the temperature at the device's own thermostat; with it ``mode`` and ``fan`` those of
    an air conditioner, in its product's words (IEC-DM-SIMPLE-COMMANDS: mode and wind).
    ``resume`` with it goes on with the household's programme: a device that is off stays off.
    ``business_as_usual`` runs heaters plainly and ends by itself after 12 h (IC-FR-PUC6-SC2). ``overrule`` lets one
    start happen in spite of a warning (IEC-JWG4). ``until=None``: until released, or until the job is over.
    """

    topic = "customer"
    durable = True
    ttl_s = 60.0
    clause = "IC-FR-PUC-6; IC-GR-HLUC1-MAN; IEC-JWG1121; IEC-JWG5"

    user: str
    device: str | None = None
    action: HandAction
    power_w: W | None = None
    dim_percent: Percent | None = None
    target_c: Celsius | None = None
    mode: Literal["auto", "heat", "dry", "fan", "cool"] | None = None
    fan: str | None = None
    at: Instant | None = None
    until: Instant | None = None


class ControlTaken(Message, frozen=True, kw_only=True):
    """The device did it (its state came back), or will ``at`` the given instant. ``until``: it then ends by itself."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    state: str
    at: Instant | None = None
    until: Instant | None = None
    reason: Reason


class ControlRefused(Message, frozen=True, kw_only=True):
    """Nothing changed: not allowed, not possible, or a limit goes first."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


take_control = Conversation(
    "take_control",
    opener="consumer",
    opened_by=(APP, CEM),
    answerer="controller",
    answered_by=(CEM, GATEWAY, *DEVICES),
    turns=[
        Turn("start", "consumer", TakeControl, "asked"),
        Turn("asked", "controller", ControlTaken, END),
        Turn("asked", "controller", ControlRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(ControlTaken,),
    clause="IC-FR-PUC-6; IC-GR-HLUC1-MAN",
    use_cases=("customer.override", "customer.manual-switch", "home.hot-water"),
)
