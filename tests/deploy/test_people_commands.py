"""What people type and read at the command line: understood or refused with its remedy, before a bus is needed."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
import typer
from typer.models import OptionInfo
from typer.testing import CliRunner

from agents.cem.explain import unsaid
from contracts.preferences import SetPoint
from contracts.profiles import PlannedPower
from contracts.questions import Because
from contracts.reasons import Reason
from deploy import cli
from deploy.commands import app_cli
from deploy.commands.app_plan import costs
from deploy.commands.app_questions import because
from deploy.commands.typed import consents, set_points
from deploy.durations import duration_s
from deploy.options import finite
from deploy.records import talks_cli
from deploy.records.rows import EVENTS, Event
from deploy.records.run_facts import RECORDS, RunFacts

NOON = datetime(2016, 5, 20, 10, tzinfo=UTC)


@pytest.fixture(scope="module")
def whole() -> typer.Typer:
    """Every command there is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gridparley"])
        made = typer.Typer(rich_markup_mode="markdown")
        patch.setattr(cli, "app", made)
        cli._mount()
    made.registered_commands += cli.app.registered_commands
    made.registered_groups += cli.app.registered_groups
    return made


def commands(app: typer.Typer) -> Iterator[Callable[..., Any]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance)


def options(app: typer.Typer) -> Iterator[tuple[str, object, OptionInfo]]:
    """(command and option, what it is, how it is declared)."""
    for command in commands(app):
        for name, hint in get_type_hints(command, include_extras=True).items():
            for said in getattr(hint, "__metadata__", ()):
                if isinstance(said, OptionInfo):
                    yield f"{command.__name__} {name}", get_args(hint)[0], said


def plain(output: str) -> str:
    """As it is read: without frames, colours and line ends."""
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", output).replace("│", " ").split())


@pytest.mark.parametrize(
    ("command", "cause", "remedy"),
    [
        ("plan h07 --zone X", "there is no time zone 'X'", "Europe/Berlin"),
        ("hand h07 evse.1 off --zone Mars/Base", "there is no time zone 'Mars/Base'", "Europe/Berlin"),
        ("prices h07 --zone ../etc", "there is no time zone", "Europe/Berlin"),
        ("prefs h07 evse.1 --min-percent nan", "nan is no number", "write one like"),
        ("hand h07 battery.1 power --power inf", "inf is no number", "write one like"),
        ("hand h07 hvac.1 on --mode cool", "mode and fan go with a temperature", "say --target-c"),
        ("hand h07 hvac.1 on --fan low", "mode and fan go with a temperature", "say --target-c"),
        ("prefs h07 --tell grid.esp.main=spying", "nothing is done for 'spying'", "forecast, rules"),
        ("prefs h07 --tell grid.esp.main", "is not understood", "grid.esp.main=forecast"),
        ("prefs h07 --tell nobody=forecast", "is not understood", "grid.esp.main=forecast"),
        ("prefs h07 hvac.1 --set-point warm", "is no set point", "mon-fri 06:00 21"),
    ],
)
def test_what_is_not_understood_ends_with_2_its_cause_and_its_remedy(command: str, cause: str, remedy: str) -> None:
    done = CliRunner().invoke(app_cli.app, command.split())
    said = plain(done.output)
    assert (done.exit_code, cause in said, remedy in said) == (2, True, True), done.output


def test_no_option_anywhere_takes_a_number_that_is_none(whole: typer.Typer) -> None:
    numbers = [(name, said) for name, kind, said in options(whole) if float in (kind, *get_args(kind))]
    assert len(numbers) > 15
    assert [name for name, said in numbers if said.callback is not finite] == []


@pytest.mark.parametrize("text", ["inf", "1e300h", "nan", "0", "-5m"])
def test_a_duration_that_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not above zero|more than a century"):
        duration_s(text)


def test_no_name_in_angle_brackets_is_lost_on_the_way_to_the_reader(whole: typer.Typer) -> None:
    helps = [(name, said.help or "") for name, _, said in options(whole)]
    helps += [(command.__name__, command.__doc__ or "") for command in commands(whole)]
    assert any("<" in text for _, text in helps)
    assert [name for name, text in helps if any("<" in plain for plain in text.split("`")[::2])] == []
    assert "runs/<topology>-<time>" in plain(CliRunner().invoke(whole, ["up", "--help"]).output)


def test_a_thermostats_week_is_said_in_lines() -> None:
    assert set_points(["mon-fri 06:00 21", "sat-sun 08:30 20.5", "22:00 17"]) == (
        SetPoint(at=time(6), target_c=21.0, days="weekdays"),
        SetPoint(at=time(8, 30), target_c=20.5, days="weekend"),
        SetPoint(at=time(22), target_c=17.0, days="all"),
    )
    assert set_points([]) is None
    for wrong in ("06:00 nan", "06:00 inf", "25:00 20", "feb 06:00 20", "20", "mon-fri 06:00 20 21", ""):
        with pytest.raises(typer.Exit) as left:
            set_points([wrong])
        assert left.value.exit_code == 2


def test_consent_names_its_party_and_purposes_and_is_taken_back() -> None:
    given = consents(["grid.esp.main=forecast,rules", "grid.aggregator.main="])
    assert given == {"grid.esp.main": ("forecast", "rules"), "grid.aggregator.main": ()}
    assert consents([]) is None


def test_what_a_plan_is_worth_has_no_sign_to_be_turned_around() -> None:
    assert costs(0.71, 0.36) == "it costs 0.71 EUR, 0.35 EUR more than without a plan"
    assert costs(0.36, 0.71) == "it costs 0.36 EUR, 0.35 EUR less than without a plan"
    assert costs(0.36, 0.361) == "it costs 0.36 EUR, as much as without a plan"


def test_what_the_hand_holds_is_explained_once_and_what_cannot_be_kept_of_it_too() -> None:
    wanted = Reason(code="fixed_by_user", text="The user wants it so.")
    missed = Reason(code="fixed_by_user", text="what the user set cannot be kept: 500 W off")
    dear = Reason(code="dear", text="A kWh costs 0.40 EUR.")
    assert unsaid((wanted, missed), by_hand=True) == (missed,)
    assert unsaid((dear, missed), by_hand=True) == (dear, missed)
    assert unsaid((wanted,), by_hand=False) == (wanted,), "a plan that was confirmed is nobody's hand"
    assert unsaid((), by_hand=True) == ()


def test_an_answer_says_each_thing_once_and_only_runs_come_next() -> None:
    def slot(minutes: float, watts: float) -> PlannedPower:
        return PlannedPower(start=NOON + timedelta(minutes=minutes), duration_s=1800.0, power_w=watts)

    home = Because(device="h07", doing="feeds in 9850 W", power_w=-9850.0, reasons=())
    assert because(home, "UTC") == ["h07 feeds in 9850 W"]
    free = Reason(code="free", text="Nobody wants anything.")
    car = Because(
        device="evse.1",
        doing="runs",
        power_w=2000.0,
        reasons=(free,),
        next=(slot(0, 2000.0), slot(30, 0.0), slot(60, 9.0)),
    )
    assert because(car, "Europe/Berlin") == [
        "evse.1 runs, 2000 W",
        "  because: Nobody wants anything.",
        "  next: 12:00 for 30 min, 2000 W",
    ]


@pytest.mark.parametrize(
    ("asked", "clock", "named"),
    [
        ("", "12:00:00 ", "times are UTC+02:00"),
        ("--zone Europe/Lisbon", "11:00:00 ", "times are Europe/Lisbon"),
        ("--utc", "10:00:00 ", "times are UTC"),
    ],
)
def test_talks_show_the_time_that_the_runs_log_shows_or_the_one_that_is_asked_for(
    tmp_path: Path, asked: str, clock: str, named: str
) -> None:
    start = datetime.fromisoformat("2016-05-20T12:00:00+02:00")
    RunFacts(topology="street", start=start, rated_va=160_000.0).write(tmp_path)
    said = Event(
        at=start.timestamp(),
        heard=start.timestamp(),
        word="ask_why",
        topic="customer",
        sender="h07.app.phone",
        receiver="h07.cem.main",
        talk="t-1",
        id="a",
        body=msgspec.Raw(b"{}"),
    )
    folder = tmp_path / RECORDS
    folder.mkdir()
    (folder / EVENTS).write_bytes(msgspec.json.encode(said) + b"\n")
    app = typer.Typer()
    app.command()(talks_cli.command)
    listed = CliRunner().invoke(app, ["--run", str(tmp_path), *asked.split()])
    assert (listed.exit_code, clock in listed.output) == (0, True), listed.output
    assert listed.output.splitlines()[-1] == f"1 of 1 talks; {named}"
    one = CliRunner().invoke(app, ["t-1", "--run", str(tmp_path), *asked.split()]).output
    assert clock in one
    assert named in one.splitlines()
