"""Prices and what comes with them: components from several issuers, bands of the meter, the meter's time.

A tariff reaches only those who subscribed to it: it is an addressed, durable word, never said to all.
"""

from datetime import time
from typing import Literal

import msgspec

from contracts.kit import END, Conversation, Lapse, Message, Turn
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, CEM, DSO, ESP, GATEWAY, HES, METER, RETAILER
from contracts.units import EurPerKwh, Instant, OffsetS, Seconds, W

Component = Literal["energy", "grid_fee", "levy", "feed_in", "incentive"]
"""A price is a stack: the sum of the components in force; ``feed_in`` is paid for what is fed in, alone."""


class AnnounceTariff(Message, frozen=True, kw_only=True):
    """One component's prices; it replaces the issuer's own earlier slots where they overlap, nobody else's.

    ``valid_until=None``: until a new one comes. Slots are in order, without overlap; a gap has no price.
    ``warning`` tells the customer of a dearer period or of load control to come, before it begins.
    """

    topic = "tariff"
    durable = True
    ttl_s = 86_400.0
    clause = "IEC-JWG2112; IEC-DM-TARIFF-INFORMATION; IC-FR-PUC-8; IC-IT-HLUC4"

    tariff: str
    component: Component
    form: Literal["schedule", "real_time", "price_and_volume"] = "schedule"
    slots: tuple[PriceSlot, ...]
    valid_until: Instant | None = None
    warning: str | None = None
    issuer: str | None = None
    """Whose prices they are, when a gateway of the customer's own site relays them; else the sender's."""
    listed_eur_per_kwh: dict[str, EurPerKwh] = msgspec.field(default_factory=dict)
    """Prices by the meter's register, without schedule: the meter tells which is in force. IEC-WGSP2143."""
    reason: Reason


class TariffTaken(Message, frozen=True, kw_only=True):
    """Stored and in use from its first slot on."""

    topic = "tariff"
    durable = True
    ttl_s = 60.0

    tariff: str


class TariffRefused(Message, frozen=True, kw_only=True):
    """Nothing of it is used; earlier prices still hold."""

    topic = "tariff"
    durable = True
    ttl_s = 60.0

    tariff: str
    reason: Reason


class PriceInfo(Message, frozen=True, kw_only=True):
    """The prices as they are in force, summed over the stack, passed on at home to whom the CEM finds relevant."""

    topic = "tariff"
    ttl_s = 300.0
    clause = "IEC-JWG2112 step 4; IC-FR-PUC-7"

    slots: tuple[PriceSlot, ...]
    feed_in: tuple[PriceSlot, ...] = ()
    issuers: tuple[str, ...] = ()
    warning: str | None = None


class TouBand(msgspec.Struct, frozen=True, kw_only=True):
    """A register's time of day, local to the meter; ``days`` 0 = Monday. A band may run over midnight."""

    register: str
    start: time
    end: time
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    price_eur_per_kwh: EurPerKwh | None = None


class SetBands(Message, frozen=True, kw_only=True):
    """Time-of-use registers of a meter and when they are read. The first band that fits is in force."""

    topic = "tariff"
    durable = True
    ttl_s = 300.0
    clause = "ENA-08-01; ENA-09-01"

    bands: tuple[TouBand, ...]
    otherwise: str
    """Register in force when no band fits."""
    time_zone: str
    report_every_s: Seconds


class BandsSet(Message, frozen=True, kw_only=True):
    """The registers count by these bands from now on."""

    topic = "tariff"
    durable = True
    ttl_s = 60.0

    registers: tuple[str, ...]


class BandsRefused(Message, frozen=True, kw_only=True):
    """The bands before still hold."""

    topic = "tariff"
    durable = True
    ttl_s = 60.0

    reason: Reason


class TouReading(Message, frozen=True, kw_only=True):
    """One reading per register, on schedule; ``sequence`` counts up by one, so that a missing one shows."""

    topic = "tariff"
    durable = True
    ttl_s = 30 * 86_400.0
    clause = "ENA-08-01 step 2"

    sequence: int
    at: Instant
    import_by_register_wh: dict[str, float]
    active: str


class ActiveTariff(Message, frozen=True, kw_only=True):
    """The meter has changed its register. Said at home; the CEM applies the price that it has listed for it."""

    topic = "tariff"
    ttl_s = 86_400.0
    clause = "IEC-WGSP2143"

    since: Instant
    register: str
    price_eur_per_kwh: EurPerKwh | None = None


class AskTime(Message, frozen=True, kw_only=True):
    """The CEM asks for the meter's time and says its own, as it is set now."""

    topic = "tariff"
    ttl_s = 3600.0  # by a clock that is wrong: it must not make the word expire that puts it right
    clause = "IEC-WGSP2141-1"

    cem_time: Instant | None = None


class TimeIs(Message, frozen=True, kw_only=True):
    """The meter's clock and the register in force."""

    topic = "tariff"
    ttl_s = 3600.0
    clause = "IEC-WGSP2141 synchronization parameters"

    meter_time: Instant
    register: str | None = None


class SyncTime(Message, frozen=True, kw_only=True):
    """The meter sees that the CEM's stamps drift and tells it the time, unasked. IEC-WGSP2141-2."""

    topic = "tariff"
    ttl_s = 3600.0
    clause = "IEC-WGSP2141-2"

    meter_time: Instant
    cem_off_by_s: OffsetS


class ClockAlarm(Message, frozen=True, kw_only=True):
    """The clocks of CEM and meter are further apart than the alarm level. To the grid side, kept."""

    topic = "tariff"
    durable = True
    ttl_s = 86_400.0
    clause = "IEC-WGSP2142"

    meter_time: Instant
    cem_time: Instant
    off_by_s: OffsetS
    reason: Reason


class AskExport(Message, frozen=True, kw_only=True):
    """The supplier wants less fed in. All figures are optional: the source has none (decision 0031).

    ``export_upper_w`` and ``less_by_w`` are magnitudes.
    """

    topic = "export"
    durable = True
    ttl_s = 300.0
    clause = "IEC-JWG120x; IEC-JWG121x"

    export_upper_w: W | None = None
    less_by_w: W | None = None
    until: Instant | None = None
    reason: Reason


class ExportAgreed(Message, frozen=True, kw_only=True):
    """What is fed in at most from now on, a magnitude, and by which means."""

    topic = "export"
    durable = True
    ttl_s = 60.0

    export_upper_w: W
    means: tuple[str, ...] = ()
    reason: Reason


class ExportDeclined(Message, frozen=True, kw_only=True):
    """Nothing changes."""

    topic = "export"
    durable = True
    ttl_s = 60.0

    reason: Reason


tariff_notice = Conversation(
    "tariff_notice",
    opener="issuer",
    opened_by=(RETAILER, DSO, ESP, GATEWAY),
    answerer="customer",
    answered_by=(CEM, METER, APP, GATEWAY, BUILDING),
    turns=[
        Turn("start", "issuer", AnnounceTariff, "announced"),
        Turn("announced", "customer", TariffTaken, END),
        Turn("announced", "customer", TariffRefused, END),
    ],
    lapses=[Lapse("announced", after=60.0)],
    deal=(TariffTaken,),
    clause="IEC-JWG2112; IC-FR-PUC-8",
    use_cases=("tariffs.price-info", "tariffs.dynamic", "tariffs.wind", "tariffs.day-ahead-alert"),
)

bands_write = Conversation(
    "bands_write",
    opener="operator",
    opened_by=(DSO, RETAILER, HES),
    answerer="meter",
    answered_by=(METER,),
    turns=[
        Turn("start", "operator", SetBands, "asked"),
        Turn("asked", "meter", BandsSet, END),
        Turn("asked", "meter", BandsRefused, END),
    ],
    lapses=[Lapse("asked", after=60.0)],
    deal=(BandsSet,),
    clause="ENA-08-01; ENA-09-01",
    use_cases=("tariffs.tou-registers",),
)

time_request = Conversation(
    "time_request",
    opener="energy_manager",
    opened_by=(CEM,),
    answerer="meter",
    answered_by=(METER,),
    turns=[
        Turn("start", "energy_manager", AskTime, "asked"),
        Turn("asked", "meter", TimeIs, END),
    ],
    lapses=[Lapse("asked", after=10.0)],
    clause="IEC-WGSP2141-1",
    use_cases=("tariffs.sync",),
)

export_request = Conversation(
    "export_request",
    opener="supplier",
    opened_by=(RETAILER, ESP),
    answerer="energy_manager",
    answered_by=(CEM,),
    turns=[
        Turn("start", "supplier", AskExport, "asked"),
        Turn("asked", "energy_manager", ExportAgreed, END),
        Turn("asked", "energy_manager", ExportDeclined, END),
    ],
    lapses=[Lapse("asked", after=60.0)],
    deal=(ExportAgreed,),
    clause="IEC-JWG120x; IEC-JWG121x",
    use_cases=("limits.export",),
)
