"""What the user or a rule changes by hand is reported up, as power alone: no temperature, no price. IC-FR-PUC7-SC1.

When the building finds that it would overload, the change is taken back and the plan before holds again.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.wishes import Wish, Wishes
from agents.kit.agent import Peers
from agents.kit.skill import skill, started
from bus import tracing
from bus.bus import Bus
from bus.clock import Clock
from contracts.emergency import DisplayNotice
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.roles import BUILDING
from contracts.site_power import ChangeFine, ReportChange, ReturnExcess, change_report

Kind = Literal["directive", "ad_hoc_rule", "business_as_usual", "back_to_plan"]


def asked_w(device: Device, wish: Wish) -> float:
    """What the device will take by this wish, + consumed."""
    if wish.off:
        return 0.0
    a = device.announce
    most = a.nominal_upper_w if wish.upper_w is None else min(wish.upper_w, a.nominal_upper_w)
    return min(most, most if wish.setpoint_w is None else wish.setpoint_w)


@skill(opens=(change_report,), says_home=(DisplayNotice,), use_cases=("tariffs.user-choice", "home.precedence"))
@dataclass
class ReportChanges:
    """One report at a time per device, the newest counts. Without a building manager nobody is told anything."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    peers: Peers
    give_back: list[Callable[[str, Reason], Awaitable[None]]] = field(default_factory=list)
    """Called for a device whose change would overload: whoever holds the hand or the rule lets go."""
    _reported: dict[str, tuple[Kind, float]] = field(default_factory=dict)
    _due: dict[str, Wish | None] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _tasks: TaskGroup | None = None

    def __post_init__(self) -> None:
        self.wishes.on_change.append(self._changed)

    @started
    async def keep_telling(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            for name in list(self._due):
                self._begin(name)
            await anyio.sleep_forever()

    def _changed(self, name: str) -> None:
        if self.peers.one(BUILDING) is None:
            return
        wish = next((w for w in self.wishes.all_of(name) if w.source in ("hand", "rule")), None)
        self._due[name] = wish
        self._begin(name)

    def _begin(self, name: str) -> None:
        if self._tasks is not None and name not in self._busy:
            self._busy.add(name)
            self._tasks.start_soon(self._serve, name)

    async def _serve(self, name: str) -> None:
        try:
            while name in self._due:
                await self._tell(name, self._due.pop(name))
        finally:
            self._busy.discard(name)

    async def _tell(self, name: str, wish: Wish | None) -> None:
        device, orchestrator = self.premises.by_name(name), self.peers.one(BUILDING)
        if device is None or orchestrator is None:
            return
        kind, power = _kind(wish), 0.0 if wish is None else asked_w(device, wish)
        known = self._reported.get(name)
        if known == (kind, power) or (known is None and wish is None):
            return
        if wish is None:
            self._reported.pop(name, None)
        else:
            self._reported[name] = (kind, power)
        usual = kind == "business_as_usual"
        word = ReportChange(
            kind=kind,
            device_class=device.announce.device_class,
            power_w=power,
            rating_w=device.announce.nominal_upper_w if usual else None,
        )
        with tracing.span("report change", {"gridparley.device": name}, parent=None if wish is None else wish.trace):
            async with self.bus.talk(change_report, orchestrator) as talk:
                await talk.say(word)
                match await talk.hear(ChangeFine, ReturnExcess, Lapsed):
                    case ReturnExcess(excess_w=excess, reason=reason) if wish is not None:
                        await self._take_back(name, wish, excess, reason)
                    case _:
                        pass  # it may stand, or nobody minds

    async def _take_back(self, name: str, wish: Wish, excess_w: float, reason: Reason) -> None:
        self._reported.pop(name, None)
        for act in self.give_back:
            await act(name, reason)
        self.wishes.put(name, None, wish.source)
        text = f"{name}: the change would overload the connection by {excess_w:.0f} W; the plan before holds again."
        self.bus.say(DisplayNotice(kind="warning", text=text, device=name), home=True)


def _kind(wish: Wish | None) -> Kind:
    if wish is None:
        return "back_to_plan"
    if wish.source == "rule":
        return "ad_hoc_rule"
    return "business_as_usual" if wish.reason.code == "business_as_usual" else "directive"
