"""What the day has cost and used, metered and priced, beside what it would have cost without any control.

IC-FR-HLUC1 KPI 1 and 3, IC-FR-HLUC2 KPI 1 and 2. Without control each device takes its energy as soon as it wants it,
at the power that it wants, and a battery rests: decision 0034.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from agents.cem.know_prices import KnowPrices
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.steer_devices import SteerDevices
from agents.kit.skill import every, restores, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.transport import NotStored
from contracts.home_plan import Balance
from contracts.profiles import SLOT_S

LONGEST_GAP_S = 60.0
"""A longer silence of the meter is no energy: nothing is guessed."""
GENERATORS = ("pv", "fuelcell")


class Slot(msgspec.Struct, kw_only=True):
    """One quarter hour so far: energies in Wh, flows of the connection point as magnitudes, prices in EUR/kWh.

    ``taken`` is what each shiftable device took, ``wanted`` what it would have taken freely.
    """

    start: float
    import_wh: float = 0.0
    export_wh: float = 0.0
    generated_wh: float = 0.0
    stored_wh: float = 0.0
    taken: dict[str, float] = {}
    wanted: dict[str, float] = {}
    buy: float | None = None
    sell: float = 0.0
    asked: int = 0
    done: int = 0


def at_once(taken: Sequence[float], wanted: Sequence[float]) -> list[float]:
    """When a device would have taken its energy without control: as early as it wanted, job by job, as much as it took.

    A job is a run of slots in which it wanted or took something.
    """
    out, n = [0.0] * len(taken), 0
    while n < len(taken):
        end = n
        while end < len(taken) and (taken[end] > 0 or wanted[end] > 0):
            end += 1
        left = sum(taken[n:end])
        for k in range(n, end):
            out[k] = min(left, max(taken[k], wanted[k]))
            left -= out[k]
        n = end + 1
    return out


def uncontrolled(slots: Sequence[Slot]) -> list[float]:
    """The connection point's energy by slot without control, Wh, + = taken."""
    names = sorted({name for slot in slots for name in slot.taken})
    free = {n: at_once([s.taken.get(n, 0.0) for s in slots], [s.wanted.get(n, 0.0) for s in slots]) for n in names}
    return [
        slot.import_wh - slot.export_wh - slot.stored_wh + sum(free[n][k] - slot.taken.get(n, 0.0) for n in names)
        for k, slot in enumerate(slots)
    ]


def costs(slots: Sequence[Slot]) -> tuple[float, float]:
    """(as metered, without control) in EUR; a slot without a price costs nothing in either."""
    cost = without = 0.0
    for slot, net in zip(slots, uncontrolled(slots), strict=True):
        if slot.buy is None:
            continue
        cost += (slot.import_wh * slot.buy - slot.export_wh * slot.sell) / 1000
        without += net / 1000 * (slot.buy if net > 0 else slot.sell)
    return cost, without


@skill(says_home=(Balance,), use_cases=("home.self-consumption",))
@dataclass
class KeepBalance:
    """Per local day; said regularly and at its end, kept over restarts."""

    bus: Bus
    clock: Clock
    state: State
    settings: CemSettings
    premises: Premises
    prices: KnowPrices
    preferences: Preferences
    steer: SteerDevices
    slots: list[Slot] = field(default_factory=list)
    _at: float | None = None
    _orders: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        self.premises.on_meter.append(self._note)
        self.prices.on_change.append(self._price_again)

    def _price_again(self) -> None:
        """A tariff may come when the quarter hours that it prices have begun."""
        if not self.slots:
            return
        start, n = self.slots[0].start, round((self.slots[-1].start - self.slots[0].start) / SLOT_S) + 1
        buy, sell = self.prices.buy(start, n), self.prices.sell(start, n)
        for slot in self.slots:
            k = round((slot.start - start) / SLOT_S)
            slot.buy, slot.sell = buy[k], sell[k] or 0.0

    @restores
    async def restore(self) -> None:
        kept = await self.state.get("balance", list[Slot]) or []
        self.slots = [slot for slot in kept if self._day(slot.start) == self._day(self.clock.now())]

    def _day(self, at: float) -> str:
        return self.preferences.local(at).date().isoformat()

    def _note(self) -> None:
        gcp, now = self.premises.gcp, self.premises.gcp_at
        before, self._at = self._at, now
        if gcp is None or before is None or not 0 < now - before <= LONGEST_GAP_S:
            return
        slot, hours = self._slot(now), (now - before) / 3600
        slot.import_wh += max(0.0, gcp.power_w) * hours
        slot.export_wh += max(0.0, -gcp.power_w) * hours
        asked, done = self._orders
        self._orders = (self.steer.asked, self.steer.done)
        slot.asked, slot.done = slot.asked + self.steer.asked - asked, slot.done + self.steer.done - done
        for device in self.premises.devices.values():
            self._count(slot, device, hours)

    def _count(self, slot: Slot, device: Device, hours: float) -> None:
        reading, kind = device.reading, device.announce.device_class
        if reading is None or self.clock.now() - device.read_at > self.settings.stale_after_s:
            return
        if kind in GENERATORS:
            slot.generated_wh += max(0.0, -reading.power_w) * hours
        elif kind == "battery":
            slot.stored_wh += reading.power_w * hours
        elif device.steered:
            wants = reading.upper_w if reading.operating in ("running", "waiting", "paused") else 0.0
            slot.taken[device.name] = slot.taken.get(device.name, 0.0) + max(0.0, reading.power_w) * hours
            slot.wanted[device.name] = slot.wanted.get(device.name, 0.0) + max(reading.power_w, wants, 0.0) * hours

    def _slot(self, now: float) -> Slot:
        start = now // SLOT_S * SLOT_S
        if self.slots and self.slots[-1].start == start:
            return self.slots[-1]
        if self.slots and self._day(self.slots[0].start) != self._day(start):
            self._say(self.slots[-1].start + SLOT_S)
            self.slots = []
        sell = self.prices.sell(start, 1)[0]
        self.slots.append(Slot(start=start, buy=self.prices.buy(start, 1)[0], sell=sell or 0.0, taken={}, wanted={}))
        return self.slots[-1]

    def _say(self, until: float) -> None:
        cost, without = costs(self.slots)
        generated, fed_in = (sum(getattr(s, name) for s in self.slots) for name in ("generated_wh", "export_wh"))
        said = Balance(
            since=instant(self.slots[0].start),
            until=instant(until),
            cost_eur=round(cost, 4),
            unplanned_cost_eur=round(without, 4),
            generated_wh=generated,
            self_consumed_wh=max(0.0, generated - fed_in),
            import_wh=sum(s.import_wh for s in self.slots),
            export_wh=fed_in,
            activations_asked=sum(s.asked for s in self.slots),
            activations_done=sum(s.done for s in self.slots),
            unplanned_import_wh=sum(max(0.0, net) for net in uncontrolled(self.slots)),
            used_by_kind_wh=self._by_kind(),
        )
        self.bus.say(said, home=True)

    def _by_kind(self) -> dict[str, float]:
        """Device class -> Wh; what no device accounts for is ``other``."""
        used: dict[str, float] = {}
        for slot in self.slots:
            for name, wh in slot.taken.items():
                device = self.premises.by_name(name)
                kind = name.partition(".")[0] if device is None else device.announce.device_class
                used[kind] = used.get(kind, 0.0) + wh
        household = sum(s.import_wh + s.generated_wh - s.export_wh - s.stored_wh for s in self.slots)
        return {**used, "other": max(0.0, household - sum(used.values()))}

    @every("balance_every_s")
    async def tell(self) -> None:
        if not self.slots:
            return
        self._say(self.clock.now())
        try:
            await self.state.put("balance", self.slots)
        except NotStored:
            return  # the next turn keeps it
