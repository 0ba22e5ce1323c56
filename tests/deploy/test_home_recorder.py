"""Who records one home beside the run's own recorder leaves what that one has written as it is."""

from datetime import timedelta
from pathlib import Path

from deploy.containers.record_process import begin
from deploy.records.run_facts import RunEnd, RunFacts
from deploy.topology import load


def test_a_homes_recorder_that_begins_anew_does_not_undo_the_runs_end(tmp_path: Path) -> None:
    facts = RunFacts.of(load("home"))
    begin(tmp_path, facts, goes_on=True)
    RunEnd(ended=facts.start + timedelta(hours=1), lags_s={}, held_back=0).write(tmp_path)
    begin(tmp_path, facts, goes_on=False)
    assert RunEnd.read(tmp_path) is not None
    begin(tmp_path, facts, goes_on=True)
    assert RunEnd.read(tmp_path) is None, "the run itself goes on"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json"]
