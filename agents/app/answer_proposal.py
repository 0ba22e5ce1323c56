"""The person's word on a proposed plan: yes, no, or so but with my times. IC-PT-HLUC1-PUC2; IEC-JWG1110.

Without a word nothing happens: an app that only shows leaves the talk open for the person's other apps.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, time

import msgspec

from agents.app.settings import AppSettings
from agents.app.show import Show
from agents.kit.deals import Deals
from agents.kit.local_day import next_local
from agents.kit.skill import answers, restores, settles, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from contracts.emergency import DisplayNotice
from contracts.home_plan import (
    ChangePlan,
    ChangeRefused,
    ConfirmPlan,
    Move,
    PlanCommitted,
    ProposePlan,
    RejectPlan,
    plan_proposal,
)
from contracts.kit import Lapsed, Message

Decide = Callable[[ProposePlan], ConfirmPlan | RejectPlan | ChangePlan | None]


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A proposal that waits for the person's word, over restarts: a phone comes and goes."""

    talk: str
    peer: Address
    word: ProposePlan


class NothingProposed(Exception):
    """No plan waits for a word."""

    def __init__(self, site: str) -> None:
        remedy = f"`gridparley app prefs {site} --plans confirm` lets every plan ask first"
        super().__init__(f"no plan waits for your word at {site}: {remedy}")
        self.site = site


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that a change was made from."""

    plan: str


@skill(says_home=(DisplayNotice,), use_cases=("home.propose-confirm", "home.price-plan"))
@dataclass
class AnswerProposal:
    """``decide`` replaces what the settings say, for scripts and the command line."""

    bus: Bus
    clock: Clock
    settings: AppSettings
    show: Show
    deals: Deals
    state: State
    decide: Decide | None = None
    waiting: Waiting | None = None
    outcomes: list[Message] = field(default_factory=list)
    """What was said last in each talk, by either side."""

    @restores
    async def restore(self) -> None:
        kept = await self.state.get("proposal", list[Waiting]) or []
        self.waiting = next((one for one in kept if one.word.confirm_by.timestamp() > self.clock.now()), None)

    @answers(plan_proposal)
    async def on_proposal(self, talk: Talk, proposal: ProposePlan) -> None:
        self.show.proposal(proposal)
        answer = self.decide(proposal) if self.decide is not None else self._by_settings(proposal)
        if answer is not None:
            await self._say(talk, proposal, answer)
            return
        assert talk.peer is not None  # the bus knows who opened it
        self.waiting = Waiting(talk=talk.id, peer=talk.peer, word=proposal)
        await self.state.put("proposal", [self.waiting])

    async def answer(self, decide: Decide) -> None:
        """The person's word on the plan that waits. Raises NothingProposed, NotStored."""
        waiting = self.waiting
        word = decide(waiting.word) if waiting is not None else None
        if waiting is None or word is None or waiting.word.confirm_by.timestamp() <= self.clock.now():
            raise NothingProposed(self.bus.address.site)
        talk = self.bus.host(plan_proposal, waiting.talk, waiting.peer)
        talk.deliver(waiting.word)
        where = Heard(waiting.peer, "", self.clock.now(), waiting.talk, None, True)

        async def say(talk: Talk, _opening: Message) -> None:
            await self._say(talk, waiting.word, word)

        self.waiting = None  # another plan may be proposed before this talk is over
        await self.state.put("proposal", [])
        await self.bus.answer_in(talk, say, where)

    async def _say(self, talk: Talk, proposal: ProposePlan, answer: ConfirmPlan | RejectPlan | ChangePlan) -> None:
        until = proposal.confirm_by.timestamp()
        match answer:
            case ConfirmPlan():
                deal = await self.deals.close(talk, answer, Offered(plan=proposal.plan), until=until)
                if deal.phase == "off":
                    self._tell("warning", "Your confirmation did not get through: the plan is not in force.")
                    return
                self._done(answer, "The plan is confirmed.")
            case RejectPlan():
                await talk.say(answer)
                self._done(answer, "The plan is rejected: nothing is done.")
            case ChangePlan():
                await self.deals.open(talk, Offered(plan=proposal.plan), until=until)
                await talk.say(answer)
                await self._changed(talk)

    async def _changed(self, talk: Talk) -> None:
        match await talk.hear(PlanCommitted, ChangeRefused, Lapsed):
            case PlanCommitted() as committed:
                self._done(committed, f"Your changes hold: it costs {committed.cost_eur:.2f} EUR.")
            case ChangeRefused() as refused:
                await self.deals.end(talk)
                self._done(refused, f"Your changes cannot be kept: {refused.reason.text}")
            case Lapsed():
                self._tell("warning", "The energy manager has not answered your changes: see the plan that is shown.")

    @settles(plan_proposal)
    async def on_committed(self, word: Message, heard: Heard) -> None:
        """Also when it comes after a restart."""
        await self.deals.honour(word, heard)

    def _done(self, word: Message, text: str) -> None:
        self.outcomes.append(word)
        self.show.decided()
        self._tell("info", text)

    def _tell(self, kind: str, text: str) -> None:
        notice = DisplayNotice(kind="warning" if kind == "warning" else "info", text=text)
        self.bus.say(notice, home=True)
        self.show.tell(text)

    def _by_settings(self, proposal: ProposePlan) -> ConfirmPlan | RejectPlan | ChangePlan | None:
        user = self.settings.user
        match self.settings.proposals:
            case "confirm":
                return ConfirmPlan(user=user)
            case "reject":
                return RejectPlan(user=user)
            case "change":
                return ChangePlan(user=user, moves=moves(self.settings.moves, proposal, self.settings.time_zone))
            case _:
                return None


def moves(wanted: dict[str, str], proposal: ProposePlan, zone: str) -> tuple[Move, ...]:
    """The user's times of day as instants: the next one of each after the plan can begin. Raises ValueError.

    wanted  device -> ``HH:MM``, or ``never``
    """
    starts = [item.start for item in proposal.items if item.start is not None]
    since = min([proposal.confirm_by, *starts])
    return tuple(
        Move(device=device, start=None if text == "never" else next_at(text, since, zone))
        for device, text in wanted.items()
    )


def next_at(text: str, since: datetime, zone: str) -> datetime:
    """The next instant after ``since`` at which the local clock shows ``HH:MM``. Raises ValueError."""
    return instant(next_local(time.fromisoformat(text), since.timestamp(), zone, now_too=True))
