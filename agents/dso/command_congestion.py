"""A congestion command by hand: to a site's CEM, or through its gateway to one device. IEC-JWG3032, IEC-JWG3033."""

from dataclasses import dataclass

from agents.dso.routes import done, not_done, route, unreachable
from agents.dso.settings import DsoSettings
from agents.kit.agent import Peers
from agents.kit.skill import answers, skill
from bus.bus import Bus
from bus.talk import Talk
from bus.transport import NotStored
from contracts.emergency import CommandRefused, CommandTaken, ControlCommand, direct_control
from contracts.kit import Lapsed
from contracts.operator import Done, NotDone, OrderCommand, SiteOutcome, order_command
from contracts.reasons import Reason


@skill(opens=(direct_control,), use_cases=("limits.congestion-direct",))
@dataclass
class CommandCongestion:
    """One command, one answer."""

    bus: Bus
    settings: DsoSettings
    peers: Peers

    @answers(order_command)
    async def command(self, talk: Talk, order: OrderCommand) -> None:
        outcome = await self._tell(order, talk.id)
        if outcome.done:
            await talk.say(Done(outcomes=(outcome,)))
        else:
            await talk.say(NotDone(reason=outcome.reason, outcomes=(outcome,)))

    async def _tell(self, order: OrderCommand, cause: str) -> SiteOutcome:
        peer = route(self.settings, self.peers, order.site, to_device=order.device is not None)
        if peer is None:
            return unreachable(order.site)
        default = "Congestion: power is reduced." if order.kind == "emergency" else "The congestion is over."
        word = ControlCommand(
            kind=order.kind,
            device=order.device,
            upper_w=order.upper_w,
            reason=Reason(code="congestion", text=order.text or default, binding="grid", talk=cause),
        )
        try:
            async with self.bus.talk(direct_control, peer) as talk:
                await talk.say(word)
                match await talk.hear(CommandTaken, CommandRefused, Lapsed):
                    case CommandTaken(reason=reason):
                        return done(order.site, "taken", reason.text)
                    case CommandRefused(reason=reason):
                        return SiteOutcome(site=order.site, done=False, reason=reason)
                    case Lapsed():
                        return not_done(order.site, "no_answer", f"{peer} did not answer; order again or go there.")
        except NotStored as problem:
            return not_done(order.site, "not_stored", str(problem))
