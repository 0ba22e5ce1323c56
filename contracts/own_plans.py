"""Devices that decide for themselves: starts that ask first, incentives, options to choose from, a model to plan with.

The energy manager gives room and prices; the plan is the device's own and comes back.
"""

from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PlannedPower, PowerSequence, PriceSlot
from contracts.reasons import Reason
from contracts.roles import CEM, DEVICES, ESP, GATEWAY
from contracts.units import Celsius, Eur, Instant, Percent, W, Wh

# -------------------------------------------------------------------- a start that asks first


class AnnounceStart(Message, frozen=True, kw_only=True):
    """A new operation is about to begin: what it will take at most. IEC-JWG2113-S1; IEC-JWG4."""

    topic = "start_check"
    clause = "IEC-JWG2113-S1; IEC-JWG4"

    job: str
    maximum_w: W
    sequence: PowerSequence | None = None


class HousePower(Message, frozen=True, kw_only=True):
    """What the house takes now and what it may: the contract, or its own production where the user wants that limit.

    ``of_energy``: the limit is on accumulated energy, ``left_wh`` is what is left of it.
    """

    topic = "start_check"

    at: Instant
    total_w: W
    subscribed_w: W
    limited_by: Literal["contract", "own_production", "energy"]
    lower_w: W | None = None
    left_wh: Wh | None = None
    exempt: bool = False
    after_warning: Literal["run", "wait", "cancel"] = "wait"


class StartClear(Message, frozen=True, kw_only=True):
    """It fits; it begins."""

    topic = "start_check"


class StartWarning(Message, frozen=True, kw_only=True):
    """It does not fit: shown on the device and passed on by the CEM to the others and the display."""

    topic = "start_check"

    excess_w: W
    then: Literal["run", "wait", "cancel"]
    reason: Reason


start_check = Conversation(
    "start_check",
    opener="device",
    opened_by=DEVICES,
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "device", AnnounceStart, "announced"),
        Turn("announced", "energy_manager", HousePower, "told"),
        Turn("told", "device", StartClear, END),
        Turn("told", "device", StartWarning, END),
    ],
    lapses=[Lapse("announced", after=15.0), Lapse("told", after=15.0)],
    clause="IEC-JWG2113-S1",
    use_cases=("limits.start-warning", "limits.own-production"),
)

# -------------------------------------------------------------------- incentives: the device plans itself


class GiveIncentive(Message, frozen=True, kw_only=True):
    """Prices, or own generation now and expected: an encouragement, no command. IC-DE-PUC-INCENTIVE-HP, -HP-1.

    ``lowest_c`` to ``ready_at`` are what its user has told the energy manager; None: what the device knows by itself.
    """

    topic = "incentive"
    ttl_s = 300.0
    clause = "IC-DE-PUC-INCENTIVE-HP; IC-PT-PUC-HVAC-TARIFF; IC-DE-PUC-HP-1"

    prices: tuple[PriceSlot, ...] = ()
    pv_power_w: W | None = None
    pv_expected: tuple[PlannedPower, ...] = ()
    lowest_c: Celsius | None = None
    highest_c: Celsius | None = None
    target_c: Celsius | None = None
    """Reached at ``ready_at``."""
    charge_lower_percent: Percent | None = None
    """Reached at ``ready_at``."""
    ready_at: Instant | None = None


class OwnPlan(Message, frozen=True, kw_only=True):
    """What the device will do, by itself."""

    topic = "incentive"
    ttl_s = 300.0

    power: tuple[PlannedPower, ...]
    reason: Reason


class IncentiveDeclined(Message, frozen=True, kw_only=True):
    """It does not plan itself."""

    topic = "incentive"

    reason: Reason


incentive = Conversation(
    "incentive",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="device",
    answered_by=DEVICES,
    turns=[
        Turn("start", "energy_manager", GiveIncentive, "given"),
        Turn("given", "device", OwnPlan, END),
        Turn("given", "device", IncentiveDeclined, END),
    ],
    lapses=[Lapse("given", after=30.0)],
    clause="IC-DE-PUC-INCENTIVE-HP",
    use_cases=("home.incentive-device",),
)

# -------------------------------------------------------------------- the DR adapter


class AskOptions(Message, frozen=True, kw_only=True):
    """A programmed appliance asks the adapter when it should run. ETSI-5.3.1."""

    topic = "options"
    clause = "ETSI-5.3.1 option query"

    job: str
    sequence: PowerSequence
    earliest_start: Instant
    done_by: Instant
    kind: str = ""
    """The appliance's type, whose object model the adapter has or has not."""


class RunOption(msgspec.Struct, frozen=True, kw_only=True):
    """One time to run and what it costs; no cost where only the offline profile is known."""

    start: Instant
    cost_eur: Eur | None = None
    green_percent: Percent | None = None
    note: str = ""


class OptionsAre(Message, frozen=True, kw_only=True):
    """Best first. ``offline``: no link, so the pre-programmed profile decided."""

    topic = "options"

    options: tuple[RunOption, ...]
    offline: bool = False


class NoOptions(Message, frozen=True, kw_only=True):
    """The adapter knows nothing about it: run by your own default."""

    topic = "options"

    reason: Reason


class OptionChosen(Message, frozen=True, kw_only=True):
    """The appliance, or its user, takes this one."""

    topic = "options"

    start: Instant
    by: Literal["device", "user"]


class AcceptRun(Message, frozen=True, kw_only=True):
    """A person agrees to a time that an appliance has proposed; told to the appliance by the app, or at its panel."""

    topic = "options"
    ttl_s = 3600.0
    clause = "ETSI-5.3.1: the customer may agree to a proposed schedule"

    user: str
    start: Instant


class OptionsDeclined(Message, frozen=True, kw_only=True):
    """None of them."""

    topic = "options"

    reason: Reason


device_options = Conversation(
    "device_options",
    opener="device",
    opened_by=DEVICES,
    answerer="adapter",
    answered_by=(GATEWAY,),
    turns=[
        Turn("start", "device", AskOptions, "asked"),
        Turn("asked", "adapter", OptionsAre, "offered"),
        Turn("asked", "adapter", NoOptions, END),
        Turn("offered", "device", OptionChosen, END),
        Turn("offered", "device", OptionsDeclined, END),
    ],
    lapses=[Lapse("asked", after=15.0), Lapse("offered", after=3600.0)],
    clause="ETSI-5.3.1",
    use_cases=("home.dr-adapter",),
)


class PublishModel(Message, frozen=True, kw_only=True):
    """An appliance type's object model for the adapter, or the profile that it follows without a link. ETSI-5.3.1.

    ``avoid`` are local hours of the day with regular peaks (0..23).
    """

    topic = "options"
    durable = True
    ttl_s = 86_400.0
    clause = "ETSI-5.3.1 object model, offline profile"

    kind: str
    version: int
    sequences: tuple[PowerSequence, ...] = ()
    avoid: tuple[int, ...] = ()


class ModelTaken(Message, frozen=True, kw_only=True):
    """The adapter can deal with this type from now on."""

    topic = "options"
    durable = True
    ttl_s = 60.0

    kind: str
    version: int


class ModelRefused(Message, frozen=True, kw_only=True):
    """The model before still holds."""

    topic = "options"
    durable = True
    ttl_s = 60.0

    reason: Reason


model_download = Conversation(
    "model_download",
    opener="provider",
    opened_by=(ESP,),
    answerer="adapter",
    answered_by=(GATEWAY,),
    turns=[
        Turn("start", "provider", PublishModel, "published"),
        Turn("published", "adapter", ModelTaken, END),
        Turn("published", "adapter", ModelRefused, END),
    ],
    lapses=[Lapse("published", after=60.0)],
    deal=(ModelTaken,),
    clause="ETSI-5.3.1",
    use_cases=("home.dr-adapter",),
)
