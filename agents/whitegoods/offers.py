"""What a washing machine, a dishwasher or a dryer offers: when its programme starts."""

from dataclasses import dataclass
from datetime import datetime

from agents.kit.bargain import duration_s
from agents.kit.hardware import Plan, Values
from agents.kit.local_day import next_local
from agents.kit.offers import Offers
from agents.kit.skill import skill
from agents.whitegoods.run import Phase
from agents.whitegoods.terminals import WhitegoodsSettings, WhitegoodsTerminals
from bus.envelope import instant
from contracts.device import DeviceReading
from contracts.flexibility import Flexibility, ProfileFlexibility, SequenceState
from contracts.profiles import PowerSequence
from contracts.reasons import Reason

_STATES: dict[Phase, SequenceState] = {
    "caught": "not_scheduled",
    "waiting": "not_scheduled",
    "running": "executing",
    "paused": "interrupted",
}


@skill()
@dataclass
class OfferProgramme(Offers):
    """The programme that waits, with the end that its user wants; of one that runs, the rest."""

    asks_to_start = True
    settings: WhitegoodsSettings
    terminals: WhitegoodsTerminals

    def flexibility(self, values: Values, now: float) -> Flexibility | None:
        sequences, run = self.terminals.sequences(values), self.terminals.run
        if not sequences:
            return None
        waits = run.phase in ("caught", "waiting")
        armed = run.since if waits else now
        longest = max(duration_s(sequence) for sequence in sequences)
        ends = self._ends(armed, sequences[0], longest) if waits else instant(now + longest)
        return ProfileFlexibility(
            job=sequences[0].name,
            alternatives=sequences,
            earliest_start=instant(armed),
            done_by=ends,
            latest_start=instant(armed + self.settings.longest_wait_s) if waits else None,
            state=_STATES[run.phase],
            delay_at_most_s=self.settings.longest_wait_s if waits else None,
            confirm=self.settings.confirms,
        )

    def _ends(self, armed: float, usual: PowerSequence, longest_s: float) -> datetime:
        """The wished end; the first one that can be reached."""
        if self.settings.ready_by is None:
            return instant(armed + self.settings.longest_wait_s + longest_s)
        return instant(next_local(self.settings.ready_by, armed + duration_s(usual), self.settings.time_zone))

    def start(self, values: Values) -> Plan | None:
        return self.terminals.start(values)

    def trouble(self, values: Values, reading: DeviceReading) -> Reason | None:  # noqa: ARG002
        if values.get("door_closed") is False:
            text = "its door was opened while it ran: close it and start it again"
            return Reason(code="door_opened", text=text, binding="product")
        return None
