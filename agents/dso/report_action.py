"""Each action of the operator is followed up: where, how much, how fast, and what the meters showed. ENA-AMN."""

from dataclasses import dataclass, field
from typing import Literal

from agents.dso.settings import DsoSettings
from agents.dso.watch_grid import WatchGrid
from agents.kit.skill import every, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import Ids, instant
from contracts.grid_state import ActionReport
from contracts.power_limit import Direction
from contracts.reasons import Reason

Kind = Literal["request", "order", "lift"]
_SHARE_THAT_COUNTS = 0.5
"""A request has worked when the meters show at least half of what was agreed."""


@dataclass(frozen=True)
class Action:
    """An action whose effect is not known yet. ``amount_w`` is the wanted change of transformer power, signed."""

    id: str
    kind: Kind
    direction: Direction
    locations: tuple[str, ...]
    amount_w: float
    started: float
    before_w: float
    reason: Reason


def worked(action: Action, after_w: float, loading: float) -> bool:
    """An order and a lift have worked when the transformer is within its rating, a request when power moved enough."""
    if action.kind == "request":
        moved_w = after_w - action.before_w
        return moved_w * action.amount_w > 0 and abs(moved_w) >= _SHARE_THAT_COUNTS * abs(action.amount_w)
    return loading <= 1.0


@skill(says_grid=(ActionReport,), use_cases=("limits.grid-state",))
@dataclass
class ReportAction:
    """``begin`` an action; the report follows once its effect can be seen."""

    bus: Bus
    clock: Clock
    settings: DsoSettings
    watch: WatchGrid
    pending: list[Action] = field(default_factory=list)
    _ids: Ids = field(default_factory=Ids)

    def begin(
        self, kind: Kind, direction: Direction, locations: tuple[str, ...], amount_w: float, reason: Reason
    ) -> None:
        loading = self.watch.loading()
        if loading is None or not locations:
            return
        now = self.clock.now()
        self.pending.append(Action(self._ids(), kind, direction, locations, amount_w, now, loading.power_w, reason))

    @every("decide_s")
    def follow_up(self) -> None:
        now = self.clock.now()
        due = [action for action in self.pending if now - action.started >= self.settings.report_after_s]
        for action in due:
            self.pending.remove(action)
            self._report(action)

    def _report(self, action: Action) -> None:
        loading = self.watch.loading()
        after_w = action.before_w if loading is None else loading.power_w
        ok = loading is not None and worked(action, after_w, loading.of(action.direction))
        reason = action.reason
        if loading is None:
            text = "Nothing can be said of its effect: the substation's meter has sent no young reading."
            reason = Reason(code="not_measured", text=text, binding=reason.binding, inputs=reason.inputs)
        self.bus.say(
            ActionReport(
                action=action.id,
                area=self.settings.area,
                kind=action.kind,
                locations=action.locations,
                amount_w=action.amount_w,
                within_s=self.settings.report_after_s,
                started=instant(action.started),
                before_w=action.before_w,
                after_w=after_w,
                worked=ok,
                reason=reason,
            ),
            home=False,
        )
