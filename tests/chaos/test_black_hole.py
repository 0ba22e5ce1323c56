"""A link that swallows everything and says nothing, and a control room that dies after it has decided."""

from datetime import datetime

import pytest

from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from contracts.kit import Lapsed
from contracts.power_limit import LimitAccepted, SetLimit, limit_write
from deploy.topology import HUB
from tests.conformance.guard import FAILSAFE_W, LIMIT_W, WHY, system
from tests.support.grid import eventually, grid
from tests.support.tap import tap

QUICK, CALM = 10.0, 1.0
"""Of the clock: while the hole lasts, and while it is measured how soon all is well again."""
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]


async def test_a_black_hole_means_failsafe_and_what_was_said_into_it_does_not_bind_afterwards() -> None:
    async with system(speed=QUICK) as guard:
        servers = guard.run.servers
        await servers.links.stop()
        async with tap(servers.ports[HUB].leaves, servers.ports["h07"].link) as way:
            await eventually(lambda: way.connections)
            await servers.linked(["h07"])
            await guard.take_charge("consumption")
            assert isinstance(await guard.write("consumption", LIMIT_W["consumption"]), LimitAccepted)
            await guard.until("limited", "consumption", LIMIT_W["consumption"])
            guard.beat()
            assert isinstance(await guard.write("production", None), LimitAccepted)  # and so the beat was heard
            way.passes.clear()
            began = guard.run.clock.now()
            assert isinstance(await guard.write("consumption", 12_000.0), Lapsed)
            await guard.run.clock.sleep(200)
            accepted = len(guard.words.of("limit_accepted"))
            guard.run.clock_file.set_speed(CALM)
            way.passes.set()
            said = await guard.until("failsafe", "consumption", FAILSAFE_W["consumption"])
            since = datetime.fromisoformat(said["since"]).timestamp()
            assert 60 < since - began < 140, "by the site's own clock, while nobody could hear it"
            await servers.linked(["h07"])
            back = guard.run.clock.now()
            guard.beat()
            answer: object = None
            while not isinstance(answer, LimitAccepted):
                guard.beat()
                answer = await guard.write("consumption", LIMIT_W["consumption"])
            assert guard.run.clock.now() - back <= 60
            assert len(guard.words.of("limit_accepted")) == accepted + 1, "the word that came too late was not taken"
            assert isinstance(await guard.write("production", None), LimitAccepted)
            await guard.until("limited", "consumption", LIMIT_W["consumption"])


async def test_a_control_room_that_dies_after_deciding_finds_the_answer_when_it_is_back() -> None:
    """The limit was said, its author was gone before the answer came: it binds, and the answer is not lost."""
    site, room = Address.parse("h07.cem.main"), Address.parse("grid.dso.north")
    held: list[float | None] = []

    async def slow(talk: Talk, asked: SetLimit) -> None:
        await eventually(lambda: not first.connection.connected)
        held.append(asked.limit_w)
        await talk.say(LimitAccepted(direction=asked.direction, limit_w=asked.limit_w))

    async with grid(str(site), str(room), speed=5.0) as run:
        words = await run.words()
        await run.bus(str(site), lambda bus: bus.answer(limit_write, slow))
        first = await run.bus(str(room))
        async with first.talk(limit_write, site) as talk:
            await talk.say(SetLimit(direction="consumption", active=True, limit_w=7_000.0, reason=WHY))
            first.connection.client.abort()
            await first.close()
        await words.until(lambda heard: heard.of("limit_accepted"))
        again: Bus = await run.bus(str(room))
        await eventually(lambda: again.counts["out_of_turn"])
        assert held == [7_000.0], "accepted once"
