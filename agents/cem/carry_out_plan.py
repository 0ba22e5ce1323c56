"""What is done with a plan: each slot becomes wishes, the starts of jobs become instructions that devices accept.

Nothing is done without the household's leave: a plan that has to be confirmed waits, and a device without consent is
left alone. Who was promised something is told when it changes: an instruction is replaced, never silently dropped.
"""

import logging
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from agents.cem.comfort import comfort_c, for_comfort
from agents.cem.follow_plan import wish_for
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.plan_home import PlanHome
from agents.cem.planner.plan import Course, Plan
from agents.cem.preferences import Preferences
from agents.cem.premises import Device, Premises
from agents.cem.set_points import set_point_c
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wish, Wishes
from agents.kit.skill import skill, started
from bus.address import Address
from bus.clock import Clock
from bus.envelope import instant
from contracts.flexibility import Flexibility, ProfileFlexibility, ThermalFlexibility
from contracts.instructions import Instruct
from contracts.metering import GcpReading
from contracts.profiles import SLOT_S
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
MOVED_S = 300.0
"""A start that moves less is the same start."""
LOOKS_AFTER_S = 300.0
"""A slot's mean says something after so long."""
OFF_SHARE = 0.1
"""Of what was planned: a large plant is never where its forecast is to the kilowatt."""
OUTLIVES_S = SLOT_S
"""A plan's wish outlives its slot by this, so that a late plan leaves no gap; then the device is free."""


@dataclass
class Mean:
    """The connection point's mean since the slot began."""

    since: float = 0.0
    last: float = 0.0
    energy: float = 0.0

    def feed(self, reading: GcpReading, slot_began: float) -> float | None:
        """The mean in W once it says something."""
        at = reading.at.timestamp()
        if slot_began != self.since:
            self.since, self.last, self.energy = slot_began, max(slot_began, min(at, self.last or at)), 0.0
        self.energy += reading.power_w * max(0.0, at - self.last)
        self.last = max(self.last, at)
        passed = self.last - self.since
        return self.energy / passed if passed >= LOOKS_AFTER_S else None


@skill(use_cases=("home.flexible-start", "home.reschedule", "home.battery-plan", "home.price-plan"))
@dataclass
class CarryOutPlan:
    """Acts on the plan in force at every slot and at every new plan."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    flexibility: KnowFlexibility
    preferences: Preferences
    planning: PlanHome
    confirmed: str | None = None
    """The plan that the user has agreed to, where he wants to be asked."""
    _mean: Mean = field(default_factory=Mean)
    _off_plan: float = 0.0
    _for_comfort: set[str] = field(default_factory=set)
    """Devices that the plan does not hold now: it was wrong about them, and people would feel it."""
    _tasks: TaskGroup | None = None
    _talking: set[Address] = field(default_factory=set)
    _refused: dict[Address, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.planning.on_plan.append(self.act)
        self.premises.on_meter.append(self._compare)
        self.premises.on_meter.append(self._keep_comfort)

    @started
    async def keep_acting(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            while True:
                now = self.clock.now()
                await self.clock.sleep_until(now - now % SLOT_S + SLOT_S)
                self.act()

    def may_act(self, plan_name: str) -> bool:
        """Automatic, or confirmed by the user."""
        return self.preferences.plans == "automatic" or plan_name == self.confirmed

    def commit(self, plan_name: str) -> None:
        """The user has agreed to this plan."""
        self.confirmed = plan_name
        self.act()

    def act(self) -> None:
        plan, shown = self.planning.plan, self.planning.shown
        if plan is None or shown is None or not self.may_act(shown.plan):
            self.wishes.put_all({}, "plan")
            return
        self.wishes.put_all(self._wishes(plan), "plan")
        for device in self.premises.devices.values():
            course = plan.devices.get(device.name)
            if course is not None and course.runs and self._tasks is not None and device.address not in self._talking:
                self._talking.add(device.address)
                self._tasks.start_soon(self._promise, device, course)

    def _wishes(self, plan: Plan) -> dict[str, Wish]:
        slot = self.planning.slot()
        until = plan.horizon.edges_s()[slot + 1] + OUTLIVES_S
        found: dict[str, Wish] = {}
        pvs = [d for d in self.premises.devices.values() if d.announce.device_class == "pv"]
        rated_w = sum(d.announce.nominal_lower_w for d in pvs) or -1.0
        for device in self.premises.devices.values():
            kind = device.announce.device_class
            course = plan.devices.get(device.name if kind != "pv" or len(pvs) == 1 else "pv")
            if course is None or not self.planning.steers(device) or device.name in self._for_comfort:
                continue
            wish = wish_for(
                kind,
                course,
                slot,
                plan.power_w[slot],
                device.announce.nominal_upper_w,
                until,
                leave_room=self.planning.leave_room,
                share=device.announce.nominal_lower_w / rated_w if kind == "pv" else 1.0,
            )
            if wish is not None:
                found[device.name] = wish
        return found

    async def _promise(self, device: Device, course: Course) -> None:
        """Tell a device the start of its job, where that is news; it may refuse or counter."""
        try:
            offer = self.flexibility.offers.get(device.address)
            agreed = self.flexibility.agreed.get(device.address)
            start = course.runs[0].start_s
            now = self.clock.now()
            if offer is None or (agreed is not None and agreed.state not in ("new", "accepted")):
                return
            if agreed is not None and agreed.start is not None and abs(agreed.start - start) < MOVED_S:
                return
            if now < self._refused.get(device.address, 0.0) or self._waits_for_user(offer.flexibility):
                return
            if isinstance(offer.flexibility, ProfileFlexibility) and offer.flexibility.state == "executing":
                return  # it runs, whoever started it
            word = Instruct(
                offer=offer.offer,
                sequence=course.programme or None,
                start=instant(max(start, now)),
                replaces=agreed.talk if agreed is not None else None,
                reason=course.why[self.planning.slot()],
            )
            outcome = await self.flexibility.instruct(device.address, word)
            if isinstance(outcome, Reason):
                self._refused[device.address] = now + SLOT_S
                log.info("%s: %s", device.address, outcome.text)
                self.planning.replan(f"{device.name} refused")
        finally:
            self._talking.discard(device.address)

    def _waits_for_user(self, offer: Flexibility | None) -> bool:
        """Its user wants to agree to its start himself, and has not yet. IEC-JWG1100."""
        shown = self.planning.shown
        wants = isinstance(offer, ProfileFlexibility) and offer.confirm
        return wants and (shown is None or shown.plan != self.confirmed)

    def _keep_comfort(self) -> None:
        """Between two plans a tank may be drawn empty."""
        found = {device.name for device in self.premises.devices.values() if self._needs_comfort(device)}
        if found != self._for_comfort:
            self._for_comfort = found
            self.act()

    def _needs_comfort(self, device: Device) -> bool:
        offer = self.flexibility.offers.get(device.address)
        heat = None if offer is None else offer.flexibility
        warm = None if device.reading is None else device.reading.temperature_c
        if not isinstance(heat, ThermalFlexibility) or warm is None:
            return False
        wanted = self.preferences.of(device.name, device.announce.device_class)
        now = self.clock.now()
        point, away = set_point_c(wanted.set_points, now, self.settings.time_zone), self.preferences.away(now)
        band = comfort_c(heat, wanted, away=away, season=self.preferences.season, set_point_c=point)
        return for_comfort(warm, band, heats=heat.heats, already=device.name in self._for_comfort)

    def _compare(self) -> None:
        """What is metered goes too far from what was planned: plan anew, once a slot."""
        plan, gcp = self.planning.plan, self.premises.gcp
        if plan is None or gcp is None:
            return
        slot = self.planning.slot()
        began = plan.horizon.edges_s()[slot]
        mean = self._mean.feed(gcp, began)
        if mean is None or began == self._off_plan:
            return
        planned = plan.power_w[slot]
        if abs(mean - planned) > max(self.settings.plan_deviation_w, OFF_SHARE * abs(planned)):
            self._off_plan = began
            self.planning.replan("off plan")
