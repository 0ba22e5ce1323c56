"""`gridparley app` and `gridparley talks` on a real run: a person speaks to a home, and it can be looked at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from deploy.commands import app_cli
from deploy.records import talks_cli
from deploy.records.talks import recorded, talks
from tests.deploy import test_supervisor
from tests.deploy.test_supervisor import Run, eventually

pytestmark = pytest.mark.timeout(300)
APP = typer.Typer()
APP.add_typer(app_cli.app, name="app")
APP.command("talks")(talks_cli.command)
PHONE = '  { role = "app", name = "phone", attach = true },\n  { role = "ops", name = "recorder" },\n'
RULES = """
[[rule]]
name = "night"
device = "pv.1"
action = "off"
trigger = { at = "23:00:00" }
"""


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tmp_path_factory.mktemp("people"), start=False)
    cem = '  { role = "cem", name = "main" },\n'
    (run.here / "mini.toml").write_text(test_supervisor.MINI.replace(cem, cem + PHONE))
    (run.here / "rules.toml").write_text(RULES)
    run.start()
    run.runs()
    yield run
    if run.process.poll() is None:
        run.process.kill()
    run.process.communicate()


@pytest.fixture
def tell(street: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Result]:
    """The commands as they are, in this process: starting a new one for each would be most of the time."""
    monkeypatch.chdir(street.here)
    return lambda command: CliRunner().invoke(APP, command.split())


def test_a_person_is_answered_in_plain_words(street: Run, tell: Callable[[str], Result]) -> None:
    eventually(lambda: "pv.1" in street.tell("app", "why", "h07", "pv.1").stdout)
    for command, code, said in (
        ("why h07 pv.1", 0, "because: "),
        ("why h07", 0, "because: "),
        ("why h07 evse.9", 1, "There is no evse.9 here: the devices are pv.1."),
        ("why h99 pv.1", 1, "there is no site 'h99' in this run: the sites are h07"),
        ("prefs h07 --season autumn --plans confirm", 0, "pv.1: as the plan finds best"),
        ("prefs h07 pv.1 --ready-by 25:00", 2, "'25:00' is no time of day"),
        ("prefs h07 --ready-by 07:00", 2, "name one, e.g. evse.1 or hvac"),
        ("hand h07 pv.1 on --for 20m", 0, "until "),
        ("hand h07 pv.1 off", 0, "pv.1 does as user wants: off."),
        ("why h07 pv.1", 0, "user wants it so: off."),
        ("hand h07 pv.1 dance", 2, "'dance' is nothing that can be done"),
        ("hand h07 pv.1 release", 0, "pv.1 is given back"),
        ("prefs h07 --tell grid.esp.main=forecast", 0, "grid.esp.main: may act for forecast"),
        ("rules h07 rules.toml", 0, "1 rules are kept at h07"),
        ("rules h07 nothing.toml", 2, "nothing.toml"),
        ("ask h07 hello", 1, "h07 has no esp in reach"),
        ("confirm h07", 1, "no plan waits for your word at h07"),
        ("stop h07", 0, "the service is stopped"),
        ("resume h07", 0, "as the plan finds best"),
    ):
        done = tell(f"app {command}")
        assert (done.exit_code, said in done.output) == (code, True), (command, done.output)


def test_talks_are_listed_and_shown_while_it_runs_the_homes_own_too(tell: Callable[[str], Result]) -> None:
    listed = tell("talks --site h07 --table take_control --last 2")
    assert listed.exit_code == 0, listed
    rows = listed.output.splitlines()
    assert rows[-1].startswith("2 of ")
    assert all("h07.app.phone -> h07.cem.main" in row and " deal " in row for row in rows[:-1])
    id = rows[0].split()[0]
    shown = tell(f"talks {id}").output
    assert "->  h07.app.phone: TakeControl" in shown
    assert "because pv.1 does as user wants: off." in shown
    assert "there is a deal: control_taken is stored" in shown
    assert "limit_write" in tell("talks --site grid").output
    for command, code, said in (
        ("talks nothing-like-it", 1, "no talk 'nothing-like-it' was recorded"),
        ("talks --site h99", 2, "there is no site 'h99'"),
        ("talks --table chat", 2, "there is no table 'chat'"),
    ):
        done = tell(command)
        assert (done.exit_code, said in done.output) == (code, True), (command, done.output)


def test_what_was_recorded_outlives_the_run_and_never_passed_the_hub(street: Run) -> None:
    street.process.terminate()
    street.process.wait(timeout=90)
    found = talks(recorded(street.out))
    assert {"take_control", "preferences", "why", "rules_write"} <= {talk.table.name for talk in found}
    hub = (street.out / "records" / "events.jsonl").read_text()
    assert '"take_control"' not in hub
    assert "take_control" in (street.out / "records" / "homes" / "h07" / "events.jsonl").read_text()
    after = street.tell("talks", "--run", str(street.out), "--table", "why")
    assert after.returncode == 0
    assert "answered" in after.stdout


def test_without_a_run_the_remedy_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path, start=False)
    for command in ("app why h07", "talks"):
        done = run.tell(*command.split())
        assert (done.returncode, "start one with `gridparley up`" in done.stderr) == (1, True), done
