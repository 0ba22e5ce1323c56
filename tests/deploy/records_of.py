"""Events and readings for tests of what is made from them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from bus.address import Address, say, to
from bus.envelope import Envelope, encode
from contracts.kit import Message, word_of
from contracts.metering import GcpReading
from contracts.power_limit import LimitAccepted, LimitRefused, LimitState, SetLimit
from contracts.reasons import Reason
from deploy.records.rows import Event
from deploy.records.run_facts import RunFacts, SiteFacts

START = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)
T0 = START.timestamp()
DSO = "grid.dso.north"
FACTS = RunFacts(
    topology="street",
    start=START,
    rated_va=160_000.0,
    sites=tuple(
        SiteFacts(name=name, contract_consumption_w=30_000.0, devices=("pv.1",)) for name in ("h05", "h07", "h11")
    ),
)


def why(text: str = "because", code: str = "test") -> Reason:
    return Reason(code=code, text=text)


def reading(at: float, power_w: float, voltage_v: float = 230.0, reactive_power_var: float = 0.0) -> GcpReading:
    third = power_w / 3
    return GcpReading(
        at=START + timedelta(seconds=at),
        power_w=power_w,
        power_by_phase_w=(third, third, third),
        current_by_phase_a=(third / voltage_v,) * 3,
        voltage_by_phase_v=(voltage_v,) * 3,
        frequency_hz=50.0,
        reactive_power_var=reactive_power_var,
        import_wh=1.0,
        export_wh=2.0,
    )


class Story:
    """Says words at run seconds after START and keeps them as the recorder would."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def say(
        self,
        at: float,
        message: Message,
        sender: str,
        receiver: str | None = None,
        *,
        talk: str | None = None,
        heard: float | None = None,
    ) -> Event:
        event = Event(
            at=T0 + at,
            heard=T0 + (at if heard is None else heard),
            word=word_of(type(message)),
            topic=message.topic,
            sender=sender,
            receiver=receiver,
            id=f"story-{len(self.events):x}",
            talk=talk,
            body=msgspec.Raw(msgspec.json.encode(message)),
        )
        self.events.append(event)
        return event

    def note(self, at: float, word: str, sender: str) -> None:
        """Something that no agent said."""
        self.events.append(Event(at=T0 + at, heard=T0 + at, word=word, sender=sender))

    def limit(
        self, at: float, site: str, limit_w: float | None, answered: float | None = None, refuse: str = "", **more: Any
    ) -> None:
        """A SetLimit for feed-in (None lifts) and, with ``answered``, what the site says to it."""
        talk, cem = f"talk-{len(self.events)}", f"{site}.cem.main"
        side = more.get("direction", "production")
        ask = SetLimit(direction=side, active=limit_w is not None, limit_w=limit_w, reason=why("transformer at 104 %"))
        self.say(at, ask, DSO, cem, talk=talk)
        if answered is None:
            return
        answer: Message = LimitAccepted(direction=side, limit_w=limit_w)
        if refuse:
            answer = LimitRefused(direction=side, reason=why("no", refuse))
        self.say(answered, answer, cem, DSO, talk=talk)

    def state(self, at: float, site: str, state: Any, production_w: float | None, heard: float | None = None) -> None:
        word = LimitState(
            state=state,
            since=START + timedelta(seconds=at),
            consumption_w=4200.0 if state == "failsafe" else None,
            production_w=production_w,
            heartbeat_age_s=1.0,
            guard=DSO,
            reason=why(f"now {state}", state),
        )
        self.say(at, word, f"{site}.cem.main", heard=heard)


def wired(
    message: Message, sender: str, receiver: str | None = None, *, at: float = 0.0, id: str = "a-0"
) -> tuple[str, bytes]:
    """Subject and payload of a word on the grid side, as the bus sends it."""
    who = Address.parse(sender)
    kind = type(message)
    subject = to(Address.parse(receiver), who, kind) if receiver else say(who, kind, home=False)
    when = START + timedelta(seconds=at)
    return subject, encode(Envelope(id=id, at=when, deadline=when + timedelta(seconds=60), body=message))
