"""Shiftable programmes: one binary per alternative and start, with the whole profile behind it."""

from dataclasses import dataclass
from math import ceil

import numpy as np

from agents.cem.planner.model import Floats, Ints
from agents.cem.planner.part import Lumps, Part, Room
from agents.cem.planner.plan import Run
from agents.cem.planner.problem import Job, Programme, Step
from agents.cem.planner.terms import TIE_EUR, Terms, World

NONE = np.zeros(0, np.int64)


def running(job: Job) -> Programme:
    return next((p for p in job.programmes if p.name == job.programme), job.programmes[0])


def remainder(job: Job, now_s: float) -> tuple[Step, ...]:
    """What is left of a running job's programme."""
    gone, left = now_s - (job.started_s or now_s), []
    for step in running(job).steps:
        rest = step.duration_s - max(0.0, gone)
        gone -= step.duration_s
        if rest > 0:
            left.append(Step(duration_s=min(rest, step.duration_s), power_w=step.power_w, maximum_w=step.maximum_w))
    return tuple(left)


@dataclass(frozen=True)
class Way:
    """One alternative: mean and highest power per candidate (rows) and slot."""

    programme: Programme
    starts_s: Floats
    mean: Floats
    highest: Floats
    ends_s: Floats


class JobPart(Part):
    """Uninterrupted (or already running) jobs."""

    def __init__(self, world: World, job: Job) -> None:
        self.begin(world, job.name, job.phases, job.fixed)
        self.job, self.slots = job, world.slots
        self.highest = Terms(np.zeros(world.slots.n))
        self.ways: list[Way] = []
        self.choice = self.undone = NONE
        self.mean = self.peak = np.zeros((0, world.slots.n))
        if job.started_s is not None:
            self._run_on()
        else:
            self.ways = [way for p in job.programmes if len((way := _way(world, job, p)).starts_s)]
            if self.ways:
                self._choose(world)
        self.hold_pins(world)

    def _run_on(self) -> None:
        now = self.slots.edges_s[0]
        steps = remainder(self.job, now)
        mean, highest = self.slots.profiles_kw(steps or (Step(duration_s=1.0, power_w=0.0),), np.array([now]))
        self.power.constant, self.highest.constant = mean[0], highest[0]
        self.least, self.most = highest[0], highest[0]

    def _choose(self, world: World) -> None:
        model, job = world.model, self.job
        self.mean = np.concatenate([way.mean for way in self.ways])
        self.peak = np.concatenate([way.highest for way in self.ways])
        k = len(self.mean)
        self.choice = model.columns(k, 0.0, 1.0, whole=True)
        self.undone = model.columns(1, 0.0, 1.0)
        row = model.rows(f"{job.name}: once", 1, 1.0, 1.0)
        model.put(row[0], self.choice, 1.0)
        model.put(row[0], self.undone, 1.0)
        candidate, slot = np.nonzero(self.peak > 0)
        self.power.add(slot, self.choice[candidate], self.mean[candidate, slot])
        self.highest.add(slot, self.choice[candidate], self.peak[candidate, slot])
        self.most = self.peak.max(axis=0)
        starts = np.concatenate([way.starts_s for way in self.ways])
        later = (starts - starts.min()) / 3600.0
        model.cost("wishes", self.choice, job.later_eur_per_h * later + self.mean @ _grey(world, job))
        model.cost("ties", self.choice, TIE_EUR * later)
        model.cost("wishes", self.undone, job.unmet_eur if job.must_run else job.value_eur)

    def stay_with(self, world: World, run: Run, programme: str) -> None:
        """It was announced so: any other choice costs."""
        if len(self.choice):
            moved = np.concatenate(
                [(np.abs(w.starts_s - run.start_s) > 1.0) | (w.programme.name != programme) for w in self.ways]
            )
            world.model.cost("stability", self.choice, world.stability.per_start_eur * moved)

    def lumps(self) -> Lumps | None:
        slot, column, kw = self.power.flat()
        return (slot, column, kw, np.ones(len(slot), dtype=bool)) if len(self.choice) else None

    def propose(self, x: Floats, room: Room) -> None:
        if not len(self.choice):
            room.take(self.power.constant, self.highest.constant, self.phases)
            return
        x[self.choice], x[self.undone] = 0.0, 1.0
        fits = (self.peak <= room.fits(self.phases) + 1e-9).all(axis=1)
        if not fits.any() or not (self.job.must_run or self.job.value_eur > 0):
            return
        starts = np.concatenate([way.starts_s for way in self.ways])
        cost = self.mean @ ((room.price() + self.job.green_eur_per_kwh * room.tariff.grey) * room.hours)
        cost += self.job.later_eur_per_h * (starts - starts.min()) / 3600.0
        order = starts if room.eager else cost
        best = int(np.where(fits, order, np.inf).argmin())
        if not self.job.must_run and not room.eager and cost[best] > self.job.value_eur:
            return
        x[self.choice[best]], x[self.undone] = 1.0, 0.0
        room.take(self.mean[best], self.peak[best], self.phases)

    def chosen(self, x: Floats) -> tuple[str, tuple[Run, ...]]:
        """Programme and times of running; nothing when it is left undone."""
        if self.job.started_s is not None:
            programme = running(self.job)
            end = self.job.started_s + programme.duration_s
            return programme.name, (Run(start_s=self.job.started_s, end_s=end),)
        if not len(self.choice) or x[self.choice].max() < 0.5:
            return "", ()
        k = int(x[self.choice].argmax())
        for way in self.ways:
            if k < len(way.starts_s):
                return way.programme.name, (Run(start_s=float(way.starts_s[k]), end_s=float(way.ends_s[k])),)
            k -= len(way.starts_s)
        raise AssertionError("a choice belongs to a way")


def _grey(world: World, job: Job) -> Floats:
    """(n) EUR that count for a kW in a slot, because it is not green."""
    return job.green_eur_per_kwh * world.tariff.grey * world.slots.hours


def _way(world: World, job: Job, programme: Programme) -> Way:
    """Candidates start at slot edges, as early as the window allows, and as late."""
    edges, length = world.slots.edges_s, programme.duration_s
    first = max(job.earliest_s, edges[0])
    last = min(job.latest_end_s, edges[-1]) - length
    starts = edges[(edges > first) & (edges < last)]
    starts = np.unique(np.concatenate((starts, [first, last]))) if first <= last + 1e-6 else starts[:0]
    starts = starts[(starts >= first - 1e-6) & (starts <= last + 1e-6)]
    mean, highest = world.slots.profiles_kw(programme.steps, starts)
    return Way(programme, starts, mean, highest, starts + length)


class PausingJobPart(Part):
    """Interruptible jobs: the programme is cut into pieces of a slot, in order, with bounded pauses between."""

    def __init__(self, world: World, job: Job) -> None:
        self.begin(world, job.name, job.phases, job.fixed)
        self.job, self.slots = job, world.slots
        self.highest = Terms(np.zeros(world.slots.n))
        self.pieces: list[tuple[Programme, int, Ints, Ints, Floats, Floats]] = []
        self.undone = world.model.columns(1, 0.0, 1.0)
        world.model.cost("wishes", self.undone, job.unmet_eur if job.must_run else job.value_eur)
        once = world.model.rows(f"{job.name}: once", 1, 1.0, 1.0)
        world.model.put(once[0], self.undone, 1.0)
        usable = world.slots.inside(job.earliest_s, job.latest_end_s)
        self.usable = usable[world.slots.hours[usable] * 3600.0 >= world.slots.horizon.slot_s - 1e-6]
        for programme in job.programmes:
            self._cut(world, programme, int(once[0]))
        self.possible = bool(self.pieces)
        self.most = np.where(np.isin(np.arange(world.slots.n), self.usable), self._most(), 0.0)
        self.hold_pins(world)

    def _most(self) -> float:
        return max((float(highest.max()) for *_, highest in self.pieces), default=0.0)

    def _cut(self, world: World, programme: Programme, once: int) -> None:
        model, slot_s, k = world.model, world.slots.horizon.slot_s, len(self.usable)
        count = ceil(programme.duration_s / slot_s - 1e-9)
        if count > k:
            return
        mean, highest = _cut_kw(programme, slot_s, count)
        grey = _grey(world, self.job)
        run = model.columns(1, 0.0, 1.0, whole=True)
        model.put(once, run, 1.0)
        # Piece i may run in the usable slots i .. k - count + i.
        y = model.columns(count * (k - count + 1), 0.0, 1.0, whole=True).reshape(count, -1)
        width = y.shape[1]
        for i in range(count):
            slots = self.usable[i : i + width]
            self.power.add(slots, y[i], mean[i])
            self.highest.add(slots, y[i], highest[i])
            model.cost("ties", y[i], TIE_EUR * slots / max(1, world.slots.n))
            model.cost("wishes", y[i], mean[i] * grey[slots])
            row = model.rows(f"{self.name}: every piece once", 1, 0.0, 0.0)
            model.put(row[0], y[i], 1.0)
            model.put(row[0], run, -1.0)
        model.cost(
            "wishes",
            y[0],
            self.job.later_eur_per_h
            * (world.slots.edges_s[self.usable[:width]] - world.slots.edges_s[self.usable[0]])
            / 3600.0,
        )
        rows, columns = np.tril_indices(width)
        pause = self.job.max_pause_s if self.job.max_pause_s > 0 else np.inf
        edges = world.slots.edges_s
        for i in range(count - 1):
            order = model.rows(f"{self.name}: pieces in order", width, 0.0, np.inf)
            model.put(order[rows], y[i][columns], 1.0)
            model.put(order[rows], y[i + 1][columns], -1.0)
            if pause < np.inf:
                ends, starts = edges[self.usable[i : i + width] + 1], edges[self.usable[i + 1 : i + 1 + width]]
                until = np.searchsorted(starts, ends + pause + 1e-6, side="right")
                rest = model.rows(f"{self.name}: no longer pause", width, 0.0, np.inf)
                model.put(rest[rows], y[i][columns], -1.0)
                for t, u in enumerate(until):
                    model.put(int(rest[t]), y[i + 1][:u], 1.0)
        self.pieces.append((programme, count, run, y, mean, highest))

    def propose(self, x: Floats, room: Room) -> None:
        """Without a pause, where it fits at the least cost."""
        x[self.undone] = 1.0
        best: tuple[float, int, int] | None = None
        if not (self.job.must_run or self.job.value_eur > 0):
            return
        for w, (_, count, _, y, mean, highest) in enumerate(self.pieces):
            fits = room.fits(self.phases)
            price = (room.price() + self.job.green_eur_per_kwh * room.tariff.grey) * room.hours
            for first in range(y.shape[1]):
                slots = self.usable[first : first + count]
                if np.any(np.diff(slots) > 1) or (highest > fits[slots] + 1e-9).any():
                    continue
                cost = float(first) if room.eager else float(mean @ price[slots])
                if best is None or cost < best[0] - 1e-12:
                    best = (cost, w, first)
        if best is None:
            return
        _, w, first = best
        _, count, run, y, mean, highest = self.pieces[w]
        x[self.undone], x[run], x[y[:, first]] = 0.0, 1.0, 1.0
        course = np.zeros((2, self.slots.n))
        course[:, self.usable[first : first + count]] = mean, highest
        room.take(course[0], course[1], self.phases)

    def chosen(self, x: Floats) -> tuple[str, tuple[Run, ...]]:
        for programme, count, run, y, _, _ in self.pieces:
            if x[run[0]] > 0.5:
                slots = [int(self.usable[i + int(x[y[i]].argmax())]) for i in range(count)]
                runs: list[Run] = []
                edges = self.slots.edges_s
                for i, slot in enumerate(slots):
                    begin, end = float(edges[slot]), float(edges[slot + 1])
                    if i == count - 1:
                        end = begin + programme.duration_s - (count - 1) * self.slots.horizon.slot_s
                    if runs and abs(runs[-1].end_s - begin) < 1e-6:
                        begin = runs.pop().start_s
                    runs.append(Run(start_s=begin, end_s=end))
                return programme.name, tuple(runs)
        return "", ()


def _cut_kw(programme: Programme, slot_s: float, count: int) -> tuple[Floats, Floats]:
    ends = np.cumsum([0.0, *(step.duration_s for step in programme.steps)])
    energy = np.cumsum([0.0, *(step.duration_s * step.power_w for step in programme.steps)])
    cuts = np.arange(count + 1) * slot_s
    mean = np.diff(np.interp(cuts, ends, energy)) / slot_s / 1000.0
    highest = np.zeros(count)
    for step, begin, end in zip(programme.steps, ends[:-1], ends[1:], strict=True):
        touched = (cuts[:-1] < end - 1e-6) & (cuts[1:] > begin + 1e-6)
        highest = np.maximum(highest, touched * max(step.power_w, step.maximum_w) / 1000.0)
    return mean, highest
