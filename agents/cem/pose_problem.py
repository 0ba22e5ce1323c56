"""From what is known of the home to the planner's problem. Pure: prices, forecasts, bounds, offers and wishes go in."""

from collections.abc import Sequence
from math import inf

from agents.cem.known import Known, Surroundings
from agents.cem.planner.problem import (
    Connection,
    Effort,
    Horizon,
    Prices,
    Problem,
    Pv,
    Series,
)
from agents.cem.planner.problem import Device as PlanDevice
from agents.cem.pose_device import pose_device
from agents.cem.settings import CemSettings
from contracts.profiles import SLOT_S

DOUBT_EUR_PER_KWH = 0.01
"""Weighs against what is far off or only forecast: at the same price, sooner is better."""
FREE_W = 1e6
"""A bound that binds no home, in slots beside those that are bounded."""
ALL_OWN_W = 2_000.0
"""With so much surplus what a device takes counts as the home's own, with less in proportion."""


def horizon(now: float, settings: CemSettings) -> Horizon:
    """From now to the end of the quarter hour, then whole quarter hours."""
    first = SLOT_S - now % SLOT_S
    count = 1 + round(settings.plan_horizon_s / SLOT_S)
    return Horizon(start_s=now, count=count, slot_s=SLOT_S, first_s=first, zone=settings.time_zone)


def pose(span: Horizon, around: Surroundings, devices: Sequence[Known], settings: CemSettings) -> Problem:
    """The problem; devices that offer nothing and are not steered are part of the base load."""
    pvs = [d for d in devices if d.announce.device_class == "pv"]
    posed: list[PlanDevice] = []
    for device in devices:
        if device.announce.device_class != "pv":
            one = pose_device(device, span, around, settings)
            if one is not None:
                posed.append(one)
    if pvs and any(power < 0 for power, _, _ in around.pv):
        curtailable = all("limit_lower" in d.announce.functions or "limit_upper" in d.announce.functions for d in pvs)
        phases = tuple(sorted({p for d in pvs for p in d.announce.phases}))
        expected = tuple(min(0.0, p) for p, _, _ in around.pv)
        # Bands name the least generation last: what a hard bound may count on.
        sure = tuple(min(0.0, max(p, high)) for p, _, high in around.pv)
        name = pvs[0].name if len(pvs) == 1 else "pv"
        posed.append(Pv(name=name, forecast_w=expected, sure_w=sure, can_curtail=curtailable, phases=phases))
    return Problem(
        horizon=span,
        prices=_prices(around, settings),
        connection=_connection(around, span, settings),
        devices=tuple(posed),
        effort=Effort(time_limit_s=settings.plan_time_limit_s, gap=settings.plan_gap_share),
    )


def _prices(around: Surroundings, settings: CemSettings) -> Prices:
    buy = tuple(settings.fallback_price_eur_per_kwh if p is None else p for p in around.buy)
    sell = tuple(0.0 if p is None else p for p in around.sell)
    threshold = next((t[0] for t in around.beyond if t is not None), None)
    above: Series = ()
    if threshold is not None:
        above = tuple(b if t is None else t[1] for b, t in zip(buy, around.beyond, strict=True))
    green = _green_share(around)
    return Prices(
        buy_eur_per_kwh=buy,
        sell_eur_per_kwh=sell,
        threshold_wh=threshold,
        buy_above_eur_per_kwh=above,
        confidence=tuple((1.0 if b else 0.5) * (1 - n / (2 * len(buy))) for n, b in enumerate(around.binding)),
        doubt_eur_per_kwh=DOUBT_EUR_PER_KWH,
        green_share=green,
    )


def _green_share(around: Surroundings) -> Series:
    """0..1 of what a device takes: the grid's share, and what the home generates itself is all green."""
    grid = (0.0 if g is None else g / 100 for g in around.green)
    if len(around.pv) != len(around.green) or len(around.load) != len(around.green):
        return tuple(grid)
    surplus = (max(0.0, -(sun + load)) for (sun, _, _), (load, _, _) in zip(around.pv, around.load, strict=True))
    return tuple(g + (1.0 - g) * min(1.0, w / ALL_OWN_W) for g, w in zip(grid, surplus, strict=True))


def _connection(around: Surroundings, span: Horizon, settings: CemSettings) -> Connection:
    n = span.count
    contracted: Series = (settings.contract_consumption_w,) * n if settings.contract_consumption_w > 0 else ()
    bounded_up = any(w < inf for w in around.upper_w)
    bounded_down = any(w > -inf for w in around.lower_w)
    return Connection(
        load_w=tuple(expected for expected, _, _ in around.load),
        load_high_w=tuple(high for _, _, high in around.load),
        high_share=settings.plan_caution_share,
        upper_w=tuple(min(w, FREE_W) for w in around.upper_w) if bounded_up else (),
        upper_why=around.upper_why,
        lower_w=tuple(max(w, -FREE_W) for w in around.lower_w) if bounded_down else (),
        lower_why=around.lower_why,
        fuse_w=settings.fuse_a * settings.fuse_share * 230.0 if settings.fuse_a else None,
        contracted_w=contracted,
        contracted_band=settings.peak_band_share,
    )


def surplus_has_its_time(around: Surroundings) -> bool:
    """Whether storage has to leave room now: later on feeding in is bounded, or costs something."""
    return any(w > -inf for w in around.lower_w) or any(p is not None and p < 0 for p in around.sell)
