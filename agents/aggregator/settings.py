"""What may be set for an aggregator of flexibility."""

from datetime import datetime

import msgspec

from agents.kit.agent import Settings


class OrderPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order that is given at ``at`` (None: at its start) to a site, or to one of its devices (``evse.1``)."""

    site: str
    start: datetime
    until: datetime
    device: str | None = None
    upper_w: float | None = None
    lower_w: float | None = None
    at: datetime | None = None
    text: str = "The aggregator needs the flexibility."


class AggregatorSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``buys_up_to_eur_per_kwh``: offers above this price are declined; None: every offer is noted."""

    orders: tuple[OrderPlan, ...] = ()
    buys_up_to_eur_per_kwh: float | None = None
    retry_s: float = 30.0
