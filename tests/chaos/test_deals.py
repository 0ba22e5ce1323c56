"""kill -9 of either side, in every state of every table that can bind: both agree on whether there is a deal.

Real servers, real rights, real processes that die by SIGKILL at the very moment that is told. What is true is what the
stream has; both sides must come to know it, and nobody may be left waiting.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bus import store
from bus.address import Address, to
from bus.clock import ClockFile
from bus.transport import Connection
from contracts.kit import Conversation, Message
from deploy.nats import provision
from deploy.nats.servers import Servers
from deploy.topology import GRID, HUB
from tests.support import puppets
from tests.support.puppets import START, Part, Stage, address_of, moments, pair_of, tables

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]
TABLES = tables()
SPEED = 1.0
"""While a scene is played nobody falls silent but who dies: a machine may stall for seconds."""
HURRY = 6_000.0
"""An hour of silence in well under a second: what is left to do then is to wait for who is dead."""
LOOK_WALL_S = 0.05
WITHIN_WALL_S = 120.0
AT_ONCE = 4
"""Scenes, each of two processes: a small machine is to be left something for others."""


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


class Theatre:
    """``has`` and ``quiet`` ask the servers themselves."""

    def __init__(self, servers: Servers, clock: ClockFile, stage: Stage, probes: dict[str, Connection]) -> None:
        self.servers, self.clock, self.stage, self._probes = servers, clock, stage, probes

    async def _ask(self, server: str, what: str, body: dict[str, Any]) -> dict[str, Any]:
        raw = await self._probes[server].request(f"$JS.API.{what}", msgspec.json.encode(body))
        answer: dict[str, Any] = msgspec.json.decode(raw)
        return answer

    async def has(self, sender: Address, receiver: Address, word: type[Message], talk: str) -> bool:
        """Whether the stream that the receiver reads has this word of this talk."""
        server = HUB if GRID in (sender.site, receiver.site) else receiver.site
        subject = to(receiver, sender, word)
        answer = await self._ask(server, f"STREAM.MSG.GET.{store.TALKS}", {"last_by_subj": subject})
        if "error" in answer:
            return False
        envelope = msgspec.json.decode(base64.b64decode(answer["message"]["data"]))
        return bool(envelope["talk"] == talk)

    async def quiet(self, who: Address) -> bool:
        """Whether nothing that was said to it waits to be read or acknowledged."""
        for server in {HUB, who.site} - {GRID}:
            name = store.consumer_name(who, home=server != HUB)
            info = await self._ask(server, f"CONSUMER.INFO.{store.TALKS}.{name}", {})
            if "error" not in info and (info["num_pending"] or info["num_ack_pending"]):
                return False
        return True


@pytest.fixture(scope="module")
async def theatre(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Theatre]:
    folder: Path = tmp_path_factory.mktemp("deals")
    clock = ClockFile(folder / "clock", start=START.timestamp(), speed=SPEED, slots=0)
    cast, stage = puppets.puppets(), Stage(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provision, "ACK_WAIT_S", 0.5)  # a walk of hundreds of deaths is not to wait 5 s for each
        async with Servers(puppets.shape(), folder / "nats", lambda role: cast.get(role)) as servers:
            probes = {}
            for server, site in ((HUB, GRID), (puppets.HOME_SITE, puppets.HOME_SITE)):
                probe = Address(site, "ops", "probe")
                probes[server] = servers.connection(server, str(probe), probe.inbox)
                await probes[server].open()
            await stage.open()
            yield Theatre(servers, clock, stage, probes)
            stage.close()
            for probe_connection in probes.values():
                await probe_connection.close()


class Scene:
    """One talk of one table between two puppets, one of whom dies at one moment."""

    def __init__(
        self, theatre: Theatre, table: Conversation, word: type[Message], number: int, dies: tuple[str, str, int]
    ) -> None:
        self.theatre, self.stage, self.table, self.word = theatre, theatre.stage, table, word
        opens, answers = pair_of(table)
        self.opener, self.answerer = address_of(opens, number), address_of(answers, number)
        if opens is answers:
            self.answerer = address_of(answers, number + puppets.NAMES // 2)
        self.side, self.moment, self.turn = dies
        self.name = f"{table.name}: {self.side} dies {self.moment} turn {self.turn}"

    async def play(self) -> None:
        """Until the victim is dead, and alive again."""
        victim = self.opener if self.side == self.table.opener else self.answerer
        parts = {
            who: Part(who=who, table=self.table.name, word=self.word.__name__) for who in (self.opener, self.answerer)
        }
        dying = msgspec.structs.replace(parts[victim], dies=(self.moment, self.turn))
        first = dying if victim == self.answerer else parts[self.answerer]
        opener = dying if victim == self.opener else parts[self.opener]
        await self.stage.start(first)
        await self.stage.start(msgspec.structs.replace(opener, opens_with=self.answerer))
        await self.stage.until(lambda: victim in self.stage.ended)
        assert self.stage.ended[victim] == -9, f"{self.name}: {self.stage.log()}"
        await self.stage.start(parts[victim])

    async def die_again(self) -> None:
        """Both, when all is settled: what they know then, they know from what they kept."""
        for who in (self.opener, self.answerer):
            await self.stage.kill(who)
            await self.stage.start(Part(who=who, table=self.table.name, word=self.word.__name__))

    async def agree(self) -> bool:
        """Wait until nobody waits; whether there is a deal, and both know it."""
        closer, other = self.opener, self.answerer
        if self.table.closer(self.word) == self.table.answerer:
            closer, other = other, closer
        talk = self.stage.talks[self.opener]
        while True:
            one, two = await self.stage.ask(closer), await self.stage.ask(other)
            waits = one.busy or two.busy or _phase(one, talk) == "closing"
            if not waits and await self.theatre.quiet(closer) and await self.theatre.quiet(other):
                there = await self.theatre.has(closer, other, self.word, talk)
                if (one, two) == (await self.stage.ask(closer), await self.stage.ask(other)):
                    break
            await asyncio.sleep(LOOK_WALL_S)
        phases = _phase(one, talk), _phase(two, talk)
        seen = f"{self.name}: the stream has the word: {there}; closer and promisor have {phases}; {self.stage.log()}"
        assert (phases[0] == "on", phases[1] == "on") == (there, there), seen
        if there:
            assert one.phases[talk] == two.phases[talk], f"{self.name}: they agreed on different things"
        return there


def _phase(shown: puppets.Showing, talk: str) -> str:
    return shown.phases.get(talk, ("nothing", ""))[0]


ALL = [(table, word) for table in TABLES for word in table.deal]


@pytest.mark.parametrize(("table", "word"), ALL, ids=lambda it: getattr(it, "name", None) or it.__name__)
async def test_both_sides_agree_whoever_dies_at_whatever_moment(
    theatre: Theatre, table: Conversation, word: type[Message]
) -> None:
    scenes = [Scene(theatre, table, word, number, dies) for number, dies in enumerate(moments(table, word))]
    outcome: dict[str, bool] = {}
    for first in range(0, len(scenes), AT_ONCE):
        outcome |= await act(theatre, scenes[first : first + AT_ONCE])
    sure = {
        name: there for name, there in outcome.items() if any(m in name for m in ("stored", "settling", "honoured"))
    }
    assert all(sure.values()), "what the stream had before anybody died is a deal"
    assert not any(there for name, there in outcome.items() if "written" in name), "what was never said is none"


async def act(theatre: Theatre, scenes: list[Scene]) -> dict[str, bool]:
    """Whether there was a deal, by scene."""
    theatre.clock.set_speed(SPEED)
    try:
        async with asyncio.timeout(WITHIN_WALL_S):
            await asyncio.gather(*(scene.play() for scene in scenes))
        theatre.clock.set_speed(HURRY)
        async with asyncio.timeout(WITHIN_WALL_S):
            agreed = await asyncio.gather(*(scene.agree() for scene in scenes))
        again = [scene for scene in scenes if scene.moment in ("flying", "honoured")]
        async with asyncio.timeout(WITHIN_WALL_S):
            await asyncio.gather(*(scene.die_again() for scene in again))
            remembered = await asyncio.gather(*(scene.agree() for scene in again))
        assert remembered == [agreed[scenes.index(scene)] for scene in again], "and so it stays"
    finally:
        await theatre.stage.clear()
    return dict(zip([scene.name for scene in scenes], agreed, strict=True))
