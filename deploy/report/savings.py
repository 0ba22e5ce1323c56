"""What each site's energy cost and how much of its own it used, with control and without. Pure.

Powers come from the world's own log, prices from the tariffs that were announced. A site that has charged or heated
less by the end of the run has not saved that money: the difference counts at the price that cars, heat and appliances
paid without control.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from agents.kit.price_stack import Stack
from contracts.tariff import AnnounceTariff
from deploy.records.rows import Event
from deploy.report.figures import spans
from world.spec import WorldSpec
from world.truth import Truth

ANNOUNCED = "announce_tariff"


class SiteEnergy(msgspec.Struct, frozen=True, kw_only=True):
    """One site over the run. ``self_consumed_share`` of what was generated; None without generation.

    ``cost_eur`` None: nobody announced a price. ``flexible_wh``: taken by cars, heat and appliances; ``stored_wh``:
    gained by batteries.
    """

    import_wh: float
    export_wh: float
    generated_wh: float
    self_consumed_share: float | None
    cost_eur: float | None
    flexible_wh: float
    stored_wh: float


class SiteSavings(msgspec.Struct, frozen=True, kw_only=True):
    """``saved_eur``: cost without less cost with, for the same energy in cars, heat and batteries."""

    with_control: SiteEnergy
    without_control: SiteEnergy
    saved_eur: float | None


class Savings(msgspec.Struct, frozen=True, kw_only=True):
    """By site; totals over the sites that have a price."""

    sites: dict[str, SiteSavings]
    cost_eur: float | None
    without_control_eur: float | None
    saved_eur: float | None


def stacks(events: Iterable[Event]) -> dict[str, Stack]:
    """The prices of each site, as they were announced to its energy manager."""
    found: dict[str, Stack] = {}
    for event in events:
        if event.word != ANNOUNCED or event.receiver is None or ".cem." not in event.receiver:
            continue
        word = event.message()
        if isinstance(word, AnnounceTariff):
            site = event.receiver.partition(".")[0]
            stack = found.setdefault(site, Stack("UTC", None))
            # Heard at its instant, but kept as if it had been known from the first slot on: past prices count too.
            first = min((slot.start.timestamp() for slot in word.slots), default=event.at)
            stack.take(event.sender, word, "", min(first, event.at))
    return found


def savings(run: Truth, free: Truth, world: WorldSpec, prices: Mapping[str, Stack]) -> Savings:
    """Every site of the world, both ways."""
    capacities = {
        f"{site.name}.{device.name}": device.capacity_wh
        for site in world.sites
        for device in site.devices
        if device.kind == "battery"
    }
    sites: dict[str, SiteSavings] = {}
    for site in world.sites:
        if f"{site.name}.power_w" not in run.columns:
            continue
        stack = prices.get(site.name)
        one = _site(run, site.name, stack, capacities)
        other = _site(free, site.name, stack, capacities)
        paid = None if stack is None else _flexible_price(free, site.name, stack)
        sites[site.name] = SiteSavings(with_control=one, without_control=other, saved_eur=_saved(one, other, paid))
    priced = [s for s in sites.values() if s.saved_eur is not None]
    return Savings(
        sites=sites,
        cost_eur=_total(s.with_control.cost_eur for s in priced),
        without_control_eur=_total(s.without_control.cost_eur for s in priced),
        saved_eur=_total(s.saved_eur for s in priced),
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 4) if known else None


def _site(truth: Truth, site: str, stack: Stack | None, capacities: Mapping[str, float]) -> SiteEnergy:
    instants = [value or 0.0 for value in truth.column("instant")]
    dts = spans(instants)
    power = [value or 0.0 for value in truth.column(f"{site}.power_w")]
    generated = stored = 0.0
    for name in truth.columns:
        place, _, rest = name.partition(".")
        device, _, quantity = rest.partition(".")
        if place != site or not quantity:
            continue
        column = [value or 0.0 for value in truth.column(name)]
        if quantity == "power_w":
            if device.startswith(("pv", "fuelcell")):
                generated -= _energy(column, dts)
        elif quantity == "soc_percent" and device.startswith("battery") and column:
            stored += (column[-1] - column[0]) / 100 * capacities.get(f"{site}.{device}", 0.0)
    taken = _energy([max(p, 0.0) for p in power], dts)
    fed = -_energy([min(p, 0.0) for p in power], dts)
    return SiteEnergy(
        import_wh=round(taken, 1),
        export_wh=round(fed, 1),
        generated_wh=round(generated, 1),
        self_consumed_share=round(max(0.0, 1 - fed / generated), 4) if generated > 1.0 else None,
        cost_eur=None if stack is None else _cost(_rows(truth, site, stack)),
        flexible_wh=round(_energy(_flexible_w(truth, site), dts), 1),
        stored_wh=round(stored, 1),
    )


def _energy(powers: Sequence[float], dts: Sequence[float]) -> float:
    return sum(power * dt for power, dt in zip(powers, dts, strict=True)) / 3600


def _rows(truth: Truth, site: str, stack: Stack) -> list[tuple[float, float, float | None]]:
    """(power W, how long s, price of one kWh more or less then) of each row."""
    instants = [value or 0.0 for value in truth.column("instant")]
    if len(instants) < 2:
        return []
    buy = list(stack.pieces(instants[0], instants[-1]))
    sell = list(stack.pieces(instants[0], instants[-1], sold=True))
    rows: list[tuple[float, float, float | None]] = []
    b = s = 0
    for power, at, dt in zip(truth.column(f"{site}.power_w"), instants, spans(instants), strict=True):
        while b + 1 < len(buy) and buy[b].end <= at:
            b += 1
        while s + 1 < len(sell) and sell[s].end <= at:
            s += 1
        price = (buy[b].price if buy else None) if (power or 0.0) > 0 else (sell[s].price if sell else None) or 0.0
        if dt > 0:
            rows.append((power or 0.0, dt, price))
    return rows


def _cost(rows: Sequence[tuple[float, float, float | None]]) -> float | None:
    """None when any part of what was bought has no price."""
    if not rows or any(price is None for _, _, price in rows):
        return None
    return round(sum(power * dt / 3.6e6 * (price or 0.0) for power, dt, price in rows), 4)


def _flexible_price(truth: Truth, site: str, stack: Stack) -> float | None:
    """What cars, heat and appliances paid on average, at the price of one kWh more or less at each time."""
    rows = _rows(truth, site, stack)
    if not rows or any(price is None for _, _, price in rows):
        return None
    flexible = _flexible_w(truth, site)
    weights = [(power or 0.0) * dt for power, (_, dt, _) in zip(flexible, rows, strict=False)]
    if sum(weights) <= 0:
        weights = [dt for _, dt, _ in rows]
    return sum(w * (price or 0.0) for w, (_, _, price) in zip(weights, rows, strict=False)) / sum(weights)


def _flexible_w(truth: Truth, site: str) -> list[float]:
    """The power of everything that is neither household, generation nor storage, row by row."""
    total = [0.0] * len(truth.rows)
    for name in truth.columns:
        place, _, rest = name.partition(".")
        device, _, quantity = rest.partition(".")
        if place == site and quantity == "power_w" and not device.startswith(("pv", "fuelcell", "battery")):
            total = [sum(pair) for pair in zip(total, (value or 0.0 for value in truth.column(name)), strict=True)]
    return total


def _saved(one: SiteEnergy, other: SiteEnergy, paid: float | None) -> float | None:
    if one.cost_eur is None or other.cost_eur is None or paid is None:
        return None
    more = one.flexible_wh + one.stored_wh - other.flexible_wh - other.stored_wh
    return round(other.cost_eur - one.cost_eur + more / 1000 * paid, 4)
