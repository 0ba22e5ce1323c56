"""The user sees when a machine will run, that it runs, and then success or failure. IEC-JWG1100 steps 7 and 8; FSWG."""

from dataclasses import dataclass
from datetime import datetime

from agents.app.settings import AppSettings
from agents.app.show import Show
from agents.kit.local_day import local
from agents.kit.skill import hears, skill
from bus.bus import Heard
from contracts.instructions import ShowSchedule
from contracts.roles import DEVICES
from contracts.system import ShownJob


@skill(use_cases=("home.flexible-start",))
@dataclass
class ShowJobs:
    """What devices show of their jobs, in the picture; what is news about one is a notice."""

    settings: AppSettings
    show: Show

    @hears(ShowSchedule, of=DEVICES, where="home")
    def hear(self, schedule: ShowSchedule, heard: Heard) -> None:
        name = f"{heard.sender.role}.{heard.sender.name}"
        job = ShownJob(job=schedule.job, state=schedule.state, start=schedule.start, ends=schedule.ends)
        if job != self.show.picture.jobs.get(name):
            self.show.job(name, job, f"{name}: {self._text(schedule)}")

    def _text(self, schedule: ShowSchedule) -> str:
        job, why = schedule.job, schedule.reason.text
        match schedule.state:
            case "new":
                return f"{job} could start at {self._clock(schedule.start)}: {why}."
            case "accepted":
                return f"{job} starts at {self._clock(schedule.start)} and ends at {self._clock(schedule.ends)}."
            case "started":
                return f"{job} runs until {self._clock(schedule.ends)}: {why}."
            case "succeeded":
                return f"{job} has succeeded: {why}."
            case "aborted":
                return f"{job} has failed: {why}."
            case "revoked" | "rejected":
                return f"{job} is not scheduled any more: {why}."

    def _clock(self, at: datetime | None) -> str:
        return "an open time" if at is None else f"{local(at.timestamp(), self.settings.time_zone):%H:%M}"
