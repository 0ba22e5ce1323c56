"""What a person wants of a home and its devices, said once and kept until changed.

Temperatures, presence and wishes are private: none of these words leaves the home. The energy manager knows who may set
what there.
"""

from datetime import date, time
from typing import Literal, get_args

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM, GATEWAY
from contracts.units import Celsius, EurPerKwh, Percent, Seconds, W

Purpose = Literal["forecast", "rules", "hand", "preferences", "plans"]
"""For which a party may be given personal data (its forecast), or keep rules and speak for the people of a home."""
PURPOSES: tuple[str, ...] = get_args(Purpose)
Season = Literal["spring", "summer", "autumn", "winter"]


class SetPoint(msgspec.Struct, frozen=True, kw_only=True):
    """From this local time on the device's thermostat keeps this temperature, until the next set point.

    ``weekdays`` are Monday to Friday. IEC-DM-TEMPERATURE-PROFILE.
    """

    at: time
    target_c: Celsius
    days: Literal["all", "weekdays", "weekend"] = "all"


class DevicePreferences(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants of one device. None: as it was. IC-FR-PUC2 Inf.1-4; IEC-JWG18; IEC-RG-CONSUMER-CONTROL.

    ``ready_by`` and ``not_before`` are local times of day; thresholds are prices at which it starts or stops.
    """

    controlled: bool | None = None
    """Consent: without it the device is never told anything."""
    lowest_c: Celsius | None = None
    highest_c: Celsius | None = None
    target_c: Celsius | None = None
    charge_lower_percent: Percent | None = None
    charge_upper_percent: Percent | None = None
    reserve_percent: Percent | None = None
    ready_by: time | None = None
    not_before: time | None = None
    delay_at_most_s: Seconds | None = None
    start_above_eur_per_kwh: EurPerKwh | None = None
    start_below_eur_per_kwh: EurPerKwh | None = None
    step_w: W | None = None
    green_above_percent: Percent | None = None
    incentive: Literal["cheapest", "greenest"] | None = None
    from_grid: bool | None = None
    plans_itself: bool | None = None
    """It is given prices or PV power and commanded nothing (home.incentive-device)."""
    peak_window: tuple[time, time] | None = None
    """A generator's alternative to a price: run between these times (IEC-JWG16)."""
    set_points: tuple[SetPoint, ...] | None = None
    """A thermostat's programme; any number a day (IEC-ROLE-SMART-THERMOSTAT: 6 or more)."""
    forget: tuple[str, ...] = ()
    """Names of preferences that no longer hold."""


class OwnProductionLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Consume no more than is produced, inside a window of the local day. IEC-JWG4."""

    start: time
    end: time
    exempt: tuple[str, ...] = ()


class SetPreferences(Message, frozen=True, kw_only=True):
    """A person's preferences, by device (``evse.1``) or class (``hvac``); only what is named changes.

    ``vacation`` are first and last day away: heaters are then not needed. ``season`` is felt, not the calendar's.
    """

    topic = "customer"
    durable = True
    ttl_s = 300.0
    clause = "IC-FR-PUC2; IC-PT-HLUC1-PUC3"

    user: str
    devices: dict[str, DevicePreferences] = msgspec.field(default_factory=dict)
    season: Season | None = None
    vacation: tuple[date, date] | None = None
    vacation_off: bool = False
    own_production: OwnProductionLimit | None = None
    own_production_off: bool = False
    plans: Literal["automatic", "confirm", "off"] | None = None
    """Whether a plan acts by itself, after confirmation only, or not at all."""
    service: bool | None = None
    """False: stop all device control; nothing automatic acts until it is True again."""
    flexibility: bool | None = None
    """False: no third party's order acts on this home."""
    consents: dict[str, tuple[str, ...]] | None = None
    """Address of a party -> purposes for which it may have personal data or speak here; none takes it back.

    They are ``forecast``, ``rules``, ``hand``, ``preferences`` and ``plans``; another one is refused.
    """


class PreferencesTaken(Message, frozen=True, kw_only=True):
    """Stored and taken into account from the next plan on. ``effect`` says what each device does about it."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    effect: dict[str, str] = msgspec.field(default_factory=dict)


class PreferencesRefused(Message, frozen=True, kw_only=True):
    """Nothing changed."""

    topic = "customer"
    durable = True
    ttl_s = 60.0

    reason: Reason


preferences = Conversation(
    "preferences",
    opener="consumer",
    opened_by=(APP, BUILDING),
    answerer="energy_manager",
    answered_by=(CEM, GATEWAY, BUILDING),
    turns=[
        Turn("start", "consumer", SetPreferences, "asked"),
        Turn("asked", "energy_manager", PreferencesTaken, END),
        Turn("asked", "energy_manager", PreferencesRefused, END),
    ],
    lapses=[Lapse("asked", after=30.0)],
    deal=(PreferencesTaken,),
    clause="IC-FR-PUC2; IC-PT-HLUC1-PUC3",
    use_cases=("customer.preferences",),
)
