"""The device's side of instructions: accept, refuse with a reason, or say what would be possible. IEC-JWG1102, 1103.

It obeys the CEM that it joined, and of that one the last instruction.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from agents.kit.bargain import Counter, Terms, Verdict, judge
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.do_job import DoJob
from agents.kit.hardware import HardwareSettings
from agents.kit.job import Job
from agents.kit.join import JoinHome
from agents.kit.obey import ObeyOrders
from agents.kit.skill import answers, every, restores, settles, skill
from agents.kit.tell_flexibility import TellFlexibility
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import SetPower
from contracts.flexibility import ProfileFlexibility
from contracts.instructions import (
    OVER,
    CounterAccepted,
    CounterInstruction,
    CounterRejected,
    Instruct,
    InstructionAccepted,
    InstructionRejected,
    InstructionRevoked,
    RevokeInstruction,
    RevokeRefused,
    instruction,
    instruction_revocation,
)
from contracts.kit import Lapsed
from contracts.reasons import Reason

log = logging.getLogger("gridparley.device")
KEPT_S = 86_400.0
"""So long a deal without an end is written down."""


@skill(use_cases=("home.flexible-start", "home.reschedule", "mobility.start-time"))
@dataclass
class Negotiate:
    """What was accepted is a deal: on exactly if the word that makes it is stored."""

    bus: Bus
    address: Address
    clock: Clock
    settings: HardwareSettings
    join: JoinHome
    deals: Deals
    orders: ObeyOrders
    flexibility: TellFlexibility
    work: DoJob

    def __post_init__(self) -> None:
        self.orders.objections.append(self._not_my_cem)
        self.deals.on_settled(instruction, self._settled)
        self.deals.on_settled(instruction_revocation, self._revocation_settled)

    # ------------------------------------------------------------ who may speak

    def _not_my_cem(self, peer: Address | None, _order: SetPower | None = None) -> Reason | None:
        mine = self.join.cem
        if mine is None or peer == mine:
            return None
        text = f"{self.address} has joined {mine} and obeys nobody else: take it over there first"
        return Reason(code="not_my_cem", text=text, binding="joined")

    # ------------------------------------------------------------ instructions

    @answers(instruction)
    async def on_instruct(self, talk: Talk, word: Instruct) -> None:
        now = self.clock.now()
        verdict = self._not_my_cem(talk.peer) or self._old(word) or self._judge(word, now)
        match verdict:
            case Terms():
                await self._accept(talk, verdict)
            case Counter(terms=terms, reason=reason):
                await self._counter(talk, terms, reason)
            case Reason():
                await talk.say(InstructionRejected(reason=verdict))

    def _judge(self, word: Instruct, now: float) -> Verdict:
        offer, job = self.flexibility.now(), self.work.current
        if isinstance(offer, ProfileFlexibility) and job is not None and job.state == "started":
            offer = msgspec.structs.replace(offer, state="executing")
        verdict = judge(offer, word, now)
        if self.work.offers.jobs_by_power:
            match verdict:
                case Terms():
                    return msgspec.structs.replace(verdict, by_power=True)
                case Counter(terms=terms):
                    return msgspec.structs.replace(verdict, terms=msgspec.structs.replace(terms, by_power=True))
        return verdict

    def _old(self, word: Instruct) -> Reason | None:
        last = self.flexibility.last.number
        if word.offer == last:
            return None
        text = f"the instruction is made from offer {word.offer}, the last one is {last}: plan with that"
        return Reason(code="old_offer", text=text, inputs={"offer": float(last)})

    async def _accept(self, talk: Talk, terms: Terms) -> None:
        try:
            word = InstructionAccepted(power=terms.power)
            deal = await self.deals.close(talk, word, terms, until=_until(terms))
        except TooManyDeals as problem:
            await talk.say(InstructionRejected(reason=Reason(code="too_many", text=str(problem))))
            return
        if deal.phase == "on":
            await self._take(deal)

    async def _counter(self, talk: Talk, terms: Terms, reason: Reason) -> None:
        await self.deals.open(talk, terms, until=_until(terms))
        await talk.say(CounterInstruction(start=terms.start, power=terms.power, mode=terms.mode, reason=reason))
        if isinstance(await talk.hear(CounterAccepted, CounterRejected, Lapsed), CounterRejected):
            await self.deals.end(talk)

    @settles(instruction)
    async def on_counter_accepted(self, word: CounterAccepted, heard: Heard) -> None:
        await self._take(await self.deals.honour(word, heard))

    async def _settled(self, deal: Deal) -> None:
        if deal.phase == "on":
            await self._take(deal)

    async def _take(self, deal: Deal) -> None:
        """The last instruction is the one that holds."""
        before, terms = self.work.job, deal.read(Terms)
        if before is not None and before.instruction == deal.id:
            return
        if before is not None and before.state == "started" and not before.terms.by_power:
            text = "it was agreed in the moment in which another start happened"
            await self.work.refuse(deal.id, Reason(code="already_started", text=text))
            await self.deals.end(deal)
            return
        reason = Reason(code="agreed", text="agreed with the energy manager", talk=deal.id)
        await self.work.take(Job(instruction=deal.id, terms=terms), reason)
        if before is not None and before.instruction is not None:
            await self._forget(before.instruction)

    async def _forget(self, talk: str) -> None:
        for deal in self.deals.standing(instruction):
            if deal.id == talk:
                await self.deals.end(deal)

    @restores
    async def take_up(self) -> None:
        """A kill between the deal and its job: the newest deal that was never worked on is taken up."""
        for deal in sorted(self.deals.standing(instruction), key=lambda deal: deal.read(Terms).received):
            known = self.work.job
            if known is None or known.terms.received < deal.read(Terms).received:
                await self._take(deal)

    @every(60.0)
    async def make_up(self) -> None:
        """The same when only the writing down had failed; what is over is forgotten."""
        with suppress(NotStored):
            await self.take_up()
            job = self.work.job
            for deal in self.deals.standing(instruction):
                if job is not None and (deal.id != job.instruction or job.state in OVER):
                    await self.deals.end(deal)

    # ------------------------------------------------------------ revocations

    @answers(instruction_revocation)
    async def on_revoke(self, talk: Talk, word: RevokeInstruction) -> None:
        refusal = self._not_my_cem(talk.peer) or self._too_late(word.instruction)
        if refusal is not None:
            await talk.say(RevokeRefused(reason=refusal))
            return
        deal = await self.deals.close(talk, InstructionRevoked(), word, until=self.clock.now() + KEPT_S)
        await self._revocation_settled(deal)

    def _too_late(self, talk: str) -> Reason | None:
        job = self.work.job
        if job is None or job.instruction != talk:
            return Reason(code="unknown", text=f"nothing of {talk} is agreed here: nothing was to be taken back")
        if job.state in OVER:
            return Reason(code="over", text=f"it is {job.state} already", talk=talk)
        if job.state == "started" and not job.terms.by_power:
            return Reason(code="already_started", text="it runs and is not stopped by a plan", talk=talk)
        return None

    async def _revocation_settled(self, deal: Deal) -> None:
        if deal.phase != "on":
            return
        word = deal.read(RevokeInstruction)
        job = self.work.job
        if job is not None and job.instruction == word.instruction and job.state not in OVER:
            await self.work.drop(word.reason)
        try:
            await self._forget(word.instruction)
            await self.deals.end(deal)
        except NotStored as problem:
            log.info("%s: %s", self.address, problem)  # it runs out by itself


def _until(terms: Terms) -> float:
    return (terms.ends or terms.begins) + KEPT_S
