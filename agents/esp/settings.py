"""What may be set for an energy service provider. Times are run time, local times are of ``time_zone``."""

from datetime import datetime, time

import msgspec

from agents.kit.agent import Settings
from contracts.profiles import PowerSequence


class _Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class EnvelopePart(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one site for a while, from ``start``; None: free on that side."""

    start: datetime
    duration_s: float
    upper_w: float | None = None
    lower_w: float | None = None


class EnvelopePlan(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An envelope that is sent at ``at``."""

    at: datetime
    site: str
    parts: tuple[EnvelopePart, ...] = ()
    wish_more: bool = False
    text: str = "The provider bounds the power."


class WindTariff(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A tariff that follows wind and use.

    rating_w          of the wind that serves these customers, a magnitude
    base, spread      EUR/kWh: the price is base where wind just covers the use, +- spread at full shortage or surplus
    critical          EUR/kWh on top where the operator calls load critical (taken off where feed-in is)
    cheap_below       EUR/kWh: the customer is told that energy is cheap now
    """

    rating_w: float
    base_eur_per_kwh: float = 0.30
    spread_eur_per_kwh: float = 0.15
    critical_eur_per_kwh: float = 0.20
    cheap_below_eur_per_kwh: float = 0.20
    every_s: float = 3600.0
    horizon_s: float = 86_400.0


class Shaving(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One building or quarter that stays below its contracted capacity.

    contracted_w     of all sites together; band_share: of it is kept free as safety
    plan_at          local time of the day's planning for the next day; at the start for the rest of the day
    large_share      of the contracted capacity: a deviation of the metered power from the plan that is large
    restrict_share   of the capacity: what the sites together may take until the plan is made anew
    peaks_first      True: on a day with a peak nobody is asked to use more (BE-S7); False: also then (BE-S8)
    heatpumps        site -> device whose programme is limited in periods planned above; heatpump_w: to so much each
    building         whom the day's performance is reported to
    """

    sites: tuple[str, ...]
    contracted_w: float
    band_share: float = 0.1
    plan_at: time = time(18, 0)
    large_share: float = 0.2
    restrict_share: float = 0.7
    peaks_first: bool = True
    heatpumps: dict[str, str] = msgspec.field(default_factory=dict)
    heatpump_w: float = 0.0
    building: str = ""
    penalty_eur_per_kw: float = 0.0


class Model(_Form, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An appliance type's object model for the adapters of the sites."""

    kind: str
    version: int = 1
    sequences: tuple[PowerSequence, ...] = ()
    avoid: tuple[int, ...] = ()


class EspSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``sites``: the customers; empty: every site in reach. ``answers``: key word in a question -> answer.

    answers_file   TOML ``[answers]`` with a question's id -> text, written by a person; empty: nobody is at the desk
    """

    sites: tuple[str, ...] = ()
    time_zone: str = "Europe/Berlin"
    operator: str | None = None
    envelopes: tuple[EnvelopePlan, ...] = ()
    wind: WindTariff | None = None
    shaving: Shaving | None = None
    answers: dict[str, str] = msgspec.field(default_factory=dict)
    answers_file: str = ""
    desk_every_s: float = 30.0
    models: tuple[Model, ...] = ()
    retry_s: float = 60.0
