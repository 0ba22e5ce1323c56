"""A limit by hand, as setpoint or profile. NG-02: both forms; IC-DE-HLUC3."""

from dataclasses import dataclass
from itertools import pairwise

import anyio

from agents.dso.guard_limits import GuardLimits
from agents.dso.limit_book import Statement
from agents.dso.routes import done
from agents.dso.steer_limits import SteerLimits
from agents.kit.skill import answers, skill
from bus.clock import Clock
from bus.envelope import instant
from bus.talk import Talk
from contracts.operator import ORDER_S, Done, NotDone, OrderLimit, order_limit
from contracts.reasons import Reason

_ANSWER_S = ORDER_S - 30.0
"""So long the site may take; the rest is for telling the operator."""


def fault_of(order: OrderLimit) -> str | None:
    """Why an order makes no sense, in one sentence; None when it does."""
    if not order.active:
        return None
    if (order.limit_w is None) == (not order.profile):
        return "Give either limit_w or a profile."
    watts = [slot.limit_w for slot in order.profile] if order.limit_w is None else [order.limit_w]
    wrong = [w for w in watts if (w < 0 if order.direction == "consumption" else w > 0)]
    if wrong:
        return f"{wrong[0]:g} W is no {order.direction} limit: consumption is >= 0, production <= 0."
    if order.profile and order.duration_s is not None:
        return "A profile ends with its last slot: leave duration_s out."
    for before, after in pairwise(order.profile):
        if abs(before.start.timestamp() + before.duration_s - after.start.timestamp()) > 1e-6:
            return f"The slot at {after.start.isoformat()} does not begin where the one before it ends."
    return None


@skill(use_cases=("limits.profile",))
@dataclass
class PlanLimits:
    """The operator is answered once the site has accepted or refused."""

    clock: Clock
    guard: GuardLimits
    steer: SteerLimits

    @answers(order_limit)
    async def order(self, talk: Talk, order: OrderLimit) -> None:
        fault = fault_of(order)
        if fault is None and order.site not in self.guard.sites:
            fault = f"{order.site} has no CEM in this topology."
        if fault is not None:
            await talk.say(NotDone(reason=Reason(code="bad_order", text=fault)))
            return
        statement = Statement(
            direction=order.direction,
            active=order.active,
            limit_w=order.limit_w,
            profile=order.profile,
            until=None if order.duration_s is None else instant(self.clock.now() + order.duration_s),
            reason=Reason(code="ordered", text="The grid operator ordered this limit.", binding="order", talk=talk.id),
        )
        stated = await self.steer.plan(order.site, statement if order.active else None, order.direction)
        refusal = await self._answer_of(order.site, stated)
        if refusal is None:
            await talk.say(Done(outcomes=(done(order.site, "accepted", stated.reason.text),)))
        else:
            await talk.say(NotDone(reason=refusal))

    async def _answer_of(self, site: str, stated: Statement) -> Reason | None:
        answer: list[Reason | None] = []
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await self.clock.sleep(_ANSWER_S)
                text = f"{site} has not answered; the limit is stated again as soon as it is heard of."
                answer.append(Reason(code="no_answer", text=text))
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            answer.append(await self.guard.settled(site, stated))
            group.cancel_scope.cancel()
        return answer[0]
