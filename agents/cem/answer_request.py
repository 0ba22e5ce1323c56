"""Yellow: the operator asks for help that the home may decline; what is agreed is held until its end. IEC-TLC."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from agents.cem.allocate import Unit
from agents.cem.premises import Claim, Premises
from agents.cem.settings import CemSettings
from agents.kit.local_day import shown
from agents.kit.skill import answers, every, restores, skill
from bus import tracing
from bus.clock import Clock
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.grid_state import AdjustmentAgreed, AdjustmentDeclined, AskAdjustment, load_request
from contracts.reasons import Reason


class Agreed(msgspec.Struct, frozen=True, kw_only=True):
    """The connection point's power that was promised, as a bound, until then."""

    more: bool
    bound_w: float
    until: float


def able_w(units: Iterable[Unit], *, more: bool) -> float:
    """Magnitude by which the devices can raise (``more``) or lower their power now without switching anything off."""
    total = 0.0
    for u in units:
        if not u.fresh or u.kind == "pv":
            continue
        if u.kind == "battery":
            total += max(0.0, u.upper_w - u.power_w if more else u.power_w - u.lower_w)
        elif more and (u.kind == "evse" or u.can_absorb) and not u.keep_off:
            total += max(0.0, u.upper_w - u.power_w)
        elif not more:
            total += max(0.0, u.power_w - u.minimum_run_w)
    return total


@skill(use_cases=("limits.grid-state",))
@dataclass
class AnswerRequest:
    """Agrees to what storage, cars and heat can do now, else declines and says why."""

    clock: Clock
    state: State
    settings: CemSettings
    premises: Premises
    agreed: Agreed | None = None
    _trace: str | None = None

    @restores
    async def restore(self) -> None:
        stored = await self.state.get("agreed", list[Agreed]) or []
        self.agreed = stored[0] if stored and stored[0].until > self.clock.now() else None
        self._impose()

    @answers(load_request)
    async def on_request(self, talk: Talk, request: AskAdjustment) -> None:
        offer = self._offer_w(request)
        if isinstance(offer, Reason):
            await talk.say(AdjustmentDeclined(reason=offer))
            return
        gcp = self.premises.gcp
        assert gcp is not None  # without it nothing is offered
        agreed = Agreed(more=offer > 0, bound_w=gcp.power_w + offer, until=request.until.timestamp())
        try:
            await self.state.put("agreed", [agreed])
        except NotStored as problem:
            await talk.say(AdjustmentDeclined(reason=Reason(code="not_stored", text=str(problem))))
            return
        self.agreed, self._trace = agreed, tracing.current()
        self._impose()
        until = shown(agreed.until, self.settings.time_zone, "%H:%M:%S")
        text = f"Held at the connection point until {until}."
        inputs = {"asked_w": request.change_w, "agreed_w": offer, "bound_w": agreed.bound_w}
        await talk.say(AdjustmentAgreed(change_w=offer, reason=Reason(code="agreed", text=text, inputs=inputs)))

    def _offer_w(self, request: AskAdjustment) -> float | Reason:
        now, asked = self.clock.now(), request.change_w
        if request.until.timestamp() <= now:
            return Reason(code="already_over", text="The request ends before now.")
        if self.premises.gcp is None or not self.premises.meter_fresh:
            return Reason(code="stale", text="Without a young meter value nothing can be promised.")
        if self.agreed is not None and self.agreed.until > now:
            return Reason(code="already_agreed", text="An earlier request is still being held.")
        if self.premises.standby:
            return Reason(code="emergency", text="An emergency is on: nothing is left to give.")
        units = [d.unit(now, self.settings, 0.0) for d in self.premises.devices.values() if d.steered]
        able = able_w(units, more=asked > 0)
        if asked > 0:
            able = min(able, max(0.0, self.premises.upper_w() - self.premises.gcp.power_w))
        if min(able, abs(asked)) < self.settings.request_minimum_w:
            text = f"Storage, cars and heat can change by {able:.0f} W now, which is too little to promise."
            return Reason(code="nothing_to_give", text=text, inputs={"able_w": able, "asked_w": asked})
        return min(able, abs(asked)) * (1.0 if asked > 0 else -1.0)

    @every("reading_every_s")
    def watch_time(self) -> None:
        if self.agreed is not None and self.clock.now() >= self.agreed.until:
            self.agreed = None
            self._impose()

    def _impose(self) -> None:
        agreed = self.agreed
        if agreed is None:
            self.premises.claim("agreed", None)
        elif agreed.more:
            self.premises.claim("agreed", Claim(why="agreed", soft_lower_w=agreed.bound_w, trace=self._trace))
        else:
            self.premises.claim("agreed", Claim(why="agreed", upper_w=agreed.bound_w, trace=self._trace))
