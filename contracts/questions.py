"""What a person asks and tells: why a device does what it does, at home; a question or a feeling, to the provider.

Only what the person writes leaves the home.
"""

from typing import Literal

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import APP, CEM, ESP
from contracts.units import W


class AskWhy(Message, frozen=True, kw_only=True):
    """Why does it do what it does?"""

    topic = "customer"
    clause = "NG-08; IC-FR-PUC7-SC2"

    device: str | None = None


class Because(Message, frozen=True, kw_only=True):
    """What the device does, why, and what comes next, newest reason first."""

    topic = "customer"

    device: str
    doing: str
    power_w: W | None = None
    reasons: tuple[Reason, ...]
    next: tuple[PlannedPower, ...] = ()
    plan: str | None = None


class NothingKnown(Message, frozen=True, kw_only=True):
    """No such device here, or nothing was ever decided about it."""

    topic = "customer"

    reason: Reason


why = Conversation(
    "why",
    opener="consumer",
    opened_by=(APP,),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "consumer", AskWhy, "asked"),
        Turn("asked", "energy_manager", Because, END),
        Turn("asked", "energy_manager", NothingKnown, END),
    ],
    lapses=[Lapse("asked", after=15.0)],
    clause="NG-08",
    use_cases=("tariffs.user-choice",),
)


class AskQuestion(Message, frozen=True, kw_only=True):
    """A customer's free question to the service provider. Only what the customer writes leaves the home."""

    topic = "question"
    durable = True
    ttl_s = 7 * 86_400.0
    clause = "IC-FR-PUC7-SC2 Inf.9"

    text: str


class Answer(Message, frozen=True, kw_only=True):
    """The provider's answer."""

    topic = "question"
    durable = True
    ttl_s = 86_400.0

    text: str


class ComfortFeedback(Message, frozen=True, kw_only=True):
    """How it feels, for whom the user has consented to tell. IC-BE-THOR-PEAK."""

    topic = "question"
    durable = True
    ttl_s = 86_400.0
    clause = "IC-BE-THOR-PEAK comfort feedback"

    comfort: Literal["too_cold", "good", "too_warm", "car_not_ready", "other"]
    text: str = ""


question = Conversation(
    "question",
    opener="consumer",
    opened_by=(APP,),
    answerer="provider",
    answered_by=(ESP,),
    turns=[
        Turn("start", "consumer", AskQuestion, "asked"),
        Turn("asked", "provider", Answer, END),
    ],
    lapses=[Lapse("asked", after=86_400.0)],
    clause="IC-FR-PUC7-SC2",
    use_cases=("tariffs.user-choice",),
)
