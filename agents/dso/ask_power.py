"""Ask a building for its present power. IC-SVC-DE-MONITOR."""

from dataclasses import dataclass

from agents.dso.routes import unreachable
from agents.kit.agent import Peers
from agents.kit.skill import answers, skill
from bus.bus import Bus
from bus.talk import Talk
from contracts.kit import Lapsed
from contracts.metering import AskPower as Ask
from contracts.metering import PowerIs, PowerUnknown, power_query
from contracts.operator import Done, NotDone, OrderPower, order_power
from contracts.reasons import Reason
from contracts.roles import CEM


@skill(opens=(power_query,), use_cases=("metering.gcp-to-cem",))
@dataclass
class AskPower:
    """The operator asks, the CEM answers, nothing is kept."""

    bus: Bus
    peers: Peers

    @answers(order_power)
    async def ask(self, talk: Talk, order: OrderPower) -> None:
        cem = next((address for address in self.peers.of(CEM) if address.site == order.site), None)
        if cem is None:
            await talk.say(NotDone(reason=unreachable(order.site).reason))
            return
        async with self.bus.talk(power_query, cem) as query:
            await query.say(Ask())
            match await query.hear(PowerIs, PowerUnknown, Lapsed):
                case PowerIs(power_w=power_w):
                    await talk.say(Done(power_w=power_w))
                case PowerUnknown(reason=reason):
                    await talk.say(NotDone(reason=reason))
                case Lapsed():
                    text = f"{cem} did not answer; ask again when it is back."
                    await talk.say(NotDone(reason=Reason(code="no_answer", text=text)))
