"""A mistake in a device file is named with its place; the lint finds what contradicts itself."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from contracts.device_file import DeviceFileError, all_files, faults, line_of, load
from contracts.device_form import DeviceFile

SOUND = """
device = "Test meter"
maker = "Test"
model = "T1"
class = "meter"
grade = "bronze"

[grade_rules]
"proof frames decode" = "done"
"simulator runs" = "done"

[documents.manual]
title = "Manual"
edition = "1"
publisher = "Test"

[points]
power_w = { table = "holding", address = 10, type = "s16", scale = 10, unit = "W", positive = "taken", clause = "t1" }
frequency_hz = { table = "holding", address = 11, type = "u16", scale = 0.01, unit = "Hz", clause = "table 1" }

[[proof]]
table = "holding"
read = 10
words = [0xFFFF, 5000]
says = { power_w = -10, frequency_hz = 50.0 }
origin = "computed from the document"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "test_meter.toml"
    path.write_text(text)
    return path


def changed(device: DeviceFile, **fields: Any) -> DeviceFile:
    return msgspec.structs.replace(device, **fields)


def test_a_sound_file_has_no_faults(tmp_path: Path) -> None:
    device = load(write(tmp_path, SOUND))
    assert faults(device) == []
    assert device.points["power_w"].name == "power_w"
    assert device.key == "test_meter"


def test_files_are_found_by_name_and_close_names_are_suggested(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert load("eastron_sdm630").maker == "Eastron"
    with pytest.raises(DeviceFileError, match=r"Did you mean eastron_sdm630"):
        load("eastron_sdm360")
    write(tmp_path, SOUND)
    monkeypatch.setenv("GRIDPARLEY_DEVICES", str(tmp_path))
    assert [path.stem for path in all_files()] == ["test_meter"]
    assert load("test_meter").model == "T1"
    with pytest.raises(DeviceFileError, match="no such file"):
        load(tmp_path / "other.toml")


@pytest.mark.parametrize(
    ("old", "new", "where", "named", "cause"),
    [
        ('type = "u16"', 'type = "u17"', "points.frequency_hz.type", "frequency_hz", "u17"),
        ("address = 11", 'address = "11"', "points.frequency_hz.address", "frequency_hz", "int"),
        ('class = "meter"', 'class = "toaster"', "class", "class", "toaster"),
        ("scale = 0.01", "scael = 0.01", "points.frequency_hz", "scael", "scael"),
        ('maker = "Test"\n', "", "", "", "maker"),
        ("[points]", "[points", "", "", "not TOML"),
        ("read = 10", "read = 1.5", "proof", "read", "int"),
    ],
)
def test_a_mistake_is_named_with_line_and_place(
    tmp_path: Path, old: str, new: str, where: str, named: str, cause: str
) -> None:
    assert old in SOUND
    text = SOUND.replace(old, new)
    with pytest.raises(DeviceFileError) as caught:
        load(write(tmp_path, text))
    assert cause in str(caught.value)
    assert caught.value.where.startswith(where)
    if where:
        line = text.splitlines()[caught.value.line - 1]
        assert named in line


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('unit = "W"', 'unit = "kW"', "points.power_w: unit is 'kW', the name says 'W'"),
        (', positive = "taken"', "", "points.power_w: say what a positive register means"),
        ("frequency_hz = {", "speed_hz = {", "points.speed_hz: is no point of a meter"),
        ("power_w = {", "power_l1_w = {", "points: a meter needs power_w"),
        ("address = 11", "address = 10", "points.frequency_hz: holding 10 belongs to power_w"),
        ("address = 11", "address = 65536", "points.frequency_hz: address 65536 is outside"),
        ("scale = 0.01", "scale = -0.01", "points.frequency_hz: scale -0.01 must be above 0"),
        ("scale = 0.01", "scale = 0.1", "proof[0]: frequency_hz decodes to 500.0"),
        ("read = 10", "read = 11", "proof[0]: power_w is not inside"),
        ("says = {", "says = { soc = 1,", "proof[0]: says soc, which the file does not have"),
        ('"simulator runs" = "done"', '"simulator runs" = "later"', "grade_rules: 'simulator runs' says 'later'"),
        ('grade = "bronze"', 'grade = "silver"', "grade_rules: 'unplugged, slow and garbled are tested' is missing"),
        ('grade = "bronze"', 'grade = "gold"', "grade: gold needs a proof frame recorded from a device"),
        ('unit = "Hz", clause = "table 1"', 'unit = "Hz", clause = ""', "points.frequency_hz: clause is empty"),
        ('unit = "Hz",', 'unit = "Hz", access = "rw",', "points.frequency_hz: is writable, but a meter's"),
        (
            'unit = "Hz",',
            'unit = "Hz", document = "letter",',
            "points.frequency_hz: document 'letter' is not in documents",
        ),
    ],
)
def test_what_contradicts_itself_is_found(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in SOUND
    found = faults(load(write(tmp_path, SOUND.replace(old, new, 1))))
    assert any(fault.startswith(expected) for fault in found), found


def test_a_writable_that_cannot_be_confirmed_is_found() -> None:
    evse = load("abb_terra_ac")
    limit = evse.points["current_limit_a"]

    def with_limit(**fields: Any) -> list[str]:
        return faults(
            changed(evse, points={**evse.points, "current_limit_a": msgspec.structs.replace(limit, **fields)})
        )

    assert with_limit() == []
    assert any("min and max are needed" in fault for fault in with_limit(max=None))
    assert any("cannot be written" in fault for fault in with_limit(table="input", write=None))
    assert any("cannot be written" in fault for fault in with_limit(max=5e9))
    assert any("masked" in fault for fault in with_limit(mask=0xFF))
    assert any("writes one register" in fault for fault in with_limit(function="single"))


def test_only_what_can_be_written_may_have_no_echo_and_then_share_its_register() -> None:
    heater = load("mypv_ac_elwa_2")
    assert faults(heater) == []
    echoing = msgspec.structs.replace(heater.points["power_setpoint_w"], echo=True)
    shared = changed(heater, points={**heater.points, "power_setpoint_w": echoing})
    assert any("belongs to power_w" in fault for fault in faults(shared))
    mute = msgspec.structs.replace(heater.points["power_w"], echo=False)
    silent = changed(heater, points={**heater.points, "power_w": mute})
    assert any("no echo, but access is r" in fault for fault in faults(silent))


def test_sunspec_files_are_held_to_the_models() -> None:
    inverter = load("sunspec_inverter")
    form = inverter.sunspec
    assert form is not None

    def with_point(name: str, **fields: Any) -> list[str]:
        points = {**form.points, name: msgspec.structs.replace(form.points[name], **fields)}
        return faults(changed(inverter, sunspec=msgspec.structs.replace(form, points=points)))

    assert any("no point 'Watts'" in fault for fault in with_point("power_w", at=("103.Watts",)))
    assert any("no model 999" in fault for fault in with_point("power_w", at=("999.W",)))
    assert any("read-only in SunSpec" in fault for fault in with_point("power_limit_percent", at=("103.W",)))
    assert any("min and max" in fault for fault in with_point("power_limit_percent", max=None))


def test_a_place_is_found_in_the_text() -> None:
    assert SOUND.splitlines()[line_of(SOUND, "points.frequency_hz.type") - 1].startswith("frequency_hz")
    assert SOUND.splitlines()[line_of(SOUND, "documents.manual") - 1] == "[documents.manual]"
