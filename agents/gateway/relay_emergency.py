"""The gateway passes a grid emergency on to the CEM and its confirmation back the way it came. IEC-JWG2122.

It relays and decides nothing: the words go through as they are, in a talk of their own, so that the whole way is one
trace.
"""

from dataclasses import dataclass

import anyio

from agents.kit.agent import Peers, Settings
from agents.kit.skill import answers, skill
from bus.address import Address
from bus.bus import Bus
from bus.clock import Clock
from bus.talk import Talk
from contracts.emergency import (
    BeginEmergency,
    EmergencyConfirmed,
    EmergencyRefused,
    EndEmergency,
    emergency_begin,
    emergency_end,
)
from contracts.kit import Conversation, Lapsed
from contracts.reasons import Reason
from contracts.roles import CEM, GATEWAY

ANSWER_WITHIN_S = 25.0
"""Less than the 30 s after which the caller takes silence for an answer, so that ours still counts."""


class GatewaySettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``next_gateway`` names another gateway of this site on the way to the CEM (metering gateway, then energy
    management gateway: IEC-JWG212x-CHANNELS, channel B); None: straight to the CEM."""

    next_gateway: str | None = None

    # the adapter of appliances
    known_kinds: tuple[str, ...] = ("washing_machine", "dishwasher", "dryer")
    """Appliance types that it can deal with as it was delivered."""
    avoid_hours: tuple[int, ...] = (7, 8, 17, 18, 19, 20)
    """Local hours of regular peaks, for the times without a link."""
    time_zone: str = "Europe/Berlin"
    options_at_most: int = 5


@skill(opens=(emergency_begin, emergency_end), use_cases=("limits.emergency",))
@dataclass
class RelayEmergency:
    """Begin and end, both ways."""

    bus: Bus
    address: Address
    clock: Clock
    peers: Peers
    settings: GatewaySettings

    @answers(emergency_begin)
    async def begin(self, talk: Talk, word: BeginEmergency) -> None:
        await talk.say(await self._relay(emergency_begin, word))

    @answers(emergency_end)
    async def end(self, talk: Talk, word: EndEmergency) -> None:
        await talk.say(await self._relay(emergency_end, word))

    def _onward(self) -> Address | None:
        mine = [peer for peer in self.peers.of(CEM, GATEWAY) if peer.site == self.address.site]
        wanted = self.settings.next_gateway
        if wanted is None:
            return next((peer for peer in mine if peer.role == CEM.name), None)
        return next((peer for peer in mine if peer.role == GATEWAY.name and peer.name == wanted), None)

    async def _relay(
        self, table: Conversation, word: BeginEmergency | EndEmergency
    ) -> EmergencyConfirmed | EmergencyRefused:
        onward = self._onward()
        if onward is None:
            text = f"{self.address} knows nobody to pass it on to: {self.address.site} has no CEM"
            return EmergencyRefused(reason=Reason(code="no_way_on", text=text))
        answer: EmergencyConfirmed | EmergencyRefused | None = None
        async with anyio.create_task_group() as group:

            async def give_up() -> None:
                await self.clock.sleep(ANSWER_WITHIN_S)
                group.cancel_scope.cancel()

            group.start_soon(give_up)
            async with self.bus.talk(table, onward) as talk:
                await talk.say(word)
                match await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed):
                    case EmergencyConfirmed() | EmergencyRefused() as heard:
                        answer = heard
                    case Lapsed():
                        pass
            group.cancel_scope.cancel()
        if answer is not None:
            return answer
        text = f"{onward} has not answered within {ANSWER_WITHIN_S:g} s: it may still act, ask it again"
        return EmergencyRefused(reason=Reason(code="no_answer", text=text))
