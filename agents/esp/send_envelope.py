"""Envelopes to customers: the power that is possible at their connection points. NG-16; IC-DE-PUC-GR-1."""

import logging
from dataclasses import dataclass, field

import anyio

from agents.esp.ask_sites import AskSites
from agents.esp.settings import EnvelopePlan, EspSettings
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.skill import every, restores, settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.transport import NotStored
from contracts.kit import Lapsed
from contracts.reasons import Reason
from contracts.site_power import EnvelopeRefused, EnvelopeSlot, EnvelopeTaken, SetEnvelope, site_envelope

log = logging.getLogger("gridparley.esp")


@skill(opens=(site_envelope,), use_cases=("limits.esp-envelope",))
@dataclass
class SendEnvelope:
    """``send`` is used by whoever plans; what the settings schedule is sent at its time."""

    bus: Bus
    clock: Clock
    settings: EspSettings
    deals: Deals
    sites: AskSites
    taken: dict[str, SetEnvelope] = field(default_factory=dict)
    """Site -> the last envelope that its CEM has taken."""

    @restores
    async def restore(self) -> None:
        for deal in self.deals.standing(site_envelope):
            self.taken[deal.peer.site] = deal.read(SetEnvelope)

    async def send(self, cem: Address, word: SetEnvelope) -> Reason | None:
        """None once it is taken, else why it is not."""
        until = max((s.start.timestamp() + s.duration_s for s in word.slots), default=self.clock.now() + 60.0)
        async with self.bus.talk(site_envelope, cem) as talk:
            try:
                await self.deals.open(talk, word, until=until)
                await talk.say(word)
            except (NotStored, TooManyDeals) as problem:
                return Reason(code="not_said", text=f"{problem}: it is tried again.")
            match await talk.hear(EnvelopeTaken, EnvelopeRefused, Lapsed):
                case EnvelopeTaken():
                    return None
                case EnvelopeRefused(reason=reason):
                    await self.deals.end(talk)
                    return reason
                case Lapsed():
                    return Reason(code="no_answer", text=f"{cem} does not answer; if it took it, that comes later.")

    @settles(site_envelope)
    async def on_taken(self, word: EnvelopeTaken, heard: Heard) -> None:
        deal = await self.deals.honour(word, heard)
        self.taken[heard.sender.site] = deal.read(SetEnvelope)
        for earlier in self.deals.standing(site_envelope):
            if earlier.peer == deal.peer and earlier.id != deal.id:
                await self.deals.end(earlier)

    # ---------------------------------------------------------------- by schedule

    @started
    async def keep_schedule(self) -> None:
        async with anyio.create_task_group() as group:
            for plan in self.settings.envelopes:
                group.start_soon(self._scheduled, plan)

    async def _scheduled(self, plan: EnvelopePlan) -> None:
        await self.clock.sleep_until(plan.at.timestamp())
        over = max((p.start.timestamp() + p.duration_s for p in plan.parts), default=plan.at.timestamp() + 60.0)
        while self.clock.now() < over:
            wrong = await self._send_planned(plan)
            if wrong is None:
                return
            log.info("%s did not take the scheduled envelope: %s", plan.site, wrong.text)
            await self.clock.sleep(self.settings.retry_s)

    async def _send_planned(self, plan: EnvelopePlan) -> Reason | None:
        word = SetEnvelope(
            slots=tuple(
                EnvelopeSlot(start=p.start, duration_s=p.duration_s, upper_w=p.upper_w, lower_w=p.lower_w)
                for p in plan.parts
            ),
            wish_more=plan.wish_more,
            reason=Reason(code="scheduled", text=plan.text),
        )
        known = self.taken.get(plan.site)
        if known is not None and (known.slots, known.wish_more) == (word.slots, word.wish_more):
            return None  # a life before this one sent it
        cem = next(iter(self.sites.cems((plan.site,))), None)
        if cem is None:
            return Reason(code="unknown_site", text=f"No CEM of {plan.site} is in reach: check the site's name.")
        return await self.send(cem, word)

    @every("retry_s")
    def forget(self) -> None:
        """What is over is not known any more."""
        now = self.clock.now()
        for site, word in list(self.taken.items()):
            if all(s.start.timestamp() + s.duration_s <= now for s in word.slots):
                del self.taken[site]
