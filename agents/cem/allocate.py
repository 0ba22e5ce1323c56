"""Who may take or give how much, so that the connection point stays inside its bounds. Pure and deterministic.

Consumption: PV and battery discharge help first, then cars are reduced to their least current, then heat pumps, then
devices are switched off in the order of their rank. Feed-in: storage charges first, then cars, then heat; PV is
curtailed last. What helps is credited only as far as it is measured, so a bound holds before the help has arrived.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from contracts.device import DeviceClass
from contracts.reasons import Reason

ON_W = 50.0
"""Below this a device counts as off: standby consumption is household load."""
EPS = 1e-6
LEAST_W = 1.0
"""What a load without a least power is switched on with; it is raised from there."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A device as the allocator sees it, + consumed. ``wants_w`` is what it would take if it were free."""

    name: str
    kind: DeviceClass
    power_w: float
    lower_w: float
    upper_w: float
    nominal_lower_w: float
    nominal_upper_w: float
    wants_w: float
    minimum_run_w: float = 0.0
    phases: tuple[int, ...] = (1, 2, 3)
    fresh: bool = True
    """Its reading is young enough and it takes orders; otherwise its worst case is reserved."""
    keep_on: bool = False
    keep_off: bool = False
    """Its minimum on (off) time is not over; only an urgent bound breaks it."""
    rank: int = 0
    """The lowest rank is the last to be reduced and switched off."""
    can_absorb: bool = False


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the connection point must keep. ``soft_lower_w`` is pursued by absorbing only, never by curtailing."""

    upper_w: float = inf
    lower_w: float = -inf
    soft_lower_w: float = -inf
    phase_upper_w: float = inf
    asymmetry_w: float = inf
    urgent: bool = False
    upper_why: str = "grid_limit"
    lower_why: str = "grid_limit"

    @property
    def none(self) -> bool:
        return (
            self.upper_w == self.phase_upper_w == self.asymmetry_w == inf and self.lower_w == self.soft_lower_w == -inf
        )


@dataclass(frozen=True, slots=True)
class Base:
    """Power of everything that is not steered: upper and lower estimate, and the upper one per phase.

    ``sure_w`` (None: as ``high_w``) is the part of the upper one that is certain enough to switch something off for:
    what a single reading shows only reduces.
    """

    high_w: float
    low_w: float
    phase_high_w: tuple[float, float, float]
    sure_w: float | None = None
    phase_sure_w: tuple[float, float, float] | None = None

    @property
    def unsure(self) -> tuple[float, tuple[float, float, float]]:
        """How much of the upper estimates is not certain: total, and the least of the phases' own."""
        total = 0.0 if self.sure_w is None else max(0.0, self.high_w - self.sure_w)
        if self.phase_sure_w is None:
            return total, (0.0, 0.0, 0.0)
        parts = [max(0.0, h - s) for h, s in zip(self.phase_high_w, self.phase_sure_w, strict=True)]
        return total, (parts[0], parts[1], parts[2])


@dataclass(frozen=True, slots=True)
class Envelope:
    """What one device gets; None where it is free."""

    lower_w: float | None
    upper_w: float | None
    setpoint_w: float | None
    reason: Reason


@dataclass(slots=True)
class _Room:
    """Power that is left below the bounds, in total and per phase."""

    total: float
    phases: list[float]
    uneven: list[float]
    """What loads on one or two phases may add per phase before the asymmetry is too strong."""

    def fits(self, unit: Unit) -> float:
        """The most that one more load on this unit's phases may take; negative when they are overdrawn."""
        n = len(unit.phases)
        left = min(self.total, *(self.phases[p - 1] * n for p in unit.phases))
        return left if n == 3 else min(left, *(self.uneven[p - 1] * n for p in unit.phases))

    def take(self, unit: Unit, power_w: float) -> None:
        self.total -= power_w
        for p in unit.phases:
            self.phases[p - 1] -= power_w / len(unit.phases)
            if len(unit.phases) < 3:
                self.uneven[p - 1] -= power_w / len(unit.phases)

    def copy(self) -> "_Room":
        return _Room(self.total, list(self.phases), list(self.uneven))


@dataclass(slots=True)
class _Plan:
    """Work in progress: upper bounds of loads and batteries."""

    upper: dict[str, float] = field(default_factory=dict)
    bound_by: dict[str, str] = field(default_factory=dict)


def allocate(bounds: Bounds, base: Base, units: Sequence[Unit]) -> dict[str, Envelope]:
    """An envelope for each fresh unit. The sum keeps the bounds wherever the fresh units can make it so."""
    units = sorted(units, key=lambda u: (u.rank, u.name))
    fresh = [u for u in units if u.fresh]
    uppers = _consumption(bounds, base, units)
    low_w = base.low_w + sum(min(0.0, u.lower_w) for u in units if not u.fresh)
    lowers, setpoints = _feed_in(bounds, low_w, fresh, uppers)
    out: dict[str, Envelope] = {}
    for unit in fresh:
        upper: float | None = uppers.upper.get(unit.name, inf)
        lower: float | None = lowers.get(unit.name, -inf)
        setpoint = setpoints.get(unit.name)
        if setpoint is not None and upper is not None and lower is not None:
            setpoint = max(min(setpoint, upper), lower if lower <= upper else setpoint)
        upper = None if upper is None or upper >= unit.nominal_upper_w - EPS else upper
        if setpoint is not None and upper is not None and bounds.upper_w == inf and setpoint < upper:
            upper = None  # the fuse is far: a device that follows a setpoint needs no second bound
        lower = None if lower is None or lower <= unit.nominal_lower_w + EPS else lower
        why = _reason(unit, bounds, base, upper, lower, uppers.bound_by.get(unit.name, ""))
        out[unit.name] = Envelope(lower, upper, setpoint, why)
    return out


# -------------------------------------------------------------------- consumption


def _consumption(bounds: Bounds, base: Base, units: Sequence[Unit]) -> _Plan:
    plan = _Plan()
    if bounds.upper_w == bounds.phase_upper_w == bounds.asymmetry_w == inf:
        return plan
    room = _room(bounds, base, units)
    loads = [u for u in units if u.fresh and u.kind not in ("pv", "battery")]
    batteries = [u for u in units if u.fresh and u.kind == "battery"]
    wanting = [u for u in loads if u.wants_w > ON_W]
    _switch(bounds, base, room, wanting, batteries, plan)
    credit = room.copy()
    for battery in batteries:
        credit.take(battery, min(0.0, battery.power_w))
    running = [u for u in wanting if plan.upper[u.name] > 0]
    for unit in running:
        credit.take(unit, plan.upper[unit.name])
        room.take(unit, plan.upper[unit.name])
    _raise(running, credit, room, plan, lambda u: u.wants_w)
    unmet = sum(u.wants_w - plan.upper[u.name] for u in wanting)
    for unit in loads:
        if unit.wants_w <= ON_W:  # idle: may start with what is left, or not at all
            fits = credit.fits(unit)
            left = unit.nominal_upper_w if fits >= unit.nominal_upper_w else max(0.0, min(fits, unit.upper_w))
            plan.upper[unit.name] = left if left >= unit.minimum_run_w else 0.0
            credit.take(unit, plan.upper[unit.name])
            room.take(unit, plan.upper[unit.name])
    _batteries(batteries, room, unmet, plan)
    if all(b.upper_w <= plan.upper[b.name] + EPS for b in batteries):
        spare = room.copy()  # without the batteries' help: what they charge now is reserved
        _raise([u for u in loads if plan.upper[u.name] > 0], spare, room, plan, lambda u: u.nominal_upper_w)
    for unit in loads + batteries:
        plan.bound_by[unit.name] = _binding(bounds, room, unit)
    return plan


def _room(bounds: Bounds, base: Base, units: Iterable[Unit]) -> _Room:
    least = min(base.phase_high_w)
    room = _Room(
        bounds.upper_w - base.high_w,
        [bounds.phase_upper_w - p for p in base.phase_high_w],
        [least + bounds.asymmetry_w - p for p in base.phase_high_w],
    )
    for unit in units:
        if not unit.fresh:
            room.take(unit, max(0.0, unit.upper_w))
        elif unit.kind == "pv":
            room.take(unit, min(0.0, unit.power_w))
    return room


def _switch(bounds: Bounds, base: Base, room: _Room, wanting: list[Unit], batteries: list[Unit], plan: _Plan) -> None:
    """Who may run at all, at its least power: here the full help of the batteries counts."""
    able = room.copy()
    if not bounds.urgent:
        total, phases = base.unsure
        able.total += total
        able.phases = [left + part for left, part in zip(able.phases, phases, strict=True)]
    for battery in batteries:
        able.take(battery, min(0.0, battery.lower_w))
    held = [u for u in wanting if u.keep_on and not bounds.urgent]
    for unit in held + [u for u in wanting if u not in held]:
        least = min(max(unit.minimum_run_w, LEAST_W), unit.wants_w)
        off = unit not in held and (able.fits(unit) < max(least, EPS) or unit.keep_off)
        plan.upper[unit.name] = 0.0 if off else least
        if not off:
            able.take(unit, least)


def _raise(units: list[Unit], credit: _Room, room: _Room, plan: _Plan, goal: Callable[[Unit], float]) -> None:
    """Fill up to the goal: rank by rank, within a rank in equal steps."""
    for rank in sorted({u.rank for u in units}):
        peers = [u for u in units if u.rank == rank]
        while peers:
            step = min(
                min(goal(u) - plan.upper[u.name] for u in peers),
                min(max(0.0, credit.fits(u)) for u in peers) / len(peers),
            )
            if step > EPS:
                for unit in peers:
                    plan.upper[unit.name] += step
                    credit.take(unit, step)
                    room.take(unit, step)
            peers = [u for u in peers if goal(u) - plan.upper[u.name] > 1.0 and credit.fits(u) > 1.0]


def _batteries(batteries: list[Unit], room: _Room, unmet_w: float, plan: _Plan) -> None:
    """The rest: charge with what is left, or discharge what is missing; ``unmet_w`` is what loads still wish."""
    help_w = sum(-min(0.0, b.lower_w) for b in batteries)
    missing = room.total - unmet_w
    for battery in batteries:
        own = room.fits(battery) - unmet_w
        if missing < 0 or own < 0:
            part = -min(0.0, battery.lower_w) / help_w if help_w > 0 else 0.0
            target = min(missing * part if missing < 0 else 0.0, own if own < missing else 0.0) if part else 0.0
            plan.upper[battery.name] = max(min(0.0, battery.lower_w), target)
        else:
            plan.upper[battery.name] = own if own >= battery.nominal_upper_w else min(max(0.0, battery.upper_w), own)
            room.take(battery, min(plan.upper[battery.name], battery.nominal_upper_w))


# -------------------------------------------------------------------- feed-in


def _feed_in(
    bounds: Bounds, low_w: float, fresh: Sequence[Unit], uppers: _Plan
) -> tuple[dict[str, float], dict[str, float]]:
    """Lower bounds and setpoints; ``low_w`` is the least that everything else takes."""
    setpoints = {u.name: u.wants_w for u in fresh if u.kind == "battery"}
    goal = max(bounds.lower_w, bounds.soft_lower_w)
    if goal == -inf:
        return {}, setpoints
    pvs = [u for u in fresh if u.kind == "pv"]
    batteries = [u for u in fresh if u.kind == "battery"]
    loads = [u for u in fresh if u.kind not in ("pv", "battery")]

    def cap(unit: Unit) -> float:
        return min(unit.upper_w, uppers.upper.get(unit.name, inf))

    taken = {u.name: min(max(0.0, u.power_w), uppers.upper.get(u.name, inf)) for u in loads}
    steady = low_w + sum(taken.values())
    need = goal - (steady + sum(min(0.0, u.lower_w) for u in pvs))
    for battery in batteries:
        give = max(0.0, min(cap(battery), need))
        setpoints[battery.name] = max(give, setpoints[battery.name]) if need > 0 else setpoints[battery.name]
        need -= give
    absorbers = [u for u in loads if u.kind == "evse"] + [u for u in loads if u.kind != "evse" and u.can_absorb]
    for unit in absorbers:
        give = min(cap(unit) - taken[unit.name], need)
        if give <= 0 or unit.keep_off or taken[unit.name] + give < unit.minimum_run_w:
            continue
        if unit.wants_w < taken[unit.name] + give:  # one that wants as much takes it without being asked
            setpoints[unit.name] = taken[unit.name] + give
        need -= give
    lowers = _curtail(bounds.lower_w, steady, pvs, batteries) if bounds.lower_w > -inf else {}
    return lowers, setpoints


def _curtail(bound_w: float, steady_w: float, pvs: list[Unit], batteries: list[Unit]) -> dict[str, float]:
    """Batteries first lose their discharge, then PV its generation; only measured absorption is credited."""
    potential = sum(min(0.0, u.lower_w) for u in pvs)
    discharge = min(0.0, bound_w - steady_w - potential)
    able = sum(-min(0.0, b.lower_w) for b in batteries)
    lowers = {b.name: max(b.lower_w, discharge * -b.lower_w / able) if b.lower_w < 0 else 0.0 for b in batteries}
    allowed = min(0.0, bound_w - steady_w - sum(b.power_w for b in batteries))
    nominal = sum(min(0.0, u.nominal_lower_w) for u in pvs)
    for unit in pvs:
        part = min(0.0, unit.lower_w) / potential if potential < -ON_W else unit.nominal_lower_w / (nominal or -1.0)
        lowers[unit.name] = allowed * part
    return lowers


# -------------------------------------------------------------------- reasons


def _binding(bounds: Bounds, room: _Room, unit: Unit) -> str:
    n = len(unit.phases)
    phase = min(unit.phases, key=lambda p: room.phases[p - 1])
    uneven = min(unit.phases, key=lambda p: room.uneven[p - 1]) if n < 3 else 0
    if uneven and room.uneven[uneven - 1] * n < min(room.phases[phase - 1] * n, room.total) - EPS:
        return f"asymmetry_l{uneven}"
    return f"fuse_l{phase}" if room.phases[phase - 1] * n < room.total - EPS else bounds.upper_why


def _reason(unit: Unit, bounds: Bounds, base: Base, upper: float | None, lower: float | None, bound_by: str) -> Reason:
    if upper is None and lower is None:
        return Reason(code="free", text="Nothing binds this device now.")
    if upper is not None:
        inputs = {"base_w": base.high_w, "given_w": upper, "wanted_w": unit.wants_w}
        if bounds.upper_w < inf:
            inputs["bound_w"] = bounds.upper_w
        if unit.kind == "battery" and unit.upper_w <= ON_W and upper == max(0.0, unit.upper_w):
            text = f"By itself it takes {upper:.0f} W at most now: it is full."
            return Reason(code="full", text=text, binding="full", inputs=inputs)
        what = "switched off" if upper <= 0 and unit.kind != "battery" else f"held to {upper:.0f} W"
        text = f"It is {what}: {bound_by} leaves it no more."
        if bound_by == bounds.upper_why and bounds.upper_w < inf:
            text = f"It is {what}: {bound_by} holds the whole connection point to {bounds.upper_w:.0f} W."
        return Reason(code=bound_by, text=text, binding=bound_by, inputs=inputs)
    assert lower is not None
    inputs = {"base_w": base.low_w, "bound_w": bounds.lower_w, "given_w": lower}
    text = (
        f"It may feed in at most {max(0.0, -lower):.0f} W itself: {bounds.lower_why} bounds the whole connection "
        f"point at {bounds.lower_w:.0f} W, and what the home takes comes on top."
    )
    return Reason(code=bounds.lower_why, text=text, binding=bounds.lower_why, inputs=inputs)
