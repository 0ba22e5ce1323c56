"""The console fits its terminal, says in plain words what happened, and prints lines where no terminal is."""

import io

import anyio
import pytest
from rich.console import Console as Terminal

from contracts.all import conversations
from contracts.grid_state import GridState
from contracts.kit import vocabulary
from contracts.metering import ContractNotice
from contracts.power_limit import SetLimit
from deploy.records.rows import Event
from deploy.records.run_facts import RunFacts, SiteFacts
from deploy.records.view import View
from deploy.records.wording import in_plain_words
from deploy.run.console import Console, Pace, status
from tests.bus.samples import sample
from tests.deploy.records_of import DSO, FACTS, START, T0, Story, reading, why
from tests.support.grid import eventually


def pace(now: float = 60.0) -> Pace:
    return Pace(now=T0 + now, speed=60.0, lag_p99_s=0.4)


def shown(console: Console) -> list[str]:
    terminal = console._terminal
    with terminal.capture() as capture:
        terminal.print(console.picture())
    return capture.get().splitlines()


def screen(view: View, width: int = 100, height: int = 30) -> Console:
    terminal = Terminal(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    return Console(view, pace, terminal=terminal)


def filled(sites: int = 13) -> View:
    names = [f"h{n:02d}" for n in range(1, sites + 1)]
    facts = RunFacts(
        topology="street",
        start=START,
        rated_va=160_000.0,
        sites=tuple(SiteFacts(name=name, contract_consumption_w=30_000.0) for name in names),
    )
    view, story = View(facts), Story()
    story.say(1, reading(1, -153_200.0), facts.substation)
    for name in names:
        story.say(2, reading(2, -10_000.0), f"{name}.meter.main")
        story.limit(3, name, -9_000.0, answered=4)
    for event in story.events:
        view.take(event, event.message())
    return view


@pytest.mark.parametrize(("width", "height"), [(100, 30), (120, 40), (80, 24)])
@pytest.mark.parametrize("sites", [1, 13, 60])
def test_the_picture_fits_the_terminal(width: int, height: int, sites: int) -> None:
    lines = shown(screen(filled(sites), width, height))
    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_a_terminal_of_100_by_30_shows_every_home_and_one_order_to_all_as_one_line() -> None:
    text = shown(screen(filled(13)))
    for n in range(1, 14):
        assert any(line.startswith(f"h{n:02d}") and "-9.0 kW" in line for line in text)
    assert sum("(+12 more) DSO limits h01 feed-in to -9.0 kW" in line for line in text) == 1
    assert any("95.8 %" in line and "feed-in 153.2 kW" in line for line in text)


def test_ten_events_are_shown_the_last_one_at_the_end() -> None:
    view, story = filled(13), Story()
    for n in range(14):
        story.limit(10 + 60 * n, "h05", -20_000.0 - 1_000.0 * n)
        view.take(story.events[-1], story.events[-1].message())
    told = [line for line in shown(screen(view)) if "DSO limits" in line]
    assert [line.split("to ")[1][:8] for line in told] == [f"-{20 + n}.0 kW" for n in range(4, 14)]


def test_where_homes_do_not_fit_those_in_trouble_come_first() -> None:
    view, story = filled(60), Story()
    story.state(5, "h59", "failsafe", 0.0)
    for event in story.events:
        view.take(event, event.message())
    text = "\n".join(shown(screen(view)))
    assert "h59" in text
    assert "FAILSAFE" in text
    assert "+" in text


def test_an_empty_run_can_be_shown() -> None:
    view = View(FACTS)
    assert "no reading yet" in "\n".join(shown(screen(view)))
    assert "no reading yet" in status(view, pace())


def test_without_a_terminal_every_event_is_one_line_and_a_status_comes_every_five_minutes() -> None:
    view, story, out, now = View(FACTS), Story(), io.StringIO(), [0.0]
    console = Console(view, lambda: pace(now[0]), terminal=Terminal(file=out, width=60))
    for minute in range(12):
        now[0] = 60.0 * minute
        story.limit(now[0], "h11", -31_400.0 - minute)
        view.take(story.events[-1], story.events[-1].message())
        console.print_new()
    lines = out.getvalue().splitlines()
    told = [line for line in lines if "DSO limits h11 feed-in to -31.4 kW: transformer at 104 %" in line]
    assert len(told) == 12
    assert [line[:8] for line in lines if " -- " in line] == ["10:00:00", "10:05:00", "10:10:00"]


@pytest.mark.anyio
async def test_what_happened_last_is_shown_before_it_ends() -> None:
    view, story, out = View(FACTS), Story(), io.StringIO()
    console = Console(view, pace, terminal=Terminal(file=out, width=60))
    stop = anyio.Event()
    story.limit(1, "h11", -31_400.0)
    view.take(story.events[0], story.events[0].message())
    stop.set()
    await console.run(stop)
    assert "DSO limits h11" in out.getvalue()
    assert out.getvalue().splitlines()[-1] == status(view, pace())


@pytest.mark.anyio
async def test_in_a_terminal_the_picture_is_drawn_and_one_line_stays() -> None:
    out = io.StringIO()
    terminal = Terminal(width=100, height=30, file=out, force_terminal=True, color_system=None)
    view = filled(13)
    console, stop = Console(view, pace, terminal=terminal), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(console.run, stop)
        await eventually(lambda: "h13" in out.getvalue())
        stop.set()
    assert "\x1b[?1049l" in out.getvalue()  # the screen of before is back
    assert out.getvalue().rstrip().endswith(status(view, pace()))


def test_repeated_states_are_no_news() -> None:
    view, story = View(FACTS), Story()
    phases = ("green", "green", "red", "red", "green")
    for n, phase in enumerate(phases):
        at = START
        state = GridState(
            area="a", phase=phase, at=at, valid_until=at, loading_percent=104.0, power_w=1.0, reason=why("load")
        )  # type: ignore[arg-type]
        event = story.say(n, state, DSO)
        view.take(event, event.message())
    assert [line.text for line in view.lines] == [
        "grid state green at 104 %: load",
        "grid state red at 104 %: load",
        "grid state green at 104 %: load",
    ]
    notice = ContractNotice(level="alarm", metered_at=START, power_w=31_000.0, contract_w=30_000.0, warning_share=0.9)
    for _ in range(2):
        event = story.say(9, notice, "h07.meter.main")
        view.take(event, event.message())
    assert [line.text for line in view.lines][3:] == ["h07 meter: contract alarm, 31.0 kW of 30.0 kW"]


def test_limits_that_hold_already_are_no_news() -> None:
    view, story = View(FACTS), Story()
    story.limit(1, "h05", None, answered=2)
    story.limit(3, "h05", -5_000.0, answered=4)
    story.limit(5, "h05", -5_000.0, answered=6)
    story.limit(7, "h05", None, answered=8)
    for event in story.events:
        view.take(event, event.message())
    assert [line.text.partition(":")[0] for line in view.lines] == [
        "DSO limits h05 feed-in to -5.0 kW",
        "DSO lifts the feed-in limit of h05",
    ]


def test_a_flood_of_dead_letters_is_told_now_and_then_and_counted_in_full() -> None:
    view = View(FACTS)
    for n in range(100):
        view.take(Event(at=T0, heard=T0 + 6 * n, word="dead_letter", sender="h05.cem.main", error="expired: x"), None)
    view.take(Event(at=T0, heard=T0 + 1, word="dead_letter", sender="h05.cem.main", error="undecodable: y"), None)
    assert view.counts["dead_letters"] == 101
    assert [line.text.split()[-2] for line in view.lines] == ["expired:", "expired:", "undecodable:"]


def test_what_a_cut_link_kept_back_says_how_old_it_is() -> None:
    view, story = View(FACTS), Story()
    story.state(10, "h05", "failsafe", 0.0, heard=400)
    line = view.take(story.events[0], story.events[0].message())
    assert line is not None
    assert line.text == "h05 failsafe: now failsafe (390 s ago)"


def test_what_others_wrote_cannot_move_the_cursor() -> None:
    view, story = View(FACTS), Story()
    nasty = SetLimit(direction="production", active=True, limit_w=0.0, reason=why("a\x1b[2Jb\nc\r" + "x" * 9999))
    event = story.say(1, nasty, DSO, "h05.cem.main")
    line = view.take(event, event.message())
    assert line is not None
    assert line.text.isprintable()
    assert len(line.text) <= 400


@pytest.mark.parametrize("kind", sorted(vocabulary().values(), key=lambda one: one.__qualname__))
def test_every_word_can_be_told(kind: type) -> None:
    for seed in range(20):
        text = in_plain_words(sample(kind, seed), "h07.cem.main", DSO)
        assert text is None or text


def test_every_word_that_moves_power_on_the_grid_side_is_told() -> None:
    silent = {table.opening for table in conversations().values()} - {SetLimit}
    told = {kind for kind in silent if in_plain_words(sample(kind), DSO, "h07.cem.main")}
    assert {kind.__name__ for kind in told} >= {"AskAdjustment", "BeginEmergency", "EndEmergency", "ControlCommand"}


def test_a_link_is_down_as_soon_as_the_hub_says_so_however_lately_the_home_was_heard() -> None:
    view, story = filled(2), Story()
    for at, word, up in ((0, "link_up", True), (5, "link_down", False)):
        story.note(at, word, "h01.link")
        view.link(story.events[-1], "h01", up)
    rows = {line.split()[0]: line for line in shown(screen(view)) if line.startswith("h0")}
    assert " down " in rows["h01"]
    assert "  up " in rows["h02"]
    assert [line.text for line in view.lines][-1] == "h01 has lost its link to the grid side"
    story.note(9, "link_up", "h01.link")
    view.link(story.events[-1], "h01", True)
    assert [line.text for line in view.lines][-1] == "the link of h01 is back"
    assert view.counts["messages"] == filled(2).counts["messages"]
