"""A checker of plans that shares no code with the planner: it reads the problem's words and the plan's figures only."""

import math
from itertools import pairwise

from agents.cem.planner.plan import Plan
from agents.cem.planner.problem import (
    Battery,
    Charge,
    Device,
    Fixed,
    Generator,
    Job,
    Problem,
    Pv,
    Step,
    Thermal,
)

W = 1.0
"""What figures may be off: rounding and the solver's tolerance."""


def faults(problem: Problem, plan: Plan) -> list[str]:
    """Every hard constraint that the plan breaks and does not report."""
    out: list[str] = []
    edges = problem.horizon.edges_s()
    for device in problem.devices:
        out += [f"{device.name}: {what}" for what in _device(problem, device, plan, edges)]
    return out + _connection(problem, plan, edges)


def _connection(problem: Problem, plan: Plan, edges: tuple[float, ...]) -> list[str]:
    out, n, c = [], problem.horizon.count, problem.connection
    hard = [b for b in plan.broken if b.hard]

    def excused(code: str, slot: int) -> bool:
        return any(b.code == code and b.from_s <= edges[slot] + 1 and edges[slot + 1] <= b.until_s + 1 for b in hard)

    for t in range(n):
        mean = c.load_w[t] + sum(plan.devices[d.name].power_w[t] for d in problem.devices)
        if abs(mean - plan.power_w[t]) > W:
            out.append(f"balance {t}: {mean:.1f} against {plan.power_w[t]:.1f}")
        high = c.load_w[t] + c.high_share * (max(0.0, c.load_high_w[t] - c.load_w[t]) if c.load_high_w else 0.0)
        counted = {d.name: _counted(d, plan, t) for d in problem.devices}
        upper = high + sum(counted.values())
        bounds = []
        if c.upper_w:
            bounds.append((c.upper_why, upper - c.upper_w[t]))
        if c.contracted_w:
            bounds.append(("contract", upper - c.contracted_w[t] * (1 - c.contracted_band)))
        if c.lower_w:
            bounds.append((c.lower_why, c.lower_w[t] - mean))
        if c.fuse_w is not None:
            for phase in (1, 2, 3):
                part = {d.name: (phase in d.phases) / len(d.phases) for d in problem.devices}
                share = c.phase_share[phase - 1]
                taken = high * share + sum(counted[name] * part[name] for name in part)
                given = c.load_w[t] * share + sum(plan.devices[name].power_w[t] * part[name] for name in part)
                bounds += [(f"fuse_l{phase}", taken - c.fuse_w), (f"fuse_l{phase}", -c.fuse_w - given)]
        out += [f"{code} {t}: {over:.1f} W over" for code, over in bounds if over > W and not excused(code, t)]
    return out


def _counted(device: Device, plan: Plan, t: int) -> float:
    """What a bound on taking counts for a device."""
    course = plan.devices[device.name]
    if isinstance(device, Pv) and device.sure_w and device.forecast_w[t] < 0:
        sure = min(0.0, max(device.sure_w[t], device.forecast_w[t]))
        return course.power_w[t] * sure / device.forecast_w[t]
    return course.maximum_w[t] if isinstance(device, Job) else course.power_w[t]


def _device(problem: Problem, device: Device, plan: Plan, edges: tuple[float, ...]) -> list[str]:
    power = plan.devices[device.name].power_w
    match device:
        case Job():
            return _job(device, plan, edges)
        case Charge():
            return _charge(device, power, edges)
        case Battery():
            return _battery(problem, device, plan, edges)
        case Thermal():
            return _thermal(problem, device, plan, edges)
        case Generator():
            out = [
                f"power {p} in {t}"
                for t, p in enumerate(power)
                if abs(p) > W and not device.min_power_w - W <= -p <= device.max_power_w + W
            ]
            if not device.ready and not device.on and min(power) < -W:
                out.append("runs though it is not ready")
            return out + _times(device, power, edges)
        case Pv():
            return [f"power {p} in {t}" for t, p in enumerate(power) if not min(0, device.forecast_w[t]) - W <= p <= W]
        case Fixed():
            return [f"power {p} in {t}" for t, p in enumerate(power) if abs(p - device.power_w[t]) > W]


def _energy(steps: tuple[Step, ...], begin: float, end: float) -> float:
    """Ws of a programme between two instants after its start."""
    at, out = 0.0, 0.0
    for step in steps:
        out += step.power_w * max(0.0, min(end, at + step.duration_s) - max(begin, at))
        at += step.duration_s
    return out


def _job(job: Job, plan: Plan, edges: tuple[float, ...]) -> list[str]:
    course = plan.devices[job.name]
    slots = list(pairwise(edges))
    if not course.runs:
        excused = not job.must_run or any(b.where == job.name for b in (*plan.broken, *plan.refused))
        later = job.latest_end_s > edges[-1]
        return [] if max(course.power_w) < W and (excused or later) else ["left undone without a word"]
    out = []
    programme = next(p for p in job.programmes if p.name == course.programme)
    if job.started_s is None and (
        course.runs[0].start_s < job.earliest_s - 1 or course.runs[-1].end_s > job.latest_end_s + 1
    ):
        out.append("outside its window")
    length = sum(r.end_s - r.start_s for r in course.runs)
    if abs(length - programme.duration_s) > 1:
        out.append(f"runs for {length} s, not {programme.duration_s}")
    if len(course.runs) > 1 and not job.interruptible:
        out.append("interrupted")
    if job.max_pause_s > 0:
        out += ["too long a pause" for a, b in pairwise(course.runs) if b.start_s - a.end_s > job.max_pause_s + 1]
    for t, (begin, end) in enumerate(slots):
        done, mean = 0.0, 0.0
        for run in course.runs:
            from_s, until = max(begin, run.start_s), min(end, run.end_s)
            if until > from_s:
                mean += _energy(programme.steps, done + from_s - run.start_s, done + until - run.start_s)
            done += run.end_s - run.start_s
        mean /= end - begin
        if abs(mean - course.power_w[t]) > W:
            out.append(f"power {course.power_w[t]} in {t}, the programme says {mean:.1f}")
        if course.maximum_w[t] < course.power_w[t] - W:
            out.append(f"highest below mean in {t}")
    return out


def _charge(car: Charge, power: tuple[float, ...], edges: tuple[float, ...]) -> list[str]:
    out, stored = [], car.energy_wh
    for t, (begin, end) in enumerate(pairwise(edges)):
        if power[t] > W and not car.min_power_w - W <= power[t] <= car.max_power_w + W:
            out.append(f"power {power[t]} in {t}")
        if power[t] < -W:
            out.append("gives")
        if power[t] > W and ((begin < car.arrival_s - 1 and t > 0) or end > car.departure_s + 1):
            out.append(f"charges in {t} without a car")
        stored += power[t] * car.efficiency * (end - begin) / 3600
    if stored > max(car.maximum_wh, car.energy_wh) + 2:
        out.append(f"overfull: {stored:.1f} Wh")
    return out + _times(car, power, edges)


def _battery(problem: Problem, battery: Battery, plan: Plan, edges: tuple[float, ...]) -> list[str]:
    course, out, stored = plan.devices[battery.name], [], battery.energy_wh
    untouched = battery.energy_wh
    for t, (begin, end) in enumerate(pairwise(edges)):
        hours, p = (end - begin) / 3600, course.power_w[t]
        untouched *= (1 - battery.self_discharge_per_day) ** (hours / 24)
        if not -battery.discharge_w - W <= p <= battery.charge_w + W:
            out.append(f"power {p} in {t}")
        idle = stored * (1 - battery.self_discharge_per_day) ** (hours / 24)
        # One power per slot is all that there is: were it charged and discharged at once, the stored would not add up.
        stored = idle + hours * (p * battery.charge_efficiency if p > 0 else p / battery.discharge_efficiency)
        if abs(stored - course.energy_wh[t + 1]) > 3 + 0.01 * t:
            out.append(f"stored {course.energy_wh[t + 1]} after {t}, not {stored:.1f}")
        stored = course.energy_wh[t + 1]
        if stored < min(battery.minimum_wh, untouched) - 2 or stored > max(battery.maximum_wh, untouched) + 2:
            out.append(f"{stored} Wh after {t}")
        if battery.no_grid_charge and min(p, plan.power_w[t]) > W:
            out.append(f"charges from the grid in {t}")
        if battery.no_export and min(-p, -plan.power_w[t]) > W:
            out.append(f"feeds in in {t}")
    return out


def _thermal(problem: Problem, device: Thermal, plan: Plan, edges: tuple[float, ...]) -> list[str]:
    course, out, now = plan.devices[device.name], [], device.temperature_c
    heaters = [d for d in problem.devices if isinstance(d, Generator) and d.heat_to == device.name]
    for t, (begin, end) in enumerate(pairwise(edges)):
        p, hours = course.power_w[t], (end - begin) / 3600
        if device.levels_w:
            if min(abs(p - level) for level in (0.0, *device.levels_w)) > W:
                out.append(f"power {p} in {t}")
        elif p > W and not device.min_power_w - W <= p <= device.max_power_w + W:
            out.append(f"power {p} in {t}")
        heat = p * (device.cop[t] if device.cop else 1.0) * (-1 if device.cools else 1)
        heat -= device.demand_w[t] if device.demand_w else 0.0
        heat -= sum(plan.devices[h.name].power_w[t] * h.heat_per_power for h in heaters)
        if device.loss_w_per_k > 0:
            goes_to = device.ambient_c[t] + heat / device.loss_w_per_k
            now = goes_to + (now - goes_to) * math.exp(-hours * device.loss_w_per_k / device.capacity_wh_per_k)
        else:
            now += heat * hours / device.capacity_wh_per_k
        if abs(now - course.temperature_c[t + 1]) > 0.02:
            out.append(f"{course.temperature_c[t + 1]} degC after {t}, not {now:.3f}")
        now = course.temperature_c[t + 1]
    return out + _times(device, course.power_w, edges)


def _times(device: Charge | Thermal | Generator, power: tuple[float, ...], edges: tuple[float, ...]) -> list[str]:
    """Minimum times on and off, across the start of the horizon too."""
    out, on, since = [], device.on, device.since_s if device.since_s is not None else -math.inf
    off_s = 0.0 if isinstance(device, Charge) else device.min_off_s
    leaves = device.departure_s if isinstance(device, Charge) else math.inf
    for t, begin in enumerate(edges[:-1]):
        if (abs(power[t]) > W) == on:
            continue
        held = device.min_on_s if on else off_s
        if begin < since + held - 1 and not (on and edges[t + 1] > leaves + 1):
            out.append(f"switched {'off' if on else 'on'} in {t} after {begin - since:.0f} s")
        on, since = not on, begin
    return out
