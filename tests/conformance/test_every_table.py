"""Every conversation, both sides: real agents and scripted ones keep to the table, and refuse who does not."""

from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest

from contracts.all import conversations
from contracts.kit import END, Turn
from contracts.operator import ORDERS
from tests.conformance.partners import Pair, along, converse, faults, pairs, wrong_openings
from tests.conformance.whole_home import WholeHome, whole_home
from tests.support.grid import eventually

pytestmark = pytest.mark.anyio
ROUNDS = 2
SEED = 7
ANSWERED_WALL_S, ASKED_WALL_S = 20.0, 1.0
WAITS_FOR_A_PERSON = {"question"}
BY_THEIR_OWN_BOOK = {"TariffTaken", "BandsSet", "LimitAccepted", "FailsafeAccepted"}
"""Who asks for these keeps a book of his own: an acceptance of what is not in it is late, and no fault."""
WORDS_OF_TALKS = {
    turn.says.__name__ for table in conversations().values() if table not in ORDERS for turn in table.turns
}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def home() -> AsyncIterator[WholeHome]:
    async with whole_home(SEED) as running:
        yield running


def real_pairs(home: WholeHome) -> list[Pair]:
    """Each table between the scripted opener of each role and one real answerer of each role."""
    found: dict[tuple[str, str, str], Pair] = {}
    for pair in pairs(home.run.servers.permissions, list(home.scripted), list(home.real)):
        found.setdefault((pair.table.name, pair.opener.role, pair.answerer.role), pair)
    return list(found.values())


def assert_lawful(home: WholeHome) -> None:
    """All that was said in talks so far, by real agents to each other and to scripted ones, is as the tables say."""
    wrong = {id for partner in home.scripted.values() for id in partner.unlawful}
    assert faults(home.words, wrong) == []
    assert faults(home.beyond, wrong) == []


async def test_no_table_is_left_out(home: WholeHome) -> None:
    assert {pair.table.name for pair in real_pairs(home)} == set(conversations())


async def test_every_answerer_says_what_its_table_allows_whatever_lawful_is_said_to_it(home: WholeHome) -> None:
    """Whoever cannot answer without a person may be silent, as its table says; nobody else."""
    silent = set()
    for number in range(ROUNDS):
        for pair in real_pairs(home):
            partner = home.scripted[pair.opener]
            within = ASKED_WALL_S if pair.table.name in WAITS_FOR_A_PERSON else ANSWERED_WALL_S
            async with partner.bus.talk(pair.table, pair.answerer) as talk:
                with anyio.move_on_after(within):
                    await converse(talk, partner.any, SEED + number)
            if talk.lapsed or talk.state != END:
                silent.add(pair.table.name)
    assert silent <= WAITS_FOR_A_PERSON
    assert home.counts("handler_failed") == {}
    assert_lawful(home)


async def test_who_speaks_out_of_turn_is_refused(home: WholeHome) -> None:
    """Each word that the rights allow, in a talk that nobody opened; and each opening outside of any talk."""
    permissions = home.run.servers.permissions
    said: dict[str, tuple[str, str]] = {}
    for sender, partner in home.scripted.items():
        for receiver in home.real:
            for kind, in_talk in wrong_openings(permissions, sender, receiver):
                talk = f"never-opened-{kind.__name__}" if in_talk else None
                id = await partner.say_wrongly(receiver, kind, talk)
                said[id] = kind.__name__, f"{sender} to {receiver}"
    assert {word for word, _ in said.values()} >= WORDS_OF_TALKS
    due = {id for id, (word, _) in said.items() if word not in BY_THEIR_OWN_BOOK}
    with suppress(TimeoutError):
        await eventually(lambda: due <= refused(home))
    assert sorted(said[id] for id in due - refused(home)) == []
    assert home.counts("handler_failed") == {}
    assert_lawful(home)


async def test_every_way_through_every_table_can_be_gone_and_what_is_said_beside_it_is_refused(home: WholeHome) -> None:
    """Both sides scripted, with the rights of their roles: the servers let through all that a table allows."""
    scripted = list(home.scripted)
    gone: set[tuple[str, Turn]] = set()
    for pair in pairs(home.run.servers.permissions, scripted, scripted):
        opener, answerer = home.scripted[pair.opener], home.scripted[pair.answerer]
        for way in pair.table.paths():
            answerer.way = way
            async with opener.bus.talk(pair.table, pair.answerer) as talk:
                await converse(talk, along(way))
            assert [line.partition(": ")[2] for line in talk.transcript] == [turn.says.__name__ for turn in way]
            gone |= {(pair.table.name, turn) for turn in way}
    assert gone == {(table.name, turn) for table in conversations().values() for turn in table.turns}
    said = {id for partner in home.scripted.values() for id in partner.beside}
    assert said
    with suppress(TimeoutError):
        await eventually(lambda: said <= refused(home))
    assert said - refused(home) == set()


def refused(home: WholeHome) -> set[str]:
    """Ids of all words of scripted partners that were called out of turn."""
    return {id for partner in home.scripted.values() for id, code in partner.refusals.items() if code == "out_of_turn"}
