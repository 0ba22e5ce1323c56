"""The plan as a proposal: nothing is commanded before the household has said yes. IC-PT-HLUC1-PUC2; IEC-JWG1110.

What was agreed to stands until its last slot or until new prices: the starts that were shown are kept, and what is
planned anew meanwhile is carried out as the same agreement. Choices where the sources are silent: decision 0033.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import anyio
import msgspec
from anyio import to_thread
from anyio.abc import TaskGroup

from agents.cem.carry_out_plan import CarryOutPlan
from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.know_prices import KnowPrices
from agents.cem.plan_home import PlanHome, solve_apart
from agents.cem.planner.problem import BadProblem
from agents.cem.preferences import Preferences
from agents.cem.premises import Premises
from agents.cem.room import room
from agents.cem.settings import CemSettings
from agents.cem.show_plan import shown as as_shown
from agents.kit.agent import Peers
from agents.kit.deals import Deal, Deals
from agents.kit.skill import restores, settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import OutOfTurn, Talk
from bus.transport import NotStored
from contracts.emergency import DisplayNotice
from contracts.flexibility import ProfileFlexibility
from contracts.home_plan import (
    ChangePlan,
    ChangeRefused,
    ConfirmPlan,
    Move,
    PlanCommitted,
    PlanShown,
    ProposePlan,
    RejectPlan,
    plan_proposal,
)
from contracts.kit import Lapsed, Message
from contracts.reasons import Reason
from contracts.roles import AGGREGATOR, APP, ESP, RETAILER
from contracts.site_power import OfferDeclined, OfferNoted, OfferToProvider, provider_offer

log = logging.getLogger("gridparley.cem")
ANSWER_AT_MOST_S = 6 * 3600.0
ANSWER_AT_LEAST_S = 600.0
BEFORE_START_S = 60.0
"""The answer is wanted so long before the first start."""
LONGEST_S = 48 * 3600.0


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What the household was offered, or has agreed to. ``starts``: device -> run seconds; ``until`` too.

    ``left_out``: devices that shall not take part.
    """

    plan: str
    until: float
    starts: dict[str, float] = msgspec.field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@skill(
    opens=(plan_proposal, provider_offer),
    says_home=(DisplayNotice,),
    use_cases=("home.propose-confirm", "home.price-plan", "home.flexible-start"),
)
@dataclass
class AskLeave:
    """Asks every app of the home; the first word that decides holds."""

    bus: Bus
    clock: Clock
    state: State
    deals: Deals
    settings: CemSettings
    peers: Peers
    premises: Premises
    prices: KnowPrices
    flexibility: KnowFlexibility
    preferences: Preferences
    planning: PlanHome
    carry: CarryOutPlan
    agreed: Terms | None = None
    asked: str | None = None
    """The plan that waits for a word."""
    _no_to: str = ""
    _tasks: TaskGroup | None = None
    _restored: bool = False

    def __post_init__(self) -> None:
        # Before the plan is carried out: what is agreed to holds for the plan that follows it.
        self.planning.on_plan.insert(0, self.consider)
        self.prices.on_change.append(self._new_prices)
        self.preferences.on_change.append(self._preferred)
        self.flexibility.on_change.append(self._went)
        self.deals.on_settled(plan_proposal, self._settled)

    @restores
    async def restore(self) -> None:
        kept = await self.state.get("leave", list[Terms]) or []
        self._restored = True
        self._hold(kept[0] if kept else None)
        for deal in self.deals.standing(plan_proposal):
            await self._settled(deal)

    @started
    async def keep_asking(self) -> None:
        async with anyio.create_task_group() as self._tasks:
            self.consider()
            await anyio.sleep_forever()

    def confirmed(self, plan: str) -> bool:
        """Whether this plan may be carried out."""
        return self.carry.may_act(plan)

    # ---------------------------------------------------------------- asking

    def consider(self) -> None:
        """There is a new plan: it is agreed to already, or it is proposed, or one waits for a word already."""
        shown, now = self.planning.shown, self.clock.now()
        if shown is None or not self._restored:
            return
        askers = self._askers(shown)
        if self.preferences.plans != "confirm" and not askers:
            return
        if self.agreed is not None and now < self.agreed.until and askers <= self.agreed.starts.keys():
            self.carry.confirmed = shown.plan
        elif self.asked is None and self._tasks is not None and self._no_to != self._day(now) and _does(shown):
            self.asked = shown.plan
            self._tasks.start_soon(self._ask_all, shown)

    def _askers(self, shown: PlanShown) -> set[str]:
        """Machines that are to start and whose users want the last word, where plans else act alone. IEC-JWG1100."""
        if self.preferences.plans != "automatic":
            return set()
        jobs = {device: offer.flexibility for device, offer in self.flexibility.offers.items()}
        asks = {
            f"{device.role}.{device.name}"
            for device, job in jobs.items()
            if isinstance(job, ProfileFlexibility) and job.confirm and job.state == "not_scheduled"
        }
        return asks & {item.device for item in shown.items if item.start is not None}

    def _day(self, now: float) -> str:
        return f"{self.preferences.local(now):%Y-%m-%d}"

    def _new_prices(self) -> None:
        """What was agreed to at other prices is agreed to no more; what was refused may be proposed again."""
        self._no_to = ""
        if self.agreed is not None and self._tasks is not None and self.preferences.plans == "confirm":
            self._tasks.start_soon(self._forget)

    def _preferred(self) -> None:
        if self.preferences.plans != "confirm" and self.agreed is not None and self._tasks is not None:
            self._tasks.start_soon(self._forget)

    async def _forget(self) -> None:
        await self.state.put("leave", [])
        self._hold(None)
        self.planning.replan("leave")

    async def _ask_all(self, shown: PlanShown) -> None:
        confirm_by = self._confirm_by(shown)
        try:
            async with anyio.create_task_group() as group:
                for app in self.peers.of(APP):
                    group.start_soon(self._ask, app, shown, confirm_by, group.cancel_scope)
        finally:
            self.asked = None
        if self.agreed is None:
            self.planning.replan("leave")

    def _confirm_by(self, shown: PlanShown) -> float:
        now = self.clock.now()
        starts = [item.start.timestamp() for item in shown.items if item.start is not None]
        first = min(starts, default=now + ANSWER_AT_MOST_S) - BEFORE_START_S
        return max(now + ANSWER_AT_LEAST_S, min(first, now + ANSWER_AT_MOST_S))

    async def _ask(self, app: Address, shown: PlanShown, confirm_by: float, others: anyio.CancelScope) -> None:
        terms = _terms(shown)
        async with self.bus.talk(plan_proposal, app) as talk:
            await self.deals.open(talk, terms, until=max(confirm_by, self.clock.now() + ANSWER_AT_MOST_S))
            await talk.say(self._proposal(shown, confirm_by))
            match await talk.hear(ConfirmPlan, RejectPlan, ChangePlan, Lapsed):
                case ChangePlan() as change:
                    await self._change(talk, change, shown)
                case RejectPlan(user=user):
                    await self.deals.end(talk)
                    if self._may(app, user):
                        self._no_to = self._day(self.clock.now())
                case ConfirmPlan() | Lapsed():
                    pass  # what was confirmed has been taken up by agree()
        if self.agreed is not None or self._no_to:
            others.cancel()

    def _proposal(self, shown: PlanShown, confirm_by: float) -> ProposePlan:
        return ProposePlan(
            plan=shown.plan,
            items=shown.items,
            cost_eur=shown.cost_eur,
            saves_eur=round(shown.unplanned_cost_eur - shown.cost_eur, 4),
            confirm_by=instant(confirm_by),
        )

    def _may(self, app: Address, user: str) -> bool:
        return self.preferences.allowed(app, user, "plans")

    # ---------------------------------------------------------------- the household's word

    @settles(plan_proposal)
    async def agree(self, word: Message, heard: Heard) -> None:
        """Confirmed, in time or after a restart."""
        user = word.user if isinstance(word, ConfirmPlan) else ""
        if not self._may(heard.sender, user):
            raise OutOfTurn(plan_proposal.name, f"{user} at {heard.sender}", "ConfirmPlan", "not allowed", [])
        await self._settled(await self.deals.honour(word, heard))

    async def _settled(self, deal: Deal) -> None:
        """A deal is on: from now on the plan is carried out."""
        if not self._restored or deal.phase != "on":
            return
        terms = deal.read(Terms)
        if self.agreed != terms:
            await self.state.put("leave", [terms])
            self._hold(terms)
            self._carry_on()
            if self._tasks is not None:
                self._tasks.start_soon(self._offer, terms.plan)
        await self.deals.end(deal)

    def _hold(self, terms: Terms | None) -> None:
        before, self.agreed = self.agreed, terms
        for device in before.starts if before is not None else ():
            self.planning.start_at.pop(device, None)
        if terms is not None:
            self.planning.start_at.update(terms.starts)
        self.planning.left_out = frozenset(terms.left_out) if terms is not None else frozenset()
        if terms is None:
            self.carry.confirmed = None

    def _carry_on(self) -> None:
        shown, agreed = self.planning.shown, self.agreed
        if shown is not None and agreed is not None and _terms(shown).starts == agreed.starts:
            self.carry.commit(shown.plan)
        self.planning.replan("leave")  # another one than was changed is not carried out

    async def _change(self, talk: Talk, change: ChangePlan, shown: PlanShown) -> None:
        """The user's own times: kept if everything that is hard allows it, else refused with what forbids it."""
        assert talk.peer is not None  # the bus carries it
        outcome = await self._with_moves(talk.peer, change, shown)
        if isinstance(outcome, Reason):
            await talk.say(ChangeRefused(reason=outcome))
            await self.deals.end(talk)
            return
        new, terms = outcome
        word = PlanCommitted(items=new.items, cost_eur=new.cost_eur)
        deal = await self.deals.close(talk, word, terms, until=terms.until)
        await self._settled(deal)

    async def _with_moves(self, app: Address, change: ChangePlan, shown: PlanShown) -> tuple[PlanShown, Terms] | Reason:
        if not self._may(app, change.user):
            text = f"{change.user} may not change plans by {app}: the household has to allow it."
            return Reason(code="not_allowed", text=text, binding="access_control")
        known = {item.device for item in shown.items}
        jobs = {item.device for item in shown.items if item.start is not None}
        for move in change.moves:
            if move.device not in known:
                text = f"{move.device} is not in this plan: its devices are {', '.join(sorted(known))}."
                return Reason(code="unknown_device", text=text)
            if move.start is not None and move.device not in jobs:
                text = f"{move.device} has no start of its own: set its preferences (not before, ready by) instead."
                return Reason(code="no_start", text=text)
            wrong = self._outside(move)
            if wrong is not None:
                return wrong
            if move.start is not None and move.start.timestamp() < self.clock.now():
                return Reason(code="past", text=f"{self._shown(move.start)} is over: choose a later start.")
        starts = _terms(shown).starts | {m.device: m.start.timestamp() for m in change.moves if m.start is not None}
        left_out = tuple(move.device for move in change.moves if move.start is None)
        starts = {device: start for device, start in starts.items() if device not in left_out}
        planned = await self._planned(starts, left_out)
        if isinstance(planned, Reason):
            return planned
        until = _ends(planned)
        return planned, Terms(plan=shown.plan, until=until, starts=starts, left_out=left_out)

    def _shown(self, at: datetime) -> str:
        return f"{self.preferences.local(at.timestamp()):%H:%M}"

    def _outside(self, move: Move) -> Reason | None:
        """What the device itself has said about when it may run."""
        device = self.premises.by_name(move.device)
        offer = self.flexibility.offers.get(device.address) if device is not None else None
        can = offer.flexibility if offer is not None else None
        if not isinstance(can, ProfileFlexibility) or move.start is None:
            return None
        takes = max(sum(slot.duration_s for slot in sequence.slots) for sequence in can.alternatives)
        ready, at = can.done_by, move.start.timestamp()
        if at + takes > ready.timestamp() + 1.0:
            by = self._shown(ready)
            text = f"{move.device} has to be ready by {by} and runs for {takes / 3600:.1f} h: start it earlier."
            return Reason(code="done_by", text=text, binding="done_by", inputs={"runs_s": takes})
        if at < can.earliest_start.timestamp() - 1.0:
            may = self._shown(can.earliest_start)
            text = f"{move.device} may not start before {may}: choose a later start."
            return Reason(code="earliest_start", text=text, binding="earliest_start")
        return None

    async def _planned(self, starts: dict[str, float], left_out: tuple[str, ...]) -> PlanShown | Reason:
        before, without = dict(self.planning.start_at), self.planning.left_out
        self.planning.start_at.update(starts)
        self.planning.left_out = frozenset(left_out)
        try:
            problem = self.planning.pose()
        except BadProblem as bad:
            return Reason(code="cannot_plan", text=f"It cannot be planned so: {bad}", binding=bad.where)
        finally:
            self.planning.start_at, self.planning.left_out = before, without
        try:
            plan = await to_thread.run_sync(solve_apart, problem, abandon_on_cancel=True)
        except BadProblem as bad:
            return Reason(code="cannot_plan", text=f"It cannot be planned so: {bad}", binding=bad.where)
        for where, reason in [(b.where, b.reason) for b in plan.broken] + [(r.where, r.reason) for r in plan.refused]:
            if where in starts or where == "connection":
                return reason
        return as_shown(plan, "", self.prices.buy, self.prices.sell)

    # ---------------------------------------------------------------- afterwards

    async def _offer(self, plan: str) -> None:
        """What the household could give goes to its provider, on its behalf: it has just agreed. IC-PT-HLUC1-PUC2."""
        shown = self.planning.shown
        providers = self.peers.of(RETAILER, AGGREGATOR, ESP)
        if shown is None or not providers or not self.preferences.flexibility:
            return
        less, more = room(shown, self.premises)
        word = OfferToProvider(plan=plan, planned=shown.gcp, less=less, more=more)
        async with self.bus.talk(provider_offer, providers[0]) as talk:
            await talk.say(word)
            match await talk.hear(OfferNoted, OfferDeclined, Lapsed):
                case OfferDeclined(reason=reason):
                    log.info("%s declines our offer: %s", providers[0], reason.text)
                case _:
                    pass

    def _went(self, device: Address) -> None:
        """The result of each command is shown."""
        agreed = self.flexibility.agreed.get(device)
        if agreed is not None and agreed.state in OVER and self._tasks is not None:
            self._tasks.start_soon(self._over, f"{device.role}.{device.name}")
        if agreed is not None and agreed.state in _RESULTS and self.preferences.plans == "confirm":
            since = f", start {self._shown(instant(agreed.start))}" if agreed.start is not None else ""
            text = f"{device.role}.{device.name} {_RESULTS[agreed.state]}{since}."
            self.bus.say(DisplayNotice(kind="info", text=text, device=f"{device.role}.{device.name}"), home=True)

    async def _over(self, device: str) -> None:
        """A start that is over binds the next job of the same machine no more."""
        if self.agreed is not None and device in self.agreed.starts:
            starts = {name: start for name, start in self.agreed.starts.items() if name != device}
            terms = msgspec.structs.replace(self.agreed, starts=starts)
            with suppress(NotStored):  # after a restart it would be over again
                await self.state.put("leave", [terms])
            self._hold(terms)


OVER = ("succeeded", "aborted")
_RESULTS = {
    "accepted": "will do as planned",
    "started": "has started as planned",
    "succeeded": "has done what was planned",
    "aborted": "has broken off what was planned",
    "rejected": "has refused what was planned",
}


def _terms(shown: PlanShown) -> Terms:
    starts = {item.device: item.start.timestamp() for item in shown.items if item.start is not None}
    return Terms(plan=shown.plan, until=_ends(shown), starts=starts)


def _ends(shown: PlanShown) -> float:
    """When the last of it is over."""
    at = shown.at.timestamp()
    ends = [slot.start.timestamp() + slot.duration_s for slot in shown.gcp]
    return min(max(ends, default=at), at + LONGEST_S)


def _does(shown: PlanShown) -> bool:
    """Generation that nobody cuts, and a plan that leaves everything as it is, need no leave."""
    return any(
        item.start is not None
        or any(slot.power_w > 0 or (slot.power_w < 0 and not item.device.startswith("pv")) for slot in item.power)
        for item in shown.items
    )
