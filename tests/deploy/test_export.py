"""What is exported is complete, points nowhere into the void, and says the same as the bus does."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from typer.testing import CliRunner

from agents.kit.skill import vocabulary_of
from bus.address import parse
from contracts.kit import vocabulary
from contracts.roles import CEM, DSO, METER
from deploy.pages import contracts_page, export
from tests.deploy.test_recorder import Guard, Measure, Obey

KNOWN = {DSO: vocabulary_of((Guard,)), CEM: vocabulary_of((Obey,)), METER: vocabulary_of((Measure,))}
PLACES = {
    "site": "h07",
    "role": "cem",
    "name": "main",
    "to_site": "grid",
    "to_role": "dso",
    "to_name": "north",
    "group": "g",
}


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        here = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return here.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


@pytest.mark.parametrize("known", [KNOWN, None], ids=["three roles", "all roles"])
def test_every_reference_resolves(known: Any) -> None:
    document = export.asyncapi(known)
    assert document["asyncapi"] == "3.0.0"
    for reference in references(document):
        here = document
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


@pytest.mark.parametrize("known", [KNOWN, None], ids=["three roles", "all roles"])
def test_every_channel_is_a_subject_of_the_word_that_it_carries(known: Any) -> None:
    channels = export.asyncapi(known)["channels"]
    assert channels
    for channel in channels.values():
        assert {f"{{{name}}}" for name in channel["parameters"]} == {
            part for part in channel["address"].split(".") if part.startswith("{")
        }
        parsed = parse(channel["address"].format(**PLACES))
        assert parsed is not None
        kind = vocabulary()[(parsed.topic, parsed.edition, parsed.word)]
        assert list(channel["messages"]) == [kind.__name__]


def test_operations_say_who_says_and_hears_what() -> None:
    operations = export.asyncapi(KNOWN)["operations"]
    assert {name: one["action"] for name, one in operations.items()} == {
        "dso_says_set_limit_to_cem": "send",
        "dso_hears_limit_accepted_from_cem": "receive",
        "dso_hears_limit_refused_from_cem": "receive",
        **{f"cem_hears_set_limit_from_{guard}": "receive" for guard in ("dso", "hes")},
        **{f"cem_says_limit_accepted_to_{guard}": "send" for guard in ("dso", "hes")},
        **{f"cem_says_limit_refused_to_{guard}": "send" for guard in ("dso", "hes")},
        "meter_says_gcp_reading": "send",
    }


def test_every_word_has_its_schema_with_units_and_envelope(tmp_path: Path) -> None:
    written = export.export(tmp_path)
    kinds = [kind for several in contracts_page.words().values() for kind in several]
    assert len(written) == 1 + len(kinds)
    limit = msgspec.json.decode((tmp_path / "schemas" / "power_limit.1.set_limit.json").read_bytes())
    assert limit["$schema"].endswith("2020-12/schema")
    shown = limit["$defs"]["LimitSlot"]["properties"]["limit_w"]
    assert shown["x-unit"] == "W"
    document = msgspec.json.decode((tmp_path / "asyncapi.json").read_bytes())
    assert set(document["components"]["messages"]) == {kind.__name__ for kind in kinds}
    envelope = document["components"]["schemas"]["Envelope_SetLimit_"]
    assert {"id", "at", "deadline", "body"} <= set(envelope["properties"])


def test_the_command_writes_where_it_is_told(tmp_path: Path) -> None:
    app = typer.Typer()
    app.add_typer(export.app, name="contracts")
    ended = CliRunner().invoke(app, ["contracts", "export", str(tmp_path / "deep" / "er")])
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "deep" / "er" / "asyncapi.json").exists()
