"""Prices as a stack: each issuer's slots of each component, what they sum up to, and what is missing. Pure.

Instants are unix seconds of the tariff's clock, prices EUR/kWh.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise

import msgspec

from agents.kit.local_day import earlier_day
from bus.envelope import instant
from contracts.profiles import SLOT_S, PriceSlot
from contracts.tariff import AnnounceTariff, Component

DAY_S = 86_400.0
REMEMBERED_S = 2 * DAY_S
"""Slots are kept so long, and of each layer at least its last two days: what is missing is taken from them."""
BACK_DAYS = 30
"""A day further back says nothing of today."""


class Priced(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One slot. ``beyond`` holds for energy beyond ``threshold_wh``; ``green`` is in percent."""

    start: float
    end: float
    price: float
    binding: bool = True
    threshold_wh: float | None = None
    beyond: float | None = None
    green: float | None = None

    def cut(self, start: float, end: float) -> "Priced":
        """The part inside; its share of the threshold goes with it."""
        share = (end - start) / (self.end - self.start)
        threshold = None if self.threshold_wh is None else self.threshold_wh * share
        return msgspec.structs.replace(self, start=start, end=end, threshold_wh=threshold)


class Layer(msgspec.Struct, kw_only=True):
    """What one issuer says of one component. ``lasts``: until a new schedule comes; else it ended with its slots."""

    issuer: str
    component: Component
    tariff: str
    slots: tuple[Priced, ...] = ()
    lasts: bool = True
    listed: dict[str, float] = {}

    def put(self, new: Iterable[Priced], now: float) -> None:
        """Replace what they overlap; a forecast does not displace what was binding."""
        held = list(self.slots)
        for slot in new:
            kept = [piece for old in held for piece in _around(old, slot)] if slot.binding else held
            free = [slot] if slot.binding else _gaps(slot, held, binding_only=True)
            if not slot.binding:
                kept = [piece for old in held for piece in ([old] if old.binding else _around(old, slot))]
            held = sorted([*kept, *free], key=lambda s: s.start)
        self.slots = tuple(held)
        self.forget(now)

    def clip(self, until: float) -> None:
        self.slots = tuple(s if s.end <= until else s.cut(s.start, until) for s in self.slots if s.start < until)

    def forget(self, now: float) -> None:
        if self.slots:
            keep_from = min(now, self.slots[-1].end) - REMEMBERED_S
            self.slots = tuple(s for s in self.slots if s.end > keep_from)

    def between(self, start: float, end: float) -> Iterator[Priced]:
        """Its slots, cut to a time."""
        at = max(0, bisect_right(self.slots, start, key=lambda s: s.start) - 1)
        for slot in self.slots[at:]:
            if slot.start >= end:
                return
            if slot.end > start:
                yield slot.cut(max(slot.start, start), min(slot.end, end))

    def at(self, instant: float) -> Priced | None:
        at = bisect_right(self.slots, instant, key=lambda s: s.start) - 1
        return self.slots[at] if at >= 0 and instant < self.slots[at].end else None

    def remembered(self, instant: float, zone: str) -> Priced | None:
        """The same local time of the last day that is known."""
        if not self.slots or not self.lasts:
            return None
        first = max(1, int((instant - self.slots[-1].end) // DAY_S))
        for days in range(first, min(first + 3, BACK_DAYS + 1)):
            found = self.at(earlier_day(instant, days, zone))
            if found is not None:
                return found
        return None


def _around(old: Priced, new: Priced) -> list[Priced]:
    if old.end <= new.start or new.end <= old.start:
        return [old]
    parts = []
    if old.start < new.start:
        parts.append(old.cut(old.start, new.start))
    if new.end < old.end:
        parts.append(old.cut(new.end, old.end))
    return parts


def _gaps(slot: Priced, held: list[Priced], *, binding_only: bool) -> list[Priced]:
    parts = [slot]
    for old in held:
        if old.binding or not binding_only:
            parts = [piece for part in parts for piece in _around(part, old)]
    return parts


@dataclass(frozen=True)
class Piece:
    """The stack over a time in which nothing of it changes. ``known``: no part of it is made up."""

    start: float
    end: float
    price: float | None
    binding: bool
    known: bool
    threshold_wh: float | None = None
    beyond: float | None = None
    green: float | None = None


@dataclass
class Stack:
    """All layers by (issuer, component). ``fallback``: energy where nobody has ever said a price."""

    zone: str
    fallback: float | None
    layers: dict[tuple[str, Component], Layer] = field(default_factory=dict)
    register: tuple[str, float, float] | None = None
    """(name, since, price) of the register that the meter has in force, for energy without a schedule."""

    def take(self, issuer: str, word: AnnounceTariff, kind: str, now: float) -> bool:
        """Put in; True when a binding price of the future has another value than before."""
        key = issuer, word.component
        layer = self.layers.setdefault(key, Layer(issuer=issuer, component=word.component, tariff=word.tariff))
        before = layer.slots
        layer.tariff = word.tariff
        layer.put((priced(slot, kind) for slot in word.slots), now)
        layer.lasts = word.valid_until is None
        if word.valid_until is not None:
            layer.clip(word.valid_until.timestamp())
        if word.listed_eur_per_kwh:
            layer.listed = dict(word.listed_eur_per_kwh)
        old = Layer(issuer=issuer, component=word.component, tariff="", slots=before)
        return any(
            other.price != slot.price
            for slot in layer.slots
            if slot.end > now and slot.binding
            for other in old.between(max(slot.start, now), slot.end)
            if other.binding
        )

    def way_back(self, issuer: str, component: Component) -> Callable[[], None]:
        """To what is there of this component now."""
        key, layer = (issuer, component), self.layers.get((issuer, component))
        kept = None if layer is None else copy(layer)

        def back() -> None:
            if kept is None:
                self.layers.pop(key, None)
            else:
                self.layers[key] = kept

        return back

    def overlapping(self, issuer: str, component: Component, start: float, end: float) -> str | None:
        """Another issuer that has a price of this component then."""
        for (other, kind), layer in self.layers.items():
            if other != issuer and kind == component and next(layer.between(start, end), None) is not None:
                return other
        return None

    def listed(self, register: str) -> float | None:
        """What a register costs by the lists that were announced."""
        found = [layer.listed[register] for layer in self.layers.values() if register in layer.listed]
        return sum(found) if found else None

    def until(self) -> float | None:
        """How far ahead energy is priced."""
        return max(
            (la.slots[-1].end for la in self.layers.values() if la.component == "energy" and la.slots), default=None
        )

    def pieces(self, start: float, end: float, *, sold: bool = False) -> Iterator[Piece]:
        """What a bought (or sold) kWh costs, over each time in which nothing changes."""
        layers = [la for la in self.layers.values() if (la.component == "feed_in") == sold]
        edges = {start, end}
        for layer in layers:
            for slot in layer.between(start, end):
                edges.update((slot.start, slot.end))
            edges.update(self._remembered_edges(layer, start, end))
        if self.register is not None and start < self.register[1] < end:
            edges.add(self.register[1])
        ordered = sorted(edges)
        for first, last in pairwise(ordered):
            yield self._piece(layers, first, last, sold)

    def _remembered_edges(self, layer: Layer, start: float, end: float) -> list[float]:
        """Changes inside a time that is filled from an earlier day."""
        if not layer.slots or not layer.lasts or end <= layer.slots[-1].end:
            return []
        found, days = [], max(1, int((start - layer.slots[-1].end) // DAY_S))
        for back in (days, days + 1):
            shift = start - earlier_day(start, back, self.zone)
            for slot in layer.between(start - shift, end - shift):
                found += [slot.start + shift, slot.end + shift]
        return [edge for edge in found if start < edge < end]

    def _piece(self, layers: list[Layer], start: float, end: float, sold: bool) -> Piece:
        total, binding, known, energy = 0.0, True, True, False
        threshold: float | None = None
        excess = 0.0
        green: float | None = None
        for layer in layers:
            slot = layer.at(start)
            if slot is None:
                slot = layer.remembered(start, self.zone)
                if slot is None:
                    continue
                binding = known = False
            total += slot.price
            energy = energy or layer.component == "energy"
            binding = binding and slot.binding
            if slot.green is not None and (green is None or layer.component == "energy"):
                green = slot.green
            if slot.threshold_wh is not None and slot.beyond is not None:
                here = slot.threshold_wh * (end - start) / (slot.end - slot.start)
                if threshold is None or here < threshold:
                    threshold, excess = here, slot.beyond - slot.price
        if not sold and not energy:
            base, listed = self._energy(start)
            if base is None:
                return Piece(start, end, None, False, False, green=green)
            total, binding, known = total + base, False, known and listed
        beyond = None if threshold is None else total + excess
        return Piece(start, end, total, binding, known, threshold, beyond, green)

    def _energy(self, at: float) -> tuple[float | None, bool]:
        """Energy without a schedule: the register in force, else the fallback; and whether anybody has said it."""
        if self.register is not None and at >= self.register[1]:
            return self.register[2], True
        return self.fallback, False


def priced(slot: PriceSlot, kind: str = "") -> Priced:
    """A slot as the customer pays it, who may have chosen a kind of energy."""
    start = slot.start.timestamp()
    return Priced(
        start=start,
        end=start + slot.duration_s,
        price=slot.by_kind_eur_per_kwh.get(kind, slot.price_eur_per_kwh),
        binding=slot.binding == "binding",
        threshold_wh=slot.threshold_wh,
        beyond=slot.beyond_eur_per_kwh,
        green=slot.green_percent,
    )


def mean(pieces: list[Piece], start: float, end: float) -> Piece:
    """One piece over a whole slot; without a price where any part has none."""
    length = end - start
    share = [(p.end - p.start) / length for p in pieces]
    prices = [p.price for p in pieces]
    total = None if any(p is None for p in prices) else sum((p or 0.0) * s for p, s in zip(prices, share, strict=True))
    limited = [(p, s) for p, s in zip(pieces, share, strict=True) if p.threshold_wh is not None]
    green = [(p.green, s) for p, s in zip(pieces, share, strict=True) if p.green is not None]
    weight = sum(s for _, s in green)
    return Piece(
        start,
        end,
        total,
        all(p.binding for p in pieces),
        all(p.known for p in pieces),
        sum(p.threshold_wh or 0.0 for p, _ in limited) if limited and total is not None else None,
        sum((p.beyond or 0.0) * s for p, s in limited) / sum(s for _, s in limited) if limited else None,
        sum(g * s for g, s in green) / weight if weight else None,
    )


def dear_periods(pieces: list[Piece], quantile: float, margin: float) -> list[tuple[float, float, float]]:
    """(start, end, highest price) of the times that are dearer than the quantile and than the mean by a margin.

    A flat day has none: both must be exceeded.
    """
    prices = sorted(p.price for p in pieces if p.price is not None)
    if not prices:
        return []
    bound = prices[min(len(prices) - 1, int(quantile * len(prices)))]
    average = sum(prices) / len(prices)
    lowest = average + margin * abs(average)
    found: list[tuple[float, float, float]] = []
    for piece in pieces:
        if piece.price is None or piece.price < bound or piece.price <= lowest:
            continue
        if found and abs(found[-1][1] - piece.start) < 1.0:
            found[-1] = (found[-1][0], piece.end, max(found[-1][2], piece.price))
        else:
            found.append((piece.start, piece.end, piece.price))
    return found


def slotted(pieces: list[Piece], first: float, n: int, slot_s: float = SLOT_S) -> list[Piece]:
    """The pieces' means over ``n`` slots."""
    found, at = [], 0
    for number in range(n):
        start, end = first + number * slot_s, first + (number + 1) * slot_s
        inside = []
        while at < len(pieces) and pieces[at].start < end - 1e-6:
            piece = pieces[at]
            inside.append(_part(piece, max(piece.start, start), min(piece.end, end)))
            if piece.end > end + 1e-6:
                break
            at += 1
        found.append(inside[0] if len(inside) == 1 else mean(inside, start, end))
    return found


def _part(piece: Piece, start: float, end: float) -> Piece:
    share = (end - start) / (piece.end - piece.start)
    threshold = None if piece.threshold_wh is None else piece.threshold_wh * share
    return Piece(start, end, piece.price, piece.binding, piece.known, threshold, piece.beyond, piece.green)


def quarters_of(pieces: list[Piece]) -> list[Piece]:
    """Pieces cut to quarter hours at most, so that each weighs about the same in a quantile."""
    found = []
    for piece in pieces:
        at = piece.start
        while at < piece.end - 1e-6:
            end = min(piece.end, at - at % SLOT_S + SLOT_S)
            found.append(_part(piece, at, end))
            at = end
    return found


def shown(piece: Piece) -> PriceSlot | None:
    if piece.price is None:
        return None
    return PriceSlot(
        start=instant(piece.start),
        duration_s=piece.end - piece.start,
        price_eur_per_kwh=round(piece.price, 6),
        binding="binding" if piece.binding else "forecast",
        threshold_wh=piece.threshold_wh,
        beyond_eur_per_kwh=piece.beyond,
        green_percent=piece.green,
    )


def merged(slots: list[PriceSlot]) -> list[PriceSlot]:
    """Neighbours that say the same are one slot; those with a threshold stay apart, as it is per slot."""
    found: list[PriceSlot] = []
    for slot in slots:
        last = found[-1] if found else None
        if last is not None and slot.threshold_wh is None:
            joined = msgspec.structs.replace(last, duration_s=last.duration_s + slot.duration_s)
            same = msgspec.structs.replace(slot, start=last.start, duration_s=last.duration_s) == last
            if same and abs(last.start.timestamp() + last.duration_s - slot.start.timestamp()) < 1.0:
                found[-1] = joined
                continue
        found.append(slot)
    return found
