"""What the user sets."""

from typing import Literal

import msgspec

from agents.kit.agent import Settings


class Condition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tell me when the connection point's power stays above (or below) a value for some time.

    ``quantity``  ``power_w`` as signed (+ = taken), ``import_w`` and ``export_w`` as magnitudes of one direction
    """

    quantity: Literal["power_w", "import_w", "export_w"] = "power_w"
    beyond: Literal["above", "below"] = "above"
    value_w: float
    for_s: float = 0.0
    text: str = ""


class AppSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``keep_notices`` is the number of messages that the display keeps.

    user       in whose name it speaks
    proposals  what it answers to a proposed plan by itself; ``ask``: it shows it, and the person answers
    moves      device -> local time of day at which ``change`` wants it, ``never`` leaves it out
    time_zone  of those times
    high_price_quantile, high_price_margin   dear is what is above this quantile of its day and this much above its mean
    """

    conditions: tuple[Condition, ...] = ()
    keep_notices: int = 10
    user: str = "user"
    proposals: Literal["ask", "confirm", "reject", "change"] = "ask"
    moves: dict[str, str] = msgspec.field(default_factory=dict)
    time_zone: str = "Europe/Berlin"
    high_price_quantile: float = 0.75
    high_price_margin: float = 0.1
