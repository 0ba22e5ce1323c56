"""Coverage says what the last full test run proved, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from contracts.use_cases import families, use_case, use_cases
from deploy.pages import coverage
from deploy.pages.coverage import Result, Results, covered

ROOT = Path(__file__).parents[2]
PROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = ["-p", "no:cacheprovider", "-p", "deploy.pages.coverage_plugin"]
markers = ["use_case(*ids, partial=False): x"]
"""
TESTS = """
import pytest

@pytest.mark.use_case("limits.lpc", "limits.fuse")
def test_whole(): pass

@pytest.mark.use_case("limits.profile", partial=True)
def test_part(): pass

@pytest.mark.use_case("limits.emergency")
@pytest.mark.parametrize("n", [1, 2])
def test_mixed(n): assert n == 1

@pytest.mark.use_case("metering.nrtd")
def test_skipped(): pytest.skip("no engine")

@pytest.fixture
def broken(): yield; raise RuntimeError("in teardown")

@pytest.mark.use_case("metering.gcp-push")
def test_dies_at_the_end(broken): pass
"""


def project(folder: Path, tests: str = TESTS) -> Path:
    (folder / "tests").mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "tests" / "test_a.py").write_text(tests)
    return folder


def run(folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", *more]
    bare = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=bare, capture_output=True, text=True, check=False, timeout=100)


def statuses(folder: Path) -> dict[str, str]:
    return {one.id: one.status for one in covered(coverage.read_results(folder)) if one.status != "open"}


def test_a_full_run_decides_what_is_proven(tmp_path: Path) -> None:
    run(project(tmp_path))
    assert statuses(tmp_path) == {
        "limits.lpc": "proven",
        "limits.fuse": "proven",
        "limits.profile": "partial",
        "limits.emergency": "partial",
    }


@pytest.mark.parametrize(
    "narrowed",
    [
        ("-k", "whole"),
        ("-m", "use_case"),
        ("tests/test_a.py",),
        ("--deselect", "tests/test_a.py::test_part"),
        ("--ignore", "tests/other"),
        ("-x",),
        ("--collect-only",),
    ],
)
def test_a_run_that_is_not_full_changes_nothing(tmp_path: Path, narrowed: tuple[str, ...]) -> None:
    run(project(tmp_path), *narrowed)
    assert coverage.read_results(tmp_path) is None


def test_a_test_that_broke_takes_its_proof_away_with_the_next_full_run(tmp_path: Path) -> None:
    folder = project(tmp_path, '@__import__("pytest").mark.use_case("limits.lpc")\ndef test_it(): pass\n')
    run(folder)
    assert statuses(folder) == {"limits.lpc": "proven"}
    test = folder / "tests" / "test_a.py"
    test.write_text(test.read_text().replace("pass", "raise ValueError  # broken"))
    run(folder, "tests/test_a.py")
    assert statuses(folder) == {"limits.lpc": "proven"}
    run(folder)
    assert statuses(folder) == {}


def test_a_file_that_cannot_be_imported_makes_the_run_not_full(tmp_path: Path) -> None:
    folder = project(tmp_path)
    (folder / "tests" / "test_b.py").write_text("import nothing_of_this_name")
    run(folder)
    assert coverage.read_results(folder) is None


@pytest.mark.parametrize(
    ("mark", "cause"),
    [
        ('"limits.lcp"', "there is no use case 'limits.lcp': did you mean limits.lpc"),
        ("", "write use_case"),
        ('"limits.lpc", part=1', "write use_case"),
    ],
)
def test_a_wrong_mark_fails_the_run_and_says_why(tmp_path: Path, mark: str, cause: str) -> None:
    ended = run(project(tmp_path, f'@__import__("pytest").mark.use_case({mark})\ndef test_it(): pass\n'))
    assert ended.returncode == pytest.ExitCode.USAGE_ERROR
    assert cause in ended.stdout + ended.stderr


def test_without_a_full_run_all_is_open_and_the_remedy_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "read_results", lambda: None)
    shown = CliRunner().invoke(_app(), [])
    assert "149 use cases: 0 proven, 0 partial, 149 open" in shown.output
    for id in use_cases():
        assert any(line.split()[:2] == [id, "open"] for line in shown.output.splitlines())
    assert "make test" in shown.output


def test_json_has_every_use_case_and_exactly_these_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(
        tests=1, results=(Result(use_case="limits.lpc", test="tests/a.py::b", partial=False, outcome="passed"),)
    )
    monkeypatch.setattr(coverage, "read_results", lambda: results)
    found = msgspec.json.decode(CliRunner().invoke(_app(), ["--json"]).output)
    assert list(found) == ["use_cases"]
    assert len(found["use_cases"]) == 149
    assert found["use_cases"][0] == {
        "id": "limits.lpc",
        "title": "Limit power consumption and production, with heartbeat and failsafe",
        "status": "proven",
        "tests": ["tests/a.py::b"],
    }
    some = msgspec.json.decode(CliRunner().invoke(_app(), ["--json", "--family", "ops"]).output)["use_cases"]
    assert {one["id"].partition(".")[0] for one in some} == {"ops"}


def test_a_family_that_is_none_is_refused_with_the_known_ones() -> None:
    ended = CliRunner().invoke(_app(), ["--family", "limit"])
    assert ended.exit_code == 2
    assert "metering" in ended.output


def test_the_catalogue_is_whole() -> None:
    assert len(use_cases()) == 149
    assert {one.family for one in use_cases().values()} == {one.id for one in families()}
    assert all(one.id.startswith(f"{one.family}.") and one.core and one.roles for one in use_cases().values())
    assert use_case("limits.lpc").sources == ("NG-01", "IC-DE-PUC-LPC")


def test_the_page_is_as_fresh_as_the_catalogue() -> None:
    assert coverage.PAGE.read_text(encoding="utf-8") == coverage.page(), "run `gridparley coverage --write-docs`"


def _app() -> typer.Typer:
    app = typer.Typer()
    app.command()(coverage.command)
    return app
