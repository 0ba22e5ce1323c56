"""Every table is sound, and every talk that it allows ends."""

from dataclasses import replace

import pytest

from contracts.all import conversations
from contracts.kit import END, Conversation, Lapse, Turn, vocabulary
from contracts.power_limit import LimitAccepted, LimitRefused, SetLimit, limit_write
from contracts.roles import ALL
from contracts.use_cases import use_case

TABLES = sorted(conversations().values(), key=lambda table: table.name)
every_table = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


@every_table
def test_every_table_is_sound(table: Conversation) -> None:
    assert table.faults() == []


@every_table
def test_its_parties_are_roles_that_exist(table: Conversation) -> None:
    assert set(table.opened_by) | set(table.answered_by) <= set(ALL)
    assert table.opened_by
    assert table.answered_by
    assert table.opener != table.answerer
    assert {turn.speaker for turn in table.turns} == {table.opener, table.answerer}


@every_table
def test_it_serves_use_cases_that_exist_and_names_its_source(table: Conversation) -> None:
    assert table.use_cases
    for id in table.use_cases:
        assert use_case(id).id == id
    assert table.clause


@every_table
def test_every_way_through_it_ends_and_every_silence_too(table: Conversation) -> None:
    ways = list(table.paths())
    assert ways
    assert all(way[-1].then == END for way in ways)
    assert {turn for way in ways for turn in way} == set(table.turns)
    for lapse in table.lapses:
        assert lapse.after > 0


@every_table
def test_a_durable_word_counts_as_long_as_its_answer_is_waited_for(table: Conversation) -> None:
    """Else a word that came through a short outage would be dropped although its sender still waits."""
    for turn in table.turns:
        lapse = table.lapse_in(turn.then) if turn.then != END else None
        if lapse is not None and turn.says.durable:
            assert turn.says.ttl_s >= lapse.after


@every_table
def test_its_words_are_words(table: Conversation) -> None:
    assert {turn.says for turn in table.turns} <= set(vocabulary().values())


@every_table
def test_its_diagram_shows_every_turn_and_every_silence(table: Conversation) -> None:
    rows = table.mermaid().splitlines()
    assert rows[0] == "stateDiagram-v2"
    assert len(rows) == 1 + len(table.turns) + len(table.lapses)
    for turn in table.turns:
        assert any(row.endswith(f"{turn.speaker} says {turn.says.__name__}") for row in rows)


def test_no_two_tables_are_opened_by_one_word() -> None:
    """The receiver knows by the opening word which conversation it is in."""
    openings = [table.opening for table in TABLES]
    assert len(set(openings)) == len(openings)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        (replace(limit_write, lapses=()), "asked: waits for ever"),
        (
            replace(limit_write, turns=[*limit_write.turns, Turn("asked", "energy_guard", SetLimit, END)]),
            "asked: both sides may speak, so their words can cross",
        ),
        (
            replace(
                limit_write, turns=[*limit_write.turns, Turn("asked", "controllable_system", LimitRefused, "asked")]
            ),
            "asked: one word leads to two states",
        ),
        (
            replace(
                limit_write, turns=[limit_write.turns[0], Turn("asked", "controllable_system", LimitAccepted, "gone")]
            ),
            "leads to unknown state gone",
        ),
        (
            replace(limit_write, turns=[*limit_write.turns, Turn("isle", "energy_guard", SetLimit, END)]),
            "isle: cannot be reached",
        ),
        (
            replace(limit_write, lapses=[*limit_write.lapses, Lapse("nowhere", after=1.0)]),
            "nowhere: silence is defined for an unknown state",
        ),
        (
            replace(limit_write, opener="controllable_system"),
            "start: exactly one word of the opener must open the talk",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named(broken: Conversation, fault: str) -> None:
    assert fault in broken.faults()
