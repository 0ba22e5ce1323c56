"""What a plan cannot keep, by name and in figures; and the devices that cannot be planned at all."""

from collections.abc import Iterator

import numpy as np

from agents.cem.planner.batteries import BatteryPart
from agents.cem.planner.charges import ChargePart
from agents.cem.planner.heat import ThermalPart
from agents.cem.planner.jobs import JobPart, PausingJobPart
from agents.cem.planner.model import Floats
from agents.cem.planner.part import Part
from agents.cem.planner.plan import Broken, Refused
from agents.cem.planner.problem import Job
from agents.cem.planner.reasons import Explainer, bound_name, spans
from contracts.reasons import Reason

SMALL_KW = 1e-3
SMALL_K = 0.05
SMALL_KWH = 0.01


def broken(explainer: Explainer) -> tuple[Broken, ...]:
    out = list(_bounds(explainer))
    for part in explainer.program.parts:
        out += _pins(explainer, part)
        match part:
            case JobPart() | PausingJobPart():
                out += _job(explainer, part)
            case ChargePart():
                out += _charge(explainer, part)
            case BatteryPart():
                out += _battery(explainer, part)
            case ThermalPart():
                out += _thermal(explainer, part)
            case _:
                pass
    return tuple(out)


def refused(explainer: Explainer) -> tuple[Refused, ...]:
    """Jobs whose window is too short for any of their programmes."""
    out = []
    edges = explainer.slots.edges_s
    for part in explainer.program.parts:
        if not isinstance(part, JobPart | PausingJobPart) or part.job.started_s is not None or _possible(part):
            continue
        job = part.job
        shortest = min(p.duration_s for p in job.programmes)
        window = min(job.latest_end_s, edges[-1]) - max(job.earliest_s, edges[0])
        if job.latest_end_s > edges[-1] + 1e-6 and job.latest_end_s - max(job.earliest_s, edges[0]) >= shortest:
            continue  # its time comes after the horizon
        text = (
            f"It takes {shortest / 60:.0f} min, but between {explainer.clock_s(job.earliest_s)} and "
            f"{explainer.clock_s(job.latest_end_s)} only {max(0.0, window) / 60:.0f} min are left: "
            "let it end later, or choose a shorter programme."
        )
        inputs = {"duration_s": shortest, "window_s": max(0.0, float(window))}
        out.append(
            Refused(where=job.name, reason=Reason(code="window_too_short", text=text, binding="window", inputs=inputs))
        )
    return tuple(out)


def _possible(part: JobPart | PausingJobPart) -> bool:
    return bool(part.pieces) if isinstance(part, PausingJobPart) else bool(part.ways)


def _slotted(
    e: Explainer, where: str, code: str, over: Floats, small: float, scale: float, unit: str, hard: bool, say: str
) -> Iterator[Broken]:
    """One entry for each run of slots in which ``over`` is above ``small``; ``say`` has {amount} and {span}."""
    for first, last in spans(np.flatnonzero(over > small).tolist()):
        amount = float(over[first : last + 1].max()) * scale
        text = say.format(amount=amount, span=e.span(first, last))
        begin, end = float(e.slots.edges_s[first]), float(e.slots.edges_s[last + 1])
        reason = Reason(code=code, text=text, binding=code, inputs={f"short_{unit.lower()}": round(amount, 3)})
        yield Broken(
            where=where, code=code, hard=hard, amount=amount, unit=unit, from_s=begin, until_s=end, reason=reason
        )


def _bounds(e: Explainer) -> Iterator[Broken]:
    for bound, load in e.loads:
        over = bound.side * (load - bound.limit)
        for first, last in spans(np.flatnonzero(over > SMALL_KW).tolist()):
            worst = first + int(over[first : last + 1].argmax())
            inputs = {
                "base_w": float(bound.base[worst]) * 1000,
                "power_w": float(load[worst]) * 1000,
                "limit_w": float(bound.limit[worst]) * 1000,
            }
            what = "base load" if bound.excess[worst] > 0 and abs(load[worst] - bound.base[worst]) < 0.05 else "load"
            way = "above" if bound.side > 0 else "below"
            text = (
                f"{what} of {inputs['power_w'] / 1000:.1f} kW is {way} {bound_name(bound.code)} of "
                f"{inputs['limit_w'] / 1000:.1f} kW {e.span(first, last)}"
            )
            yield Broken(
                where="connection",
                code=bound.code,
                hard=True,
                amount=float(over[worst]) * 1000,
                unit="W",
                from_s=float(e.slots.edges_s[first]),
                until_s=float(e.slots.edges_s[last + 1]),
                reason=Reason(code=bound.code, text=text, binding=bound.code, inputs=inputs),
            )


def _pins(e: Explainer, part: Part) -> Iterator[Broken]:
    if not len(part.pinned):
        return
    missing = np.zeros(e.slots.n)
    missing[part.pinned] = part.pin_kw - part.power.at(e.x)[part.pinned]
    over = np.abs(missing)
    say = "what the user set cannot be kept {span}: {amount:.0f} W off"
    for entry in _slotted(e, part.name, "fixed_by_user", over, 0.02, 1000, "W", False, say):
        first, end = (int(n) for n in np.searchsorted(e.slots.edges_s, (entry.from_s - 1e-6, entry.until_s - 1e-6)))
        slot = first + int(over[first:end].argmax())  # where it is worst says why, not where it begins
        more = bool(missing[slot] > 0)
        because = _own(e, part, slot, more) or e.binding(part, slot, 1 if more else -1, more_kw=entry.amount / 1000)
        if because is not None:
            text = f"{entry.reason.text}; {because.text[0].lower()}{because.text[1:]}"
            reason = Reason(
                code=entry.code, text=text, binding=because.code, inputs=entry.reason.inputs | because.inputs
            )
            entry = Broken(
                where=entry.where,
                code=entry.code,
                hard=False,
                amount=entry.amount,
                unit="W",
                from_s=entry.from_s,
                until_s=entry.until_s,
                reason=reason,
            )
        yield entry


def _own(e: Explainer, part: Part, slot: int, more: bool) -> Reason | None:
    """What keeps a store by itself from taking more (giving more) in a slot: it comes before any bound of the home."""
    if isinstance(part, BatteryPart):
        stored, top_kwh, least_kwh = part.stored_kwh(e.x), float(part.top[slot]), float(part.floor[slot])
    elif isinstance(part, ChargePart):
        stored, top_kwh, least_kwh = part.stored_kwh(e.x), part.car.maximum_wh / 1000, 0.0
    else:
        return None
    kwh = float(stored[slot + 1])
    inputs = {"stored_wh": kwh * 1000}
    if more and kwh >= top_kwh - SMALL_KWH:
        return Reason(code="full", text=f"It is full: {kwh:.1f} kWh.", binding="full", inputs=inputs)
    if not more and kwh <= least_kwh + SMALL_KWH:
        text = f"It has nothing left to give: {kwh:.1f} kWh."
        return Reason(code="empty", text=text, binding="empty", inputs=inputs)
    return None


def _single(
    e: Explainer, where: str, code: str, amount: float, unit: str, by_s: float, text: str, **inputs: float
) -> Broken:
    reason = Reason(code=code, text=text, binding=code, inputs=inputs)
    begin = float(e.slots.edges_s[0])
    return Broken(
        where=where, code=code, hard=False, amount=amount, unit=unit, from_s=begin, until_s=by_s, reason=reason
    )


def _job(e: Explainer, part: JobPart | PausingJobPart) -> Iterator[Broken]:
    job: Job = part.job
    if not job.must_run or job.started_s is not None or not _possible(part) or part.chosen(e.x)[1]:
        return
    peak = min(max(max(s.power_w, s.maximum_w) for s in p.steps) for p in job.programmes)
    text = f"it cannot run before {e.clock_s(job.latest_end_s)}: its {peak:.0f} W find no room under the bounds"
    yield _single(e, job.name, "job", 1.0, "runs", job.latest_end_s, text, power_w=peak)


def _charge(e: Explainer, part: ChargePart) -> Iterator[Broken]:
    car, (below, wish, _) = part.car, e.x[part.missing].tolist()
    if below + wish <= SMALL_KWH:
        return
    stored = float(part.stored_kwh(e.x)[-1])
    for short, code, goal in ((below, "departure", car.minimum_wh), (wish, "target", car.target_wh)):
        if short > SMALL_KWH:
            verb = "needs" if code == "departure" else "wants"
            text = f"it {verb} {goal / 1000:.1f} kWh by {e.clock_s(car.departure_s)} and gets {stored:.1f} kWh"
            yield _single(
                e, car.name, code, short * 1000, "Wh", car.departure_s, text, wanted_wh=goal, planned_wh=stored * 1000
            )


def _battery(e: Explainer, part: BatteryPart) -> Iterator[Broken]:
    over = np.zeros(e.slots.n)
    over[part.short] = e.x[part.lacking]
    say = "{amount:.0f} Wh are missing to its reserve {span}"
    yield from _slotted(e, part.name, "reserve", over, SMALL_KWH, 1000, "Wh", False, say)
    for column, (target, edge) in zip(part.unmet, part.targets, strict=True):
        if (short := float(e.x[column])) > SMALL_KWH:
            planned = float(e.x[part.stored[edge - 1]]) * 1000
            wish = f"{target.energy_wh / 1000:.1f} kWh by {e.clock_s(target.by_s)}"
            text = f"it wants {wish} and gets {planned / 1000:.1f} kWh"
            yield _single(
                e,
                part.name,
                "target",
                short * 1000,
                "Wh",
                target.by_s,
                text,
                wanted_wh=target.energy_wh,
                planned_wh=planned,
            )


def _thermal(e: Explainer, part: ThermalPart) -> Iterator[Broken]:
    for at, columns, what in ((part.cold_at, part.cold, "colder"), (part.hot_at, part.hot, "warmer")):
        over = np.zeros(e.slots.n)
        over[at] = e.x[columns]
        say = "up to {amount:.1f} K " + what + " than wished {span}"
        yield from _slotted(e, part.name, "comfort", over, SMALL_K, 1, "K", False, say)
    for column, (target, edge) in zip(part.unmet, part.targets, strict=True):
        if (short := float(e.x[column])) > SMALL_K:
            planned = float(e.x[part.temperature[edge - 1]])
            text = f"it wants {target.temperature_c:.0f} degC by {e.clock_s(target.by_s)} and gets {planned:.1f} degC"
            yield _single(
                e, part.name, "target", short, "K", target.by_s, text, wanted_c=target.temperature_c, planned_c=planned
            )
