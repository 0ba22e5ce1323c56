"""Scheduled orders to the homes under contract. IC-FR-PUC-4, flexibility manager."""

import logging
from dataclasses import dataclass

import anyio

from agents.aggregator.settings import AggregatorSettings, OrderPlan
from agents.kit.agent import Peers
from agents.kit.order_flexibility import OrderFlexibly
from agents.kit.skill import skill, started
from bus.address import Address
from bus.clock import Clock, patience
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.site_power import OrderFlexibility

log = logging.getLogger("gridparley.aggregator")
FINAL = ("users_hand", "no_contract", "flexibility_off", "no_consent", "limit", "bad_range", "no_bound")
"""Refusals that asking once more would not change: an order is not pressed on a home."""

BROUGHT_AGAIN_WALL_S = 12.0
"""A stored word that was not acknowledged comes again within this."""


@skill(use_cases=("home.precedence",))
@dataclass
class GiveOrders:
    """Each once; over a restart what a home has accepted is not ordered again."""

    clock: Clock
    settings: AggregatorSettings
    peers: Peers
    orders: OrderFlexibly

    @started
    async def keep_schedule(self) -> None:
        async with anyio.create_task_group() as group:
            for plan in self.settings.orders:
                group.start_soon(self._give, plan)

    async def _give(self, plan: OrderPlan) -> None:
        await self.clock.sleep_until((plan.at or plan.start).timestamp())
        while self.clock.now() < plan.until.timestamp():
            wrong = await self._order(plan)
            if wrong is None:
                return
            log.info("%s does not follow the order: %s", plan.site, wrong.text)
            if wrong.code in FINAL:
                return
            await self.clock.sleep(self.settings.retry_s)

    async def _order(self, plan: OrderPlan) -> Reason | None:
        cem = next((a for a in self.peers.of(CEM) if a.site == plan.site), None)
        if cem is None:
            return Reason(code="unknown_site", text=f"No CEM of {plan.site} is in reach: check the site's name.")
        return await self._unless_accepted(cem, plan)

    async def _unless_accepted(self, cem: Address, plan: OrderPlan) -> Reason | None:
        word = OrderFlexibility(
            device=plan.device,
            upper_w=plan.upper_w,
            lower_w=plan.lower_w,
            start=plan.start,
            until=plan.until,
            reason=Reason(code="flexibility", text=plan.text),
        )
        # Its answer may be on its way, or came while we were away and is brought again.
        until = self.clock.now() + max(self.settings.retry_s, BROUGHT_AGAIN_WALL_S * self.clock.speed)
        while word in self.orders.offered(cem) and self.clock.now() < until:
            await self.clock.sleep(patience(self.clock, 1.0))
        if word in self.orders.ordered(cem):
            return None
        return await self.orders.order(cem, word)
