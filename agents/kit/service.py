"""Operators' tools see the system: each agent answers the NATS service protocol, so that ``nats micro ls`` lists them.

Never for trust or addressing: an answer says what an agent claims. Only inboxes of operators' tools are answered, and
the servers let an agent publish to no other.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from agents.kit.presence import SOFTWARE, ShowPresence
from agents.kit.skill import rejoined, skill, started
from bus.address import Address
from bus.bus import Bus

_OPERATOR = re.compile(r"_R\.[a-z0-9_-]+\.ops\.")
VERSION = SOFTWARE.rpartition(" ")[2]


def subjects(address: Address) -> tuple[str, ...]:
    """What an agent is asked at: everybody, its role, itself."""
    return "$SRV.*", f"$SRV.*.{address.role}", f"$SRV.*.{address.role}.{service_id(address)}"


def service_id(address: Address) -> str:
    """The agent's instance id in the service protocol, which allows no dots."""
    return str(address).replace(".", "-")


@skill()
@dataclass
class AnswerOperators:
    """NATS ADR-32: PING, INFO and STATS. The one endpoint stands for all words that the agent hears."""

    bus: Bus
    address: Address
    presence: ShowPresence
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    _at: object = None

    @started
    async def listen(self) -> None:
        await self._subscribe()

    @rejoined
    async def listen_again(self) -> None:
        if self.bus.connection.client is not self._at:
            await self._subscribe()

    async def _subscribe(self) -> None:
        client = self._at = self.bus.connection.client
        for subject in subjects(self.address):
            await client.subscribe(subject, cb=self._asked)

    async def _asked(self, message: Any) -> None:
        verb = message.subject.split(".")[1]
        answers: dict[str, Callable[[], dict[str, object]]] = {"PING": dict, "INFO": self._info, "STATS": self._stats}
        if verb in answers and _OPERATOR.match(message.reply or ""):
            answer = {"type": f"io.nats.micro.v1.{verb.lower()}_response", **self._identity(), **answers[verb]()}
            self.bus.connection.publish(message.reply, msgspec.json.encode(answer))

    def _identity(self) -> dict[str, object]:
        return {
            "name": self.address.role,
            "id": service_id(self.address),
            "version": VERSION,
            "metadata": {"address": str(self.address), "use_cases": ",".join(self.presence.use_cases)},
        }

    def _info(self) -> dict[str, object]:
        mailbox = self.address.mailboxes[0]
        endpoint = {"name": "mailbox", "subject": mailbox, "queue_group": "", "metadata": {}}
        return {"description": f"{self.address.role} of {self.address.site}", "endpoints": [endpoint]}

    def _stats(self) -> dict[str, object]:
        counts = self.bus.counts
        endpoint = {
            "name": "mailbox",
            "subject": self.address.mailboxes[0],
            "queue_group": "",
            "num_requests": counts["received"],
            "num_errors": counts["refused"] + counts["handler_failed"],
            "last_error": "",
            "processing_time": 0,
            "average_processing_time": 0,
            "data": dict(counts),
        }
        return {"started": self.since.isoformat().replace("+00:00", "Z"), "endpoints": [endpoint]}
