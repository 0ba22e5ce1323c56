"""A device does what was agreed: begins at the instant, stays inside the confirmed profile, tells how it went.

What is agreed and how far it is survives a restart. A start whose time passed meanwhile is made up for while it still
ends in time; else it is aborted, with the reason.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
import msgspec

from agents.kit.announce_start import AskToStart
from agents.kit.bargain import profile_from
from agents.kit.hardware import RUNNING_W, HardwareSettings, Impossible
from agents.kit.job import Job, envelope_at, next_instant
from agents.kit.join import JoinHome
from agents.kit.obey import ObeyOrders
from agents.kit.offers import Offers
from agents.kit.readings import SayReadings
from agents.kit.skill import every, restores, skill, started
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.transport import NotStored
from contracts.device import DeviceReading
from contracts.flexibility import ProfileFlexibility, SequenceState
from contracts.instructions import (
    OVER,
    InstructionState,
    ProgressNoted,
    ReportProgress,
    ShowSchedule,
    instruction_progress,
)
from contracts.kit import Lapsed
from contracts.profiles import PowerSequence, PowerSlot
from contracts.reasons import Reason

log = logging.getLogger("gridparley.device")
LATE_S = 60.0
"""A job that ends so much before its confirmed end has finished early."""
BEGINS_WITHIN_S = 120.0
AGAIN_S = 60.0
"""A start that has to wait for room, or that the hardware did not take, is tried again so often."""


@skill(opens=(instruction_progress,), says_home=(ShowSchedule,), use_cases=("home.flexible-start", "home.reschedule"))
@dataclass
class DoJob:
    """At most one job: the last that was agreed."""

    bus: Bus
    address: Address
    clock: Clock
    state: State
    settings: HardwareSettings
    orders: ObeyOrders
    readings: SayReadings
    join: JoinHome
    offers: Offers
    starts: AskToStart
    job: Job | None = None
    reports: tuple[ReportProgress, ...] = ()
    on_over: list[Callable[[Job], None]] = field(default_factory=list)
    _not_before: float = 0.0
    _news: anyio.Event = field(default_factory=anyio.Event)
    _due: anyio.Event = field(default_factory=anyio.Event)
    _lock: anyio.Lock = field(default_factory=anyio.Lock)

    # ------------------------------------------------------------ what others ask of it

    @property
    def current(self) -> Job | None:
        """The job that waits or runs."""
        return None if self.job is None or self.job.state in OVER else self.job

    async def take(self, job: Job, reason: Reason) -> None:
        """From now on this and nothing else. Raises NotStored: then what was before still holds."""
        async with self._lock:
            await self._keep(job)
            self._not_before = 0.0
            self._show(job, reason)
            self._news.set()

    async def drop(self, reason: Reason, state: InstructionState = "revoked") -> None:
        """Taken back, or replaced by the user. Raises NotStored."""
        async with self._lock:
            if self.current is not None:
                await self._end(self.current, state, reason, tell=state != "revoked")

    async def refuse(self, instruction: str, reason: Reason) -> None:
        """What was agreed came too late to be done, while another job runs."""
        async with self._lock:
            await self._queue(ReportProgress(instruction=instruction, state="aborted", reason=reason))

    # ------------------------------------------------------------ life

    @restores
    async def take_up(self) -> None:
        self.job = await self.state.get("job", Job)
        self.reports = await self.state.get("reports", tuple[ReportProgress, ...]) or ()

    @started
    async def run(self) -> None:
        while True:
            self._news = anyio.Event()
            async with self._lock:
                wake = await self._step()
            if wake is None:
                await self._news.wait()
            else:
                await self._until(wake)

    async def _until(self, wake: float) -> None:
        async with anyio.create_task_group() as group:

            async def pass_time() -> None:
                await self.clock.sleep_until(wake)
                group.cancel_scope.cancel()

            group.start_soon(pass_time)
            await self._news.wait()
            group.cancel_scope.cancel()

    async def _step(self) -> float | None:
        """Do what is due; when to look again. With the lock held."""
        job, now = self.current, self.clock.now()
        if job is None:
            await self.orders.agree(None)
            return None
        try:
            if job.state == "accepted" and now >= job.terms.begins:
                if now < self._not_before:
                    return self._not_before
                await self._begin(job, now)
                job = self.current
            if job is not None and job.terms.by_power and job.terms.ends is not None and now >= job.terms.ends:
                await self._end(job, "succeeded", _why("done", "the confirmed profile is over"))
                job = None
        except NotStored as problem:
            log.warning("%s: %s", self.address, problem)
            return now + AGAIN_S
        if job is None:
            return now
        await self.orders.agree(envelope_at(job, now))
        if job.state == "accepted" and now >= job.terms.begins:
            return max(self._not_before, now + 1.0)
        return next_instant(job, now)

    async def _begin(self, job: Job, now: float) -> None:
        if job.terms.latest is not None and now > job.terms.latest + LATE_S:
            text = f"its start passed while it could not act, and it would not end in time any more: {job.terms.job}"
            await self._end(job, "aborted", _why("too_late", text, late_s=now - job.terms.latest))
            return
        if job.terms.by_power:
            await self._began(job, now, _why("started", "its time has come"))
            return
        if not await self._has_room(job, now):
            return
        now = self.clock.now()  # asking took its time
        values = self.readings.values
        try:
            plan = self.offers.start(values or {})
            refusal = None if plan is None else await self.orders.put(plan, values or {})
        except Impossible as problem:
            refusal = problem.reason
        if refusal is None:
            await self._began(job, now, _why("started", "its time has come"))
        elif refusal.code == "not_armed":
            await self._end(job, "aborted", refusal)
        else:
            log.info("%s does not start yet: %s", self.address, refusal.text)
            self._not_before = now + AGAIN_S

    async def _has_room(self, job: Job, now: float) -> bool:
        if not self.offers.asks_to_start or now < self._not_before:
            return now >= self._not_before
        peak = max((slot.upper_w or slot.power_w for slot in job.terms.power), default=0.0)
        slots = tuple(PowerSlot(duration_s=s.duration_s, power_w=s.power_w) for s in job.terms.power)
        room = await self.starts.room(job.terms.job, peak, PowerSequence(name=job.terms.job, slots=slots))
        last_chance = job.terms.latest is not None and now + AGAIN_S > job.terms.latest
        if room.reason is None or room.then == "run":
            return True
        self._show(job, room.reason)
        if room.then == "cancel" or last_chance:
            await self._end(job, "aborted", room.reason)
        else:
            self._not_before = now + AGAIN_S
        return False

    async def _began(self, job: Job, now: float, reason: Reason) -> None:
        """``now`` may differ from the agreed instant: then the profile is moved with it."""
        reading, terms = self.readings.last, job.terms
        if not job.terms.by_power and abs(now - terms.begins) > 1.0:
            slots = tuple(PowerSlot(duration_s=s.duration_s, power_w=s.power_w, peak_w=s.upper_w) for s in terms.power)
            power = profile_from(PowerSequence(name=terms.job, slots=slots), now)
            terms = msgspec.structs.replace(terms, start=instant(now), power=power)
        energy = None if reading is None else reading.energy_wh
        begun = msgspec.structs.replace(job, state="started", started_at=now, energy_wh=energy, terms=terms)
        await self._keep(begun)
        await self._report(begun, reason, "executing")
        self._show(begun, reason)

    # ------------------------------------------------------------ how it goes

    @every("reading_every_s")
    async def watch(self) -> None:
        """What the readings say about the job: by hand, done, early, or in trouble."""
        async with self._lock:
            job, now = self.current, self.clock.now()
            try:
                if job is not None:
                    await self._watch(job, now)
                elif self.job is not None and self.job.silent:
                    await self._watch_lost(self.job, now)
            except NotStored as problem:
                log.warning("%s: %s", self.address, problem)

    async def _watch(self, job: Job, now: float) -> None:
        reading, values = self.readings.last, self.readings.values
        silent = self.readings.failures >= self.settings.fault_after
        if job.state == "started" and silent:
            lost = msgspec.structs.replace(job, silent=not job.terms.by_power)
            await self._end(lost, "aborted", _why("silent", "the hardware fell silent while it ran"))
            return
        if reading is None or values is None or silent:
            return
        if reading.operating == "fault":
            await self._end(job, "aborted", _why("fault", "the hardware reports a fault: see its display"))
            return
        if job.terms.by_power:
            gone = self._gone()
            if gone is not None and job.state == "started" and reading.operating != "idle":
                await self._end(job, "succeeded", _why("done", "there is nothing left to do"))
            elif gone is not None:
                await self._end(job, "aborted", gone)
        elif job.state == "accepted":
            await self._watch_waiting(job, reading, now)
        else:
            await self._watch_running(job, reading, now)

    async def _watch_lost(self, job: Job, now: float) -> None:
        """A programme runs on while nobody reads its registers. Its deal is over; what it does is shown again."""
        reading, values, ends = self.readings.last, self.readings.values, job.terms.ends
        if self.readings.failures or reading is None or values is None or reading.operating != "running":
            return
        try:
            offer = self.offers.flexibility(values, now)
        except Impossible:
            return
        same = isinstance(offer, ProfileFlexibility) and offer.job == job.terms.job
        if same and (ends is None or now < ends):
            again = msgspec.structs.replace(job, instruction=None, state="started", ran=True, silent=False)
            await self._keep(again)
            self._show(again, _why("answers_again", "the hardware answers again, and it has run on"))
            self._news.set()

    def _gone(self) -> Reason | None:
        try:
            if self.offers.flexibility(self.readings.values or {}, self.clock.now()) is not None:
                return None
        except Impossible as problem:
            return problem.reason
        return _why("gone", "there is nothing left to do it with: it was unplugged or switched off")

    async def _watch_waiting(self, job: Job, reading: DeviceReading, now: float) -> None:
        if reading.operating == "running":
            reason = _why("user_started", "it was started by hand: that goes before what was agreed")
            await self._began(job, now, reason)
            self._news.set()
        elif reading.operating not in ("waiting", "paused"):
            text = "what was to start is not there any more: the door was opened or the programme taken back"
            await self._end(job, "aborted", _why("disarmed", text))

    async def _watch_running(self, job: Job, reading: DeviceReading, now: float) -> None:
        trouble = self.offers.trouble(self.readings.values or {}, reading)
        ends, began = job.terms.ends or now, job.started_at or now
        match reading.operating:
            case _ if trouble is not None:
                await self._end(job, "aborted", trouble)
            case "running" if not job.ran or job.paused:
                await self._keep(msgspec.structs.replace(job, ran=True, paused=False))
            case "paused" if job.ran and not job.paused:
                paused = msgspec.structs.replace(job, paused=True)
                await self._keep(paused)
                await self._report(paused, _why("paused", "it was stopped in between and goes on later"), "interrupted")
            case "finished" | "idle" | "off" if job.ran or reading.operating == "finished":
                early_s = ends - now
                if early_s > LATE_S:
                    reason = _why("finished_early", f"done {early_s / 60:.0f} min before its confirmed end")
                else:
                    reason = _why("done", "done")
                await self._end(job, "succeeded", reason)
            case _ if not job.ran and now - began > BEGINS_WITHIN_S and abs(reading.power_w) < RUNNING_W:
                await self._end(job, "aborted", _why("did_not_start", "it was told to start and did not"))
            case _:
                pass

    # ------------------------------------------------------------ telling

    async def _end(self, job: Job, state: InstructionState, reason: Reason, *, tell: bool = True) -> None:
        over = msgspec.structs.replace(job, state=state)
        await self._keep(over)
        if tell:
            await self._report(over, reason, "finished" if state == "succeeded" else "aborted")
        self._show(over, reason)
        for act in self.on_over:
            act(over)
        self._news.set()

    async def _keep(self, job: Job) -> None:
        await self.state.put("job", job)
        self.job = job

    async def _report(self, job: Job, reason: Reason, sequence: SequenceState) -> None:
        if job.instruction is None:
            return  # nobody waits for it
        reading = self.readings.last
        used = None
        if job.energy_wh is not None and reading is not None and reading.energy_wh is not None:
            used = max(reading.energy_wh - job.energy_wh, 0.0)
        left = None if job.terms.ends is None else max(job.terms.ends - self.clock.now(), 0.0)
        await self._queue(
            ReportProgress(
                instruction=job.instruction,
                state=job.state,
                sequence_state=sequence,
                remaining_s=None if job.state in OVER else left,
                energy_wh=used,
                reason=reason,
            )
        )

    async def _queue(self, report: ReportProgress) -> None:
        self.reports = (*self.reports, report)
        await self.state.put("reports", self.reports)
        self._due.set()

    def _show(self, job: Job, reason: Reason) -> None:
        ends = job.terms.ends
        self.bus.say(
            ShowSchedule(
                job=job.terms.job,
                state=job.state,
                start=instant(job.started_at or job.terms.begins),
                ends=None if ends is None else instant(ends),
                instruction=job.instruction,
                reason=reason,
            ),
            home=True,
        )

    @started
    async def tell(self) -> None:
        """Reports in order, each until the CEM knows; a CEM that is away hears them when it is back."""
        while True:
            self._due = anyio.Event()
            if not self.reports:
                await self._due.wait()
            elif self.join.cem is None:
                await self.clock.sleep(self.settings.reading_every_s)
            elif not await self._told(self.join.cem, self.reports[0]):
                await self.clock.sleep(AGAIN_S)

    async def _told(self, cem: Address, report: ReportProgress) -> bool:
        try:
            async with self.bus.talk(instruction_progress, cem) as talk:
                await talk.say(report)
                if isinstance(await talk.hear(ProgressNoted, Lapsed), Lapsed):
                    return False
            async with self._lock:
                left = tuple(r for r in self.reports if r is not report)
                await self.state.put("reports", left)
                self.reports = left
        except NotStored as problem:
            log.info("%s could not tell how it goes: %s", self.address, problem)
            return False
        return True


def _why(code: str, text: str, **inputs: float) -> Reason:
    return Reason(code=code, text=text, binding="flexibility", inputs=inputs)
