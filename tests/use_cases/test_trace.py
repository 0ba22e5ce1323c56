"""One trace across processes: from the control room's decision over two talks to the register of an inverter."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# The transformer is small: at one in May the sun on one roof overloads it.
OVERLOAD = """
name = "overload"
[run]
start = 2016-05-20T13:00:00+02:00
until = 2016-05-20T16:00:00+02:00
speed = 30.0
[grid]
transformer_va = 2000.0
agents = [
  { role = "dso", name = "north" },
  { role = "meter", name = "substation", device = "eastron_sdm630", unit = 1 },
  { role = "ops", name = "recorder" },
]
[[site]]
name = "h07"
bus = 7
contract_consumption_w = 15000.0
contract_production_w = 9000.0
fuse_a = 35.0
household = { profile = "L1-A", power_w = 1000.0 }
agents = [
  { role = "cem", name = "main" },
  { role = "meter", name = "main", device = "eastron_sdm630", unit = 1 },
  { role = "pv", name = "1", device = "sunspec_inverter", unit = 30, rating_w = 9000.0, profile = "PV6" },
]
"""
WAIT_S = 100.0
DSO, CEM, PV = "grid.dso.north", "h07.cem.main", "h07.pv.1"
Span = dict[str, Any]


@pytest.fixture(scope="module")
def spans(tmp_path_factory: pytest.TempPathFactory) -> list[Span]:
    """All spans of a run of the command line, with ``process`` added: the file each was found in."""
    here = tmp_path_factory.mktemp("trace")
    (here / "overload.toml").write_text(OVERLOAD)
    out = here / "out"
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "up", "overload.toml", "--headless", "--out", str(out), "--for", "8m"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [
        {**json.loads(line), "process": file.stem}
        for file in (out / "spans").glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]


def ancestors(span: Span, by_id: dict[str, Span]) -> Iterator[Span]:
    """From a span up to the root of its trace."""
    at: Span | None = span
    while at is not None:
        yield at
        at = by_id.get(str(at["parent_id"]))


def test_a_register_write_descends_from_the_control_rooms_decision(spans: list[Span]) -> None:
    by_id = {span["context"]["span_id"]: span for span in spans}
    lines = [list(ancestors(span, by_id)) for span in spans if span["name"].startswith("write ")]
    caused = [line for line in lines if line[-1]["name"] == "decide limits"]
    assert caused, f"no write descends from a decision; roots are { {line[-1]['name'] for line in lines} }"
    line = list(reversed(caused[0]))
    assert len({span["context"]["trace_id"] for span in line}) == 1
    names = [span["name"] for span in line]
    wanted = [
        ("decide limits", DSO),
        ("limit_write energy_guard", DSO),
        ("limit_write controllable_system", CEM),
        ("power_control energy_manager", CEM),
        ("power_control device", PV),
        (names[-1], PV),
    ]
    found = [(span["name"], span["process"]) for span in line]
    assert [step for step in found if step in wanted] == wanted, found
    starts = [span["start_time"] for span in line]
    assert starts == sorted(starts)


def test_a_span_says_which_talk_table_side_and_use_case_it_belongs_to(spans: list[Span]) -> None:
    talks = [span for span in spans if span["name"] == "limit_write controllable_system"]
    assert talks
    for span in talks:
        attributes = span["attributes"]
        assert attributes["messaging.system"] == "nats"
        assert attributes["gridparley.table"] == "limit_write"
        assert attributes["gridparley.side"] == "controllable_system"
        assert "limits.lpc" in attributes["gridparley.use_cases"]
        assert attributes["gridparley.state"] == "end"
        both = [
            other
            for other in spans
            if other["attributes"].get("messaging.message.conversation_id")
            == attributes["messaging.message.conversation_id"]
        ]
        assert {other["process"] for other in both} == {DSO, CEM}


def test_each_process_names_its_role_and_its_instance(spans: list[Span]) -> None:
    for span in spans:
        resource = span["resource"]["attributes"]
        assert resource["service.instance.id"] == span["process"]
        assert resource["service.name"] == span["process"].split(".")[1]
