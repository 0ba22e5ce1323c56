"""The feeder against pandapower's solution of the same instant, and what follows from unbalance."""

import json
from pathlib import Path

import numpy as np
import pytest

from world.feeder import Feeder
from world.grid import rural_grid

CASE = json.loads((Path(__file__).parent / "cases/simbench_noon/case.json").read_text())
PHASE_V = 400 / 3**0.5


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return Feeder(rural_grid())


def injections(key: str) -> np.ndarray:
    return np.repeat(np.array(CASE[key])[:, None] / 3, 3, axis=1)


def test_the_noon_of_the_default_run_is_what_pandapower_says(feeder: Feeder) -> None:
    assert list(feeder.buses) == CASE["buses"]
    solved = feeder.solve(injections("power_w"), injections("reactive_power_var"))
    for phase in range(3):
        assert solved.voltage_v[:, phase] / PHASE_V == pytest.approx(CASE["voltage_pu"], rel=0.005)
        assert solved.busbar_voltage_v[phase] / PHASE_V == pytest.approx(CASE["busbar_voltage_pu"], rel=0.005)
    assert solved.transformer_loading_percent == pytest.approx(CASE["transformer_loading_percent"], rel=0.01)
    assert solved.transformer_power_w.sum() == pytest.approx(CASE["transformer_low_side_power_w"], rel=0.01)


def test_a_load_on_one_phase_pulls_that_phase_down_and_lifts_another(feeder: Feeder) -> None:
    idle = np.zeros((len(feeder.buses), 3))
    before = feeder.solve(idle, idle).voltage_v.copy()
    power_w = idle.copy()
    row = feeder.buses.index(5)
    power_w[row, 0] = 3700.0
    after = feeder.solve(power_w, idle)
    change = after.voltage_v[row] - before[row]
    assert change[0] < -1.5
    assert change.max() > 0.2  # the neutral's voltage drop
    assert after.transformer_power_w[0] > 3600
    assert abs(after.transformer_power_w[1]) < 200


def test_a_dark_street_has_neither_voltage_nor_power(feeder: Feeder) -> None:
    dark = feeder.dark()
    assert not dark.voltage_v.any()
    assert dark.transformer_loading_percent == 0.0


def test_an_operator_may_count_on_less_than_the_plate_says(feeder: Feeder) -> None:
    half = Feeder(rural_grid(), rated_va=rural_grid().transformer.rated_va / 2)
    load = injections("power_w"), injections("reactive_power_var")
    whole = feeder.solve(*load).transformer_loading_percent
    assert half.solve(*load).transformer_loading_percent == pytest.approx(2 * whole)
