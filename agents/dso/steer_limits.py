"""Close the loop: from the measured transformer to each site's limit, together with what was planned by hand."""

import logging
from dataclasses import dataclass, field
from math import ceil, floor

import msgspec

from agents.dso.allocate_limits import Act, Allocation, Loop, Share, Site, Tuning, step
from agents.dso.guard_limits import GuardLimits
from agents.dso.limit_book import DIRECTIONS, Statement, lifted
from agents.dso.limit_book import Site as Known
from agents.dso.report_action import ReportAction
from agents.dso.settings import DsoSettings, LimitPlan
from agents.dso.watch_grid import WatchGrid
from agents.kit.skill import every, restores, skill
from bus import tracing
from bus.clock import Clock
from bus.store import State
from bus.transport import NotStored
from contracts.power_limit import Direction, LimitSlot
from contracts.reasons import Reason

log = logging.getLogger("gridparley.dso")
_OBEYS_SHARE, _OBEYS_W = 1.05, 300.0
"""What a site may be beyond its limit before it is counted as not following: its meter's and its devices' error."""


class Steering(msgspec.Struct, frozen=True, kw_only=True):
    """What survives: level and members of each direction, and what was planned by hand, by ``site.direction``."""

    levels: dict[Direction, float] = msgspec.field(default_factory=dict)
    members: dict[Direction, frozenset[str]] = msgspec.field(default_factory=dict)
    planned: dict[str, Statement] = msgspec.field(default_factory=dict)


def planned_statement(plan: LimitPlan) -> Statement:
    """The topology's plan as it is said."""
    profile = tuple(
        LimitSlot(start=slot.start, duration_s=slot.duration_s, limit_w=slot.limit_w) for slot in plan.slots
    )
    reason = Reason(code="planned", text="The grid operator planned this limit beforehand.", binding="plan")
    return Statement(direction=plan.direction, active=True, profile=profile, reason=reason)


def tighter(direction: Direction, cap: Statement, plan: Statement | None, now: float) -> Statement:
    """The tighter of what the transformer needs and what was planned.

    A profile ends and what the transformer needs does not, so together they are a setpoint, stated anew as slots pass.
    """
    planned_w = None if plan is None else plan.bound_at(now)
    if plan is None or planned_w is None or cap.limit_w is None:
        return cap
    if abs(planned_w) >= abs(cap.limit_w):
        return cap
    return Statement(direction=direction, active=True, limit_w=planned_w, reason=plan.reason)


def worth_saying(old: Statement | None, new: Statement, now: float, urgent: bool, settings: DsoSettings) -> bool:
    """Whether a site has to hear of a change: each word costs a household a new plan. ``urgent``: any tightening."""
    if old is None or not old.active or old.over(now):
        return new.active
    if not new.active or old.limit_w is None or new.limit_w is None:
        return not new.says_the_same(old)
    change_w = abs(new.limit_w) - abs(old.limit_w)
    if change_w < 0 and urgent:
        return True
    percent = settings.smallest_loosening_percent if change_w > 0 else settings.smallest_change_percent
    # Of the present limit, not of the nominal power: deep limits must be steered as finely as shallow ones.
    return abs(change_w) >= max(settings.smallest_change_w, percent / 100 * abs(old.limit_w))


def _shared(statement: Statement) -> bool:
    """Whether it is a site's share of what the transformer takes."""
    return statement.active and "level_share" in statement.reason.inputs


@skill(use_cases=("limits.lpc", "limits.profile", "limits.grid-state"))
@dataclass
class SteerLimits:
    """One decision per period for each direction; ``allocations`` are the last ones, for whoever asks why."""

    clock: Clock
    state: State
    settings: DsoSettings
    guard: GuardLimits
    watch: WatchGrid
    report: ReportAction
    loops: dict[Direction, Loop] = field(init=False)
    planned: dict[tuple[str, Direction], Statement] = field(default_factory=dict)
    allocations: dict[Direction, Allocation] = field(default_factory=dict)
    left_out: dict[Direction, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        s = self.settings
        self.loops = {direction: Loop() for direction in DIRECTIONS}
        self.tuning = Tuning(
            rating_w=s.transformer_va,
            target=s.target_percent / 100,
            tighten_above=s.tighten_above_percent / 100,
            loosen_below=s.loosen_below_percent / 100,
            loosen_per_s=s.loosen_share_per_minute / 60,
            lift_below=s.lift_below_percent / 100,
            lift_after_s=s.lift_after_s,
        )

    @restores
    async def take_up(self) -> None:
        for plan in self.settings.plans:
            self.planned[(plan.site, plan.direction)] = planned_statement(plan)
        kept = await self.state.get("steering", Steering) or Steering()
        for direction in DIRECTIONS:
            level, sites = kept.levels.get(direction), kept.members.get(direction, frozenset())
            if level is None:
                level, sites = self._level_in_the_book(direction)
            self.loops[direction] = Loop(level=level, members=sites)
        for key, statement in kept.planned.items():
            self.planned[(key.rpartition(".")[0], statement.direction)] = statement
        self.watch.orders_in_force = any(loop.level is not None for loop in self.loops.values())

    def _level_in_the_book(self, direction: Direction) -> tuple[float | None, frozenset[str]]:
        """The level that sites were told before it was kept: the end may have come between the two."""
        told = {
            name: statement.reason.inputs["level_share"]
            for name, site in self.guard.sites.items()
            if (statement := site.wanted.get(direction)) is not None and _shared(statement)
        }
        return min(told.values(), default=None), frozenset(told)

    async def _keep(self) -> None:
        levels = {d: loop.level for d, loop in self.loops.items() if loop.level is not None}
        members = {d: self.loops[d].members for d in levels}
        planned = {f"{site}.{direction}": statement for (site, direction), statement in self.planned.items()}
        try:
            await self.state.put("steering", Steering(levels=levels, members=members, planned=planned))
        except NotStored as problem:
            log.warning(
                "the level of the limits is not kept: %s", problem
            )  # each site's own limit is, before it is said

    async def plan(self, site: str, statement: Statement | None, direction: Direction) -> Statement:
        """Take a limit by hand for a site, None takes it back. Returns what is stated to the site now."""
        if statement is None:
            self.planned.pop((site, direction), None)
        else:
            self.planned[(site, direction)] = statement
        await self._keep()
        stated = self._stated(site, direction, self._share_of(site, direction))
        self.guard.want(site, stated, tracing.current())
        return stated

    # ---------------------------------------------------------------- deciding

    @every("decide_s")
    async def decide(self) -> None:
        """On a stale picture nothing is decided: what is in force stays in force."""
        loading, now = self.watch.loading(), self.clock.now()
        if loading is None:
            self.loops = {direction: loop.blind() for direction, loop in self.loops.items()}
            return
        changed = False
        for direction in DIRECTIONS:
            changed = self._decide(direction, loading.of(direction), now) or changed
        self.watch.orders_in_force = any(loop.level is not None for loop in self.loops.values())
        short = [a for d, a in self.allocations.items() if not a.feasible and loading.of(d) > 1.0]
        self.watch.shortfall = self._shortfall(short[0]) if short else None
        if changed:
            await self._keep()

    def _decide(self, direction: Direction, loading: float, now: float) -> bool:
        sites = self.sites(direction)
        before = self.loops[direction]
        loop, act, made = step(before, direction, now, loading, sites, self.tuning)
        self.loops[direction] = loop
        if made is None:
            self.allocations.pop(direction, None)
        else:
            self.allocations[direction] = made
        urgent = loading * 100 > self.settings.urgent_percent
        told = self._statements(direction, made, now, urgent)
        if not told:
            return act in ("limit", "lift") or loop.members != before.members
        attributes: tracing.Attributes = {
            "gridparley.act": act,
            "gridparley.direction": direction,
            "gridparley.loading_percent": 100 * loading,
            "gridparley.sites": len(told),
            "gridparley.use_cases": "limits.lpc",
            **tracing.because(next(iter(told.values())).reason),
        }
        if made is not None:
            attributes |= {
                "gridparley.level_share": made.level,
                "gridparley.budget_w": made.budget_w,
                "gridparley.fairness": made.fairness,
            }
        with tracing.span("decide limits", attributes):
            trace = tracing.current()
            for site, statement in told.items():
                self.guard.want(site, statement, trace)
        self._account(act, direction, made, sites, tuple(told))
        return True

    def _statements(
        self, direction: Direction, made: Allocation | None, now: float, urgent: bool
    ) -> dict[str, Statement]:
        """What is to be said to whom: only what makes a difference at a site."""
        shares = {share.site: share for share in made.shares} if made is not None else {}
        told = {}
        for name, known in self.guard.sites.items():
            before = known.wanted.get(direction)
            statement = self._stated(name, direction, shares.get(name))
            if made is not None and not statement.active and before is not None and _shared(before):
                # Others are limited still: that it says no more what it can (its devices have yet to join, after a
                # restart of its CEM) does not set it free.
                continue
            if worth_saying(before, statement, now, urgent, self.settings):
                told[name] = statement
        return told

    def _stated(self, site: str, direction: Direction, share: Share | None) -> Statement:
        now = self.clock.now()
        plan = self.planned.get((site, direction))
        if plan is not None and plan.over(now):
            plan = None
            del self.planned[(site, direction)]
        if share is None:
            if plan is not None:
                return plan
            return lifted(direction, "not_needed", "The transformer has room: no limit is needed.")
        # Whole watts: up for consumption, as a floor is met or it is not; down for feed-in.
        limit_w = -float(floor(share.limit_w)) if direction == "production" else float(ceil(share.limit_w))
        limit_w = limit_w or 0.0  # no -0.0 on the wire
        cap = Statement(direction=direction, active=True, limit_w=limit_w, reason=share.reason)
        return tighter(direction, cap, plan, now)

    def _share_of(self, site: str, direction: Direction) -> Share | None:
        made = self.allocations.get(direction)
        return next((share for share in made.shares if share.site == site), None) if made is not None else None

    # ---------------------------------------------------------------- sites as the allocation sees them

    def sites(self, direction: Direction) -> list[Site]:
        """Every site that has told what it can be limited to; the others are left out and named."""
        now = self.clock.now()
        seen = {name: self._site(name, known, direction, now) for name, known in self.guard.sites.items()}
        self.left_out[direction] = tuple(name for name, site in seen.items() if site is None)
        return [site for site in seen.values() if site is not None and site.most_w > 0]

    def _site(self, name: str, known: Known, direction: Direction, now: float) -> Site | None:
        if known.constraints is None:
            return None
        power_w = self.watch.power_of(name)
        now_w = None if power_w is None else max(0.0, power_w if direction == "consumption" else -power_w)
        bound_w = known.limit_in_force(direction, now)
        limit_w = None if bound_w is None else abs(bound_w)
        follows = self.guard.holds(known, direction)
        late = now - known.accepted_at.get(direction, now) > self.settings.follow_within_s
        if late and limit_w is not None and now_w is not None and now_w > limit_w * _OBEYS_SHARE + _OBEYS_W:
            follows = False
        most_w = self._most_w(known, direction)
        floor_w = 0.0
        if direction == "consumption":
            floor_w = min(most_w, max(known.constraints.minimum_consumption_w, known.floor_w))
        return Site(name, now_w, floor_w, most_w, limit_w, follows)

    @staticmethod
    def _most_w(known: Known, direction: Direction) -> float:
        if known.constraints is None:
            return 0.0
        if direction == "consumption":
            return abs(known.constraints.contract_consumption_w)
        return abs(known.constraints.nominal_production_w)

    # ---------------------------------------------------------------- telling what it was good for

    def _account(
        self, act: Act, direction: Direction, made: Allocation | None, sites: list[Site], told: tuple[str, ...]
    ) -> None:
        less_is = 1.0 if direction == "production" else -1.0
        if act in ("limit", "tighten", "reshare") and made is not None:
            doing_w = sum(site.now_w or 0.0 for site in sites if site.follows)
            text = (
                f"The sites may do {made.level:.0%} of what they could, with a fairness of {made.fairness:.2f};"
                f" not counted on: {', '.join(made.left_out) or 'nobody'};"
                f" never heard of: {', '.join(self.left_out[direction]) or 'nobody'}."
            )
            reason = Reason(code=act, text=text, binding="transformer", inputs={"level_share": made.level})
            self.report.begin("order", direction, told, less_is * (doing_w - made.expected_w), reason)
        elif act == "lift":
            reason = Reason(code="lift", text="Nobody was held back any more: the limits are lifted.")
            self.report.begin("lift", direction, told, 0.0, reason)

    @staticmethod
    def _shortfall(made: Allocation) -> Reason:
        text = (
            f"Even with every site at its floor, {made.direction} is {made.shortfall_w:.0f} W too much:"
            " limits alone cannot end this, an emergency order can."
        )
        inputs = {"shortfall_w": made.shortfall_w, "budget_w": made.budget_w}
        return Reason(code="limits_exhausted", text=text, binding="floors", inputs=inputs)
