"""Rules that a home keeps and runs by itself, also without the link: on a trigger, a device is switched."""

from datetime import time
from typing import Literal

import msgspec

from contracts.hand import HandAction
from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import APP, CEM, ESP, GATEWAY
from contracts.units import Celsius, EurPerKwh, OffsetS, Percent, Seconds, W


class Trigger(msgspec.Struct, frozen=True, kw_only=True):
    """When a rule acts: at a time of the local day, relative to sunset or sunrise, or when a value passes a bound."""

    at: time | None = None
    sun: Literal["sunset", "sunrise"] | None = None
    offset_s: OffsetS = 0.0
    sensed: str | None = None
    """The device that a temperature, level or power is of; none: the connection point."""
    temperature_above_c: Celsius | None = None
    temperature_below_c: Celsius | None = None
    level_above_percent: Percent | None = None
    level_below_percent: Percent | None = None
    power_above_w: W | None = None
    power_below_w: W | None = None
    price_above_eur_per_kwh: EurPerKwh | None = None
    price_below_eur_per_kwh: EurPerKwh | None = None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """On ``trigger`` do ``action`` with ``device``. IC-GR-HLUC1-AUTO; IC-FR-HLUC1-STORIES."""

    name: str
    device: str
    trigger: Trigger
    action: HandAction
    power_w: W | None = None
    for_s: Seconds | None = None


class SetRules(Message, frozen=True, kw_only=True):
    """The rules kept in the home; they replace those of the same owner. A third party's need the user's agreement."""

    topic = "customer"
    durable = True
    ttl_s = 300.0
    clause = "IC-GR-HLUC1-AUTO"

    user: str
    rules: tuple[Rule, ...]


class RulesTaken(Message, frozen=True, kw_only=True):
    """They run here from now on, also without the link."""

    topic = "customer"
    durable = True
    ttl_s = 60.0


class RulesRefused(Message, frozen=True, kw_only=True):
    """The rules before still run."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


rules_write = Conversation(
    "rules_write",
    opener="consumer",
    opened_by=(APP, ESP),
    answerer="gateway",
    answered_by=(CEM, GATEWAY),
    turns=[
        Turn("start", "consumer", SetRules, "asked"),
        Turn("asked", "gateway", RulesTaken, END),
        Turn("asked", "gateway", RulesRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(RulesTaken,),
    clause="IC-GR-HLUC1-AUTO",
    use_cases=("home.rules",),
)
