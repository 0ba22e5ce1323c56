"""A person agrees to the time that an appliance proposes. ETSI-5.3.1."""

from dataclasses import dataclass, field

from agents.app.settings import AppSettings
from agents.kit.skill import hears, skill
from bus.address import Address
from bus.bus import Bus, Heard
from contracts.instructions import ShowSchedule
from contracts.own_plans import AcceptRun
from contracts.roles import DEVICES


@skill(tells=((AcceptRun, DEVICES),), use_cases=("home.dr-adapter",))
@dataclass
class AcceptRuns:
    """Keeps what is proposed; ``accept`` says yes. A user who confirms everything confirms this as well."""

    bus: Bus
    settings: AppSettings
    proposed: dict[Address, ShowSchedule] = field(default_factory=dict)

    @hears(ShowSchedule, of=DEVICES, where="home")
    def hear(self, schedule: ShowSchedule, heard: Heard) -> None:
        self.proposed.pop(heard.sender, None)
        if schedule.state == "new" and schedule.start is not None:
            self.proposed[heard.sender] = schedule
            if self.settings.proposals == "confirm":
                self.accept(heard.sender)

    def accept(self, device: Address) -> bool:
        """False: it proposes nothing now."""
        schedule = self.proposed.pop(device, None)
        if schedule is None or schedule.start is None:
            return False
        self.bus.tell(device, AcceptRun(user=self.settings.user, start=schedule.start))
        return True
