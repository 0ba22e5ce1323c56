"""What the devices of this home can do, and what was agreed with each. IEC-JWG1101 to 1103; EN 50491-12-2.

What a device says is weighed before it is planned with; what it does is compared with what it confirmed. One that takes
more than it promised is planned with at its worst and told about; one that falls silent keeps its place in the plan.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import anyio
import msgspec

from agents.cem.agreed import Agreed, Intent, Kept
from agents.cem.premises import Premises
from agents.cem.settings import CemSettings
from agents.cem.weigh_offer import absurd, beyond, most_w, moved, worst
from agents.kit.bargain import end_of, slot_at
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.skill import answers, every, restores, settles, skill
from bus import tracing
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.device import DeviceWarning
from contracts.flexibility import (
    FlexibilityRefused,
    FlexibilityTaken,
    OfferFlexibility,
    ProfileFlexibility,
    flexibility_offer,
)
from contracts.instructions import (
    OVER,
    CounterAccepted,
    CounterInstruction,
    CounterRejected,
    Instruct,
    InstructionAccepted,
    InstructionRejected,
    InstructionRevoked,
    InstructionState,
    ProgressNoted,
    ReportProgress,
    RevokeInstruction,
    RevokeRefused,
    instruction,
    instruction_progress,
    instruction_revocation,
)
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from contracts.reasons import Reason

log = logging.getLogger("gridparley.cem")
KEPT_S = 86_400.0
"""So long a deal is written down after its power ends."""
LIES_TWICE = 2
"""So many readings in a row above its profile are no accident."""
Judge = Callable[[CounterInstruction], bool]
S = TypeVar("S", bound=msgspec.Struct)


@skill(
    opens=(instruction, instruction_revocation),
    says_home=(DeviceWarning,),
    use_cases=("home.flexible-start", "home.reschedule", "mobility.start-time"),
)
@dataclass
class KnowFlexibility:
    """Offers and agreements, stored; one talk at a time per device."""

    bus: Bus
    clock: Clock
    state: State
    settings: CemSettings
    premises: Premises
    deals: Deals
    offers: dict[Address, OfferFlexibility] = field(default_factory=dict)
    agreed: dict[Address, Agreed] = field(default_factory=dict)
    progress: dict[Address, ReportProgress] = field(default_factory=dict)
    """The last that each device told."""
    liars: dict[Address, float] = field(default_factory=dict)
    """Devices that took more than they had confirmed, and the most that was seen, W."""
    on_change: list[Callable[[Address], None]] = field(default_factory=list)
    _above: dict[Address, int] = field(default_factory=dict)
    _busy: dict[Address, anyio.Lock] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.deals.on_settled(instruction, self._settled)

    # ------------------------------------------------------------ asked by others

    def started(self, device: Address) -> bool:
        """A job that runs and is not moved any more."""
        agreed = self.agreed.get(device)
        return agreed is not None and agreed.state == "started" and self._is_job(device)

    def reserved_w(self, device: Address, at: float) -> float | None:
        """What to reserve for it at an instant, also while it is silent; None: nothing is agreed for then."""
        agreed = self.agreed.get(device)
        slot = None if agreed is None else slot_at(agreed.power, at)
        return None if slot is None else most_w(slot)

    def _is_job(self, device: Address) -> bool:
        offer = self.offers.get(device)
        return offer is not None and isinstance(offer.flexibility, ProfileFlexibility)

    # ------------------------------------------------------------ offers

    @answers(flexibility_offer)
    async def on_offer(self, talk: Talk, word: OfferFlexibility) -> None:
        assert talk.peer is not None  # the bus carries it
        refusal = self._weigh(talk.peer, word)
        if refusal is not None:
            if talk.peer in self.offers:
                del self.offers[talk.peer]
                await self._store()
                self._changed(talk.peer)
            await talk.say(FlexibilityRefused(offer=word.offer, reason=refusal))
            return
        self.offers[talk.peer] = word
        await self._store()
        await talk.say(FlexibilityTaken(offer=word.offer))
        self._changed(talk.peer)

    def _weigh(self, device: Address, word: OfferFlexibility) -> Reason | None:
        known = self.premises.devices.get(device)
        if known is None:
            return Reason(code="not_joined", text=f"{device} has not joined this home: announce yourself first")
        if word.flexibility is None:
            return None
        wrong = absurd(word.flexibility, known.announce, self.clock.now())
        if wrong is not None:
            log.info("%s offers what makes no sense: %s", device, wrong.text)
        return wrong

    # ------------------------------------------------------------ instructions

    async def instruct(self, device: Address, word: Instruct, judge: Judge | None = None) -> Agreed | Reason:
        """Ask the device. A counter is taken if ``judge`` says so, else refused. Why not, when nothing came of it.

        What was agreed before still holds unless the new is; a job that runs is not asked any more.
        """
        async with self._busy.setdefault(device, anyio.Lock()):
            offer = self.offers.get(device)
            if offer is None or offer.flexibility is None:
                return Reason(code="nothing_offered", text=f"{device} has offered nothing")
            if self.started(device):
                return Reason(code="already_started", text=f"{device} has begun: it is not moved any more")
            before = self.agreed.get(device)
            if before is not None and before.state not in OVER and word.replaces is None:
                word = msgspec.structs.replace(word, replaces=before.talk)
            attributes: tracing.Attributes = {"gridparley.device": str(device), **tracing.because(word.reason)}
            with tracing.span("instruct device", attributes) as mark:
                try:
                    outcome = await self._ask(device, word, judge)
                except (NotStored, TooManyDeals) as problem:
                    outcome = Reason(code="not_stored", text=str(problem))
                if isinstance(outcome, Reason):
                    mark.failed(outcome)
                return outcome

    async def _ask(self, device: Address, word: Instruct, judge: Judge | None) -> Agreed | Reason:
        now = self.clock.now()
        async with self.bus.talk(instruction, device) as talk:
            await self.deals.open(talk, Intent(instruct=word, said=now), until=_until(word.power, now))
            await talk.say(word)
            match await talk.hear(InstructionAccepted, InstructionRejected, CounterInstruction, Lapsed):
                case InstructionAccepted():
                    over = Reason(code="over", text=f"{device} has done it already", talk=talk.id)
                    return self.agreed.get(device) or over  # settled before it was heard
                case InstructionRejected(reason=reason):
                    await self.deals.end(talk)
                    return reason
                case CounterInstruction() as counter:
                    if judge is None or not judge(counter):
                        await self.deals.end(talk)
                        text = "what it could do instead does not suit the plan"
                        await talk.say(CounterRejected(reason=Reason(code="does_not_suit", text=text)))
                        return counter.reason
                    terms = Intent(instruct=word, said=now, counter=counter)
                    deal = await self.deals.close(talk, CounterAccepted(), terms, until=_until(counter.power, now))
                    if deal.phase == "on":
                        return await self._take(deal)
                    return Reason(code="not_stored", text="whether it is agreed is not known yet", talk=talk.id)
                case Lapsed():
                    return Reason(code="no_answer", text=f"{device} does not answer", talk=talk.id)

    @settles(instruction)
    async def on_accepted(self, word: InstructionAccepted, heard: Heard) -> None:
        await self._take(await self.deals.honour(word, heard))

    async def _settled(self, deal: Deal) -> None:
        if deal.phase == "on":
            await self._take(deal)

    async def _take(self, deal: Deal) -> Agreed:
        """From now on this is what is agreed with the device. Raises NotStored."""
        before = self.agreed.get(deal.peer)
        if before is not None and before.talk == deal.id:
            return before
        intent = deal.read(Intent)
        if deal.closer and intent.counter is not None:
            power, start = intent.counter.power, intent.counter.start
        else:
            power, start = deal.read_word(InstructionAccepted).power, intent.instruct.start
        begins = power[0].start.timestamp() if power else None if start is None else start.timestamp()
        made = Agreed(
            talk=deal.id, device=deal.peer, instruct=intent.instruct, power=power, start=begins, state="accepted"
        )
        self.agreed[deal.peer] = made
        await self._store()
        if before is not None:
            await self._forget(before.talk)
        told = self.progress.get(deal.peer)
        if told is not None and told.instruction == made.talk and self.agreed.get(deal.peer) is made:
            await self._hear(deal.peer, made, told)  # it began while its acceptance was being written down
        else:
            self._changed(deal.peer)
        return self.agreed.get(deal.peer, made)

    async def _forget(self, talk: str) -> None:
        for deal in self.deals.standing(instruction):
            if deal.id == talk:
                await self.deals.end(deal)

    async def revoke(self, device: Address, reason: Reason) -> bool:
        """Take back what is agreed; False when the device keeps to it, or does not answer."""
        async with self._busy.setdefault(device, anyio.Lock()):
            agreed = self.agreed.get(device)
            if agreed is None or agreed.state in OVER:
                return True
            try:
                async with self.bus.talk(instruction_revocation, device) as talk:
                    word = RevokeInstruction(instruction=agreed.talk, reason=reason)
                    await self.deals.open(talk, word, until=self.clock.now() + KEPT_S)
                    await talk.say(word)
                    match await talk.hear(InstructionRevoked, RevokeRefused, Lapsed):
                        case InstructionRevoked():
                            return True
                        case RevokeRefused(reason=why):
                            await self.deals.end(talk)
                            if why.code in ("unknown", "over"):
                                await self._over(device, agreed, "revoked")
                                return True
                            return False
                        case Lapsed():
                            return False
            except (NotStored, TooManyDeals) as problem:
                log.info("%s keeps its instruction: %s", device, problem)
                return False

    @settles(instruction_revocation)
    async def on_revoked(self, word: InstructionRevoked, heard: Heard) -> None:
        deal = await self.deals.honour(word, heard)
        asked, agreed = deal.read(RevokeInstruction), self.agreed.get(deal.peer)
        if agreed is not None and agreed.talk == asked.instruction:
            await self._over(deal.peer, agreed, "revoked")
        await self.deals.end(deal)

    async def _over(self, device: Address, agreed: Agreed, state: InstructionState) -> None:
        self.agreed.pop(device, None)
        await self._store()
        await self._forget(agreed.talk)
        log.info("%s: %s is %s", device, agreed.talk, state)
        self._changed(device)

    # ------------------------------------------------------------ how it goes

    @answers(instruction_progress)
    async def on_progress(self, talk: Talk, word: ReportProgress) -> None:
        assert talk.peer is not None
        device, agreed = talk.peer, self.agreed.get(talk.peer)
        self.progress[device] = word
        mine = agreed is not None and word.instruction == agreed.talk
        if mine and agreed is not None:
            await self._hear(device, agreed, word)
        await talk.say(ProgressNoted())
        if not mine:
            self._changed(device)

    async def _hear(self, device: Address, agreed: Agreed, word: ReportProgress) -> None:
        if word.state in OVER:
            await self._over(device, agreed, word.state)
        else:
            await self._goes_on(device, agreed, word)

    async def _goes_on(self, device: Address, agreed: Agreed, word: ReportProgress) -> None:
        """It began, or went on, at another instant than planned: its power is moved with it."""
        power, start = agreed.power, agreed.start
        if word.remaining_s is not None and power:
            ends = self.clock.now() + word.remaining_s
            planned = end_of(power[-1])
            if abs(ends - planned) > 60.0:
                power = moved(power, power[0].start.timestamp() + ends - planned)
                start = power[0].start.timestamp()
        self.agreed[device] = replace(agreed, power=power, start=start, state=word.state)
        await self._store()
        self._changed(device)

    @every("reading_every_s")
    async def compare(self) -> None:
        """What is measured against what was confirmed."""
        now = self.clock.now()
        for device, agreed in list(self.agreed.items()):
            known = self.premises.devices.get(device)
            if known is None or known.reading is None or agreed.state != "started":
                continue
            if now - known.read_at > self.settings.stale_after_s:
                continue  # it is silent: its place in the plan stays as it was confirmed
            excess = beyond(agreed.power, known.reading.power_w, known.read_at)
            self._above[device] = self._above.get(device, 0) + 1 if excess > 0 else 0
            if self._above[device] >= LIES_TWICE:
                await self._caught(device, agreed, known.reading.power_w)

    async def _caught(self, device: Address, agreed: Agreed, power_w: float) -> None:
        told = device in self.liars
        self.liars[device] = max(self.liars.get(device, 0.0), power_w)
        self.agreed[device] = replace(agreed, power=worst(agreed.power, power_w))
        self._above[device] = 0
        try:
            await self._store()
        except NotStored as problem:
            log.info("%s: %s", device, problem)
        if not told:
            text = f"{device} takes {power_w:.0f} W, more than it confirmed: from now on it is planned with its worst"
            reason = Reason(code="above_profile", text=text, binding="profile", inputs={"power_w": power_w})
            name = f"{device.role}.{device.name}"
            self.bus.say(DeviceWarning(device=name, cleared=False, reason=reason), home=True)
        self._changed(device)

    # ------------------------------------------------------------ over restarts

    @restores
    async def restore(self) -> None:
        offers = await self.state.get("offers", dict[str, OfferFlexibility]) or {}
        self.offers = {Address.parse(device): offer for device, offer in offers.items()}
        for kept in await self.state.get("agreed", tuple[Kept, ...]) or ():
            agreed = kept.agreed()
            self.agreed[agreed.device] = agreed
        for deal in sorted(self.deals.standing(instruction), key=lambda deal: deal.read(Intent).said):
            known = self.agreed.get(deal.peer)
            if known is None or (self._said(known) or 0.0) < deal.read(Intent).said:
                await self._take(deal)  # a kill came between the deal and its place in the book

    def _said(self, agreed: Agreed) -> float | None:
        deal = self.deals.find(agreed.device, agreed.talk)
        return None if deal is None else deal.read(Intent).said

    async def _store(self) -> None:
        await self.state.put("offers", {str(device): offer for device, offer in self.offers.items()})
        await self.state.put("agreed", tuple(agreed.kept() for agreed in self.agreed.values()))

    def _changed(self, device: Address) -> None:
        for act in self.on_change:
            act(device)


def _until(power: tuple[PlannedPower, ...], now: float) -> float:
    return max((end_of(slot) for slot in power), default=now) + KEPT_S
