"""A device decides itself when it runs, by the prices and the sun that its CEM tells. IC-DE-PUC-INCENTIVE-HP."""

from dataclasses import dataclass, field

from agents.kit.bargain import Terms
from agents.kit.do_job import DoJob
from agents.kit.job import Job
from agents.kit.plan_by_incentive import as_wished, plan_by_incentive
from agents.kit.readings import SayReadings
from agents.kit.skill import answers, every, skill
from agents.kit.tell_flexibility import TellFlexibility
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.flexibility import ThermalFlexibility
from contracts.own_plans import GiveIncentive, IncentiveDeclined, OwnPlan, incentive
from contracts.reasons import Reason

BELOW_K = 0.5
"""So far out of its user's band it forgets its plan and runs as it sees fit."""


@skill(use_cases=("home.incentive-device",))
@dataclass
class PlanItself:
    """Nothing is commanded: what an incentive leads to is a job of the device's own."""

    clock: Clock
    readings: SayReadings
    flexibility: TellFlexibility
    work: DoJob
    _last: GiveIncentive = field(default_factory=GiveIncentive)
    """What its user wants, as told last."""

    @answers(incentive)
    async def on_incentive(self, talk: Talk, word: GiveIncentive) -> None:
        self._last = word
        now, offer, current = self.clock.now(), self.flexibility.now(), self.work.current
        if current is not None and current.instruction is not None:
            text = "it has been given an instruction and keeps to that"
            await talk.say(IncentiveDeclined(reason=Reason(code="instructed", text=text, talk=current.instruction)))
            return
        power = plan_by_incentive(offer, word, now, getattr(offer, "incentive", None) == "greenest")
        if power is None:
            text = "it does not plan itself: there is nothing that it could move"
            await talk.say(IncentiveDeclined(reason=Reason(code="no_own_plan", text=text)))
            return
        cheap = Reason(code="own_plan", text="cheap and sunny times first, inside what its user wants")
        offered = self.flexibility.last.number
        terms = Terms(job="own plan", offer=offered, start=power[0].start, power=power, received=now)
        try:
            await self.work.take(Job(instruction=None, terms=terms), cheap)
        except NotStored as problem:
            await talk.say(IncentiveDeclined(reason=Reason(code="not_stored", text=str(problem))))
            return
        await talk.say(OwnPlan(power=power, reason=cheap))

    @every("reading_every_s")
    async def keep_comfort(self) -> None:
        """The plan was made for a store as it was then: when it is far off, comfort goes first."""
        current = self.work.current
        offer: object = self.flexibility.now() if current is not None and current.instruction is None else None
        offer = as_wished(offer, self._last)
        if not isinstance(offer, ThermalFlexibility):
            return
        low = offer.temperature_c < offer.lowest_c - BELOW_K
        high = offer.temperature_c > offer.highest_c + BELOW_K
        if (low and offer.heats) or (high and not offer.heats):
            reason = Reason(code="comfort", text="the temperature has left its band: the plan no longer holds")
            try:
                await self.work.drop(reason)
            except NotStored:
                return
