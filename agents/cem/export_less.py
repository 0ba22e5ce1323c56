"""The supplier asks for less export: local loads absorb it, or generators are switched off. IEC-JWG120x, IEC-JWG121x.

The order of the two is a setting. Absorbing: batteries and cars, the heat pump (on, or more power if it runs), then
loads where its tank is full; what is not absorbed is curtailed. Switching off: fuel cells, then PV, until it is enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite

import msgspec

from agents.cem.allocate import Unit
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.premises import Claim, Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.third_parties import ThirdParties
from agents.cem.wishes import Wish, Wishes
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.skill import answers, every, restores, skill
from bus import tracing
from bus.address import Address
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.flexibility import ThermalFlexibility
from contracts.reasons import Reason
from contracts.tariff import AskExport, ExportAgreed, ExportDeclined, export_request

WHY = "export_request"
FULL_WITHIN_K = 0.5
GENERATORS = ("fuelcell", "pv")
"""In the order in which they are switched off: fuel first, sunshine last."""


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """What was agreed with the supplier: ``export_w`` at most, by absorbing, these loads on, these generators off."""

    export_w: float
    hard: bool
    on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    until: float


@dataclass(frozen=True, kw_only=True)
class Way:
    """How far it can be brought down, and by whom."""

    export_w: float
    means: tuple[str, ...] = ()
    off: tuple[str, ...] = ()


def able_to_absorb(units: Sequence[Unit]) -> list[tuple[str, float]]:
    """(device, more W that it can take now) of everything that can use a surplus, as the allocator will ask it."""
    able = []
    for unit in units:
        if not unit.fresh or unit.keep_off or unit.kind in GENERATORS:
            continue
        if unit.kind == "battery" or unit.kind == "evse" or unit.can_absorb:
            more = unit.upper_w - (unit.power_w if unit.kind == "battery" else max(0.0, unit.power_w))
            if more > 0 and (unit.power_w >= unit.minimum_run_w or unit.upper_w >= unit.minimum_run_w):
                able.append((unit.name, more))
    return able


def absorb(export_w: float, target_w: float, able: Sequence[tuple[str, float]]) -> Way:
    """Loads take what is too much, the first ones first."""
    means, left = [], export_w
    for name, more in able:
        if left <= target_w:
            break
        means.append(name)
        left -= more
    return Way(export_w=max(left, target_w), means=tuple(means))


def switch_off(export_w: float, target_w: float, generating: Sequence[tuple[str, float]]) -> Way:
    """Generators (name, magnitude of what it gives now) go off one after the other until it is enough."""
    off, left = [], export_w
    for name, gives in generating:
        if left <= target_w:
            break
        off.append(name)
        left -= gives
    return Way(export_w=max(0.0, left), means=tuple(off), off=tuple(off))


def target_w(export_w: float, request: AskExport) -> float:
    """What may be fed in as the supplier wants it; without a figure: nothing."""
    wanted = [w for w in (request.export_upper_w,) if w is not None]
    wanted += [export_w - w for w in (request.less_by_w,) if w is not None]
    return max(0.0, min(wanted, default=0.0))


@skill(use_cases=("limits.export",))
@dataclass
class ExportLess:
    """One promise per supplier; it ends by itself."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    deals: Deals
    parties: ThirdParties
    flexibility: KnowFlexibility
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _traces: dict[str, str | None] = field(default_factory=dict)
    _wished: set[str] = field(default_factory=set)
    _claimed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.deals.on_settled(export_request, self._settled)
        self.parties.preferences.on_change.append(self.impose)

    @restores
    async def restore(self) -> None:
        self.impose()

    @answers(export_request)
    async def on_request(self, talk: Talk, request: AskExport) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        promise = self._promise(peer, request)
        if isinstance(promise, Reason):
            await talk.say(ExportDeclined(reason=promise))
            return
        terms, means = promise
        text = f"At most {terms.export_w:.0f} W are fed in from now on."
        reason = Reason(code="agreed", text=text, inputs={"export_w": self._export_w()}, talk=talk.id)
        answer = ExportAgreed(export_upper_w=terms.export_w, means=means, reason=reason)
        try:
            self._traces[str(peer)] = tracing.current()
            deal = await self.deals.close(talk, answer, terms, until=terms.until)
        except (NotStored, TooManyDeals) as problem:
            await talk.say(ExportDeclined(reason=Reason(code="not_stored", text=f"{problem}: ask again.")))
            return
        await self._settled(deal)

    def _promise(self, peer: Address, request: AskExport) -> tuple[Promise, tuple[str, ...]] | Reason:
        now, gcp = self.clock.now(), self.premises.gcp
        wrong = self.parties.objection(peer, self.settings.export_requests_from)
        if wrong is not None:
            return wrong
        if gcp is None or not self.premises.meter_fresh:
            return Reason(code="stale", text="Without a young meter value nothing can be promised: ask again.")
        until = now + self.settings.export_request_s if request.until is None else request.until.timestamp()
        if until <= now:
            return Reason(code="already_over", text="The request ends before now.")
        figures = [w for w in (request.export_upper_w, request.less_by_w) if w is not None]
        if not all(isfinite(w) and w >= 0 for w in figures):
            return Reason(code="wrong_sign", text="export_upper_w and less_by_w are magnitudes: 0 W or more.")
        export = self._export_w()
        target = target_w(export, request)
        way = self._way(export, target)
        if export > target and way.export_w > export - self.settings.export_step_w:
            text = "Nothing here can take more now, and no generator may be switched off."
            return Reason(code="nothing_to_give", text=text, inputs={"export_w": export, "asked_w": target})
        hard = "switch_off" in self.settings.export_means and not way.off
        loads = tuple(name for name in way.means if name in self.settings.export_loads)
        kept = max(way.export_w, target)
        return Promise(export_w=kept, hard=hard, on=loads, off=way.off, until=until), way.means

    def _export_w(self) -> float:
        return 0.0 if self.premises.gcp is None else max(0.0, -self.premises.gcp.power_w)

    def _way(self, export_w: float, target_w: float) -> Way:
        """By the means that are set, in their order; what the first leaves is for the second."""
        now = self.clock.now()
        devices = [d for d in self.premises.devices.values() if d.steered and self.parties.controlled(d)]
        units = sorted((d.unit(now, self.settings, 0.0) for d in devices), key=lambda u: (u.rank, u.name))
        units.sort(key=lambda u: ("battery", "evse").index(u.kind) if u.kind in ("battery", "evse") else 2)
        made = Way(export_w=export_w)
        for mean in self.settings.export_means:
            if mean == "absorb":
                room = {d.name for d in devices if not self._full(d)}
                able = [one for one in able_to_absorb(units) if one[0] in room]
                way = absorb(made.export_w, target_w, [*able, *self._loads(devices)])
            elif not made.means:
                way = switch_off(made.export_w, target_w, _generating(devices))
            else:  # loads take what they can; the rest is curtailed, not switched off
                curtailed = made.export_w > target_w
                names = tuple(name for name, _ in _generating(devices)) if curtailed else ()
                way = Way(export_w=target_w if names else made.export_w, means=names)
            made = Way(export_w=way.export_w, means=made.means + way.means, off=made.off + way.off)
        return made

    def _full(self, device: Device) -> bool:
        """Its store takes no more: a tank at capacity. IEC-JWG1204."""
        offer = self.flexibility.offers.get(device.address)
        store = None if offer is None else offer.flexibility
        if not isinstance(store, ThermalFlexibility) or not store.heats or device.reading is None:
            return False
        now_c = device.reading.temperature_c
        return (store.temperature_c if now_c is None else now_c) >= store.highest_c - FULL_WITHIN_K

    def _loads(self, devices: Sequence[Device]) -> list[tuple[str, float]]:
        """Loads that the household lets be switched on for this and that are off, with what they take."""
        off = {d.name: d for d in devices if d.reading is not None and not d.on}
        return [(name, off[name].announce.nominal_upper_w) for name in self.settings.export_loads if name in off]

    async def _settled(self, deal: Deal) -> None:
        if deal.phase != "on":
            return
        for earlier in self.deals.standing(export_request):
            if earlier.peer == deal.peer and earlier.id != deal.id:
                await self.deals.end(earlier)
        self.impose()
        for act in self.on_change:
            act()

    @every("reading_every_s")
    def impose(self) -> None:
        claimed, wishes = set(), {}
        for deal in self.deals.standing(export_request):
            if self.parties.objection(deal.peer, self.settings.export_requests_from) is not None:
                continue
            promise, trace = deal.read(Promise), self._traces.get(str(deal.peer))
            for name in promise.on:
                load = self.premises.by_name(name)
                if load is not None:
                    reason = Reason(code=WHY, text=f"{deal.peer} asked for less export: it uses it.", talk=deal.id)
                    wanted = load.announce.nominal_upper_w
                    wishes[name] = Wish(source="order", reason=reason, lower_w=wanted, until=promise.until, trace=trace)
            if "absorb" in self.settings.export_means or promise.hard:
                claimed.add(str(deal.peer))
                bound = -promise.export_w
                lower, soft = (bound, -inf) if promise.hard else (-inf, bound)
                claim = Claim(why=WHY, lower_w=lower, soft_lower_w=soft, trace=trace)
                self.premises.claim(f"export {deal.peer}", claim)
            for name in promise.off:
                text = f"{deal.peer} asked for less export: it is off until the request ends."
                reason = Reason(code=WHY, text=text, binding=WHY, talk=deal.id)
                wishes[name] = Wish(source="order", reason=reason, off=True, until=promise.until, trace=trace)
        for name in self._wished - set(wishes):
            self.wishes.put(name, None, "order")
        for name, wish in wishes.items():
            self.wishes.put(name, wish, "order")
        for supplier in self._claimed - claimed:
            self.premises.claim(f"export {supplier}", None)
        self._wished, self._claimed = set(wishes), claimed


def _generating(devices: Sequence[Device]) -> list[tuple[str, float]]:
    """Generators that give power now: (name, magnitude), fuel cells first."""
    found = [
        (GENERATORS.index(d.announce.device_class), d.name, -d.reading.power_w)
        for d in devices
        if d.announce.device_class in GENERATORS and d.reading is not None and d.reading.power_w < 0
    ]
    return [(name, gives) for _, name, gives in sorted(found)]
