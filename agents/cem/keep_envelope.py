"""Envelopes of service providers: the power that is possible at the connection point, by period. NG-16; IC-DE-PUC-GR-1.

No heartbeat, no failsafe: what was said holds until its last slot is over, over restarts and without the link. A limit
of the grid goes before it, since the tighter of two bounds holds.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from math import inf, isfinite

from agents.cem.premises import Claim, Premises
from agents.cem.settings import CemSettings
from agents.cem.third_parties import ThirdParties
from agents.kit.deals import Deal, Deals, TooManyDeals
from agents.kit.skill import answers, every, restores, skill
from bus import tracing
from bus.clock import Clock
from bus.talk import Talk
from bus.transport import NotStored
from contracts.reasons import Reason
from contracts.site_power import EnvelopeRefused, EnvelopeSlot, EnvelopeTaken, SetEnvelope, site_envelope

WHY = "esp_envelope"
CLOSE_S = 0.001
"""Instants travel with microseconds; slots that meet within this do not overlap."""


def check(word: SetEnvelope, now: float) -> Reason | None:
    """Why this envelope cannot be kept, None if it can."""
    end = -inf
    for n, slot in enumerate(word.slots):
        start, bounds = slot.start.timestamp(), [w for w in (slot.upper_w, slot.lower_w) if w is not None]
        if not all(isfinite(w) for w in bounds):
            return Reason(code="not_a_number", text=f"Slot {n} has a bound that is no finite number of watts.")
        if (slot.upper_w is not None and slot.upper_w < 0) or (slot.lower_w is not None and slot.lower_w > 0):
            text = f"Slot {n} forces a flow: upper_w bounds consumption (>= 0), lower_w bounds feed-in (<= 0)."
            return Reason(code="wrong_sign", text=text)
        if not 0 < slot.duration_s < inf:
            return Reason(code="bad_duration", text=f"Slot {n} has no positive duration.")
        if start < end - CLOSE_S:
            return Reason(code="bad_profile", text=f"Slot {n} begins before the one before it ends.")
        end = start + slot.duration_s
    if word.slots and end <= now:
        return Reason(code="already_over", text="The envelope ends before now: send a later one.")
    return None


def slot_at(word: SetEnvelope, now: float) -> EnvelopeSlot | None:
    """The slot that holds now."""
    for slot in word.slots:
        start = slot.start.timestamp()
        if start <= now < start + slot.duration_s:
            return slot
    return None


def bounds_of(
    words: Iterable[SetEnvelope], start: float, n: int, slot_s: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The tightest bounds of each of ``n`` periods: inf and -inf where nobody bounds them."""
    upper, lower = [inf] * n, [-inf] * n
    for word in words:
        for slot in word.slots:
            begins = slot.start.timestamp()
            for k in range(n):
                here = start + k * slot_s
                if begins < here + slot_s - CLOSE_S and here + CLOSE_S < begins + slot.duration_s:
                    upper[k] = min(upper[k], inf if slot.upper_w is None else slot.upper_w)
                    lower[k] = max(lower[k], -inf if slot.lower_w is None else slot.lower_w)
    return tuple(upper), tuple(lower)


@skill(use_cases=("limits.esp-envelope", "community.peak-shaving", "community.heatpump-peak"))
@dataclass
class KeepEnvelope:
    """One envelope per provider; of several the tightest holds."""

    clock: Clock
    settings: CemSettings
    premises: Premises
    deals: Deals
    parties: ThirdParties
    on_change: list[Callable[[], None]] = field(default_factory=list)
    """Called when an envelope comes, goes or is replaced: the plan has to follow."""
    _traces: dict[str, str | None] = field(default_factory=dict)
    _imposed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.deals.on_settled(site_envelope, self._settled)
        self.parties.wishes.on_change.append(lambda _device: self.impose())
        self.parties.preferences.on_change.append(self.impose)

    @restores
    async def restore(self) -> None:
        self.impose()

    def envelope_bounds(self, start: float, n: int, slot_s: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(upper, lower) of ``n`` periods from ``start`` (run seconds); inf and -inf where free."""
        return bounds_of(self._standing().values(), start, n, slot_s)

    @answers(site_envelope)
    async def on_envelope(self, talk: Talk, word: SetEnvelope) -> None:
        peer = talk.peer
        assert peer is not None  # the bus knows who opened it
        wrong = self.parties.objection(peer, self.settings.envelopes_from) or check(word, self.clock.now())
        if wrong is not None:
            await talk.say(EnvelopeRefused(reason=wrong))
            return
        ends = [slot.start.timestamp() + slot.duration_s for slot in word.slots]
        code, text = ("kept", "Kept from its first slot on.") if ends else ("lifted", "No longer bounded by it.")
        answer = EnvelopeTaken(reason=Reason(code=code, text=text, talk=talk.id))
        try:
            deal = await self.deals.close(talk, answer, word, until=max(ends, default=self.clock.now()))
        except (NotStored, TooManyDeals) as problem:
            await talk.say(EnvelopeRefused(reason=Reason(code="not_stored", text=f"{problem}: send it again.")))
            return
        self._traces[str(peer)] = tracing.current()
        await self._settled(deal)

    async def _settled(self, deal: Deal) -> None:
        """The newest of a provider replaces its earlier ones once it is a deal."""
        if deal.phase != "on":
            return
        for earlier in self.deals.standing(site_envelope):
            if earlier.peer == deal.peer and earlier.id != deal.id:
                await self.deals.end(earlier)
        self.impose()
        for act in self.on_change:
            act()

    def _standing(self) -> dict[str, SetEnvelope]:
        partners = self.settings.envelopes_from
        standing = self.deals.standing(site_envelope)
        return {str(d.peer): d.read(SetEnvelope) for d in standing if self.parties.objection(d.peer, partners) is None}

    @every("reading_every_s")
    def impose(self) -> None:
        """The slot of each provider that holds now as a claim on the connection point."""
        now, standing, keys = self.clock.now(), self._standing(), set()
        for provider, word in standing.items():
            slot = slot_at(word, now)
            if slot is not None:
                keys.add(provider)
                self.premises.claim(f"envelope {provider}", self._claim(slot, word, provider))
        for provider in self._imposed - keys:
            self.premises.claim(f"envelope {provider}", None)
        self._imposed = keys

    def _claim(self, slot: EnvelopeSlot, word: SetEnvelope, provider: str) -> Claim:
        upper = inf if slot.upper_w is None else slot.upper_w + self.parties.hand_w
        full = upper - 2 * self.settings.margin_w
        wish = full if word.wish_more and slot.upper_w is not None else -inf
        wish = wish if slot.wish_w is None else max(wish, min(slot.wish_w, full))
        return Claim(
            why=WHY,
            upper_w=upper,
            lower_w=-inf if slot.lower_w is None else slot.lower_w,
            soft_lower_w=wish,
            trace=self._traces.get(provider),
        )
