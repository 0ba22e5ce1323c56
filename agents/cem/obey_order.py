"""An aggregator's orders under a contract for flexibility. IC-FR-PUC-4, IC-FR-ORCH-PRIO.

Precedence: the user's hand, momentary limits, the order, advice. Who cancels flexibility is not controlled any more.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, isfinite

from agents.cem.premises import Claim, Premises
from agents.cem.settings import CemSettings
from agents.cem.third_parties import ThirdParties
from agents.cem.wishes import Wish, Wishes
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.local_day import shown
from agents.kit.skill import answers, every, restores, skill
from bus import tracing
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.reasons import Reason
from contracts.site_power import OrderAccepted, OrderFlexibility, OrderRefused, flexibility_order

SITE = "flexibility_order"


def check(order: OrderFlexibility, now: float) -> Reason | None:
    """Why no home could keep this order."""
    bounds = [w for w in (order.lower_w, order.upper_w) if w is not None]
    if not bounds:
        return Reason(code="no_bound", text="The order has neither upper_w nor lower_w: it orders nothing.")
    if not all(isfinite(w) for w in bounds):
        return Reason(code="not_a_number", text="A bound of the order is no finite number of watts.")
    if len(bounds) == 2 and bounds[0] > bounds[1]:
        return Reason(code="bad_range", text="lower_w is above upper_w.")
    if order.until.timestamp() <= max(now, order.start.timestamp()):
        return Reason(code="already_over", text="The order ends before it begins, or before now.")
    return None


@skill(use_cases=("home.precedence",))
@dataclass
class ObeyOrder:
    """At any instant one order per device and one of the whole site holds: a newer one replaces what it overlaps."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    deals: Deals
    parties: ThirdParties
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _traces: dict[str, str | None] = field(default_factory=dict)
    _ordered: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.deals.on_settled(flexibility_order, self._settled)
        self.wishes.on_change.append(lambda _device: self._impose_site())
        self.parties.preferences.on_change.append(self.impose)

    @restores
    async def restore(self) -> None:
        self.impose()

    @answers(flexibility_order)
    async def on_order(self, talk: Talk, order: OrderFlexibility) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        wrong = (
            self.parties.objection(peer, self.settings.flexibility_contracts)
            or check(order, self.clock.now())
            or self._goes_before(order)
        )
        if wrong is not None:
            await talk.say(OrderRefused(reason=wrong))
            return
        try:
            self._traces[talk.id] = tracing.current()
            deal = await self.deals.close(talk, OrderAccepted(), order, until=order.until.timestamp())
        except (NotStored, TooManyDeals) as problem:
            await talk.say(OrderRefused(reason=Reason(code="not_stored", text=f"{problem}: order it again.")))
            return
        await self._settled(deal)

    def _goes_before(self, order: OrderFlexibility) -> Reason | None:
        """What stands above an order: it may also come later, and goes first then too."""
        device = None if order.device is None else self.premises.by_name(order.device)
        if order.device is not None and device is None:
            return Reason(code="unknown_device", text=f"{order.device} has not joined here: order the site instead.")
        if device is not None and not self.parties.controlled(device):
            text = f"The user has not consented that {device.name} is controlled."
            return Reason(code="no_consent", text=text, binding="consent")
        if device is not None and device.name in self.premises.standby:
            return Reason(code="emergency", text=f"{device.name} is held by an emergency: order it when that is over.")
        if device is not None and not self.settings.order_beats_hand:
            hand = next((wish for wish in self.wishes.all_of(device.name) if wish.source == "hand"), None)
            if hand is not None:
                text = f"The user holds {device.name} by hand: order it when it is released."
                return Reason(code="users_hand", text=text, binding="hand")
        bound = self.premises.upper_w()
        if order.lower_w is not None and order.lower_w > bound and order.start.timestamp() <= self.clock.now():
            text = f"A momentary limit of {bound:.0f} W goes before it: order no more than that."
            return Reason(code="limit", text=text, binding="momentary_limit", inputs={"bound_w": bound})
        return None

    async def _settled(self, deal: Deal) -> None:
        if deal.phase != "on":
            return
        order = deal.read(OrderFlexibility)
        for earlier in self.deals.standing(flexibility_order):
            before = earlier.read(OrderFlexibility)
            apart = before.until <= order.start or order.until <= before.start
            if earlier.id != deal.id and before.device == order.device and not apart:
                await self.deals.end(earlier)
        self.impose()
        for act in self.on_change:
            act()

    def _holding(self) -> dict[str | None, tuple[Deal, OrderFlexibility]]:
        """The orders whose time has come, by device; None is the site."""
        now = self.clock.now()
        orders = ((deal, deal.read(OrderFlexibility)) for deal in self.deals.standing(flexibility_order))
        return {order.device: (deal, order) for deal, order in orders if order.start.timestamp() <= now}

    @every("reading_every_s")
    def impose(self) -> None:
        devices = {}
        for device, (deal, order) in self._holding().items():
            known = None if device is None else self.premises.by_name(device)
            if known is None or self.parties.objection(deal.peer, self.settings.flexibility_contracts) is not None:
                continue
            until = shown(order.until.timestamp(), self.settings.time_zone)
            text = f"{deal.peer} orders it until {until}: {order.reason.text}"
            devices[known.name] = Wish(
                source="order",
                reason=Reason(code="order", text=text, binding="flexibility_contract", talk=deal.id),
                lower_w=order.lower_w,
                upper_w=order.upper_w,
                off=order.upper_w == 0 and not order.lower_w,
                until=order.until.timestamp(),
                trace=self._traces.get(deal.id),
            )
        for name in self._ordered - set(devices):
            self.wishes.put(name, None, "order")
        for name, wish in devices.items():
            self.wishes.put(name, wish, "order")
        self._ordered = set(devices)
        self._impose_site()

    def _impose_site(self) -> None:
        """What the user takes by hand comes on top of the order."""
        found = self._holding().get(None)
        if found is None or self.parties.objection(found[0].peer, self.settings.flexibility_contracts) is not None:
            self.premises.claim(SITE, None)
            return
        deal, order = found
        least = -inf if order.lower_w is None else order.lower_w
        self.premises.claim(
            SITE,
            Claim(
                why=SITE,
                upper_w=inf if order.upper_w is None else order.upper_w + self.parties.hand_w,
                lower_w=least if least <= 0 else -inf,
                soft_lower_w=least if least > 0 else -inf,
                trace=self._traces.get(deal.id),
            ),
        )
