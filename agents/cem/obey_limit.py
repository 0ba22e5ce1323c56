"""The controllable system of EEBUS LPC/LPP: takes limits and failsafe values, watches the guard, ends limits.

A write is in force at once, and a deal once its acceptance is in the guard's stream. It is written down as that deal;
``limits`` has what happens besides. After a restart the newer of the two counts.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf

import msgspec

from agents.cem.constraints import constraints
from agents.cem.household_budget import THRESHOLD_W, ems_floor_w, shares
from agents.cem.join_devices import JoinDevices
from agents.cem.limit_deals import STANDING_S, TABLES, Terms, forget_older, forget_replaced, newest
from agents.cem.limit_figures import watch_limits
from agents.cem.limit_rules import check_failsafe, read_limit
from agents.cem.limit_state import (
    Control,
    Effect,
    Entered,
    Event,
    FailsafeWritten,
    GuardBack,
    HeartbeatHeard,
    LimitWritten,
    Refused,
    Restarted,
    Rules,
    SoftStart,
    TakenBack,
    Tick,
    step,
)
from agents.cem.premises import Claim, Premises
from agents.cem.settings import CemSettings
from agents.kit.agent import Peers
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.skill import answers, every, hears, rejoined, restores, skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.kit import Message
from contracts.power_limit import (
    Constraints,
    Direction,
    FailsafeAccepted,
    FailsafeRefused,
    Heartbeat,
    LimitAccepted,
    LimitRefused,
    LimitState,
    SetFailsafe,
    SetLimit,
    failsafe_write,
    limit_write,
)
from contracts.power_limit import State as Mode
from contracts.reasons import Reason
from contracts.roles import DSO, HES

log = logging.getLogger("gridparley.cem")
DIRECTIONS: tuple[Direction, ...] = ("consumption", "production")
SEVEREST: tuple[Mode, ...] = ("failsafe", "init", "limited", "unlimited_controlled", "unlimited_autonomous")
"""Both directions are told as one state: the one that says most."""


@skill(
    says_grid=(Constraints, LimitState),
    tells=((Heartbeat, (DSO, HES)),),
    use_cases=("limits.lpc", "limits.profile"),
)
@dataclass
class ObeyLimit:
    """Carries the pure state machine: one per direction, for the one guard of this site."""

    bus: Bus
    address: Address
    clock: Clock
    state: State
    settings: CemSettings
    peers: Peers
    premises: Premises
    joined: JoinDevices
    deals: Deals
    controls: dict[Direction, Control] = field(default_factory=dict)
    guard: Address | None = None
    _why: Reason = field(default_factory=lambda: Reason(code="start", text="The agent has started."))
    _unsaid: bool = False
    _unsaved: bool = False
    _dark: bool = False
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _constraints: Constraints | None = None
    _cached: dict[Direction, Rules] = field(default_factory=dict)

    def __post_init__(self) -> None:
        named = self.settings.guard
        self.guard = Address.parse(named) if named is not None else self.peers.one(DSO)
        watch_limits(self.controls, self.clock)
        self.premises.on_fleet.append(self._fleet_changed)
        self.premises.on_meter.append(self._watch_voltage)
        for table in TABLES:
            self.deals.on_settled(table, self._settled_later)

    # ---------------------------------------------------------------- life

    @restores
    async def restore(self) -> None:
        if self.guard is None:
            log.info("%s has no energy guard: no limits and no failsafe", self.address)
            return
        now, guard = self.clock.now(), str(self.guard)
        stored = await self.state.get("limits", dict[Direction, Control]) or {}
        for direction in DIRECTIONS:
            control = newest(self.deals, direction, stored.get(direction))
            if control is None or control.guard != guard:
                control = Control(
                    revision=0 if control is None else control.revision,
                    direction=direction,
                    guard=guard,
                    failsafe_w=self._default_failsafe_w(direction),
                    failsafe_duration_s=self.settings.failsafe_duration_s,
                    since=now,
                    grace_from=now,
                )
            else:
                control, effects = step(control, Restarted(now), self._rules(direction))
                self._follow(effects)
            self.controls[direction] = control
        await forget_replaced(self.deals)
        self._unsaid = self._unsaved = True
        self._impose()

    @started
    async def greet(self) -> None:
        self._beat()
        self._say_constraints(always=True)

    @rejoined
    async def greet_again(self) -> None:
        self._beat()
        self._say_constraints(always=True)

    @every("heartbeat_every_s")
    def beat(self) -> None:
        self._beat()

    def _beat(self) -> None:
        if self.guard is not None:
            self.bus.tell(self.guard, Heartbeat(every_s=self.settings.heartbeat_every_s))

    # ---------------------------------------------------------------- what we can be limited to

    def _minimum_w(self) -> float:
        return ems_floor_w(self.joined.steerables())

    def _default_failsafe_w(self, direction: Direction) -> float:
        if direction == "production":
            return min(0.0, self.settings.failsafe_production_w)
        given = self.settings.failsafe_consumption_w
        return max(THRESHOLD_W, self._minimum_w()) if given is None else given

    def _rules(self, direction: Direction) -> Rules:
        if direction in self._cached:
            return self._cached[direction]
        s = self.settings
        self._cached[direction] = Rules(
            init_silence=s.init_silence,
            heartbeat_without_limit=s.heartbeat_without_limit,
            duration_over=s.duration_over,
            minimum_w=self._minimum_w() if direction == "consumption" else 0.0,
            refuse_below_minimum=s.refuse_below_minimum,
            nominal_w=s.nominal_w(direction),
        )
        return self._cached[direction]

    def _say_constraints(self, *, always: bool) -> None:
        said = constraints(self.settings, list(self.premises.devices.values()), self._minimum_w())
        if always or said != self._constraints:
            self._constraints = said
            self.bus.say(said, home=False)

    def _fleet_changed(self) -> None:
        self._cached.clear()
        self._say_constraints(always=False)
        control = self.controls.get("consumption")
        if control is not None and not control.failsafe_stated:
            failsafe_w = self._default_failsafe_w("consumption")
            self.controls["consumption"] = msgspec.structs.replace(control, failsafe_w=failsafe_w)
            self._impose()

    # ---------------------------------------------------------------- what happens

    @hears(Heartbeat, of=(DSO, HES), where="addressed")
    def hear_heartbeat(self, _beat: Heartbeat, heard: Heard) -> None:
        for direction in self.controls:
            self._do(direction, HeartbeatHeard(self.clock.now(), str(heard.sender)))

    @every("tick_s")
    async def tick(self) -> None:
        for direction in self.controls:
            self._do(direction, Tick(self.clock.now()))
        await self._settle()

    def soft_start(self) -> None:
        """The grid is back after a local blackout: failsafe limits hold for a while (NG-01)."""
        now = self.clock.now()
        for direction in self.controls:
            self._do(direction, SoftStart(now, now + self.settings.soft_start_s))

    def _watch_voltage(self) -> None:
        gcp = self.premises.gcp
        if gcp is None:
            return
        dark = max(gcp.voltage_by_phase_v) < self.settings.blackout_below_v
        if self._dark and not dark:
            self.soft_start()
        self._dark = dark

    @answers(limit_write)
    async def on_limit(self, talk: Talk, write: SetLimit) -> None:
        direction, now = write.direction, self.clock.now()
        held = read_limit(write, now, self._rules(direction), tracing.current())
        if isinstance(held, Reason):
            await talk.say(LimitRefused(direction=direction, reason=held))
            return

        def accept() -> LimitAccepted:
            limit_w = self.controls[direction].in_force_w(now)
            if limit_w is None or direction == "production":
                return LimitAccepted(direction=direction, limit_w=limit_w)
            parts = shares(limit_w, self.joined.steerables())
            return LimitAccepted(direction=direction, limit_w=limit_w, shares=parts)

        written = LimitWritten(now, str(talk.peer), held, talk.opened_at or now)
        wrong = await self._bind(talk, {direction: written}, accept)
        if wrong is not None:
            await talk.say(LimitRefused(direction=direction, reason=wrong))

    @answers(failsafe_write)
    async def on_failsafe(self, talk: Talk, write: SetFailsafe) -> None:
        now, sender = self.clock.now(), str(talk.peer)
        wrong = check_failsafe(write, self._rules("consumption"), self._rules("production"))
        if wrong is None:
            values = {"consumption": write.consumption_w, "production": write.production_w}
            events: dict[Direction, Event] = {
                d: FailsafeWritten(now, sender, values[d], write.duration_s, talk.opened_at or now) for d in DIRECTIONS
            }
            wrong = await self._bind(talk, events, FailsafeAccepted)
        if wrong is not None:
            await talk.say(FailsafeRefused(reason=wrong))

    async def _bind(self, talk: Talk, events: dict[Direction, Event], accept: Callable[[], Message]) -> Reason | None:
        """In force at once, written down before it is accepted; taken back when it does not bind."""
        if not self.controls:
            return Reason(code="no_guard", text="This site has no energy guard in its settings.")
        async with self._lock:
            unsaved = self._unsaved
            before = {direction: self.controls[direction] for direction in events}
            for direction, event in events.items():
                wrong = self._do(direction, event)
                if wrong is not None:
                    self.controls.update(before)
                    return wrong
            for direction, control in before.items():
                marks = {"revision": control.revision + 1, "talk": talk.id}
                self.controls[direction] = msgspec.structs.replace(self.controls[direction], **marks)
            terms = Terms(before=before, after={direction: self.controls[direction] for direction in events})
            self._unsaved = False  # until something happens besides
            try:
                deal = await self.deals.close(talk, accept(), terms, until=self.clock.now() + STANDING_S)
            except (NotStored, TooManyDeals) as problem:
                self._take_back(terms)
                self._unsaved = True
                text = f"The site could not store it, so it does not bind ({problem}): write it again."
                return Reason(code="not_stored", text=text)
            self._unsaved |= unsaved
        await self._follow_deal(deal, terms)
        return None

    async def _settled_later(self, deal: Deal) -> None:
        if self.controls:  # else it is a restart: restore() finds it settled
            await self._follow_deal(deal, deal.read(Terms))

    async def _follow_deal(self, deal: Deal, terms: Terms) -> None:
        """What is known now of an acceptance; while it is ``closing`` the write stays in force."""
        if deal.phase == "off":
            self._take_back(terms)
        for direction, after in terms.after.items():
            if deal.phase == "on" and self.controls[direction].revision < after.revision:
                # A former life accepted it and could not find out in time.
                self.controls[direction], effects = step(after, Restarted(self.clock.now()), self._rules(direction))
                self._follow(effects)
                self._impose()
        self._unsaved |= deal.phase != "on"
        await self._settle()
        with suppress(NotStored):
            if deal.phase == "on":
                await forget_older(self.deals, deal, terms)
            elif deal.phase == "off" and not self._unsaved:
                await self.deals.end(deal)

    def _take_back(self, terms: Terms) -> None:
        for direction, after in terms.after.items():
            self._do(direction, TakenBack(self.clock.now(), after, terms.before[direction]))

    # ---------------------------------------------------------------- what follows

    def _do(self, direction: Direction, event: Event) -> Reason | None:
        """Step one direction. Returns why a write was refused."""
        before = self.controls[direction]
        self.controls[direction], effects = step(before, event, self._rules(direction))
        refused = next((e.reason for e in effects if isinstance(e, Refused)), None)
        if self._follow(effects):
            self._impose()
        return refused

    def _follow(self, effects: tuple[Effect, ...]) -> bool:
        """Whether what is in force changed."""
        changed = False
        for effect in effects:
            match effect:
                case Entered(reason=reason):
                    self._why, self._unsaid, self._unsaved, changed = reason, True, True, True
                case GuardBack():
                    self._say_constraints(always=True)
                    self._beat()
                case Refused():
                    pass
        return changed

    def _impose(self) -> None:
        """The bounds in force become claims on the connection point."""
        now = self.clock.now()
        for direction, control in self.controls.items():
            bound = control.in_force_w(now)
            claim = None
            if bound is not None:
                failsafe = control.mode in ("init", "failsafe") or now < control.soft_until
                upper, lower = (bound, -inf) if direction == "consumption" else (inf, bound)
                claim = Claim(
                    why="failsafe" if failsafe else "grid_limit",
                    upper_w=upper,
                    lower_w=lower,
                    urgent=control.mode == "failsafe",
                    trace=control.held.trace if control.held is not None else None,
                )
            self.premises.claim(f"limit_{direction}", claim)

    async def _settle(self) -> None:
        """Store and record what changed; what cannot be stored now is tried again with the next tick."""
        if not self.controls or self._lock.locked():
            return  # a write that is about to bind is stored as a deal first
        try:
            if self._unsaved:
                self._unsaved = False
                await self.state.put("limits", self.controls)
            if self._unsaid:
                self._unsaid = False
                await self.bus.record(self._said())
        except NotStored as problem:
            self._unsaved = self._unsaid = True
            log.warning("%s could not keep its limit state: %s", self.address, problem)

    def _said(self) -> LimitState:
        now = self.clock.now()
        consumption, production = self.controls["consumption"], self.controls["production"]
        loudest = min((consumption, production), key=lambda c: SEVEREST.index(c.mode))
        age = None if loudest.heartbeat_at is None else max(0.0, now - loudest.heartbeat_at)
        return LimitState(
            state=loudest.mode,
            since=instant(max(consumption.since, production.since)),
            consumption_w=consumption.in_force_w(now),
            production_w=production.in_force_w(now),
            heartbeat_age_s=age,
            guard=loudest.guard,
            reason=self._why,
        )
