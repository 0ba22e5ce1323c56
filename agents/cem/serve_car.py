"""The car decides its plan; the home says what it may draw and what that costs. IC-PT-PUC-CEVC, IC-DE-PUC-EM-1."""

import logging
from dataclasses import dataclass, field

import msgspec

from agents.cem.expect import Expect
from agents.cem.know_prices import KnowPrices
from agents.cem.own_plans import OwnPlans
from agents.cem.premises import Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.weigh_charge import cannot_serve, maximum_a, no, outside, room
from agents.cem.wishes import Wish, Wishes
from agents.kit.bargain import bounds_of, end_of, slot_at
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.skill import answers, every, hears, restores, skill
from bus.address import Address
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.charging import (
    ChargingDemand,
    ChargingOffer,
    ChargingPlan,
    ChargingPlanRefused,
    ChargingPlanTaken,
    ChargingStatus,
    DemandRefused,
    DemandWithdrawn,
    charging_plan,
)
from contracts.emergency import DisplayNotice
from contracts.kit import Lapsed
from contracts.profiles import SLOT_S, PlannedPower, PriceSlot
from contracts.reasons import Reason
from contracts.roles import EV

log = logging.getLogger("gridparley.cem")
HORIZON_SLOTS = 96
SUN_PAYS_W = 1400.0
"""So much expected sun in a slot charges a car: then the energy costs what it would have earned."""


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What is agreed with a car; ``power`` is its own plan, ``said`` run time."""

    evse: str
    power: tuple[PlannedPower, ...]
    energy_wh: float
    said: float


@skill(says_home=(DisplayNotice,), use_cases=("mobility.coordinated", "mobility.monitor"))
@dataclass
class ServeCar:
    """One agreed plan per charging point, kept over restarts; its power is wished of the station slot by slot."""

    bus: Bus
    clock: Clock
    settings: CemSettings
    premises: Premises
    prices: KnowPrices
    expect: Expect
    wishes: Wishes
    own: OwnPlans
    deals: Deals
    charges: dict[str, Charge] = field(default_factory=dict)
    status: dict[str, ChargingStatus] = field(default_factory=dict)
    """The last that each car said, by charging point."""

    def __post_init__(self) -> None:
        self.deals.on_settled(charging_plan, self._settled)

    # ------------------------------------------------------------ the talk

    @answers(charging_plan)
    async def on_demand(self, talk: Talk, demand: ChargingDemand) -> None:
        device = self.premises.by_name(demand.evse)
        if device is None or device.announce.device_class != "evse":
            text = f"there is no charging point {demand.evse} here: say the one that the car is plugged into"
            await talk.say(DemandRefused(reason=no("unknown_evse", text)))
            return
        offer = self.offer(device, demand)
        if isinstance(offer, Reason):
            await talk.say(DemandRefused(reason=offer))
            return
        await talk.say(offer)
        match await talk.hear(ChargingPlan, DemandWithdrawn, Lapsed):
            case ChargingPlan() as plan:
                await self._weigh(talk, device, demand, offer, plan)
            case DemandWithdrawn() | Lapsed():
                return

    async def _weigh(
        self, talk: Talk, device: Device, demand: ChargingDemand, offer: ChargingOffer, plan: ChargingPlan
    ) -> None:
        now = self.clock.now()
        # What has come up since the offer counts as well.
        again = self.offer(device, demand)
        maximum = offer.maximum if isinstance(again, Reason) else again.maximum
        refusal = again if isinstance(again, Reason) else None
        refusal = refusal or outside(plan, demand, offer.maximum, now) or outside(plan, demand, maximum, now)
        if refusal is not None:
            await talk.say(ChargingPlanRefused(reason=refusal))
            return
        terms = Charge(evse=device.name, power=plan.power, energy_wh=plan.energy_wh, said=now)
        until = max((end_of(slot) for slot in plan.power), default=now) + SLOT_S
        try:
            deal = await self.deals.close(talk, ChargingPlanTaken(), terms, until=until)
        except (NotStored, TooManyDeals) as problem:
            log.info("%s cannot be served: %s", talk.peer, problem)
            return
        await self._settled(deal)

    def offer(self, device: Device, demand: ChargingDemand) -> ChargingOffer | Reason:
        """The most that may be drawn by slot, and what it costs."""
        now, announce = self.clock.now(), device.announce
        phases = len(demand.phases)
        most_a = maximum_a(
            announce.nominal_upper_w * phases / max(len(announce.phases), 1),
            self.settings.fuse_a,
            phases,
            demand.most_a,
        )
        most_w = most_a * 230.0 * phases
        least_w = demand.least_a * 230.0 * phases
        start = now - now % SLOT_S
        maximum = room(start, self._free(device, start), most_w, least_w)
        until = None if demand.leaves_at is None else demand.leaves_at.timestamp()
        begins = now if demand.not_before is None else max(now, demand.not_before.timestamp())
        possible_wh = sum(
            slot.power_w * max(0.0, min(end_of(slot), until or end_of(slot)) - max(slot.start.timestamp(), begins))
            for slot in maximum
        )
        refusal = cannot_serve(demand, now, most_a, possible_wh / 3600)
        if refusal is not None:
            return refusal
        return ChargingOffer(maximum_a=most_a, maximum=maximum, incentives=self._incentives(start, most_w))

    def _free(self, device: Device, start: float) -> tuple[float, ...]:
        """What the connection has left for this station in each slot: bounds, less what the others are expected to."""
        upper = min(self.premises.upper_w(), self.settings.contract_consumption_w or float("inf"))
        if self.settings.fuse_a > 0:
            upper = min(upper, 3 * 230.0 * self.settings.fuse_a * self.settings.fuse_share)
        if upper == float("inf"):
            return (device.announce.nominal_upper_w,) * HORIZON_SLOTS
        load = self.expect.load(start, HORIZON_SLOTS)
        sun = self.expect.pv(start, HORIZON_SLOTS)
        own = {name: self.own.of(name) for name in self.own.plans if name != device.name}
        free = []
        for n in range(HORIZON_SLOTS):
            at = start + (n + 0.5) * SLOT_S
            planned = sum(slot.power_w for power in own.values() if (slot := slot_at(power, at)) is not None)
            free.append(upper - self.settings.margin_w - load[n][0] - min(sun[n][0], 0.0) - planned)
        return tuple(free)

    def _incentives(self, start: float, most_w: float) -> tuple[PriceSlot, ...]:
        """Prices; where the sun is expected to charge the car, what its power would earn. Green: grid and sun."""
        slots = self.prices.slots(start, HORIZON_SLOTS)
        sold, sun = self.prices.sell(start, HORIZON_SLOTS), self.expect.pv(start, HORIZON_SLOTS)
        made = []
        for slot in slots:
            n = round((slot.start.timestamp() - start) / SLOT_S)
            sun_w = max(-sun[n][0], 0.0) if 0 <= n < len(sun) else 0.0
            share = min(sun_w / most_w, 1.0) if most_w > 0 else 0.0
            green = 100 * share + (slot.green_percent or 0.0) * (1 - share)
            price = slot.price_eur_per_kwh
            if sun_w >= SUN_PAYS_W:
                price = share * (sold[n] or 0.0) + (1 - share) * price
            made.append(
                msgspec.structs.replace(
                    slot, price_eur_per_kwh=price, green_percent=green if green else slot.green_percent
                )
            )
        return tuple(made)

    # ------------------------------------------------------------ what is agreed

    @restores
    async def restore(self) -> None:
        for deal in self.deals.standing(charging_plan):
            await self._settled(deal)

    async def _settled(self, deal: Deal) -> None:
        if deal.phase != "on":
            return
        charge = deal.read(Charge)
        before = self.charges.get(charge.evse)
        if before is not None and before.said > charge.said:
            return
        self.charges[charge.evse] = charge
        reason = Reason(code="own_plan", text="the car's own plan", talk=deal.id)
        self.own.put(charge.evse, charge.power, reason)
        self.follow()
        for older in self.deals.standing(charging_plan):
            if older.id != deal.id and older.read(Charge).evse == charge.evse:
                await self.deals.end(older)

    @every("reading_every_s")
    def follow(self) -> None:
        """The station gives what the plan needs now, and no more."""
        now = self.clock.now()
        for evse, charge in list(self.charges.items()):
            if all(end_of(slot) <= now for slot in charge.power):
                self._over(evse)
                continue
            slot = slot_at(charge.power, now)
            watts = 0.0 if slot is None else bounds_of(slot)[2]
            reason = Reason(code="own_plan", text="the car's own plan", inputs={"power_w": watts})
            until = end_of(charge.power[-1]) if slot is None else end_of(slot)
            wish = Wish(source="own_plan", reason=reason, upper_w=watts, off=watts <= 0, until=until + SLOT_S)
            self.wishes.put(evse, wish, "own_plan")

    def _over(self, evse: str) -> None:
        del self.charges[evse]
        self.own.put(evse, (), Reason(code="over", text="the car's plan is over"))

    # ------------------------------------------------------------ how it goes

    @hears(ChargingStatus, of=(EV,), where="home")
    def hear_status(self, status: ChargingStatus, heard: Heard) -> None:
        """The user is told once when it has finished."""
        before = self.status.get(status.evse)
        self.status[status.evse] = status
        if status.state == "finished" and (before is None or before.state != "finished"):
            self._tell_finished(status, heard.sender)
        if status.state in ("finished", "gone") and status.evse in self.charges:
            self._over(status.evse)

    def _tell_finished(self, status: ChargingStatus, car: Address) -> None:
        level = "" if status.soc_percent is None else f" at {status.soc_percent:.0f} %"
        text = f"{car.name} has finished charging{level}: {status.energy_wh / 1000:.1f} kWh."
        self.bus.say(DisplayNotice(kind="info", text=text, device=status.evse), home=True)
