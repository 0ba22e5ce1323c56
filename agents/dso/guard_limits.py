"""The energy guard: heartbeats, failsafe values and limits to each site's CEM, stated anew whenever a site comes back.

EEBUS LPC/LPP 1.0 in the role of the energy guard. One limit talk at a time per site, and the newest statement wins. A
site's page has what it was asked last before it is asked: its acceptance counts once the stream has it, however late.
"""

import logging
from collections import deque
from dataclasses import dataclass, field

import anyio

from agents.dso.limit_book import Asked, Page, Site, Statement, Values, lifted
from agents.dso.routes import managers
from agents.dso.settings import DsoSettings
from agents.kit.agent import Peers
from agents.kit.skill import every, hears, rejoined, restores, settles, skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.kit import Lapsed
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
    failsafe_write,
    limit_write,
)
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.system import Hello

log = logging.getLogger("gridparley.dso")
_FLOORS = ("minimum_consumption_w", "floor_w", "minimum_w")
"""Inputs of a refusal's reason that tell the least a site can be limited to."""
_PASSING = ("heartbeat_first", "not_stored", "overtaken")
"""Refusals of the moment: the same limit is said again soon."""
_HOLDS_NOTHING = ("init", "failsafe", "unlimited_autonomous")
"""States of a site in which no limit of ours is in force."""
REJOIN_PAUSE_S = 10.0
"""Whoever comes back sooner after it came is not told anew, unless it then says that it holds nothing."""
_SETTLE_S = 10.0
"""A home's devices join one after the other, and with each its floor rises: failsafe values wait for the last."""
_KEPT = 200


@skill(
    tells=((Heartbeat, (CEM,)),),
    opens=(limit_write, failsafe_write),
    use_cases=("limits.lpc", "limits.profile"),
)
@dataclass
class GuardLimits:
    """``outcomes`` are the last talks, newest last, for the operator: (site, direction, what became of it)."""

    bus: Bus
    clock: Clock
    state: State
    settings: DsoSettings
    peers: Peers
    sites: dict[str, Site] = field(init=False)
    outcomes: deque[tuple[str, Direction, Reason]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def __post_init__(self) -> None:
        self.sites = {site: Site(address) for site, address in managers(self.peers).items()}
        self._news = anyio.Event()
        self._settled = anyio.Event()

    # ---------------------------------------------------------------- life

    @restores
    async def open_book(self) -> None:
        """What was stated before an end of ours is stated again: the sites hold it still."""
        async with anyio.create_task_group() as group:
            for name, site in self.sites.items():
                group.start_soon(self._open_page, name, site)

    async def _open_page(self, name: str, site: Site) -> None:
        page = await self.state.get(f"limits_{name}", Page)
        if page is None:
            return
        site.take_up(page)
        site.heard_at = self.clock.now()
        self._join(site)

    @started
    async def talk_with_sites(self) -> None:
        """The one place that opens limit talks."""
        async with anyio.create_task_group() as group:
            for site in self.sites.values():
                group.start_soon(self._meet, site)
            while True:
                self._news = anyio.Event()
                for name, site in self.sites.items():
                    if not site.busy and self._due(site):
                        site.busy = True
                        group.start_soon(self._serve, name, site)
                await self._news.wait()

    async def _meet(self, site: Site) -> None:
        """Who said what it can be limited to before we came needs not say it again."""
        known = await self.bus.last(Constraints, site.cem, home=False)
        if isinstance(known, Constraints) and site.constraints is None:
            site.heard_at = self.clock.now()  # until its silence shows that it is away
            self._take_constraints(site, known)
        state = await self.bus.last(LimitState, site.cem, home=False)
        if isinstance(state, LimitState) and site.state is None:
            site.state = state

    @rejoined
    async def greet_again(self) -> None:
        """Our own way to the server was gone: nobody has heard us meanwhile."""
        for site in self.sites.values():
            if site.heard_at is not None:
                self._join(site)

    @every("heartbeat_s")
    def beat(self) -> None:
        for site in self.sites.values():
            self._beat(site)

    @every("retry_s")
    def try_again(self) -> None:
        for site in self.sites.values():
            if site.returned:
                self._join(site)
        self._news.set()

    def _beat(self, site: Site) -> None:
        self.bus.tell(site.cem, Heartbeat(every_s=self.settings.heartbeat_s))

    # ---------------------------------------------------------------- hearing of sites

    @hears(Hello, of=(CEM,), where="grid")
    def hear_hello(self, hello: Hello, heard: Heard) -> None:
        site = self._hear(heard.sender)
        if site is not None and hello.leaving:
            site.heard_at = None  # whatever it says next is a return

    @hears(Heartbeat, of=(CEM,), where="addressed")
    def hear_heartbeat(self, _beat: Heartbeat, heard: Heard) -> None:
        self._hear(heard.sender)

    @hears(Constraints, of=(CEM,), where="grid")
    def hear_constraints(self, constraints: Constraints, heard: Heard) -> None:
        site = self._hear(heard.sender)
        if site is not None:
            self._take_constraints(site, constraints)

    @hears(LimitState, of=(CEM,), where="grid")
    def hear_state(self, state: LimitState, heard: Heard) -> None:
        site = self._hear(heard.sender)
        if site is None or (site.state is not None and site.state.since > state.since):
            return
        site.state = state
        site.returned = state.state in _HOLDS_NOTHING
        if site.returned:
            # It does not hold what we stated: it must hear heartbeat and limit within 60 s (LPC-913).
            self._join(site)

    def _hear(self, cem: Address) -> Site | None:
        site = self.sites.get(cem.site)
        if site is None or site.cem != cem:
            return None
        now = self.clock.now()
        silent_s = None if site.heard_at is None else now - site.heard_at
        site.heard_at = now
        if silent_s is None or silent_s > self.settings.silence_s:
            self._join(site)
        return site

    def _take_constraints(self, site: Site, constraints: Constraints) -> None:
        changed = constraints != site.constraints
        site.constraints = constraints
        if changed:
            site.floor_w = 0.0
            site.refused.clear()
            site.failsafe_due = True
            site.failsafe_after = self.clock.now() + _SETTLE_S
            self._news.set()
        self._join(site)

    def _join(self, site: Site) -> None:
        now = self.clock.now()
        if now - site.joined_at < REJOIN_PAUSE_S:
            return
        site.joined_at, site.returned = now, False
        site.restate()
        self._beat(site)
        self._news.set()

    def present(self, site: Site) -> bool:
        """Heard lately."""
        return site.heard_at is not None and self.clock.now() - site.heard_at <= self.settings.absent_s

    def holds(self, site: Site, direction: Direction) -> bool:
        """Whether the site can be counted on to keep what it is told in this direction."""
        refusal = site.refused.get(direction)
        rests = refusal is not None and self.clock.now() - refusal[0] < self.settings.refused_for_s
        in_failsafe = site.state is not None and site.state.state == "failsafe"
        return self.present(site) and not rests and not in_failsafe

    # ---------------------------------------------------------------- stating

    def want(self, site: str, statement: Statement, trace: str | None = None) -> bool:
        """State a limit as soon as the site can hear it. False when it is stated already or the site is unknown."""
        known = self.sites.get(site)
        if known is None or not known.want(statement, trace):
            return False
        self._news.set()
        return True

    async def settled(self, site: str, statement: Statement) -> Reason | None:
        """Wait until the site has answered; None when it accepted, else why not.

        ``superseded`` when something newer is wanted meanwhile.
        """
        known = self.sites[site]
        direction = statement.direction
        while True:
            if not statement.says_the_same(known.wanted.get(direction)):
                return Reason(code="superseded", text="A newer limit for this site took its place.")
            if statement.says_the_same(known.accepted.get(direction)):
                return None
            refusal = known.refused.get(direction)
            if refusal is not None and statement.says_the_same(refusal[1]):
                return refusal[2]
            await self._settled.wait()

    def _due(self, site: Site) -> bool:
        now = self.clock.now()
        if not self.present(site) or now < site.not_before:
            return False
        if site.next_due(now, self.settings.refused_for_s) is not None:
            return True
        return site.failsafe_due and site.constraints is not None and now >= site.failsafe_after

    async def _serve(self, name: str, site: Site) -> None:
        """Say to one site all that is due, one talk after the other."""
        try:
            while self._due(site):
                direction = site.next_due(self.clock.now(), self.settings.refused_for_s)
                # The limit first: it is what a site in failsafe waits for.
                if direction is not None:
                    answered = await self._state_limit(name, site, direction)
                else:
                    answered = await self._state_failsafe(name, site)
                if not answered:
                    site.not_before = self.clock.now() + self.settings.retry_s
                    return
        except NotStored as problem:
            site.not_before = self.clock.now() + self.settings.retry_s
            log.warning("%s was told nothing: %s", name, problem)
        finally:
            site.busy = False
            self._wake()

    def _wake(self) -> None:
        self._settled.set()
        self._settled = anyio.Event()

    async def _state_limit(self, name: str, site: Site, direction: Direction) -> bool:
        now = self.clock.now()
        statement = site.wanted.get(direction)
        word = None if statement is None else statement.word(now)
        if statement is None or word is None:
            text = "No limit holds in this direction." if statement is None else "The limit has ended."
            statement = lifted(direction, "no_limit", text)
            site.wanted[direction] = statement
            word = statement.word(now)
            assert word is not None
        trace = site.traces.get(direction)
        attributes: tracing.Attributes = {"gridparley.site": name, "gridparley.direction": direction}
        with tracing.span("state limit", attributes | tracing.because(statement.reason), parent=trace):
            async with self.bus.talk(limit_write, site.cem) as talk:
                site.asked[direction] = Asked(talk=talk.id, statement=statement)
                site.told[direction] = talk.id
                await self._keep(name, site)
                await talk.say(word)
                match await talk.hear(LimitAccepted, LimitRefused, Lapsed):
                    case LimitAccepted():
                        pass  # bound() has been told
                    case LimitRefused(reason=reason) if reason.code in _PASSING:
                        self.outcomes.append((name, direction, reason))
                        self._beat(site)
                        return False
                    case LimitRefused(reason=reason):
                        self._refused(name, site, statement, reason)
                    case Lapsed():
                        text = f"{name} did not answer; it is said again in {self.settings.retry_s:g} s."
                        self.outcomes.append((name, direction, Reason(code="no_answer", text=text)))
                        return False
        return True

    @settles(limit_write)
    async def bound(self, word: LimitAccepted, heard: Heard) -> None:
        """The site holds what it was asked, whether or not we still wait to hear so."""
        name, direction = heard.sender.site, word.direction
        site = self.sites.get(name)
        asked = None if site is None or site.cem != heard.sender else site.asked.get(direction)
        if site is None or asked is None or asked.talk != heard.talk:
            return  # something newer has been asked since, and will be answered
        before = site.bound.get(direction)
        if before != asked:
            site.bound[direction] = asked
            try:
                await self._keep(name, site)
            except NotStored:  # the word comes again
                site.bound.pop(direction)
                if before is not None:
                    site.bound[direction] = before
                raise
        self._accepted(name, site, asked)
        self._wake()

    async def _keep(self, name: str, site: Site) -> None:
        await self.state.put(f"limits_{name}", site.page)

    def _accepted(self, name: str, site: Site, asked: Asked) -> None:
        statement = asked.statement
        direction = statement.direction
        site.accepted[direction] = statement
        site.accepted_at[direction] = self.clock.now()
        site.refused.pop(direction, None)
        if site.told.get(direction) == asked.talk and statement.says_the_same(site.wanted.get(direction)):
            site.unsettled.pop(direction, None)
        self.outcomes.append((name, direction, Reason(code="accepted", text=statement.reason.text)))

    def _refused(self, name: str, site: Site, statement: Statement, reason: Reason) -> None:
        direction = statement.direction
        site.refused[direction] = (self.clock.now(), statement, reason)
        if direction == "consumption":
            site.floor_w = max([site.floor_w, *(reason.inputs[key] for key in _FLOORS if key in reason.inputs)])
        self.outcomes.append((name, direction, reason))
        log.warning("%s refused its %s limit (%s): %s", name, direction, reason.code, reason.text)

    # ---------------------------------------------------------------- failsafe values

    def failsafe_of(self, name: str, site: Site) -> tuple[float, float]:
        """Failsafe limits of a site, signed W: the topology's, else the floor and a share of nominal production."""
        given = self.settings.failsafe.get(name)
        if given is not None:
            return given.consumption_w, given.production_w
        assert site.constraints is not None
        nominal_w = abs(site.constraints.nominal_production_w)
        return site.constraints.minimum_consumption_w, -self.settings.failsafe_production_share * nominal_w

    async def _state_failsafe(self, name: str, site: Site) -> bool:
        consumption_w, production_w = self.failsafe_of(name, site)
        async with self.bus.talk(failsafe_write, site.cem) as talk:
            site.asked_values = Values(talk=talk.id, consumption_w=consumption_w, production_w=production_w)
            await self._keep(name, site)
            await talk.say(
                SetFailsafe(
                    consumption_w=consumption_w,
                    production_w=production_w,
                    duration_s=self.settings.failsafe_duration_s,
                )
            )
            match await talk.hear(FailsafeAccepted, FailsafeRefused, Lapsed):
                case FailsafeAccepted():
                    pass  # values_bound() has been told
                case FailsafeRefused(reason=reason) if reason.code in _PASSING:
                    return False
                case FailsafeRefused(reason=reason):
                    # The values before still hold there; the same ones again would change nothing.
                    log.warning("%s refused its failsafe values (%s): %s", name, reason.code, reason.text)
                case Lapsed():
                    return False
        # What the site can be limited to may have changed while it answered.
        site.failsafe_due = self.failsafe_of(name, site) != (consumption_w, production_w)
        return True

    @settles(failsafe_write)
    async def values_bound(self, _word: FailsafeAccepted, heard: Heard) -> None:
        site = self.sites.get(heard.sender.site)
        asked = None if site is None or site.cem != heard.sender else site.asked_values
        if site is None or asked is None or asked.talk != heard.talk or site.bound_values == asked:
            return
        before, site.bound_values = site.bound_values, asked
        try:
            await self._keep(heard.sender.site, site)
        except NotStored:  # the word comes again
            site.bound_values = before
            raise
