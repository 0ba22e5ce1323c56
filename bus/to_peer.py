"""The words of one talk on their way to the peer: the durable ones by way of a stream, each in a span where traced."""

from typing import Protocol

from bus import tracing
from bus.address import Address, to
from bus.store import Sealed
from bus.talk import Talk
from contracts.kit import Message


class Teller(Protocol):
    """What carries an addressed word; see ``Bus``."""

    address: Address

    def tell(
        self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None
    ) -> str: ...

    async def tell_durably(
        self, receiver: Address, message: Message, *, talk: str | None = None, trace: str | None = None
    ) -> str: ...

    def seal(self, receiver: Address, message: Message, *, talk: str, trace: str | None = None) -> Sealed: ...

    async def post(self, sealed: Sealed) -> None: ...


class ToPeer:
    """The carrier of a talk."""

    def __init__(self, bus: Teller, peer: Address, talk: str) -> None:
        self._bus, self._peer, self._talk = bus, peer, talk

    async def send(self, message: Message, last: bool) -> None:
        kind = type(message)
        if not tracing.recording():
            await self._carry(message)
            return
        subject = to(self._peer, self._bus.address, kind)
        attributes = tracing.sending(subject, self._talk, tracing.reason_of(message))
        with tracing.span(f"say {kind.__name__}", attributes, kind="producer") as mark:
            mark.set({"messaging.message.id": await self._carry(message), "gridparley.last": last})

    async def _carry(self, message: Message) -> str:
        trace = tracing.current()
        if type(message).durable:
            return await self._bus.tell_durably(self._peer, message, talk=self._talk, trace=trace)
        return self._bus.tell(self._peer, message, talk=self._talk, trace=trace)

    def seal(self, message: Message) -> Sealed:
        return self._bus.seal(self._peer, message, talk=self._talk, trace=tracing.current())

    async def post(self, sealed: Sealed) -> None:
        if not tracing.recording():
            await self._bus.post(sealed)
            return
        word = "".join(part.title() for part in sealed.subject.rpartition(".")[2].split("_"))
        attributes = tracing.sending(sealed.subject, self._talk, None) | {"messaging.message.id": sealed.id}
        with tracing.span(f"say {word}", attributes, kind="producer"):
            await self._bus.post(sealed)


def attributes_of(talk: Talk, peer: Address) -> tracing.Attributes:
    """What the span of a side of a talk says of it."""
    return {
        "messaging.system": "nats",
        "messaging.message.conversation_id": talk.id,
        "gridparley.table": talk.table.name,
        "gridparley.side": talk.side,
        "gridparley.peer": str(peer),
        "gridparley.use_cases": ",".join(talk.table.use_cases),
    }
