"""A submeter measures and takes no orders."""

import pytest

from agents.kit.hardware import Envelope, Impossible
from agents.submeter.terminals import SubmeterSettings, SubmeterTerminals
from contracts import device_file

METER = SubmeterTerminals(SubmeterSettings(measures="heatpump1"), device_file.load("eastron_sdm72d"))


def test_its_range_is_what_flows() -> None:
    reading = METER.reading({"power_w": -1_500.0, "import_wh": 12_500.0}, 0.0)
    assert (reading.power_w, reading.lower_w, reading.upper_w) == (-1_500.0, -1_500.0, -1_500.0)
    assert (reading.operating, reading.energy_wh) == ("running", 12_500.0)


def test_it_announces_what_it_measures_and_refuses_orders() -> None:
    announce = METER.capabilities({})
    assert (announce.device_class, announce.functions, announce.measures) == ("submeter", ("measure",), "heatpump1")
    with pytest.raises(Impossible) as refused:
        METER.plan(Envelope(upper_w=100.0), {})
    assert refused.value.reason.code == "no_control"
