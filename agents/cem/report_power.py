"""Actual and forecast power of the premises to the grid side, on the CEM's own schedule and when asked."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import answers, every, skill
from bus.bus import Bus
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.metering import AskPower, Forecast, PowerIs, PowerUnknown, SitePower, power_query
from contracts.reasons import Reason

QUARTER_S = 900.0
PERIODS = 4


def forecast(recent_w: list[float], now: float, lower_w: float, upper_w: float) -> tuple[Forecast, ...]:
    """Persistence: the mean of the last quarter hour goes on for four quarters, inside the bounds in force."""
    if not recent_w:
        return ()
    mean = min(max(sum(recent_w) / len(recent_w), lower_w), upper_w)
    first = (now // QUARTER_S + 1) * QUARTER_S
    return tuple(
        Forecast(start=instant(first + n * QUARTER_S), duration_s=QUARTER_S, power_w=mean) for n in range(PERIODS)
    )


@skill(says_grid=(SitePower,), says_home=(SitePower,), use_cases=("metering.gcp-to-cem", "limits.profile"))
@dataclass
class ReportPower:
    """A stale value is no value: then nothing is reported and a question is answered so."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    _recent: deque[tuple[float, float]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.premises.on_meter.append(self._note)

    def _note(self) -> None:
        gcp, at = self.premises.gcp, self.premises.gcp_at
        if gcp is None:
            return
        self._recent.append((at, gcp.power_w))
        while self._recent and self._recent[0][0] < at - QUARTER_S:
            self._recent.popleft()

    def goal(self) -> Literal["smallest_flow", "zero_flow"]:
        """A consumer keeps the flow small, a prosumer at zero (NG-10)."""
        kinds = {d.announce.device_class for d in self.premises.devices.values()}
        return "zero_flow" if kinds & {"pv", "battery"} else "smallest_flow"

    @every("report_every_s")
    def report(self) -> None:
        gcp = self.premises.gcp
        if gcp is None or not self.premises.meter_fresh:
            return
        recent = [w for _, w in self._recent]
        ahead = forecast(recent, self.clock.now(), self.premises.lower_w(), self.premises.upper_w())
        said = SitePower(at=gcp.at, power_w=gcp.power_w, goal=self.goal(), forecast=ahead)
        self.bus.say(said, home=False)
        self.bus.say(said, home=True)

    @answers(power_query)
    async def on_question(self, talk: Talk, _question: AskPower) -> None:
        gcp = self.premises.gcp
        if gcp is not None and self.premises.meter_fresh:
            await talk.say(PowerIs(at=gcp.at, power_w=gcp.power_w, quality=gcp.quality))
            return
        text = "The meter's last value is too old to be one: ask again when it is back."
        await talk.say(PowerUnknown(reason=Reason(code="stale", text=text)))
