"""Figures of a run: loads, voltages, energy held back, fairness, time to effect. Pure.

A truth is the world's own log: what no agent could know. Instants and durations in run seconds.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median

import msgspec

from contracts.power_limit import Constraints
from deploy.records.rows import Event, Reading
from deploy.report.episodes import LimitEpisode, Order
from world.truth import Truth

METER_TOLERANCE_W = 50.0
"""A metered power this little beyond a limit counts as kept: about the resolution of a household meter."""
_LONGEST_ROW_S = 120.0  # what lies between two rows further apart was not logged and is not counted


class Loading(msgspec.Struct, frozen=True, kw_only=True):
    """Of the transformer: its rating is 100 %. ``lowest_w`` is the strongest feed-in."""

    max_percent: float
    minutes_above_100: float
    lowest_w: float
    highest_w: float


class Voltage(msgspec.Struct, frozen=True, kw_only=True):
    """Phase to neutral, over all sites."""

    min_v: float
    max_v: float
    lowest_at: str
    highest_at: str


class HeldBack(msgspec.Struct, frozen=True, kw_only=True):
    """Energy against the same run without control, per site and in total, by kind of device.

    Consumption is net: what was made up for by the end of the run is not in it, and less than none is drawn more.
    """

    generation_wh: dict[str, float]
    consumption_wh: dict[str, float]
    total_generation_wh: float
    total_consumption_wh: float


class SiteShare(msgspec.Struct, frozen=True, kw_only=True):
    """How much a site was limited in one direction.

    ``mean_share`` is the limit over what the site could do, averaged over the time limited; 1: no loss.
    """

    episodes: int
    minutes: float
    mean_share: float | None


class Fairness(msgspec.Struct, frozen=True, kw_only=True):
    """Who bore the limits of one direction. Jain's index is 1 when all bear the same, 1/n when one bears all.

    ``jain_minutes`` over the minutes limited, ``jain_share`` over the mean shares, of the sites that have that power.
    """

    sites: dict[str, SiteShare]
    jain_minutes: float | None
    jain_share: float | None


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """From the acceptance of a limit to the first reading of the connection point within it, run seconds."""

    limits: int
    already_within: int
    took_effect: int
    superseded: int
    never_seen: int
    median_s: float | None
    p95_s: float | None
    max_s: float | None


def spans(instants: Sequence[float | None]) -> list[float]:
    """How long each row of a log holds: until the next one."""
    known = [value or 0.0 for value in instants]
    return [min(b - a, _LONGEST_ROW_S) for a, b in pairwise(known)] + [0.0]


def loading(percents: Sequence[float | None], powers: Sequence[float | None], dts: Sequence[float]) -> Loading:
    above = sum(dt for percent, dt in zip(percents, dts, strict=True) if percent is not None and percent > 100.0)
    known = [power for power in powers if power is not None]
    return Loading(
        max_percent=round(max((p for p in percents if p is not None), default=0.0), 2),
        minutes_above_100=round(above / 60, 2),
        lowest_w=round(min(known, default=0.0), 1),
        highest_w=round(max(known, default=0.0), 1),
    )


def true_loading(truth: Truth) -> Loading:
    dts = spans(truth.column("instant"))
    return loading(truth.column("transformer_loading_percent"), truth.column("transformer_w"), dts)


def voltage(truth: Truth) -> Voltage | None:
    """None for a street without sites."""
    lows = [(value, name) for name in _named(truth, ".voltage_min_v") for value in truth.column(name) if value]
    highs = [(value, name) for name in _named(truth, ".voltage_max_v") for value in truth.column(name) if value]
    if not lows or not highs:
        return None
    low, high = min(lows), max(highs)
    return Voltage(
        min_v=round(low[0], 2),
        max_v=round(high[0], 2),
        lowest_at=low[1].partition(".")[0],
        highest_at=high[1].partition(".")[0],
    )


def _named(truth: Truth, ending: str) -> list[str]:
    return [name for name in truth.columns if name.endswith(ending)]


def held_back(run: Truth, free: Truth) -> HeldBack:
    """Generation and consumption of devices that the run has less of than the free one.

    Energy that storage takes up instead of feeding in is not lost and does not count: only PV, cars and heat are
    compared.
    """
    generation: defaultdict[str, float] = defaultdict(float)
    consumption: defaultdict[str, float] = defaultdict(float)
    instants = [value or 0.0 for value in run.column("instant")]
    free_instants = [value or 0.0 for value in free.column("instant")]
    place = [min(bisect_left(free_instants, at), len(free_instants) - 1) for at in instants]
    dts = spans(instants)
    for name in _named(run, ".power_w"):
        parts = name.split(".")
        if len(parts) != 3 or parts[1].startswith("battery") or name not in free.columns or not free_instants:
            continue
        with_, without = run.column(name), free.column(name)
        more = sum(((with_[n] or 0.0) - (without[place[n]] or 0.0)) * dt / 3600 for n, dt in enumerate(dts))
        # Generation is negative: more of it is less generated.
        if parts[1].startswith("pv"):
            generation[parts[0]] += more
        else:
            consumption[parts[0]] -= more
    return HeldBack(
        generation_wh={site: round(wh, 1) for site, wh in sorted(generation.items())},
        consumption_wh={site: round(wh, 1) for site, wh in sorted(consumption.items())},
        total_generation_wh=round(sum(generation.values()), 1),
        total_consumption_wh=round(sum(consumption.values()), 1),
    )


def jain(values: Sequence[float]) -> float | None:
    """Jain, Chiu, Hawe (DEC-TR-301, 1984): (sum x)^2 / (n sum x^2). None without any value above zero."""
    squares = sum(value * value for value in values)
    return round(sum(values) ** 2 / (len(values) * squares), 4) if squares > 0 else None


def nominal_powers(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """Per direction and site what the site said it can do at most, a magnitude."""
    found: dict[str, dict[str, float]] = {"consumption": {}, "production": {}}
    for event in events:
        if event.word == "constraints" and isinstance(message := event.message(), Constraints):
            found["consumption"][event.site] = abs(message.nominal_consumption_w)
            found["production"][event.site] = abs(message.nominal_production_w)
    return found


def fairness(limits: Sequence[LimitEpisode], direction: str, nominal: Mapping[str, float]) -> Fairness:
    """Failsafe is nobody's decision and does not count."""
    mine = [one for one in limits if one.direction == direction and not one.failsafe]
    able = sorted({site for site, power in nominal.items() if power > 0} | {one.site for one in mine})
    sites: dict[str, SiteShare] = {}
    for site in able:
        own = [one for one in mine if one.site == site]
        seconds = sum(one.end - one.start for one in own)
        power = nominal.get(site, 0.0)
        share = sum(min(abs(one.limit_w) / power, 1.0) * (one.end - one.start) for one in own) if power > 0 else 0.0
        mean = round(share / seconds, 4) if seconds > 0 and power > 0 else None
        sites[site] = SiteShare(episodes=len(own), minutes=round(seconds / 60, 2), mean_share=mean)
    return Fairness(
        sites=sites,
        jain_minutes=jain([one.minutes for one in sites.values()]) if sites else None,
        jain_share=jain([one.mean_share for one in sites.values() if one.mean_share is not None]),
    )


def effect(orders: Sequence[Order], readings: Mapping[str, Sequence[Reading]]) -> Effect:
    """How soon accepted limits showed at the meters. ``readings`` per site, in order of time."""
    took: list[float] = []
    already = superseded = never = 0
    accepted = [one for one in orders if one.outcome == "accepted"]
    setpoints = [(n, one) for n, one in enumerate(accepted) if one.active and one.limit_w is not None]
    for n, order in setpoints:
        assert order.answered is not None
        rival = (later for later in accepted[n + 1 :] if (later.site, later.direction) == (order.site, order.direction))
        until = next((later.answered for later in rival), None)
        mine = readings.get(order.site, ())
        first = bisect_left(mine, order.answered, key=lambda one: one.at)
        if first > 0 and _within(order, mine[first - 1].values["power_w"]):
            already += 1
            continue
        seen = next((one for one in mine[first:] if _within(order, one.values["power_w"])), None)
        if seen is not None and (until is None or seen.at <= until):
            took.append(seen.at - order.answered)
        elif until is not None:
            superseded += 1
        else:
            never += 1
    took.sort()
    return Effect(
        limits=len(setpoints),
        already_within=already,
        took_effect=len(took),
        superseded=superseded,
        never_seen=never,
        median_s=round(median(took), 2) if took else None,
        p95_s=round(quantile(took, 0.95), 2) if took else None,
        max_s=round(took[-1], 2) if took else None,
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    place = -(-share * len(ordered) // 1)
    return ordered[max(min(int(place), len(ordered)) - 1, 0)]


def _within(order: Order, power_w: float) -> bool:
    assert order.limit_w is not None
    if order.direction == "consumption":
        return power_w <= order.limit_w + METER_TOLERANCE_W
    return power_w >= order.limit_w - METER_TOLERANCE_W
