"""A building's or community's advice: the lowest of all wishes, declined where comfort or the car's need would suffer.

IC-FR-PUC-4: an EV is charged by the user's need whatever the advice says.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import isfinite

from agents.cem.know_flexibility import KnowFlexibility
from agents.cem.preferences import Preferences
from agents.cem.premises import Claim, Device, Premises
from agents.cem.settings import CemSettings
from agents.cem.third_parties import ThirdParties
from agents.cem.wishes import Wish, Wishes
from agents.kit.local_day import next_local, shown
from agents.kit.skill import answers, every, skill
from bus import tracing
from bus.clock import Clock
from bus.talk import Talk
from contracts.flexibility import OfferFlexibility, StorageFlexibility, ThermalFlexibility
from contracts.profiles import PlannedPower
from contracts.reasons import Reason
from contracts.site_power import Recommend, RecommendationDeclined, RecommendationFollowed, recommendation

SITE = "advice"


def advised_w(slots: Sequence[PlannedPower], at: float) -> float | None:
    """What is advised for an instant, None where nothing is."""
    for slot in slots:
        start = slot.start.timestamp()
        if start <= at < start + slot.duration_s:
            return slot.power_w
    return None


def energy_until(slots: Sequence[PlannedPower], now: float, until: float, free_w: float) -> float:
    """The most Wh a device can take from ``now`` to ``until``: as advised in the slots, freely outside of them."""
    total = max(0.0, until - now) * free_w
    for slot in slots:
        start = max(now, slot.start.timestamp())
        overlap = min(until, slot.start.timestamp() + slot.duration_s) - start
        if overlap > 0:
            total += overlap * (min(max(0.0, slot.power_w), free_w) - free_w)
    return total / 3600.0


def suffers(
    offer: OfferFlexibility | None,
    slots: Sequence[PlannedPower],
    now: float,
    needed: tuple[float, float] | None = None,
    zone: str = "UTC",
) -> Reason | None:
    """Why following the advice would hurt the household, None if it would not.

    ``needed``: (instant, level in percent) that the user wants of what it stores, besides the offer's own targets.
    ``zone``: of the clock that its reader looks at.
    """
    what = None if offer is None else offer.flexibility
    if isinstance(what, StorageFlexibility):
        targets = [(target.at.timestamp(), target.lower_percent) for target in what.targets]
        for at, percent in targets if needed is None else [*targets, needed]:
            missing = max(0.0, (percent - what.level_percent) / 100) * what.capacity_wh
            reached = energy_until(slots, now, at, what.fill_upper_w)
            if reached + 1.0 < missing:
                text = f"It needs {missing / 1000:.1f} kWh by {shown(at, zone)}, but gets {reached / 1000:.1f}."
                inputs = {"needed_wh": missing, "advised_wh": reached}
                return Reason(code="need", text=text, binding="users_need", inputs=inputs)
    if isinstance(what, ThermalFlexibility):
        per_w = what.cop_share if what.heats else -what.cop_share
        temperature, at = what.temperature_c, now
        for slot in slots:
            dt = slot.start.timestamp() + slot.duration_s - max(at, slot.start.timestamp())
            lost_w = what.loss_w_per_k * (temperature - what.ambient_c) + (
                what.demand_w if what.heats else -what.demand_w
            )
            temperature += (per_w * slot.power_w - lost_w) * max(0.0, dt) / 3600 / max(1.0, what.capacity_wh_per_k)
            if not what.lowest_c <= temperature <= what.highest_c and (temperature < what.lowest_c) == what.heats:
                text = f"It would reach {temperature:.1f} degC, outside {what.lowest_c:g} to {what.highest_c:g} degC."
                return Reason(code="comfort", text=text, binding="comfort")
    return None


@skill(use_cases=("home.precedence", "home.self-consumption"))
@dataclass
class WeighAdvice:
    """The newest advice per device, and one for the site: a surplus that what is flexible may use."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    wishes: Wishes
    parties: ThirdParties
    flexibility: KnowFlexibility
    preferences: Preferences
    on_change: list[Callable[[], None]] = field(default_factory=list)
    _followed: dict[str, tuple[Recommend, str, str | None]] = field(default_factory=dict)

    @answers(recommendation)
    async def on_advice(self, talk: Talk, advice: Recommend) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        wrong = self.parties.objection(peer, None) or self._check(advice)
        if wrong is not None:
            await talk.say(RecommendationDeclined(reason=wrong))
            return
        self._followed[self._key(advice)] = (advice, talk.id, tracing.current())
        self.impose()
        for act in self.on_change:
            act()
        text = "Planned so, as long as nobody with precedence wants otherwise."
        await talk.say(RecommendationFollowed(reason=Reason(code="advice", text=text, talk=talk.id)))

    def _key(self, advice: Recommend) -> str:
        device = None if advice.device is None else self.premises.by_name(advice.device)
        return SITE if device is None else device.name

    def _check(self, advice: Recommend) -> Reason | None:
        now = self.clock.now()
        if not advice.slots or all(s.start.timestamp() + s.duration_s <= now for s in advice.slots):
            return Reason(code="already_over", text="The advice has no slot that is still to come.")
        if not all(isfinite(slot.power_w) and slot.duration_s > 0 for slot in advice.slots):
            return Reason(code="not_a_number", text="A slot of the advice has no finite power or no duration.")
        if advice.device is None:
            return None
        device = self.premises.by_name(advice.device)
        if device is None:
            return Reason(code="unknown_device", text=f"{advice.device} has not joined here: advise the site instead.")
        above = next((w for w in self.wishes.all_of(device.name) if w.source in ("hand", "order")), None)
        if above is not None:
            who = "the user's hand" if above.source == "hand" else "an agreed order"
            return Reason(code="precedence", text=f"{who} goes before advice.", binding=above.source)
        return self._suffers(device, advice)

    def _suffers(self, device: Device, advice: Recommend) -> Reason | None:
        now, wanted = self.clock.now(), self.preferences.of(device.name, device.announce.device_class)
        needed = None
        if wanted.ready_by is not None:
            full = 100.0 if wanted.charge_upper_percent is None else wanted.charge_upper_percent
            level = full if wanted.charge_lower_percent is None else wanted.charge_lower_percent
            needed = (next_local(wanted.ready_by, now, self.settings.time_zone), level)
        return suffers(self.flexibility.offers.get(device.address), advice.slots, now, needed, self.settings.time_zone)

    @every("reading_every_s")
    def impose(self) -> None:
        """What is advised for now; where following has come to hurt, it is not followed any more."""
        now = self.clock.now()
        for key, (advice, talk, trace) in list(self._followed.items()):
            device = None if advice.device is None else self.premises.by_name(advice.device)
            hurts = device is not None and self._suffers(device, advice) is not None
            if hurts or all(s.start.timestamp() + s.duration_s <= now for s in advice.slots):
                del self._followed[key]
                self._put(key, device, None, talk, trace)
                continue
            self._put(key, device, advised_w(advice.slots, now), talk, trace)

    def _put(self, key: str, device: Device | None, power_w: float | None, talk: str, trace: str | None) -> None:
        if key == SITE:
            more = power_w is not None and power_w > 0
            self.premises.claim(SITE, Claim(why=SITE, soft_lower_w=power_w or 0.0, trace=trace) if more else None)
            return
        wish = None
        if power_w is not None and device is not None:
            reason = Reason(code="advice", text="The building recommends it now.", talk=talk)
            wish = Wish(source="advice", reason=reason, setpoint_w=power_w, off=power_w == 0, trace=trace)
        self.wishes.put(key, wish, "advice")
