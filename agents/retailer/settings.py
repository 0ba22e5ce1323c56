"""What a topology may set for a retailer: its tariffs, where their prices come from, and who has subscribed."""

from datetime import datetime, time
from typing import Literal

import msgspec

from agents.kit.agent import Settings
from contracts.tariff import Component

EVERY_DAY = (0, 1, 2, 3, 4, 5, 6)


class PriceWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A price of a time of the local day, on full hours or not; over midnight where ``end`` is before ``start``.

    Beyond ``threshold_wh`` per window ``beyond_eur_per_kwh`` holds.
    """

    start: time
    end: time
    eur_per_kwh: float
    days: tuple[int, ...] = EVERY_DAY
    green_percent: float | None = None
    threshold_wh: float | None = None
    beyond_eur_per_kwh: float | None = None


class Tariff(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One component that this retailer prices.

    form              day_ahead: a file's prices, day by day; windows: fixed times of use; real_time: the price now
    file              CSV, ENTSO-E XML or OpenADR 3 JSON; ``{day}`` stands for the date (2016-05-20)
    windows, otherwise_eur_per_kwh   the first window that fits, else the latter
    factor, markup_eur_per_kwh       of a file's price: customer's price = price x factor + markup
    average_s         prices are means over this long (hourly from five-minute prices); 0: as in the file
    binding_s         from an announcement's first slot on so much is binding, the rest a forecast until the next one;
                      None: all of it is binding
    registers_eur_per_kwh   prices by the meter's register, for meters that tell which is in force
    """

    name: str
    component: Component = "energy"
    form: Literal["day_ahead", "windows", "real_time"] = "day_ahead"
    file: str = ""
    windows: tuple[PriceWindow, ...] = ()
    otherwise_eur_per_kwh: float | None = None
    factor: float = 1.0
    markup_eur_per_kwh: float = 0.0
    average_s: float = 0.0
    binding_s: float | None = 12 * 3600.0
    registers_eur_per_kwh: dict[str, float] = {}
    warning: str | None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site that has subscribed: to which tariffs (empty: all), and which of its agents are told."""

    site: str
    tariffs: tuple[str, ...] = ()
    to: tuple[Literal["cem", "app", "meter", "gateway", "building"], ...] = ("cem",)


class ExportPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From ``at`` on, a site that feeds in is asked for less; without a figure: for as little as it can.

    ``export_upper_w`` and ``less_by_w`` are magnitudes.
    """

    site: str
    at: datetime
    until: datetime
    export_upper_w: float | None = None
    less_by_w: float | None = None
    text: str = "More is fed in than can be sold."


class RetailerSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Prices of day D are announced at ``announce_at`` of D-1, local; if they are late, a forecast at ``latest_at``."""

    time_zone: str = "Europe/Berlin"
    tariffs: tuple[Tariff, ...] = ()
    customers: tuple[Customer, ...] = ()
    announce_at: time = time(13)
    latest_at: time = time(16)
    check_every_s: float = 60.0
    real_time_every_s: float = 300.0

    export_requests: tuple[ExportPlan, ...] = ()
    export_retry_s: float = 300.0
