"""The one shape of IEC 62746-2 profiles: sequences of slots, alternatives to choose from, how sure or how binding.

Slots of a sequence follow one another without gap. Power keeps its sign: + consumed, - generated.
"""

from typing import Literal

import msgspec

from contracts.units import Celsius, EurPerKwh, Instant, Percent, Seconds, W, Wh

SLOT_S = 900.0
"""Plans, prices and forecasts run in quarter hours; a local day has 96, or 92 and 100 when the clock changes."""

Binding = Literal["binding", "forecast"]


class PowerSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One mean power over a time. ``peak_w``: the most that it takes in between, None: the same."""

    duration_s: Seconds
    power_w: W
    peak_w: W | None = None
    interruptible: bool = False
    """May be paused before this slot begins."""


class PowerSequence(msgspec.Struct, frozen=True, kw_only=True):
    """One way to do the job. The simplest has one slot. IEC-DM-ENERGY-PROFILE; IEC-FP-POWER."""

    name: str
    slots: tuple[PowerSlot, ...]
    pause_at_most_s: Seconds = 0.0


class PlannedPower(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned or promised for one period. ``lower_w``/``upper_w``: what it must stay inside, if bound."""

    start: Instant
    duration_s: Seconds
    power_w: W
    lower_w: W | None = None
    upper_w: W | None = None


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """An expected value of one period with its band (10 and 90 in a hundred); the value's unit is in the message."""

    start: Instant
    duration_s: Seconds
    power_w: W
    lower_w: W | None = None
    upper_w: W | None = None


class PriceSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One price of one period. IEC-FP-PRICE.

    Beyond ``threshold_wh`` of energy in the slot ``beyond_eur_per_kwh`` holds for the excess (decision 0031).
    """

    start: Instant
    duration_s: Seconds
    price_eur_per_kwh: EurPerKwh
    binding: Binding = "binding"
    threshold_wh: Wh | None = None
    beyond_eur_per_kwh: EurPerKwh | None = None
    green_percent: Percent | None = None
    """Share of renewable energy in the grid's power."""
    by_kind_eur_per_kwh: dict[str, EurPerKwh] = msgspec.field(default_factory=dict)
    """The price instead for who has chosen this kind of energy (``renewable``). IEC-FP-PRICE, condition kind b."""


class TemperatureSlot(msgspec.Struct, frozen=True, kw_only=True):
    """One temperature of one period. IEC-FP-TEMPERATURE."""

    start: Instant
    duration_s: Seconds
    temperature_c: Celsius
