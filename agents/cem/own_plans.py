"""What devices and cars have planned themselves: known to the planner, and left alone by the fast loop."""

from collections.abc import Callable
from dataclasses import dataclass, field

from agents.cem.plan_home import PlanHome
from agents.cem.wishes import Wish, Wishes
from agents.kit.bargain import end_of
from agents.kit.skill import skill
from bus.clock import Clock
from contracts.profiles import PlannedPower
from contracts.reasons import Reason


@skill()
@dataclass
class OwnPlans:
    """By device (``heatpump.1``). A plan drops out when it is over."""

    clock: Clock
    wishes: Wishes
    plans: dict[str, tuple[PlannedPower, ...]] = field(default_factory=dict)
    on_change: list[Callable[[str], None]] = field(default_factory=list)

    def of(self, device: str) -> tuple[PlannedPower, ...]:
        """What is still to come of it."""
        now = self.clock.now()
        return tuple(slot for slot in self.plans.get(device, ()) if end_of(slot) > now)

    def put(self, device: str, power: tuple[PlannedPower, ...], reason: Reason) -> None:
        """The device does it by itself: it is only kept inside the limits, and told nothing else."""
        if power:
            self.plans[device] = power
            free = Wish(source="own_plan", reason=reason, until=max(end_of(slot) for slot in power))
            self.wishes.put(device, free, "own_plan")
        else:
            self.plans.pop(device, None)
            self.wishes.put(device, None, "own_plan")
        for act in self.on_change:
            act(device)


@skill()
@dataclass
class PlanAround:
    """The planner takes them as they are."""

    own: OwnPlans
    planning: PlanHome

    def __post_init__(self) -> None:
        self.planning.own_plan_of.append(self.own.of)
        self.own.on_change.append(lambda device: self.planning.replan(f"{device} plans itself"))
