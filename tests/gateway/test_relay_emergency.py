"""The gateway relays a grid emergency as it is, and the confirmation the way it came. IEC-JWG2122."""

import msgspec
import pytest

from bus.address import Address
from bus.bus import Bus
from bus.talk import Talk
from contracts.emergency import (
    BeginEmergency,
    EmergencyConfirmed,
    EmergencyRefused,
    EndEmergency,
    emergency_begin,
    emergency_end,
)
from contracts.kit import Lapsed
from tests.support.grid import grid
from tests.support.home import BECAUSE, SCRIPTED_CEM

pytestmark = pytest.mark.anyio
SMGW, EMG, CEM = "h07.gateway.smgw", "h07.gateway.main", "h07.cem.main"
BEGIN = BeginEmergency(level="severe", duration_s=600.0, confirm=True, reason=BECAUSE)


async def begin(bus: Bus, to: str) -> EmergencyConfirmed | EmergencyRefused | Lapsed:
    async with bus.talk(emergency_begin, Address.parse(to)) as talk:
        await talk.say(BEGIN)
        return await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed)


@pytest.mark.parametrize("way", [(EMG,), (SMGW, EMG)], ids=["channel A", "channel B"])
async def test_the_message_arrives_as_it_is_and_its_confirmation_comes_back(way: tuple[str, ...]) -> None:
    heard: list[object] = []
    answer = EmergencyConfirmed(change_w=-3_500.0, exempt=("h07.evse.1",))

    def prepare(bus: Bus) -> None:
        async def take(talk: Talk, word: object) -> None:
            heard.append(word)
            await talk.say(answer)

        bus.answer(emergency_begin, take)
        bus.answer(emergency_end, take)

    async with grid("grid.dso.north", CEM, EMG, SMGW, agents=SCRIPTED_CEM) as run:
        words = await run.words("h07")
        await run.bus(CEM, prepare)
        await run.start(EMG)
        await run.start(SMGW, {"next_gateway": "main"})
        dso = await run.bus("grid.dso.north")
        assert await begin(dso, way[0]) == answer
        assert heard == [BEGIN]
        async with dso.talk(emergency_end, Address.parse(way[0])) as talk:
            await talk.say(EndEmergency(confirm=True))
            assert await talk.hear(EmergencyConfirmed, EmergencyRefused, Lapsed) == answer
        assert heard[-1] == EndEmergency(confirm=True)
        hop = ["h07", "cem", "main", "h07", "gateway", "main"]
        await words.until(lambda w: [s for s, _ in w.of("begin_emergency")[-1:] if s.split(".")[2:8] == hop])
        bodies = [envelope["body"] for _, envelope in words.of("begin_emergency")]
        assert all(body == msgspec.to_builtins(BEGIN) for body in bodies)


async def test_a_cem_that_says_nothing_is_told_to_the_caller_in_time() -> None:
    async with grid("grid.dso.north", CEM, EMG, agents=SCRIPTED_CEM, speed=20.0) as run:
        await run.start(EMG)
        answer = await begin(await run.bus("grid.dso.north"), EMG)
        assert isinstance(answer, EmergencyRefused)
        assert answer.reason.code == "no_answer"


async def test_a_refusal_comes_back_as_it_is() -> None:
    refusal = EmergencyRefused(reason=BECAUSE)

    def prepare(bus: Bus) -> None:
        async def refuse(talk: Talk, _word: object) -> None:
            await talk.say(refusal)

        bus.answer(emergency_begin, refuse)

    async with grid("grid.dso.north", CEM, EMG, agents=SCRIPTED_CEM) as run:
        await run.bus(CEM, prepare)
        await run.start(EMG)
        assert await begin(await run.bus("grid.dso.north"), EMG) == refusal


async def test_a_home_without_cem_says_so() -> None:
    async with grid("grid.dso.north", EMG, agents=SCRIPTED_CEM) as run:
        await run.start(EMG)
        answer = await begin(await run.bus("grid.dso.north"), EMG)
        assert isinstance(answer, EmergencyRefused)
        assert answer.reason.code == "no_way_on"
