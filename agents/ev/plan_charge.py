"""The car at its charging point: it demands, plans itself within the offer, and says how it goes. IC-PT-PUC-CEVC."""

import logging
from dataclasses import dataclass

import anyio

from agents.ev.charge import NOMINAL_V, cost_eur, plan
from agents.ev.settings import EvSettings
from agents.ev.watch_charge import WatchCharge
from agents.kit.agent import Peers
from agents.kit.bargain import end_of
from agents.kit.deals import Deals, TooManyDeals
from agents.kit.local_day import next_local
from agents.kit.skill import hears, restores, settles, skill, started
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.transport import NotStored
from contracts.charging import (
    ChargingDemand,
    ChargingOffer,
    ChargingPlan,
    ChargingPlanRefused,
    ChargingPlanTaken,
    DemandRefused,
    DemandWithdrawn,
    charging_plan,
)
from contracts.kit import Lapsed
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.roles import CEM
from contracts.tariff import PriceInfo

log = logging.getLogger("gridparley.ev")
AGAIN_S = 60.0


@skill(opens=(charging_plan,), use_cases=("mobility.coordinated",))
@dataclass
class PlanCharge:
    """Asks at plug-in, at new prices and regularly; the plan that was taken last is the one that holds."""

    bus: Bus
    address: Address
    clock: Clock
    settings: EvSettings
    peers: Peers
    deals: Deals
    charge: WatchCharge
    plan: ChargingPlan | None = None
    """Agreed; None: nothing is."""
    refused: Reason | None = None
    _prices: object = None

    @restores
    async def take_up(self) -> None:
        newest = max(self.deals.standing(charging_plan), key=lambda deal: deal.until, default=None)
        self.plan = None if newest is None else newest.read(ChargingPlan)

    @settles(charging_plan)
    async def on_taken(self, word: ChargingPlanTaken, heard: Heard) -> None:
        deal = await self.deals.honour(word, heard)
        self.plan, self.refused = deal.read(ChargingPlan), None
        for older in self.deals.standing(charging_plan):
            if older.id != deal.id:
                await self.deals.end(older)

    @hears(PriceInfo, of=(CEM,), where="home")
    def hear_prices(self, info: PriceInfo, _heard: Heard) -> None:
        """Another incentive table: the plan is made anew."""
        if info.slots != self._prices:
            self._prices = info.slots
            self.charge.news.set()

    @started
    async def keep_planned(self) -> None:
        while True:
            self.charge.news = anyio.Event()
            wait = self.settings.plan_every_s
            if self.charge.plugged is None:
                self.plan = None
            elif self.charge.missing_wh > 0:
                wait = wait if await self._ask() else AGAIN_S
            await self._until_news(wait)

    async def _until_news(self, seconds: float) -> None:
        async with anyio.create_task_group() as group:

            async def pass_time() -> None:
                await self.clock.sleep(seconds)
                group.cancel_scope.cancel()

            group.start_soon(pass_time)
            await self.charge.news.wait()
            group.cancel_scope.cancel()

    async def _ask(self) -> bool:
        """One talk. False: nothing came of it."""
        cem = next((peer for peer in self.peers.of(CEM) if peer.site == self.address.site), None)
        if cem is None or self.charge.level is None:
            return False
        try:
            async with self.bus.talk(charging_plan, cem) as talk:
                demand = self.demand()
                await talk.say(demand)
                match await talk.hear(ChargingOffer, DemandRefused, Lapsed):
                    case ChargingOffer() as offer:
                        made = self.make(demand, offer)
                        if made is None:
                            text = "the offer has no slot in which it could charge"
                            await talk.say(DemandWithdrawn(reason=Reason(code="no_slot", text=text)))
                            return False
                        until = max(end_of(slot) for slot in made.power)
                        await self.deals.open(talk, made, until=until)
                        await talk.say(made)
                        match await talk.hear(ChargingPlanTaken, ChargingPlanRefused, Lapsed):
                            case ChargingPlanTaken():
                                return True
                            case ChargingPlanRefused(reason=reason):
                                await self.deals.end(talk)
                                self.refused = reason
                            case Lapsed():
                                pass
                    case DemandRefused(reason=reason):
                        self.refused = reason
                        log.info("%s is not served: %s", self.address, reason.text)
                    case Lapsed():
                        pass
        except (NotStored, TooManyDeals) as problem:
            log.info("%s could not agree its plan: %s", self.address, problem)
        return False

    def demand(self) -> ChargingDemand:
        s, level, plugged = self.settings, self.charge.level, self.charge.plugged
        assert level is not None
        assert plugged is not None  # asked for only when it is plugged in
        now = self.clock.now()
        leaves = None if s.leaves_at is None else instant(next_local(s.leaves_at, plugged.since, s.time_zone))
        if leaves is not None and leaves.timestamp() <= now:
            leaves = None
        earliest = None if s.not_before is None else instant(next_local(s.not_before, plugged.since, s.time_zone))
        if earliest is not None and (earliest.timestamp() <= now or (leaves is not None and earliest >= leaves)):
            earliest = None
        return ChargingDemand(
            evse=s.evse,
            energy_wh=self.charge.missing_wh,
            capacity_wh=s.capacity_wh,
            soc_percent=level.soc_percent,
            target_percent=s.target_percent,
            leaves_at=leaves,
            not_before=earliest,
            least_a=s.least_a,
            most_a=s.most_a,
            phases=s.phases,
            incentive=s.incentive,
        )

    def make(self, demand: ChargingDemand, offer: ChargingOffer) -> ChargingPlan | None:
        """The car's own decision. None: nothing fits."""
        volts = NOMINAL_V * len(demand.phases)
        power: tuple[PlannedPower, ...] = plan(
            offer,
            demand.energy_wh,
            now=self.clock.now(),
            until=None if demand.leaves_at is None else demand.leaves_at.timestamp(),
            not_before=None if demand.not_before is None else demand.not_before.timestamp(),
            least_w=demand.least_a * volts,
            most_w=min(offer.maximum_a, demand.most_a) * volts,
            greenest=demand.incentive == "greenest",
        )
        if not power:
            return None
        energy = sum(slot.power_w * slot.duration_s for slot in power) / 3600
        return ChargingPlan(power=power, energy_wh=energy, cost_eur=cost_eur(power, offer.incentives))
