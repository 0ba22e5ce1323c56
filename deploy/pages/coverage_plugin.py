"""A pytest plugin that notes which use cases the tests prove. Loaded in pyproject, by ``-p``.

    @pytest.mark.use_case("limits.lpc")                    this test proves the whole use case
    @pytest.mark.use_case("limits.lpc", partial=True)      this one a part of it

Only a full run replaces the result: nothing selected or left out, everything collected, run to its end. What a run of a
few tests shows says nothing about the rest.
"""

from pathlib import Path

import msgspec
import pytest

from contracts.use_cases import UnknownUseCase, use_case
from deploy.pages.coverage import Outcome, Result, Results, results_path

_MARK = "use_case"


class UseCases:
    """Collects marks and outcomes of one run.

    Marks travel with the reports, so that tests may run in several processes: only the one that leads writes.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._marked: dict[str, list[tuple[str, bool]]] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._tests: set[str] = set()
        self._left_out = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        faults = []
        for item in items:
            for mark in item.iter_markers(_MARK):
                if not mark.args or set(mark.kwargs) - {"partial"}:
                    faults.append(f"{item.nodeid}: write use_case(id, ..., partial=True or left out)")
                for id in mark.args:
                    try:
                        use_case(id)
                    except UnknownUseCase as problem:
                        faults.append(f"{item.nodeid}: {problem}")
                    else:
                        item.user_properties.append((_MARK, [id, bool(mark.kwargs.get("partial"))]))
        if faults:
            raise pytest.UsageError("\n".join(faults))

    def pytest_deselected(self) -> None:
        self._left_out = True

    def selects_all(self) -> bool:
        """Nothing narrows the run down: no path, no expression, no file or test left out."""
        option = self._config.option
        by_config = self._config.args_source is pytest.Config.ArgsSource.TESTPATHS
        narrowed = [
            getattr(option, name, None) for name in ("keyword", "markexpr", "ignore", "ignore_glob", "deselect")
        ]
        return by_config and not any(narrowed) and not option.collectonly

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._tests.add(report.nodeid)
        marks = [(str(value[0]), bool(value[1])) for name, value in report.user_properties if name == _MARK]  # type: ignore[index]
        if not marks or str(report.outcome) == "rerun":  # what counts is the second try
            return
        self._marked[report.nodeid] = marks
        worse: dict[Outcome, int] = {"passed": 0, "skipped": 1, "failed": 2}
        outcome: Outcome = report.outcome
        known = self._outcomes.get(report.nodeid, "passed")
        self._outcomes[report.nodeid] = max(known, outcome, key=lambda one: worse[one])

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        whole = self.selects_all() and not self._left_out and not session.shouldstop and not session.shouldfail
        if not (ended and whole) or hasattr(self._config, "workerinput"):
            return
        results = [
            Result(use_case=id, test=test, partial=partial, outcome=self._outcomes.get(test, "failed"))
            for test, marks in self._marked.items()
            for id, partial in marks
        ]
        path: Path = results_path(self._config.rootpath)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(msgspec.json.encode(Results(tests=len(self._tests), results=tuple(results))))


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(UseCases(config), "gridparley-use-cases")
