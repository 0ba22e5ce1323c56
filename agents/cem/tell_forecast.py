"""What the connection point takes and will take, told to whom the user allows. IC-DE-HLUC4 scenario 9.

Planned devices plus what experience says of everything else, per quarter hour; no device, no person shows in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agents.cem.expect import Expect
from agents.cem.plan_home import PlanHome
from agents.cem.preferences import Preferences
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskSiteForecast, SiteForecastIs, SiteForecastUnknown, site_forecast
from contracts.profiles import SLOT_S, Estimate, PlannedPower
from contracts.reasons import Reason

Band = tuple[float, float, float]
LONGEST_S = 2 * 86_400.0


def planned_w(plans: Sequence[Sequence[PlannedPower]], start: float, slot_s: float) -> float:
    """Mean power of everything planned within one slot."""
    end, energy = start + slot_s, 0.0
    for plan in plans:
        for slot in plan:
            begins = slot.start.timestamp()
            overlap = min(end, begins + slot.duration_s) - max(start, begins)
            energy += max(0.0, overlap) * slot.power_w
    return energy / slot_s


def summed(planned: float, *unplanned: Band) -> Band:
    """Expected value and band of planned and unplanned together: the plan is certain, the bands add up."""
    parts = list(unplanned)
    return (
        planned + sum(p[0] for p in parts),
        planned + sum(p[1] for p in parts),
        planned + sum(p[2] for p in parts),
    )


@skill(use_cases=("home.self-consumption", "tariffs.wind", "community.peak-shaving"))
@dataclass
class TellForecast:
    """Refuses by name who has no contract and no consent."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    preferences: Preferences
    expect: Expect
    planner: PlanHome

    @answers(site_forecast)
    async def on_question(self, talk: Talk, question: AskSiteForecast) -> None:
        peer, gcp = talk.peer, self.premises.gcp
        assert peer is not None  # the bus knows who opened it
        if not self.preferences.consented(peer, "forecast"):
            text = f"The user has not consented to tell {peer} what this home will use."
            await talk.say(SiteForecastUnknown(reason=Reason(code="no_consent", text=text, binding="consent")))
            return
        if gcp is None or not self.premises.meter_fresh:
            text = "The meter's last value is too old to be one: ask again when it is back."
            await talk.say(SiteForecastUnknown(reason=Reason(code="stale", text=text)))
            return
        contract = self.settings.contract_consumption_w
        await talk.say(
            SiteForecastIs(
                at=gcp.at,
                power_w=gcp.power_w,
                values=self.values(min(max(question.horizon_s, SLOT_S), LONGEST_S)),
                contract_w=contract or None,
            )
        )

    def values(self, horizon_s: float) -> tuple[Estimate, ...]:
        """From the quarter hour that runs now."""
        start = self.clock.now() // SLOT_S * SLOT_S
        n = int(horizon_s // SLOT_S)
        plan = self.planner.shown
        items = () if plan is None else plan.items
        plans = [item.power for item in items]
        load = self.expect.load(start, n, SLOT_S)
        classes = {d.name: d.announce.device_class for d in self.premises.devices.values()}
        sun_planned = any(classes.get(item.device) == "pv" for item in items)
        sun = () if sun_planned else self.expect.pv(start, n, SLOT_S)
        made = []
        for k in range(n):
            bands = [load[k], *([sun[k]] if sun else [])]
            expected, low, high = summed(planned_w(plans, start + k * SLOT_S, SLOT_S), *bands)
            made.append(
                Estimate(
                    start=instant(start + k * SLOT_S),
                    duration_s=SLOT_S,
                    power_w=expected,
                    lower_w=min(low, expected),
                    upper_w=max(high, expected),
                )
            )
        return tuple(made)
