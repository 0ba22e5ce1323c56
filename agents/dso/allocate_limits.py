"""Who is limited to what, and when. Pure: watts in, watts and reasons out.

Everything here is in magnitudes of one direction (consumption or production), so that both are one problem; the caller
puts the sign on. The loop is closed on the measured loading of the transformer, so sites that do not follow, losses and
unmetered load need no model: what they do is in the measurement.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from contracts.power_limit import Direction
from contracts.reasons import Reason

BOUND_SHARE = 0.93
"""A site at this share of its limit would do more if it could: inverters and cars stay a little below what they may."""
_HALVINGS = 50


@dataclass(frozen=True)
class Site:
    """One site in the direction that is limited, magnitudes in W.

    now_w     what it does, None when no young measurement tells
    floor_w   never below this (guaranteed consumption; 0 for feed-in)
    most_w    contract (consumption) or nominal production
    limit_w   what it is limited to now, None when it is not
    follows   False: it refused, is in failsafe, or does not do as it agreed; it is counted as it is
    """

    name: str
    now_w: float | None
    floor_w: float
    most_w: float
    limit_w: float | None = None
    follows: bool = True

    @property
    def bound(self) -> bool:
        """Held back by its limit, for all that is known, so that its true wish is unknown."""
        return self.limit_w is not None and (self.now_w is None or self.now_w >= BOUND_SHARE * self.limit_w)

    def would_do(self, cap_w: float) -> float:
        """Expected power under another limit, beside what it does now where nothing tells what that is."""
        if self.now_w is None:
            return 0.0 if self.limit_w is None else max(0.0, cap_w - self.limit_w)
        return cap_w if self.bound else min(self.now_w, cap_w)


@dataclass(frozen=True)
class Share:
    """What one site may do, magnitude in W, and why."""

    site: str
    limit_w: float
    reason: Reason


@dataclass(frozen=True)
class Allocation:
    """The outcome for all sites. ``shortfall_w`` > 0: even at their floors the sites do too much."""

    direction: Direction
    level: float
    shares: tuple[Share, ...]
    expected_w: float
    budget_w: float
    shortfall_w: float
    fairness: float
    left_out: tuple[str, ...]

    @property
    def feasible(self) -> bool:
        return self.shortfall_w <= 0


def cap_of(site: Site, level: float, direction: Direction, reference_w: float) -> float:
    """The limit at a common level 0..1, W.

    Feed-in: the same share of nominal production for each. Consumption: the same watts for each (``reference_w`` is the
    largest contract), but nobody below its floor or above its contract.
    """
    if direction == "production":
        return max(site.floor_w, level * site.most_w)
    return max(site.floor_w, min(site.most_w, level * reference_w))


def jain(values: Sequence[float]) -> float:
    """Jain's fairness index: 1 when all are equal, 1/n when one has everything."""
    square = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * square) if square > 0 else 1.0


def allocate(direction: Direction, sites: Sequence[Site], budget_w: float, level: float | None = None) -> Allocation:
    """Share a budget: the highest common level at which the sites together are expected to stay within it.

    budget_w   what all sites that follow may do together, W; may be below their floors or even negative
    level      0..1 gives the shares of a level that was decided before instead
    """
    reference_w = max((site.most_w for site in sites), default=0.0)
    following = [site for site in sites if site.follows]

    def expected(at: float) -> float:
        return sum(site.would_do(cap_of(site, at, direction, reference_w)) for site in following)

    if level is None:
        level = _highest_level(expected, budget_w)
    shortfall_w = max(0.0, expected(0.0) - budget_w)
    # Too little to matter: what the bisection leaves over, not a constraint.
    shortfall_w = 0.0 if shortfall_w < 1.0 else shortfall_w
    shares = tuple(_share(site, level, direction, reference_w, budget_w) for site in sites)
    caps = [share.limit_w / site.most_w for share, site in zip(shares, sites, strict=True) if site.most_w > 0]
    if direction == "consumption":
        caps = [share.limit_w for share in shares]
    return Allocation(
        direction=direction,
        level=level,
        shares=shares,
        expected_w=expected(level),
        budget_w=budget_w,
        shortfall_w=shortfall_w,
        fairness=jain(caps),
        left_out=tuple(site.name for site in sites if not site.follows),
    )


def _highest_level(expected: Callable[[float], float], budget_w: float) -> float:
    if expected(1.0) <= budget_w:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if expected(middle) <= budget_w:
            low = middle
        else:
            high = middle
    return low


def _share(site: Site, level: float, direction: Direction, reference_w: float, budget_w: float) -> Share:
    cap_w = cap_of(site, level, direction, reference_w)
    if cap_w <= site.floor_w and site.floor_w > 0:
        binding, why = "floor", "its guaranteed floor, below which no limit goes"
    elif cap_w >= site.most_w:
        binding, why = "contract", "all that its contract allows"
    elif direction == "production":
        binding, why = "transformer", f"{level:.0%} of nominal production, the same share for every site"
    else:
        binding, why = "transformer", "the same watts for every site"
    verb = "feed in" if direction == "production" else "draw"
    inputs = {
        "level_share": level,
        "budget_w": budget_w,
        "floor_w": site.floor_w,
        "most_w": site.most_w,
    }
    if site.now_w is not None:
        inputs["now_w"] = site.now_w
    text = f"The transformer is full: {site.name} may {verb} {cap_w:.0f} W, which is {why}."
    return Share(site.name, cap_w, Reason(code="fair_share", text=text, binding=binding, inputs=inputs))


@dataclass(frozen=True)
class Tuning:
    """The loop's figures, shares of the transformer's rating (1 = full) and run seconds."""

    rating_w: float
    target: float = 0.93
    tighten_above: float = 0.945
    loosen_below: float = 0.915
    loosen_per_s: float = 0.02 / 60
    lift_below: float = 0.85
    lift_after_s: float = 300.0


@dataclass(frozen=True)
class Loop:
    """What the loop remembers of one direction. ``level`` None: nobody is limited.

    ``members`` are the sites that could be counted on at any time since the first was limited: who was away for a
    while, or has not been heard of yet after a restart, is nobody new.
    """

    level: float | None = None
    at: float | None = None
    calm_since: float | None = None
    members: frozenset[str] = frozenset()

    def blind(self) -> "Loop":
        """After a time in which nothing was seen: it counts neither as time to loosen in nor as calm."""
        return replace(self, at=None, calm_since=None)


Act = Literal["rest", "limit", "tighten", "reshare", "loosen", "hold", "lift"]


def step(
    loop: Loop, direction: Direction, now: float, loading: float, sites: Sequence[Site], tuning: Tuning
) -> tuple[Loop, Act, Allocation | None]:
    """One decision: tighten at once, loosen slowly towards the target, lift when nobody has been held back for a while.

    loading   share of the rating, worst of the phases and the sum, 0 when the power flows the other way
    """
    members = frozenset(site.name for site in sites if site.follows and site.now_w is not None)
    doing_w = sum(site.now_w or 0.0 for site in sites if site.follows)
    budget_w = doing_w + (tuning.target - loading) * tuning.rating_w
    if loop.level is None:
        if loading <= tuning.tighten_above or not members:
            return loop, "rest", None  # with nobody to count on there is nothing to share
        fresh = allocate(direction, sites, budget_w)
        return Loop(level=fresh.level, at=now, members=members), "limit", fresh
    wanted = allocate(direction, sites, budget_w)
    passed_s = now - loop.at if loop.at is not None else 0.0
    level = loop.level
    act: Act = "hold"
    if loading > tuning.tighten_above and wanted.level < level:
        level, act = wanted.level, "tighten"
    elif members - loop.members and wanted.level > level:
        # Who is new carries a part from now on; the others need not wait until the level has crept up.
        level, act = wanted.level, "reshare"
    elif loading < tuning.loosen_below and wanted.level > level:
        level, act = min(level + tuning.loosen_per_s * passed_s, wanted.level), "loosen"
    held_back = any(site.bound and site.follows for site in sites)
    calm = loading < tuning.loosen_below if level >= 1.0 else not held_back and loading < tuning.lift_below
    calm_since = (loop.calm_since if loop.calm_since is not None else now) if calm else None
    if calm_since is not None and now - calm_since >= tuning.lift_after_s:
        return Loop(), "lift", None
    after = Loop(level=level, at=now, calm_since=calm_since, members=loop.members | members)
    # An overload that no limit can end must be named even while the level stays at the floors.
    outcome = allocate(direction, sites, budget_w, level)
    return after, act, outcome
