"""One message to a group, and who has acknowledged it, however late. ETSI-5.3.4."""

from dataclasses import dataclass, field
from datetime import datetime

import msgspec

from agents.kit.agent import Peers
from agents.kit.skill import answers, hears, restores, skill
from bus.bus import Bus, Heard
from bus.clock import Clock
from bus.envelope import instant
from bus.store import State
from bus.talk import Talk
from bus.transport import NotStored
from contracts.operator import (
    Done,
    NotDone,
    OrderAnswers,
    OrderGroupMessage,
    order_answers,
    order_group_message,
)
from contracts.reasons import Reason
from contracts.system import GROUP_MEMBERS, GroupAcknowledged, GroupMessage

_KEPT = 20
"""Messages whose answers are still counted."""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """A group message and its answers: member -> when its acknowledgement was heard."""

    group: str
    text: str = ""
    at: datetime | None = None
    answered: dict[str, datetime] = msgspec.field(default_factory=dict)


@skill(speaks_to_groups=True, use_cases=("ops.group-message",))
@dataclass
class NotifyGroup:
    """The sender knows no list of members: whoever answers is in the book."""

    bus: Bus
    clock: Clock
    state: State
    peers: Peers
    sent: dict[str, Sent] = field(default_factory=dict)

    @restores
    async def open_book(self) -> None:
        self.sent = await self.state.get("group_messages", dict[str, Sent]) or {}

    async def _keep(self) -> None:
        while len(self.sent) > _KEPT:
            del self.sent[next(iter(self.sent))]
        await self.state.put("group_messages", self.sent)

    @answers(order_group_message)
    async def send(self, talk: Talk, order: OrderGroupMessage) -> None:
        if order.group not in self.peers.groups:
            known = ", ".join(self.peers.groups) or "none"
            text = f"There is no group {order.group!r}; the topology has: {known}."
            await talk.say(NotDone(reason=Reason(code="unknown_group", text=text)))
            return
        word = GroupMessage(kind=order.kind, text=order.text, valid_until=order.valid_until)
        try:
            id = await self.bus.tell_group(order.group, word)
        except NotStored as problem:
            await talk.say(NotDone(reason=Reason(code="not_stored", text=str(problem))))
            return
        # The first members may have answered already.
        answered = self.sent[id].answered if id in self.sent else {}
        self.sent[id] = Sent(group=order.group, text=order.text, at=instant(self.clock.now()), answered=answered)
        await self._keep()
        await talk.say(Done(id=id))

    @hears(GroupAcknowledged, of=GROUP_MEMBERS, where="addressed")
    async def take(self, acknowledged: GroupAcknowledged, heard: Heard) -> None:
        message = self.sent.setdefault(acknowledged.of, Sent(group=acknowledged.group))
        message.answered.setdefault(str(heard.sender), instant(self.clock.now()))
        await self._keep()

    @answers(order_answers)
    async def tell(self, talk: Talk, order: OrderAnswers) -> None:
        message = self.sent.get(order.id)
        if message is None:
            text = f"No group message has the id {order.id!r}; the last {_KEPT} are kept."
            await talk.say(NotDone(reason=Reason(code="unknown_message", text=text)))
        else:
            await talk.say(Done(id=order.id, members=tuple(sorted(message.answered))))
