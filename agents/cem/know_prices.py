"""What electricity costs here: tariffs of several issuers, taken, kept, summed up and passed on. IEC-JWG2112.

A tariff is written down before it is acknowledged, and taken back when the issuer can never know that it was. What is
missing is filled from the last known day, else from the settings' fallback, and is never called binding.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date

import msgspec

from agents.cem.keep_time import KeepTime
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.check_tariff import Bounds, fault
from agents.kit.deals import Deal, Deals
from agents.kit.local_day import bounds, date_at, local
from agents.kit.offered_tariffs import OfferedTariffs, issuer_of
from agents.kit.price_stack import Layer, Piece, Stack, dear_periods, merged, quarters_of, shown, slotted
from agents.kit.skill import answers, every, hears, restores, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.emergency import DisplayNotice
from contracts.profiles import SLOT_S, PriceSlot
from contracts.reasons import Reason
from contracts.roles import APP, DEVICES, METER
from contracts.system import Hello
from contracts.tariff import ActiveTariff, AnnounceTariff, PriceInfo, TariffRefused, tariff_notice

log = logging.getLogger("gridparley.cem")
SHOWN_S = 48 * 3600.0
"""How far ahead prices are passed on, at most as far as they are known."""
TAKES_PART = "tariffs.price-info"
"""A device that says so reacts to prices by itself; for all others the CEM interprets them."""
OFF_BEAT = 0.2
"""A sign of life that comes so much beside its period is one of somebody who has just come."""
REMEMBERED = 8
"""So many answers about prices are kept until a price changes."""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """What a restart takes up."""

    layers: tuple[Layer, ...] = ()
    register: tuple[str, float, float] | None = None
    warned: tuple[float, ...] = ()


@skill(
    says_home=(DisplayNotice,),
    tells=((PriceInfo, (APP, *DEVICES)),),
    use_cases=("tariffs.price-info", "tariffs.dynamic", "tariffs.sync"),
)
@dataclass
class KnowPrices:
    """Instants that are asked for are of the process's clock; prices are those of the meter's time then.

    ``relevant`` are callables that name the devices whose flexibility or thresholds make prices matter to them; when
    there is none, every device that takes part in tariffs.price-info is told.
    """

    bus: Bus
    clock: Clock
    address: Address
    state: State
    settings: CemSettings
    peers: Peers
    premises: Premises
    time: KeepTime
    deals: Deals
    on_change: list[Callable[[], None]] = field(default_factory=list)
    relevant: list[Callable[[], Iterable[Address]]] = field(default_factory=list)
    stack: Stack = field(init=False)
    _warned: dict[float, None] = field(default_factory=dict)
    _told_slot: float = float("-inf")
    _untold: list[tuple[AnnounceTariff, bool]] = field(default_factory=list)
    """Taken by a former life that did not come to say so at home."""
    _dear: dict[date, list[tuple[float, float, float]]] = field(default_factory=dict)
    _said: object = None
    _slotted: dict[tuple[float, int, float, bool], list[Piece]] = field(default_factory=dict)
    _hello_at: dict[Address, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stack = Stack(zone=self.settings.time_zone, fallback=self.settings.fallback_price_eur_per_kwh)
        s = self.settings
        self._bounds = Bounds(s.lowest_price_eur_per_kwh, s.highest_price_eur_per_kwh, s.price_horizon_s)
        self.time.on_set.append(self._changed)
        self._offered = OfferedTariffs(self.state, self.deals, self.clock)
        self.deals.on_settled(tariff_notice, self._settled)

    # ---------------------------------------------------------------- what others ask

    def buy(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[float | None, ...]:
        """EUR/kWh with all components, time-weighted over each slot."""
        return tuple(piece.price for piece in self._slots(start, n, slot_s))

    def sell(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[float | None, ...]:
        """What a fed-in kWh earns; 0 where nobody says."""
        return tuple(piece.price or 0.0 for piece in self._slots(start, n, slot_s, sold=True))

    def beyond(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[tuple[float, float] | None, ...]:
        """(threshold in Wh, price of what exceeds it) where a slot has one."""
        return tuple(
            (p.threshold_wh, p.beyond) if p.threshold_wh is not None and p.beyond is not None else None
            for p in self._slots(start, n, slot_s)
        )

    def green(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[float | None, ...]:
        return tuple(piece.green for piece in self._slots(start, n, slot_s))

    def binding(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[bool, ...]:
        """Whether the whole price of a slot is promised; what is filled in never is."""
        return tuple(piece.binding for piece in self._slots(start, n, slot_s))

    def slots(self, start: float, n: int, slot_s: float = SLOT_S) -> tuple[PriceSlot, ...]:
        """As they are passed on; a slot without price is left out. Starts are of the process's clock."""
        found = [shown(piece) for piece in self._slots(start, n, slot_s)]
        shift = self.time.own_time(0.0)
        return tuple(
            slot if abs(shift) < 1e-6 else msgspec.structs.replace(slot, start=instant(slot.start.timestamp() + shift))
            for slot in found
            if slot is not None
        )

    def price_now(self) -> float | None:
        now = self.time.now()
        return next(self.stack.pieces(now, now + 1.0)).price

    def known_until(self) -> float | None:
        """How far ahead energy is priced, by the process's clock."""
        end = self.stack.until()
        return None if end is None else self.time.own_time(end)

    def dear(self, day: date) -> list[tuple[float, float, float]]:
        """(start, end, price) of the dear times of a local day, by the tariff's clock."""
        if day not in self._dear:
            first, end = bounds(day, self.settings.time_zone)
            pieces = [p for p in self.stack.pieces(first, end) if p.known]
            quantile, margin = self.settings.high_price_quantile, self.settings.high_price_margin
            self._dear[day] = dear_periods(quarters_of(pieces), quantile, margin)
        return self._dear[day]

    def _slots(self, start: float, n: int, slot_s: float, *, sold: bool = False) -> list[Piece]:
        first = self.time.tariff_time(start)
        said = (tuple((layer.slots, layer.lasts) for layer in self.stack.layers.values()), self.stack.register)
        if said != self._said:
            self._said = said
            self._slotted.clear()
        key = first, n, slot_s, sold
        if key not in self._slotted:  # a plan asks for five views of the same slots
            if len(self._slotted) >= REMEMBERED:
                self._slotted.clear()
            pieces = list(self.stack.pieces(first, first + n * slot_s, sold=sold))
            self._slotted[key] = slotted(pieces, first, n, slot_s)
        return self._slotted[key]

    # ---------------------------------------------------------------- tariffs arrive

    @answers(tariff_notice)
    async def on_tariff(self, talk: Talk, word: AnnounceTariff) -> None:
        """The same tariff again changes nothing and is acknowledged again."""
        assert talk.peer is not None  # the bus carries it
        issuer = issuer_of(word, talk.peer, self.address.site)
        reason = fault(word, self.time.now(), self._bounds) or self._not_his(issuer, word)
        if reason is None:
            back = self.stack.way_back(issuer, word.component)
            changed = self._use(issuer, word)

            def undo() -> None:
                back()
                self._changed()

            made = await self._offered.take(talk, word, issuer, undo)
            if isinstance(made, Deal):
                await self._settled(made, changed)
                return
            reason = made
        await talk.say(TariffRefused(tariff=word.tariff, reason=reason))

    def _use(self, issuer: str, word: AnnounceTariff) -> bool:
        """Whether it changes what was promised."""
        changed = self.stack.take(issuer, word, self.settings.energy_kind, self.time.now())
        self._changed()
        return changed

    async def _settled(self, deal: Deal, changed: bool | None = None) -> None:
        offer = self._offered.settled(deal)
        if offer is not None:
            known = self._use(offer.issuer, offer.word) if changed is None else changed
            self._tell_of(offer.word, known)
            await self._keep_taken()

    async def _keep_taken(self) -> None:
        try:
            await self._keep()
            await self._offered.forget()
        except NotStored as problem:
            log.warning("%s: prices are stored with the next ones: %s", self.address, problem)

    def _not_his(self, issuer: str, word: AnnounceTariff) -> Reason | None:
        """Energy has one seller at a time: two prices of it would be added up."""
        if word.component != "energy":
            return None
        named = self.settings.suppliers
        if named and issuer not in named:
            text = f"{issuer} sells no energy here; the settings name {', '.join(named)}."
            return Reason(code="not_the_supplier", text=text, binding="contract")
        if named:
            for other, component in list(self.stack.layers):
                if component == "energy" and other not in named:
                    del self.stack.layers[other, component]
        for slot in word.slots:
            start = slot.start.timestamp()
            first = self.stack.overlapping(issuer, "energy", max(start, self.time.now()), start + slot.duration_s)
            if first is not None:
                text = f"{first} has priced {slot.start.isoformat()} already: name the supplier in `suppliers`."
                return Reason(code="second_supplier", text=text, binding="contract")
        return None

    def _tell_of(self, word: AnnounceTariff, changed: bool) -> None:
        if word.warning:
            self.bus.say(DisplayNotice(kind="warning", text=word.warning), home=True)
        if self.settings.tell_tariffs and word.form != "real_time":
            what = "Prices have changed" if changed else "New prices"
            until = f" until {_clock(self, self.stack.until())}" if self.stack.until() is not None else ""
            self.bus.say(DisplayNotice(kind="info", text=f"{what}: {word.tariff}{until}"), home=True)

    @hears(ActiveTariff, of=(METER,), where="home")
    async def follow_register(self, word: ActiveTariff, heard: Heard) -> None:
        """Way 2: the meter says which register counts, the list says what that costs. IEC-WGSP2143."""
        price = self.stack.listed(word.register)
        if price is None:
            price = self.settings.registers_eur_per_kwh.get(word.register, word.price_eur_per_kwh)
        if price is None:
            text = (
                f"{heard.sender} counts in register {word.register!r}, which no tariff list has: its price is unknown."
            )
            self.bus.say(DisplayNotice(kind="warning", text=text), home=True)
            self.stack.register = None
        else:
            self.stack.register = (word.register, word.since.timestamp(), price)
        self._changed()
        await self._keep()

    # ---------------------------------------------------------------- telling others

    @started
    async def tell_first(self) -> None:
        for word, changed in self._untold:
            self._tell_of(word, changed)
        self._untold.clear()
        self.tell()

    @every("prices_every_s")
    def tell(self, only: Address | None = None) -> None:
        """To the site's apps and to the devices that they matter to; to nobody else."""
        now = self.time.now()
        first = now - now % SLOT_S
        until = min(first + SHOWN_S, self.stack.until() or first + 24 * 3600.0)
        n = max(1, round((until - first) / SLOT_S))
        bought = [s for s in map(shown, slotted(list(self.stack.pieces(first, first + n * SLOT_S)), first, n)) if s]
        if not bought:
            return
        sold: list[PriceSlot | None] = []
        if any(component == "feed_in" for _, component in self.stack.layers):
            sold = [*map(shown, slotted(list(self.stack.pieces(first, first + n * SLOT_S, sold=True)), first, n))]
        info = PriceInfo(
            slots=tuple(merged(bought)),
            feed_in=tuple(merged([s for s in sold if s])),
            issuers=tuple(sorted({issuer for issuer, _ in self.stack.layers})),
        )
        for receiver in self._to_tell() if only is None else [only]:
            self.bus.tell(receiver, info)

    @hears(Hello, of=(APP,), where="home")
    def greet(self, hello: Hello, heard: Heard) -> None:
        """An app has come: it need not wait for the next turn. One that keeps its beat has been here all the time."""
        passed = heard.at - self._hello_at.get(heard.sender, float("-inf"))
        self._hello_at[heard.sender] = heard.at
        if abs(passed - hello.every_s) > OFF_BEAT * hello.every_s and not hello.leaving:
            self.tell(only=heard.sender)

    def _to_tell(self) -> list[Address]:
        apps = [peer for peer in self.peers.of(APP) if peer.site == self.address.site]
        able = [a for a, device in self.premises.devices.items() if TAKES_PART in device.announce.use_cases]
        if self.relevant:
            named = {address for ask in self.relevant for address in ask()}
            able = [address for address in able if address in named]
        return [*apps, *able]

    @every(60.0)
    async def watch_time(self) -> None:
        """Warn of dear times before they begin; and each new quarter hour of a price is news for who acts on prices."""
        now = self.time.now()
        today = date_at(now, self.settings.time_zone)
        for day in (today, date_at(now + 86_400.0, self.settings.time_zone)):
            for start, end, price in self.dear(day):
                if now < start <= now + self.settings.warn_before_s and start not in self._warned:
                    await self._warn(start, end, price, now)

    async def _warn(self, start: float, end: float, price: float, now: float) -> None:
        self._warned[start] = None
        here = self.price_now()
        than = f" instead of {here:.3f} now" if here is not None else ""
        text = f"Electricity is dearer from {_clock(self, start)} to {_clock(self, end)}: {price:.3f} EUR/kWh{than}"
        self.bus.say(DisplayNotice(kind="warning", text=text), home=True)
        for old in [at for at in self._warned if at < now - 86_400.0]:
            del self._warned[old]
        await self._keep()

    def _changed(self) -> None:
        self._dear.clear()
        self.tell()
        for act in self.on_change:
            act()

    # ---------------------------------------------------------------- life

    @restores
    async def take_up(self) -> None:
        kept = await self.state.get("prices", Kept) or Kept()
        self.stack.layers = {(layer.issuer, layer.component): layer for layer in kept.layers}
        self.stack.register = kept.register
        self._warned = dict.fromkeys(kept.warned)
        for offer in await self._offered.restore():
            changed = self.stack.take(offer.issuer, offer.word, self.settings.energy_kind, self.time.now())
            self._untold.append((offer.word, changed))
        if self._untold:
            await self._keep_taken()

    def _kept(self) -> Kept:
        layers = tuple(self.stack.layers.values())
        return Kept(layers=layers, register=self.stack.register, warned=tuple(self._warned))

    async def _keep(self) -> None:
        await self.state.put("prices", self._kept())


def _clock(prices: KnowPrices, at: float | None) -> str:
    return "" if at is None else f"{local(at, prices.settings.time_zone):%a %H:%M}"
