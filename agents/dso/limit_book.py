"""What the energy guard has stated to each site, and what became of it. Pure; its owner keeps it durably."""

from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from bus.address import Address
from contracts.power_limit import Constraints, Direction, LimitSlot, LimitState, SetLimit
from contracts.reasons import Reason

DIRECTIONS: tuple[Direction, ...] = ("consumption", "production")


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """One direction's limit as it is meant, signed W; ``until`` is when it ends by itself."""

    direction: Direction
    active: bool
    limit_w: float | None = None
    profile: tuple[LimitSlot, ...] = ()
    until: datetime | None = None
    reason: Reason

    def word(self, now: float) -> SetLimit | None:
        """As it is said now: the time that is left of it. None when none is left."""
        profile = tuple(slot for slot in self.profile if slot.start.timestamp() + slot.duration_s > now)
        if self.profile and not profile:
            return None
        left_s = None if self.until is None else self.until.timestamp() - now
        if left_s is not None and left_s <= 0:
            return None
        return SetLimit(
            direction=self.direction,
            active=self.active,
            limit_w=self.limit_w,
            profile=profile,
            duration_s=left_s,
            reason=self.reason,
        )

    def says_the_same(self, other: "Statement | None") -> bool:
        """Whether a household would notice the difference; reasons may differ."""
        return other is not None and (self.active, self.limit_w, self.profile, self.until) == (
            other.active,
            other.limit_w,
            other.profile,
            other.until,
        )

    def bound_at(self, now: float) -> float | None:
        """The signed limit in force at an instant, None when there is none."""
        if not self.active or (self.until is not None and self.until.timestamp() <= now):
            return None
        if not self.profile:
            return self.limit_w
        for slot in self.profile:
            if slot.start.timestamp() <= now < slot.start.timestamp() + slot.duration_s:
                return slot.limit_w
        return None

    def over(self, now: float) -> bool:
        """Ended by itself."""
        return self.word(now) is None


def lifted(direction: Direction, code: str, text: str) -> Statement:
    return Statement(direction=direction, active=False, reason=Reason(code=code, text=text))


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a site was asked to hold, and in which talk: its acceptance may come much later."""

    talk: str
    statement: Statement


class Values(msgspec.Struct, frozen=True, kw_only=True):
    """The same of failsafe values, signed W."""

    talk: str
    consumption_w: float
    production_w: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What of a site must survive the guard's own end.

    Written before a site is asked and when its acceptance is there: a fleet needs more than a book of deals holds.
    """

    wanted: dict[Direction, Statement] = msgspec.field(default_factory=dict)
    constraints: Constraints | None = None
    asked: dict[Direction, Asked] = msgspec.field(default_factory=dict)
    bound: dict[Direction, Asked] = msgspec.field(default_factory=dict)
    """The last deal of each direction."""
    asked_values: Values | None = None
    bound_values: Values | None = None


@dataclass
class Site:
    """One site in the guard's book. Instants are Unix seconds of the run."""

    cem: Address
    wanted: dict[Direction, Statement] = field(default_factory=dict)
    traces: dict[Direction, str | None] = field(default_factory=dict)
    unsettled: dict[Direction, None] = field(default_factory=dict)
    told: dict[Direction, str] = field(default_factory=dict)
    """The talk of what was said last, since all was to be said anew: an answer to an older word ends nothing."""
    accepted: dict[Direction, Statement] = field(default_factory=dict)
    accepted_at: dict[Direction, float] = field(default_factory=dict)
    refused: dict[Direction, tuple[float, Statement, Reason]] = field(default_factory=dict)
    asked: dict[Direction, Asked] = field(default_factory=dict)
    bound: dict[Direction, Asked] = field(default_factory=dict)
    asked_values: Values | None = None
    bound_values: Values | None = None
    floor_w: float = 0.0
    """Consumption floor that a refusal has told, W."""
    constraints: Constraints | None = None
    state: LimitState | None = None
    failsafe_due: bool = True
    failsafe_after: float = 0.0
    heard_at: float | None = None
    joined_at: float = float("-inf")
    returned: bool = False
    """It said that it holds nothing so soon after it had joined that it may have said so before it was told."""
    not_before: float = 0.0
    busy: bool = False

    @property
    def page(self) -> Page:
        return Page(
            wanted=dict(self.wanted),
            constraints=self.constraints,
            asked=dict(self.asked),
            bound=dict(self.bound),
            asked_values=self.asked_values,
            bound_values=self.bound_values,
        )

    def take_up(self, page: Page) -> None:
        """What a former life of the guard left."""
        self.wanted, self.constraints = dict(page.wanted), page.constraints
        self.asked, self.bound = dict(page.asked), dict(page.bound)
        self.asked_values, self.bound_values = page.asked_values, page.bound_values

    def want(self, statement: Statement, trace: str | None) -> bool:
        """Newest wins. False when it says what is wanted already."""
        if statement.says_the_same(self.wanted.get(statement.direction)):
            return False
        self.wanted[statement.direction] = statement
        self.traces[statement.direction] = trace
        self.unsettled[statement.direction] = None
        return True

    def limit_in_force(self, direction: Direction, now: float) -> float | None:
        """The signed limit that the site keeps, W, None when there is none.

        As long as it has not answered anew it may still keep what it was bound to before, or was asked since: the
        tighter of them, as whoever is thought to be held back is not thought to have no wish.
        """
        accepted = self.accepted.get(direction)
        if accepted is not None:
            return accepted.bound_at(now)
        known = (self.bound.get(direction), self.asked.get(direction))
        bounds = [w for deal in known if deal is not None and (w := deal.statement.bound_at(now)) is not None]
        return min(bounds, key=abs, default=None)

    def restate(self) -> None:
        """Everything is said anew, what is not limited too."""
        self.accepted.clear()
        self.refused.clear()
        self.unsettled = dict.fromkeys(DIRECTIONS)
        self.told.clear()
        self.failsafe_due = True
        self.not_before = 0.0

    def next_due(self, now: float, refused_for_s: float) -> Direction | None:
        """The direction whose limit is to be said next; one that was refused rests unless it became looser."""
        for direction in self.unsettled:
            refusal = self.refused.get(direction)
            if refusal is None or now - refusal[0] >= refused_for_s or _looser(self.wanted.get(direction), refusal[1]):
                return direction
        return None


def _looser(statement: Statement | None, refused: Statement) -> bool:
    if statement is None or not statement.active:
        return True
    if statement.limit_w is None or refused.limit_w is None:
        return not statement.says_the_same(refused)
    return abs(statement.limit_w) > abs(refused.limit_w)
