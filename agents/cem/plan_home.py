"""The plan of the home: posed from all that is known, solved beside the event loop, shown, made anew on every event.

Physics is hard, wishes are priced; what cannot be kept is named. Planning decides nothing by itself: what is done with
a plan is ``carry_out_plan``'s.
"""

import logging
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

import anyio
from anyio import to_thread

from agents.cem.expect import Expect
from agents.cem.held_by_hand import HeldByHand
from agents.cem.keep_envelope import KeepEnvelope
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import KnowPrices
from agents.cem.known import Known, Surroundings
from agents.cem.learn_heat import LearnHeat
from agents.cem.look_ahead import bounds_ahead
from agents.cem.obey_limit import ObeyLimit
from agents.cem.planner.plan import Plan
from agents.cem.planner.problem import BadProblem, Pin, Problem
from agents.cem.pose_problem import horizon, pose, surplus_has_its_time
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.show_plan import shown
from agents.cem.wishes import Wish, Wishes
from agents.kit.skill import rejoined, skill, started
from bus import tracing
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from contracts.flexibility import ThermalFlexibility
from contracts.home_plan import PlanShown
from contracts.profiles import SLOT_S, PlannedPower
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
OWN_CLAIMS = ("limit_", "envelope")
"""Claims that are looked ahead by their own schedule."""
SPREAD_S = 90.0
"""Homes do not all plan at the same instant of the quarter hour."""


@skill(
    says_home=(PlanShown,),
    use_cases=("home.self-consumption", "home.battery-plan", "home.price-plan", "tariffs.dynamic"),
)
@dataclass
class PlanHome:
    """Holds the plan that is in force. ``on_plan`` is called with each new one."""

    bus: Bus
    address: Address
    clock: Clock
    settings: CemSettings
    premises: Premises
    prices: KnowPrices
    expect: Expect
    flexibility: KnowFlexibility
    heat: LearnHeat
    preferences: Preferences
    envelopes: KeepEnvelope
    limits: ObeyLimit
    wishes: Wishes
    hand: HeldByHand
    plan: Plan | None = None
    shown: PlanShown | None = None
    failed: Reason | None = None
    """Why there is no newer plan."""
    start_at: dict[str, float] = field(default_factory=dict)
    """The user's own start of a device's job, from a changed proposal."""
    left_out: frozenset[str] = frozenset()
    """Devices that the user does not want in the plan."""
    own_plan_of: list[Callable[[str], Sequence[PlannedPower]]] = field(default_factory=list)
    """Who knows of devices that plan themselves."""
    on_plan: list[Callable[[], None]] = field(default_factory=list)
    made: int = 0
    leave_room: bool = False
    """Later on feeding in will be bounded or cost something: a surplus has its time to be stored."""
    _whys: set[str] = field(default_factory=set)
    _wake: anyio.Event = field(default_factory=anyio.Event)
    _bounded: object = None
    _forecast_of: frozenset[str] = frozenset()
    _held: dict[str, Wish | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.prices.on_change.append(lambda: self.replan("prices"))
        self.expect.on_change.append(self._see_forecast)
        self.flexibility.on_change.append(lambda device: self.replan(f"{device.role}.{device.name}"))
        self.preferences.on_change.append(lambda: self.replan("preferences"))
        self.envelopes.on_change.append(lambda: self.replan("envelope"))
        self.premises.on_claim.append(self._see_bounds)
        self.wishes.on_change.append(self._see_hand)
        self.premises.on_fleet.append(lambda: self.replan("devices"))

    def replan(self, why: str) -> None:
        """Ask for a new plan; what comes together is planned together."""
        self._whys.add(why)
        self._wake.set()

    def _see_forecast(self) -> None:
        """The first of its kind is planned with at once; a fresher one is in time for the next quarter hour."""
        known = frozenset(self.expect.forecasts)
        if known != self._forecast_of:
            self._forecast_of = known
            self.replan("forecast")
        else:
            self._whys.add("forecast")

    def _see_bounds(self) -> None:
        controls = tuple((c.mode, c.held) for c in self.limits.controls.values())
        bounded = (controls, frozenset((key, c.upper_w, c.lower_w) for key, c in self.premises.claims.items()))
        if bounded != self._bounded:
            self._bounded = bounded
            self.replan("bounds")

    def _see_hand(self, device: str) -> None:
        held = self._by_hand(device)
        if held != self._held.get(device):
            self._held[device] = held
            self.replan(f"{device} by hand")

    def _by_hand(self, device: str) -> Wish | None:
        return next((wish for wish in self.wishes.all_of(device) if wish.source == "hand"), None)

    # ---------------------------------------------------------------- asked by others

    def reasons(self, device: str) -> tuple[Reason, ...]:
        """Why the plan in force does with a device what it does now; then what it cannot keep of it."""
        plan = self.plan
        course = plan.devices.get(device) if plan is not None else None
        if plan is None or course is None:
            return (self.failed,) if self.failed is not None else ()
        broken = tuple(b.reason for b in plan.broken if b.where in (device, "connection"))
        refused = tuple(r.reason for r in plan.refused if r.where == device)
        return (course.why[self.slot()], *refused, *broken)

    def next(self, device: str) -> tuple[PlannedPower, ...]:
        """What is planned for a device from now on."""
        item = next((i for i in self.shown.items if i.device == device), None) if self.shown is not None else None
        now = self.clock.now()
        power = item.power if item is not None else ()
        return tuple(p for p in power if p.start.timestamp() + p.duration_s > now)

    def steers(self, device: Device) -> bool:
        """Whether the plan may say what it does: it has offered that, and does not plan itself."""
        if not self._planned(device):
            return False
        offer = self.flexibility.offers.get(device.address)
        offered = offer is not None and offer.controllable and offer.flexibility is not None
        own = any(of(device.name) for of in self.own_plan_of)
        return device.announce.device_class == "pv" or (offered and not own)

    def slot(self) -> int:
        """The slot of the plan in force that holds now."""
        assert self.plan is not None
        after = bisect_right(self.plan.horizon.edges_s(), self.clock.now())
        return max(0, min(after - 1, self.plan.horizon.count - 1))

    # ---------------------------------------------------------------- planning

    @started
    async def keep_planning(self) -> None:
        if not self.settings.plan:
            return
        async with anyio.create_task_group() as group:
            group.start_soon(self._each_quarter)
            self.replan("start")
            while True:
                await self._wake.wait()
                await self.clock.sleep(1.0)  # what belongs together comes together
                self._wake, whys = anyio.Event(), sorted(self._whys)
                self._whys.clear()
                try:
                    await self._make(whys)
                except Exception as fault:  # a fault of planning must not end the agent that keeps the limits
                    log.exception("%s cannot plan", self.address)
                    text = f"Planning failed ({type(fault).__name__}): the devices follow limits and surplus alone."
                    self.failed = Reason(code="planning_failed", text=text)
                    self._take(None, "")
                await self.clock.sleep(self.settings.plan_at_least_s)

    async def _each_quarter(self) -> None:
        spread = sum(str(self.address).encode()) * 7.3 % SPREAD_S
        while True:
            now = self.clock.now()
            await self.clock.sleep_until(now - now % SLOT_S + SLOT_S + spread)
            self.replan("quarter hour")

    @rejoined
    async def show_again(self) -> None:
        if self.shown is not None:
            self.bus.say(self.shown, home=True)

    async def _make(self, whys: list[str]) -> None:
        if self.preferences.plans == "off" or not self.preferences.service:
            self._take(None, "")
            return
        if self.premises.gcp is None:
            return
        with tracing.span("plan home", {"gridparley.because": ", ".join(whys)}) as mark:
            try:
                problem = self.pose()
                began = perf_counter()
                plan = await to_thread.run_sync(solve_apart, problem, abandon_on_cancel=True)
            except BadProblem as bad:
                self.failed = Reason(code="cannot_plan", text=f"There is no new plan: {bad}", binding=bad.where)
                mark.failed(self.failed)
                log.warning("%s: %s", self.address, self.failed.text)
                return
            self.failed = None
            self.made += 1
            mark.set(
                {
                    "gridparley.found_by": plan.found_by,
                    "gridparley.gap_share": plan.gap,
                    "gridparley.solved_in_s": perf_counter() - began,
                    "gridparley.cost_eur": plan.costs.money,
                    "gridparley.unplanned_cost_eur": plan.baseline.money,
                }
            )
            self._take(plan, f"{self.address.site}-{problem.horizon.start_s:.0f}")

    def pose(self) -> Problem:
        """The home as it is known now. Raises BadProblem."""
        span = horizon(self.clock.now(), self.settings)
        around = self._around(span.edges_s())
        devices = [self._known(device, around) for device in self.premises.devices.values() if self._planned(device)]
        self.leave_room = surplus_has_its_time(around)
        return replace(pose(span, around, devices, self.settings), previous=self.plan)

    def _planned(self, device: Device) -> bool:
        return (
            device.name not in self.left_out
            and device.steered
            and self.preferences.controlled(device.name, device.announce.device_class)
        )

    def _around(self, edges: Sequence[float]) -> Surroundings:
        n, start = len(edges) - 1, edges[0] - edges[0] % SLOT_S
        claims = [c for key, c in self.premises.claims.items() if not key.startswith(OWN_CLAIMS)]
        envelopes = self.envelopes.envelope_bounds(start, n, SLOT_S)
        controls = self.limits.controls.values()
        (upper, lower), upper_why, lower_why = bounds_ahead(
            edges, controls, claims, envelopes, self.settings.limit_lasts_s
        )
        return Surroundings(
            buy=self.prices.buy(start, n),
            sell=self.prices.sell(start, n),
            green=self.prices.green(start, n),
            binding=self.prices.binding(start, n),
            beyond=self.prices.beyond(start, n),
            load=self.expect.load(start, n, SLOT_S),
            pv=self.expect.pv(start, n, SLOT_S),
            outdoor_c=self.expect.outdoor_c(start, n, SLOT_S),
            upper_w=upper,
            upper_why=upper_why,
            lower_w=lower,
            lower_why=lower_why,
            away=self.preferences.away(start),
            season=self.preferences.season,
        )

    def _known(self, device: Device, around: Surroundings) -> Known:
        held = self.hand.of(device.name)
        offer = self.flexibility.offers.get(device.address)
        agreed = self.flexibility.agreed.get(device.address)
        running = agreed is not None and agreed.state == "started"
        own = next((p for p in (of(device.name) for of in self.own_plan_of) if p), ())
        now, n = self.clock.now(), len(around.outdoor_c)
        flexibility = offer.flexibility if offer is not None and offer.controllable else None
        thermal = flexibility if isinstance(flexibility, ThermalFlexibility) else None
        return Known(
            name=device.name,
            announce=device.announce,
            reading=device.reading,
            flexibility=flexibility,
            preferences=self.preferences.of(device.name, device.announce.device_class),
            switched_at=device.switched_at if device.switched_at > 0 else None,
            started_at=agreed.start if agreed is not None and running else None,
            running=(agreed.instruct.sequence or "") if agreed is not None and running else "",
            start_at=held.at if held is not None and held.at is not None else self.start_at.get(device.name),
            pinned=self._pinned(device.name),
            own_plan=tuple(own),
            demand_w=(self.heat.demand(device, now - now % SLOT_S, n) if thermal is not None else None) or (),
            cop=self.heat.cop(device, around.outdoor_c, thermal) if thermal is not None else (),
        )

    def _pinned(self, device: str) -> tuple[Pin, ...]:
        """What the user's hand fixes is planned around."""
        wish, now = self._by_hand(device), self.clock.now()
        power = None if wish is None else 0.0 if wish.off else wish.setpoint_w
        if wish is None or power is None:
            return ()
        until = now + self.settings.plan_horizon_s if wish.until is None else wish.until
        return (Pin(from_s=now, until_s=until, power_w=power),)

    def _take(self, plan: Plan | None, name: str) -> None:
        if plan is None and self.plan is None:
            return
        self.plan = plan
        self.shown = None if plan is None else shown(plan, name, self.prices.buy, self.prices.sell)
        if self.shown is not None:
            self.bus.say(self.shown, home=True)
        for act in self.on_plan:
            act()


def solve_apart(problem: Problem) -> Plan:
    """In a thread. The solver costs memory: who does not plan does not load it."""
    from agents.cem.planner.model import SolverFailed
    from agents.cem.planner.solve import solve

    try:
        return solve(problem)
    except SolverFailed as failed:
        raise BadProblem("solver", str(failed)) from failed
