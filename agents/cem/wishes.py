"""What is wanted of each device, by whom, and who goes first.

A wish never beats safety, fuse, failsafe or a grid limit: the fast loop fits the leading wish into them. Among wishes
the user's hand goes first, then an agreed order, a rule, a price threshold, the device's own plan, the plan, advice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import every, skill
from bus.clock import Clock
from contracts.reasons import Reason

Source = Literal["hand", "order", "rule", "price", "own_plan", "plan", "advice"]
PRECEDENCE: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Bounds and value of one device's power, + consumed. ``until`` in run seconds; None: until taken back.

    ``setpoint_w`` of a load means: take this much; ``upper_w``: not more than; ``off``: nothing at all.
    """

    source: Source
    reason: Reason
    lower_w: float | None = None
    upper_w: float | None = None
    setpoint_w: float | None = None
    off: bool = False
    until: float | None = None
    trace: str | None = None


@skill(use_cases=("home.precedence",))
@dataclass
class Wishes:
    """All wishes by device (``evse.1``) and source."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    on_change: list[Callable[[str], None]] = field(default_factory=list)
    _wishes: dict[str, dict[Source, Wish]] = field(default_factory=dict)

    def put(self, device: str, wish: Wish | None, source: Source) -> None:
        """Put in, replace or take back. Everybody who acts on wishes is called when that changes anything."""
        if self._put(device, wish, source):
            self._changed([device])

    def put_all(self, wishes: dict[str, Wish], source: Source) -> None:
        """All wishes of one source at once: a device that is not named has none of it any more."""
        known = {device for device, by_source in self._wishes.items() if source in by_source}
        changed = [device for device in known | set(wishes) if self._put(device, wishes.get(device), source)]
        if changed:
            self._changed(changed)

    def of(self, device: str) -> Wish | None:
        """The wish that goes first now."""
        return next(iter(self.all_of(device)), None)

    def all_of(self, device: str) -> list[Wish]:
        """Every wish that holds now, the leading one first."""
        wishes, now = self._wishes.get(device, {}), self.clock.now()
        held = [wishes[source] for source in self._order() if source in wishes]
        return [wish for wish in held if wish.until is None or now < wish.until]

    def _order(self) -> tuple[Source, ...]:
        if not self.settings.order_beats_hand:
            return PRECEDENCE
        return ("order", "hand", *(source for source in PRECEDENCE if source not in ("order", "hand")))

    def _put(self, device: str, wish: Wish | None, source: Source) -> bool:
        wishes = self._wishes.setdefault(device, {})
        if wishes.get(source) == wish:
            return False
        if wish is None:
            del wishes[source]
        else:
            wishes[source] = wish
        return True

    def _changed(self, devices: list[str]) -> None:
        for device in devices:
            for act in self.on_change:
                act(device)
        self.premises.changed()

    @every("reading_every_s")
    def drop_what_is_over(self) -> None:
        now, over = self.clock.now(), []
        for device, wishes in self._wishes.items():
            for source in [s for s, wish in wishes.items() if wish.until is not None and now >= wish.until]:
                del wishes[source]
                over.append(device)
        if over:
            self._changed(over)
