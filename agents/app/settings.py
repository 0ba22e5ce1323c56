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
    """``keep_notices`` is the number of messages that the display keeps."""

    conditions: tuple[Condition, ...] = ()
    keep_notices: int = 10
