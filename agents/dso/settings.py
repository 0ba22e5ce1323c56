"""What a topology may set for a control room. Times are run time."""

from datetime import datetime, time
from typing import Literal

import msgspec

from agents.kit.agent import Settings
from contracts.power_limit import FAILSAFE_DURATION_S, HEARTBEAT_EVERY_S, Direction
from contracts.tariff import TouBand


class PlanSlot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One period of a planned limit: signed W, consumption >= 0, production <= 0."""

    start: datetime
    duration_s: float
    limit_w: float


class LimitPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A limit that is known beforehand for one site, stated as a profile (NG-02)."""

    site: str
    direction: Direction
    slots: tuple[PlanSlot, ...]


class Failsafe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Failsafe limits of one site, signed W."""

    consumption_w: float
    production_w: float


class FeeWindow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What using the grid costs at a time of the local day; over midnight where ``end`` is before ``start``."""

    start: time
    end: time
    eur_per_kwh: float
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)


class GridFee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time-variable grid fee (section 14a EnWG, module 3: high, standard and low tariff): the first window that fits,
    else ``otherwise_eur_per_kwh``. ``sites``: who has chosen it; ``to``: which of their agents are told."""

    name: str = "grid fee"
    windows: tuple[FeeWindow, ...] = ()
    otherwise_eur_per_kwh: float = 0.0
    sites: tuple[str, ...] = ()
    to: tuple[Literal["cem", "app", "meter", "gateway", "building"], ...] = ("cem",)


class MeterBands(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Time-of-use registers of the meters of some sites. ENA-08-01 precondition."""

    sites: tuple[str, ...]
    bands: tuple[TouBand, ...]
    otherwise: str = "standard"
    report_every_s: float = 86_400.0


class DsoSettings(Settings, frozen=True, kw_only=True):
    """One area behind one transformer."""

    area: str = "street"
    substation: str = "grid.meter.substation"
    transformer_va: float = 160_000.0
    nominal_voltage_v: float = 230.0
    voltage_band_percent: float = 10.0
    """EN 50160: +-10 % of the nominal voltage."""
    voltage_clear_v: float = 1.0
    """How far inside the band a voltage must be before the notice is cleared."""
    stale_s: float = 35.0
    """Three and a half pushes of 10 s: an older reading decides nothing."""

    yellow_percent: float = 85.0
    red_percent: float = 97.0
    clear_margin_percent: float = 5.0
    clear_after_s: float = 60.0
    state_every_s: float = 15.0
    state_valid_s: float = 60.0

    decide_s: float = 10.0
    target_percent: float = 93.0
    tighten_above_percent: float = 94.5
    loosen_below_percent: float = 91.5
    urgent_percent: float = 97.0
    """Above this, no change of a limit is too small to be said."""
    loosen_share_per_minute: float = 0.02
    lift_below_percent: float = 85.0
    lift_after_s: float = 300.0
    smallest_change_w: float = 100.0
    smallest_change_percent: float = 2.0
    smallest_loosening_percent: float = 5.0
    """Loosening is said in coarser steps than tightening: each word costs a household a new plan."""
    follow_within_s: float = 60.0
    """A site that is beyond its accepted limit for longer is counted with what it does, not with what it should do."""
    refused_for_s: float = 300.0
    """So long a site that refused is not asked again, unless it says new constraints."""

    heartbeat_s: float = HEARTBEAT_EVERY_S / 2
    """Half of what is promised, so that one lost word does not break the promise of 60 s."""
    silence_s: float = 75.0
    """After a silence longer than this, a site's next word is a rejoin and it gets heartbeat and limits anew."""
    absent_s: float = 180.0
    """A site that has not been heard for this long is not talked to until it is."""
    retry_s: float = 15.0
    failsafe: dict[str, Failsafe] = msgspec.field(default_factory=dict)
    """Per site; others get their guaranteed floor and the share of their nominal production below."""
    failsafe_production_share: float = 0.6
    """60 % of nominal production: the first step of the FNN control box (S1)."""
    failsafe_duration_s: float = FAILSAFE_DURATION_S[0]
    plans: tuple[LimitPlan, ...] = ()

    help_every_s: float = 900.0
    help_within_s: float = 300.0
    help_for_s: float = 1800.0
    help_spread_share: float = 0.5
    """The homes are let go one after the other over this share of ``help_for_s``."""
    report_after_s: float = 60.0
    """So long after an action the meters are asked whether it worked."""
    routes: dict[str, str] = msgspec.field(default_factory=dict)
    """Site -> ``gateway`` where emergencies and commands travel through the site's gateway; else its CEM."""

    warn_every_s: float = 900.0
    """How often the homes are asked what they expect, where a service provider could be warned."""
    warn_ahead_s: float = 6 * 3600.0

    time_zone: str = "Europe/Berlin"
    grid_fees: tuple[GridFee, ...] = ()
    announce_fees_at: time = time(13)
    """Local; from then on the next day's fees are announced."""
    meter_bands: tuple[MeterBands, ...] = ()
    tariffs_every_s: float = 60.0
