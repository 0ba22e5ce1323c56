"""`gridparley order` and `gridparley trace` on a real run, and the links as the hub sees them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.records import rows
from deploy.records.trace import NoTrace, spans, trace_of
from deploy.report.episodes import episodes
from tests.deploy.records_of import T0, Story
from tests.deploy.test_supervisor import Run, eventually


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tmp_path_factory.mktemp("orders"))
    run.runs()
    yield run
    if run.process.poll() is None:
        run.process.kill()
    run.process.communicate()


def test_every_order_is_answered_in_plain_words(street: Run) -> None:
    for command, code, said in (
        ("emergency h07 --severe --duration 15m", 0, "h07: h07 confirmed"),
        ("emergency h99", 1, "h99: NOT DONE. h99 has no CEM or gateway in this topology"),
        ("clear", 0, "h07: h07 confirmed"),
        ("limit h07 --consumption 5000 --duration 30m", 0, "h07: The grid operator ordered this limit."),
        ("limit h07 --consumption lift", 0, "h07: "),
        ("limit h07 --production 3000", 0, "h07: The grid operator ordered this limit."),
        ("limit h07 --production=-3", 2, "-3 W is below zero: write a magnitude"),
        ("limit h07 --consumption 1 --duration x", 2, "'x' is not understood"),
        ("limit h07", 2, "give --consumption or --production"),
        ("command h07 emergency --device pv.1 --upper 0", 0, "h07: Held to 0 W"),
        ("command h07 clearance", 0, "h07: "),
        ("group nobody hello", 1, "not done: There is no group 'nobody'"),
        ("power h07", 0, " kW ("),
        ("answers none", 1, "not done: No group message has the id 'none'"),
    ):
        done = street.tell("order", *command.split())
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), (command, done)


def test_a_limit_by_hand_is_what_the_control_room_then_states(street: Run) -> None:
    assert street.tell("order", "limit", "h07", "--production", "2100").returncode == 0
    said = [event for event in rows.events(street.out / "records") if event.word == "set_limit"]
    stated = [json.loads(bytes(event.body)) for event in said]
    assert -2100.0 in [body["limit_w"] for body in stated if body["direction"] == "production"]


def test_a_talk_is_shown_from_the_order_to_who_answered(street: Run) -> None:
    assert street.tell("order", "power", "h07").returncode == 0

    def whole() -> bool:
        try:
            found = trace_of(spans(street.out), "power_query")
        except NoTrace:
            return False
        return {span.service for span in found} == {"grid.ops.operator", "grid.dso.north", "h07.cem.main"}

    eventually(whole)
    shown = street.tell("trace", "power_query").stdout
    rows = [line for line in shown.splitlines() if "power" in line]
    depth = [len(line) - len(line.lstrip(" │├└─")) for line in rows]
    assert depth == sorted(set(depth)), shown
    assert "grid.ops.operator  order_power operator" in rows[0]
    assert "h07.cem.main  power_query energy_manager" in rows[-1]
    assert "[end]" in rows[-1]
    nothing = street.tell("trace", "no-such-talk")
    assert nothing.returncode == 1
    assert "no talk 'no-such-talk'" in nothing.stderr


def test_a_link_is_down_as_soon_as_the_hub_sees_it_go_and_that_is_recorded(street: Run) -> None:
    assert street.status()["links"] == {"h07": "up"}
    assert street.status()["not_connected"] == []
    for command, state in (("cut", "down"), ("mend", "up")):
        assert street.tell(command, "h07").returncode == 0
        street.until(lambda status, state=state: status["links"] == {"h07": state})
    eventually(lambda: len(links(street.out)) >= 3)
    assert links(street.out)[:3] == ["link_up", "link_down", "link_up"]
    assert street.tell("kill", "hub").returncode == 0
    eventually(lambda: links(street.out)[3:] == ["link_down", "link_up"])
    street.until(lambda status: not status["not_connected"])


def links(out: Path) -> list[str]:
    return [event.word for event in rows.events(out / "records") if event.sender == "h07.link"]


def test_a_failsafe_stands_beside_the_instants_at_which_the_hub_saw_the_link_go_and_come() -> None:
    story = Story()
    for at, word in ((0, rows.LINK_UP), (100, rows.LINK_DOWN), (500, rows.LINK_UP)):
        story.note(at, word, "h05.link")
        story.note(0, rows.LINK_UP, "h07.link")
    story.state(221, "h05", "failsafe", -8_000.0, heard=501)
    story.limit(520, "h05", -9_000.0, answered=521)
    story.state(521, "h05", "limited", -9_000.0)
    story.state(300, "h07", "failsafe", -8_000.0)
    cut, silent = episodes(story.events, {"h05": [T0 + 90, T0 + 515]}, T0 + 600).failsafe
    assert (cut.link_lost, cut.link_back, cut.back_to_limit_s) == (T0 + 100, T0 + 500, 21)
    assert (silent.site, silent.link_lost, silent.link_back) == ("h07", None, None)
