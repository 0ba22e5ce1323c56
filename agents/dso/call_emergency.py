"""An operator calls a grid emergency and its end; who has confirmed is told. IEC-JWG2122-1 and -2."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from agents.dso.routes import all_sites, done, not_done, route, unreachable
from agents.dso.settings import DsoSettings
from agents.kit.agent import Peers
from agents.kit.skill import answers, skill
from bus.bus import Bus
from bus.talk import Talk
from bus.transport import NotStored
from contracts.emergency import (
    BeginEmergency,
    EmergencyConfirmed,
    EmergencyRefused,
    EndEmergency,
    emergency_begin,
    emergency_end,
)
from contracts.kit import Conversation, Lapsed
from contracts.operator import (
    Done,
    NotDone,
    OrderAllClear,
    OrderEmergency,
    SiteOutcome,
    order_all_clear,
    order_emergency,
)
from contracts.reasons import Reason


@skill(opens=(emergency_begin, emergency_end), use_cases=("limits.emergency",))
@dataclass
class CallEmergency:
    """Where no confirmation is demanded, a site that stays silent counts as told: the word is stored for it."""

    bus: Bus
    settings: DsoSettings
    peers: Peers

    @answers(order_emergency)
    async def begin(self, talk: Talk, order: OrderEmergency) -> None:
        text = order.text or "The grid operator calls an emergency: all devices to their preset mode."
        word = BeginEmergency(
            level=order.level,
            starts=order.starts,
            duration_s=order.duration_s,
            confirm=order.confirm,
            reason=Reason(code="grid_emergency", text=text, binding="grid", talk=talk.id),
        )
        await _each(talk, order.sites or all_sites(self.peers), lambda site: self._tell(site, emergency_begin, word))

    @answers(order_all_clear)
    async def end(self, talk: Talk, order: OrderAllClear) -> None:
        word = EndEmergency(confirm=order.confirm)
        await _each(talk, order.sites or all_sites(self.peers), lambda site: self._tell(site, emergency_end, word))

    async def _tell(self, site: str, table: Conversation, word: BeginEmergency | EndEmergency) -> SiteOutcome:
        peer = route(self.settings, self.peers, site)
        if peer is None:
            return unreachable(site)
        try:
            async with self.bus.talk(table, peer) as talk:
                await talk.say(word)
                match await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed):
                    case EmergencyConfirmed(exempt=exempt):
                        return done(site, "confirmed", f"{site} confirmed; exempt: {', '.join(exempt) or 'nothing'}.")
                    case EmergencyRefused(reason=reason):
                        return SiteOutcome(site=site, done=False, reason=reason)
                    case Lapsed() if not word.confirm:
                        return done(
                            site, "unconfirmed", f"The word is stored for {site}; no confirmation was demanded."
                        )
                    case Lapsed():
                        return not_done(site, "no_answer", f"{site} did not confirm in time; call again or go there.")
        except NotStored as problem:
            return not_done(site, "not_stored", str(problem))


async def _each(talk: Talk, sites: tuple[str, ...], tell: Callable[[str], Awaitable[SiteOutcome]]) -> None:
    """Tell all sites at once and answer the operator with what became of each."""
    outcomes: dict[str, SiteOutcome] = {}

    async def one(site: str) -> None:
        outcomes[site] = await tell(site)

    async with anyio.create_task_group() as group:
        for site in sites:
            group.start_soon(one, site)
    told = tuple(outcomes[site] for site in sites)
    if any(outcome.done for outcome in told):
        await talk.say(Done(outcomes=told))
    else:
        text = "No site took the order; the outcomes name each cause."
        await talk.say(NotDone(reason=Reason(code="nobody", text=text), outcomes=told))
