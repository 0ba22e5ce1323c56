"""The household's rules, kept at home: they act with the link down, and stop when the household says so.

IC-GR-HLUC1-AUTO; IC-FR-HLUC1-STORIES; ETSI-5.3.2. A third party's rules act as long as the household agrees to them. A
wish of a rule gives way to the hand and to an order (``wishes``), and to everything that protects.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import anyio
import msgspec
from anyio.abc import TaskGroup

from agents.cem.hand import Hand, wish_of
from agents.cem.know_prices import KnowPrices
from agents.cem.preferences import HEATERS, KEPT_S, Preferences
from agents.cem.premises import Device, Premises
from agents.cem.report_change import ReportChanges
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wish, Wishes
from agents.kit.agent import Peers
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.rules import Acting, Place, Sensed, due, holds, in_words, objection
from agents.kit.skill import answers, every, hears, restores, skill, started
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceReading
from contracts.emergency import DisplayNotice
from contracts.home_rules import Rule, RulesRefused, RulesTaken, SetRules, rules_write
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.roles import APP, BUILDING, DEVICES
from contracts.site_power import ChangeFine, ReportChange, ReturnExcess, change_report

log = logging.getLogger("gridparley.cem")
EVENT_HOLDS_S = 300.0
"""What an event has switched stays so for at least this, so that a value at its bound does not chatter."""
PURPOSE = "rules"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """Rules by owner, what has acted by device, and until when the clock has been looked at (run seconds)."""

    rules: dict[str, tuple[Rule, ...]] = msgspec.field(default_factory=dict)
    acting: dict[str, Acting] = msgspec.field(default_factory=dict)
    looked: float = 0.0


@skill(opens=(change_report,), says_home=(DisplayNotice,), use_cases=("home.rules",))
@dataclass
class KeepRules:
    """Looks at the clock and at every reading."""

    bus: Bus
    clock: Clock
    state: State
    deals: Deals
    settings: CemSettings
    peers: Peers
    premises: Premises
    preferences: Preferences
    prices: KnowPrices
    wishes: Wishes
    changes: ReportChanges
    kept: Kept = field(default_factory=Kept)
    _met: set[tuple[str, str]] = field(default_factory=set)
    _asking: set[str] = field(default_factory=set)
    _granted: set[str] = field(default_factory=set)
    _tasks: TaskGroup | None = None
    _restored: bool = False
    _keeping: anyio.Lock = field(default_factory=anyio.Lock)

    def __post_init__(self) -> None:
        self.deals.on_settled(rules_write, self._settled)
        self.changes.give_back.append(self._give_back)
        self.preferences.on_change.append(self.look)

    @restores
    async def restore(self) -> None:
        self.kept = await self.state.get("rules", Kept) or Kept(looked=self.clock.now())
        self._restored = True
        for deal in self.deals.standing(rules_write):
            await self._settled(deal)

    @started
    async def keep_storing(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            self.look()
            await anyio.sleep_forever()

    # ---------------------------------------------------------------- set

    @answers(rules_write)
    async def on_rules(self, talk: Talk, word: SetRules) -> None:
        refusal = self._forbidden(talk, word) or objection(word.rules, self._known())
        if refusal is None:
            try:
                until = self.clock.now() + KEPT_S
                deal = await self.deals.close(talk, RulesTaken(), word, until=until)
                if deal.phase == "on":
                    await self._settled(deal)
                return
            except (NotStored, TooManyDeals) as problem:
                refusal = Reason(code="not_stored", text=f"{problem}: the rules before still run, set them again.")
        await talk.say(RulesRefused(reason=refusal))

    def _forbidden(self, talk: Talk, word: SetRules) -> Reason | None:
        assert talk.peer is not None  # the bus knows who opened it
        if talk.peer.role == APP.name:
            allowed = self.preferences.allowed(talk.peer, word.user, "rules")
        else:
            allowed = self.preferences.consented(talk.peer, PURPOSE)
        if allowed:
            return None
        text = f"{word.user} at {talk.peer} may not set rules here: the household has to agree to it first."
        return Reason(code="not_agreed", text=text, binding="consent")

    async def _settled(self, deal: Deal) -> None:
        if not self._restored or deal.phase != "on":
            return
        rules = dict(self.kept.rules)
        rules[str(deal.peer)] = deal.read(SetRules).rules
        names = {(rule.device, rule.name) for own in rules.values() for rule in own}
        acting = {device: one for device, one in self.kept.acting.items() if (device, one.rule.name) in names}
        if rules != self.kept.rules:
            await self._keep(msgspec.structs.replace(self.kept, rules=rules, acting=acting, looked=self.clock.now()))
        await self.deals.end(deal)
        self.look()

    async def _keep(self, kept: Kept) -> None:
        async with self._keeping:
            await self.state.put("rules", kept)
            self.kept = kept

    def _known(self) -> tuple[str, ...]:
        return tuple(sorted(device.name for device in self.premises.devices.values()))

    # ---------------------------------------------------------------- look

    @hears(DeviceReading, of=DEVICES, where="home")
    def hear(self, _reading: DeviceReading, _heard: Heard) -> None:
        if any(self.kept.rules.values()):
            self.look()

    @every("rules_every_s")
    def look(self) -> None:
        """What has been triggered since the last look acts, and what is over lets go."""
        if not self._restored:
            return
        now = self.clock.now()
        acting = {device: one for device, one in self.kept.acting.items() if not self._over(one, now)}
        news = sorted(self._triggered(now), key=lambda one: one.since)
        for one in news:
            acting.pop(one.rule.device, None)
            if one.rule.action != "release" and not self._over(one, now):
                acting[one.rule.device] = one
        changed = acting != self.kept.acting
        self.kept = msgspec.structs.replace(self.kept, acting=acting, looked=now)
        if changed and self._tasks is not None:
            self._tasks.start_soon(self._store)
        for one in news:
            self._tell(one)
        self._wish()

    async def _store(self) -> None:
        async with self._keeping:
            try:
                await self.state.put("rules", self.kept)
            except NotStored as problem:
                log.warning("%s: what its rules have done is not stored: %s", self.bus.address, problem)

    def _in_force(self) -> Iterator[tuple[str, Rule]]:
        """Rules that may act now: the household's own, and those of others that it agrees to."""
        if not self.preferences.service:
            return
        for owner, rules in self.kept.rules.items():
            own = owner.split(".")[1] == APP.name
            agreed = PURPOSE in self.preferences.consents.get(owner, ()) and self.preferences.flexibility
            if own or agreed:
                yield from ((owner, rule) for rule in rules)

    def _triggered(self, now: float) -> Iterator[Acting]:
        place = Place(self.settings.time_zone, self.settings.latitude_deg, self.settings.longitude_deg)
        for owner, rule in self._in_force():
            key = owner, rule.name
            at = due(rule, self.kept.looked, now, place)
            met = holds(rule.trigger, self._sensed(rule), self.prices.price_now())
            if met and key not in self._met:
                at = now
            if met is not None:
                (self._met.add if met else self._met.discard)(key)
            if at is not None:
                until = at + rule.for_s if rule.for_s is not None else None
                yield Acting(rule=rule, since=at, until=until)

    def _over(self, acting: Acting, now: float) -> bool:
        if acting.until is not None:
            return now >= acting.until
        met = holds(acting.rule.trigger, self._sensed(acting.rule), self.prices.price_now())
        return met is False and now - acting.since >= EVENT_HOLDS_S

    def _sensed(self, rule: Rule) -> Sensed:
        if rule.trigger.sensed is None:
            gcp = self.premises.gcp if self.premises.meter_fresh else None
            return Sensed(power_w=gcp.power_w if gcp is not None else None)
        device = self.premises.by_name(rule.trigger.sensed)
        if device is None or device.reading is None or self.clock.now() - device.read_at > self.settings.stale_after_s:
            return Sensed()
        reading = device.reading
        return Sensed(reading.temperature_c, reading.soc_percent, reading.power_w)

    def _tell(self, acting: Acting) -> None:
        rule = acting.rule
        text = f"{rule.device} {rule.action}, by the rule {rule.name!r}: {in_words(rule)}."
        log.info("%s: %s", self.bus.address, text)
        self.bus.say(DisplayNotice(kind="info", text=text, device=rule.device), home=True)

    # ---------------------------------------------------------------- act

    def _wish(self) -> None:
        wishes: dict[str, Wish] = {}
        now = self.clock.now()
        names = {rule.name for _, rule in self._in_force()}
        for device in self.premises.devices.values():
            kind = device.announce.device_class
            if not self.preferences.controlled(device.name, kind) or not self.preferences.service:
                continue
            acting = self.kept.acting.get(device.name)
            if acting is not None and acting.rule.name in names:
                wish = self._by_rule(device, acting, now)
                if wish is not None:
                    wishes[device.name] = wish
            elif kind in HEATERS and self.preferences.away(now):
                text = f"Nobody is at home: {device.name} is not needed."
                reason = Reason(code="vacation", text=text, binding="preferences")
                wishes[device.name] = Wish(source="rule", reason=reason, off=True)
        self.wishes.put_all(wishes, "rule")

    def _by_rule(self, device: Device, acting: Acting, now: float) -> Wish | None:
        rule = acting.rule
        if self._needs_leave(device, acting):
            return None
        hand = Hand(user=rule.name, action=rule.action, power_w=rule.power_w, since=acting.since, talk="")
        wish = wish_of(hand, device, now)
        if wish is None:
            return None
        reason = Reason(code="rule", text=f"By the rule {rule.name!r}: {in_words(rule)}.", binding=rule.name)
        return replace(wish, source="rule", reason=reason, until=acting.until)

    def _needs_leave(self, device: Device, acting: Acting) -> bool:
        """A car is started only when the building's orchestrator has authorised it. IC-FR-HLUC1-STORIES."""
        kind, key = device.announce.device_class, f"{device.name} {acting.since}"
        if kind != "evse" or acting.rule.action == "off" or self.peers.one(BUILDING) is None:
            return False
        if key in self._granted:
            return False
        if key not in self._asking and self._tasks is not None:
            self._asking.add(key)
            self._tasks.start_soon(self._ask_leave, device, acting, key)
        return True

    async def _ask_leave(self, device: Device, acting: Acting, key: str) -> None:
        orchestrator = self.peers.one(BUILDING)
        assert orchestrator is not None  # who asks has looked
        power = acting.rule.power_w if acting.rule.power_w is not None else device.announce.nominal_upper_w
        word = ReportChange(kind="ad_hoc_rule", device_class=device.announce.device_class, power_w=power)
        async with self.bus.talk(change_report, orchestrator) as talk:
            await talk.say(word)
            match await talk.hear(ChangeFine, ReturnExcess, Lapsed):
                case ChangeFine():
                    self._granted.add(key)
                    self._wish()
                case ReturnExcess(reason=reason):
                    self._not_started(device, reason.text)
                case Lapsed():
                    self._not_started(device, "the building has not authorised it")

    def _not_started(self, device: Device, why: str) -> None:
        text = f"{device.name} is not started by its rule: {why}."
        self.bus.say(DisplayNotice(kind="warning", text=text, device=device.name), home=True)

    async def _give_back(self, device: str, reason: Reason) -> None:
        """The building could not bear it."""
        acting = {name: one for name, one in self.kept.acting.items() if name != device}
        if acting != self.kept.acting:
            log.info("%s: the rule lets go of %s: %s", self.bus.address, device, reason.text)
            await self._keep(msgspec.structs.replace(self.kept, acting=acting))
