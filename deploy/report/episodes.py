"""What a run's events add up to: orders and their answers, limits in force, failsafe, grid state. Pure.

Instants are unix seconds of the run's clock, limits signed as everywhere, durations seconds.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from contracts.grid_state import GridState, Phase
from contracts.power_limit import (
    HEARTBEAT_MISSING_S,
    Direction,
    LimitAccepted,
    LimitRefused,
    LimitState,
    SetLimit,
)
from deploy.records.rows import LINK_DOWN, LINK_UP, Event
from deploy.records.view import LATE_S, LINK_QUIET_S

Outage = tuple[float, float | None]
"""From when until when; None while it lasts."""
_BOTH: tuple[Direction, Direction] = ("consumption", "production")


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One ``SetLimit`` and what came of it. ``limit_w`` None with ``active``: a profile."""

    site: str
    direction: Direction
    at: float
    active: bool
    limit_w: float | None
    reason: str
    outcome: str
    """``accepted``, ``refused``, or ``unanswered``."""
    answered: float | None = None
    answer: str = ""
    talk: str = ""


class LimitEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """One value in force at a site for a while, as the site says it. ``end`` is the run's end where it still held.

    ``failsafe``: by the site's own rule (in failsafe, or while it starts), not by anybody's order.
    """

    site: str
    direction: Direction
    start: float
    end: float
    limit_w: float
    reason: str
    failsafe: bool = False


class FailsafeEpisode(msgspec.Struct, frozen=True, kw_only=True):
    """A site on its own. Without ``link_lost`` the link was up: the guard was silent.

    ``link_lost`` and ``link_back`` are the instants at which the hub saw the link go and come; in records without them,
    when something of the site was last heard before and first heard after.

    ``back_to_limit_s`` is from the link's return to the first limit that the site accepted.
    """

    site: str
    start: float
    end: float
    ended: bool
    reason: str
    link_lost: float | None = None
    link_back: float | None = None
    limit_accepted: float | None = None
    back_to_limit_s: float | None = None


class PhaseSpan(msgspec.Struct, frozen=True, kw_only=True):
    """The traffic light for a while."""

    phase: Phase
    start: float
    end: float


class Episodes(msgspec.Struct, frozen=True, kw_only=True):
    """All of them, in order of time."""

    orders: tuple[Order, ...]
    limits: tuple[LimitEpisode, ...]
    failsafe: tuple[FailsafeEpisode, ...]
    phases: tuple[PhaseSpan, ...]


def episodes(events: Sequence[Event], arrivals: Mapping[str, Iterable[float]], end: float) -> Episodes:
    """From every event of a run.

    arrivals  per site, when something of it came by at the hub that no cut link had kept back
    end       the run's end, which closes what is open
    """
    live = {site: sorted(times) for site, times in arrivals.items()}
    orders = _orders(events)
    states = _states(events)
    limits = [episode for site in sorted(states) for episode in _limits(site, states[site], end)]
    outages = _outages(events)
    failsafe = [
        episode
        for site in sorted(states)
        for episode in _failsafe(site, states[site], live.get(site, []), outages.get(site), orders, end)
    ]
    return Episodes(
        orders=tuple(orders),
        limits=tuple(sorted(limits, key=lambda one: one.start)),
        failsafe=tuple(sorted(failsafe, key=lambda one: one.start)),
        phases=tuple(_phases(events, end)),
    )


def arrivals(events: Iterable[Event], readings: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """When each site was heard live; ``readings`` are (site, instant): a reading is never kept back."""
    heard: dict[str, list[float]] = {}
    for site, at in readings:
        heard.setdefault(site, []).append(at)
    for event in events:
        site = event.sender.partition(".")[0]
        if site != "grid" and event.word not in (LINK_UP, LINK_DOWN) and event.heard - event.at <= LATE_S:
            heard.setdefault(site, []).append(event.heard)
    return heard


def _orders(events: Iterable[Event]) -> list[Order]:
    asked: dict[str, tuple[Event, SetLimit]] = {}
    answers: dict[str, tuple[Event, LimitAccepted | LimitRefused]] = {}
    for event in events:
        if event.talk is None:
            continue
        match event.message():
            case SetLimit() as order:
                asked[event.talk] = (event, order)
            case LimitAccepted() | LimitRefused() as answer:
                answers[event.talk] = (event, answer)
    return [_order(talk, *asked[talk], answers.get(talk)) for talk in sorted(asked, key=lambda talk: asked[talk][0].at)]


def _order(
    talk: str, event: Event, order: SetLimit, answered: tuple[Event, LimitAccepted | LimitRefused] | None
) -> Order:
    outcome, when, why = "unanswered", None, ""
    if answered is not None:
        reply, answer = answered
        when = reply.at
        outcome = "accepted" if isinstance(answer, LimitAccepted) else "refused"
        why = answer.reason.code if isinstance(answer, LimitRefused) else ""
    return Order(
        site=event.site,
        direction=order.direction,
        at=event.at,
        active=order.active,
        limit_w=order.limit_w,
        reason=order.reason.code,
        outcome=outcome,
        answered=when,
        answer=why,
        talk=talk,
    )


def _states(events: Iterable[Event]) -> dict[str, list[tuple[float, LimitState]]]:
    """Per site what was in force from when; told late or not, in the order in which it happened."""
    told: dict[str, list[tuple[float, LimitState]]] = {}
    for event in events:
        message = event.message() if event.word == "limit_state" else None
        if isinstance(message, LimitState):
            told.setdefault(event.site, []).append((event.at, message))
    for states in told.values():
        states.sort(key=lambda one: one[0])
        before: str | None = None
        for n, (at, state) in enumerate(states):
            # A new state holds since it says; a new value within a state, since it was said.
            states[n] = (state.since.timestamp() if state.state != before else at, state)
            before = state.state
    return told


def _limits(site: str, states: list[tuple[float, LimitState]], end: float) -> list[LimitEpisode]:
    found = []
    for direction in _BOTH:
        open_: LimitEpisode | None = None
        for at, state in states:
            value = state.consumption_w if direction == "consumption" else state.production_w
            failsafe = state.state in ("failsafe", "init")
            if open_ is not None and (value, failsafe) == (open_.limit_w, open_.failsafe):
                continue
            if open_ is not None:
                found.append(msgspec.structs.replace(open_, end=at))
                open_ = None
            if value is not None:
                open_ = LimitEpisode(
                    site=site,
                    direction=direction,
                    start=at,
                    end=end,
                    limit_w=value,
                    reason=state.reason.code,
                    failsafe=failsafe,
                )
        if open_ is not None:
            found.append(open_)
    return [one for one in found if one.end > one.start]


def _failsafe(
    site: str,
    states: list[tuple[float, LimitState]],
    live: list[float],
    outages: list[Outage] | None,
    orders: list[Order],
    end: float,
) -> list[FailsafeEpisode]:
    found = []
    for n, (at, state) in enumerate(states):
        if state.state != "failsafe" or (n > 0 and states[n - 1][1].state == "failsafe"):
            continue
        left = next((when for when, later in states[n:] if later.state != "failsafe"), None)
        lost, back = _link(live, at) if outages is None else _outage(outages, at)
        accepted = None
        if back is not None:
            times = [one.answered for one in orders if one.site == site and one.outcome == "accepted" and one.active]
            accepted = next((when for when in sorted(t for t in times if t is not None) if when >= back), None)
        found.append(
            FailsafeEpisode(
                site=site,
                start=at,
                end=left if left is not None else end,
                ended=left is not None,
                reason=state.reason.code,
                link_lost=lost,
                link_back=back,
                limit_accepted=accepted,
                back_to_limit_s=accepted - back if accepted is not None and back is not None else None,
            )
        )
    return found


def _outages(events: Iterable[Event]) -> dict[str, list[Outage]]:
    """Per site that the hub was asked about, when its link was down."""
    found: dict[str, list[Outage]] = {}
    for event in events:
        if event.word not in (LINK_UP, LINK_DOWN):
            continue
        of_site = found.setdefault(event.site, [])
        is_open = bool(of_site) and of_site[-1][1] is None
        if event.word == LINK_DOWN and not is_open:
            of_site.append((event.at, None))
        elif event.word == LINK_UP and is_open:
            of_site[-1] = (of_site[-1][0], event.at)
    return found


def _outage(outages: list[Outage], start: float) -> tuple[float | None, float | None]:
    """The last outage that a failsafe at ``start`` can come from: heartbeats need a moment after the link is back."""
    for lost, back in reversed(outages):
        if lost <= start and (back is None or back >= start - HEARTBEAT_MISSING_S):
            return lost, back
    return None, None


def _link(live: list[float], start: float) -> tuple[float | None, float | None]:
    """Around an instant: last and first time that the site was heard, if the silence between was a lost link's."""
    before = live[bisect_right(live, start) - 1] if live and live[0] <= start else None
    after = bisect_left(live, start + 1e-6)
    back = live[after] if after < len(live) else None
    if before is None or (back is not None and back - before <= LINK_QUIET_S):
        return None, None
    return before, back


def _phases(events: Iterable[Event], end: float) -> list[PhaseSpan]:
    told = [(event.at, message) for event in events if isinstance(message := _grid_state(event), GridState)]
    spans: list[PhaseSpan] = []
    for at, state in sorted(told, key=lambda one: one[0]):
        if spans and spans[-1].phase == state.phase:
            continue
        if spans:
            spans[-1] = msgspec.structs.replace(spans[-1], end=at)
        spans.append(PhaseSpan(phase=state.phase, start=at, end=end))
    return spans


def _grid_state(event: Event) -> object:
    return event.message() if event.word == "grid_state" else None
