"""The device's side of the user's hand: what only the device itself can do, done and read back.

On, off, dim and a power come as the CEM's envelopes (``obey``); here is what an envelope cannot say: hot water now,
another temperature, the start or pause of a programme. IEC-JWG1121; IEC-DM-SIMPLE-COMMANDS.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.drivers.errors import DriverError
from agents.kit.deals import Deals
from agents.kit.hardware import Hardware, Impossible, Plan, Terminals, Values, why
from agents.kit.obey import ObeyOrders
from agents.kit.readings import SayReadings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.clock import Clock
from bus.talk import Talk
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.reasons import Reason
from contracts.registers import RangeError
from contracts.roles import CEM

ACKNOWLEDGED_S = 60.0
WAYS = {"start_now": "start", "pause": "pause", "resume": "resume", "abort": "abort"}
"""Action -> what the terminals of a class that does jobs call it."""


@skill(use_cases=("customer.override", "customer.manual-switch", "home.hot-water"))
@dataclass
class ObeyHand:
    """Only our own CEM passes the hand on; it has asked whether this user may."""

    address: Address
    hardware: Hardware
    terminals: Terminals
    orders: ObeyOrders
    readings: SayReadings
    clock: Clock
    deals: Deals

    @answers(take_control)
    async def on_word(self, talk: Talk, word: TakeControl) -> None:
        try:
            outcome = await self._do(talk.peer, word)
        except (DriverError, RangeError, Impossible) as problem:
            outcome = why(problem)
        if isinstance(outcome, Reason):
            await talk.say(ControlRefused(reason=outcome))
            return
        deal = await self.deals.close(talk, outcome, until=self.clock.now() + ACKNOWLEDGED_S)
        if deal.phase == "on":
            await self.deals.end(deal)

    async def _do(self, peer: Address | None, word: TakeControl) -> ControlTaken | Reason:
        """Raises DriverError, RangeError, Impossible."""
        if peer is None or peer.role != CEM.name or peer.site != self.address.site:
            text = f"{peer} is not the CEM of {self.address.site}: ask that."
            return Reason(code="not_my_cem", text=text)
        order = self.orders.standing.order
        if word.action == "hot_water" and order is not None and order.standby:
            return Reason(code=order.reason.code, text=f"It is in standby: {order.reason.text}", binding="standby")
        values = await self.hardware.look()
        plan = self._plan(word, values)
        if plan is None:
            text = f"{self.terminals.file.device} cannot do that by itself: {word.action.replace('_', ' ')}."
            return Reason(code="cannot", text=text, binding="product")
        await self.hardware.put(plan, values)
        _, reading = await self.readings.fresh()
        self.readings.bus.say(reading, home=True)
        shown = ", ".join(f"{name} = {value}" for name, value in plan.writes.items()) or "nothing had to be written"
        reason = Reason(code="done", text=f"Written and read back: {shown}.")
        return ControlTaken(state=reading.operating, reason=reason)

    def _plan(self, word: TakeControl, values: Values) -> Plan | None:
        way: Callable[..., Any] | None
        if word.target_c is not None:
            way = getattr(self.terminals, "set_target", None)
            chosen = {"mode": word.mode, "fan": word.fan}
            more = {name: value for name, value in chosen.items() if value is not None}
            on = word.action == "on"
            return None if way is None else _planned(way(word.target_c, values=values, on=on, **more))
        if word.action in ("hot_water", "release"):
            way = getattr(self.terminals, "hot_water", None)
            return None if way is None else _planned(way(values, wanted=word.action == "hot_water"))
        way = getattr(self.terminals, WAYS.get(word.action, word.action), None) if word.action in WAYS else None
        return None if way is None else _planned(way(values))


def _planned(plan: object) -> Plan | None:
    return plan if isinstance(plan, Plan) else None
