"""The low-voltage feeder: what the customers inject per phase, in; what the wires make of it, out.

Solved by power-grid-model, per phase (asymmetric), constant power. The model is built once; a step only updates the
customers' injections in place.

Zero sequence (SimBench gives positive sequence only):

- Cables: the current returns by the fourth conductor, which has the phases' cross-section, and by nothing else.
  Kirchhoff gives Z0 = Z1 + 3 Zn, so R0 = 4 R1; the same ratio is taken for X0. The earth path would lower both:
  unbalance is over- rather than understated.
- Transformer: Dyn5, star point earthed: zero-sequence current circulates in the delta, the medium voltage sees none.
- Capacitance: C0 = C1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from power_grid_model import (
    BranchSide,
    ComponentAttributeFilterOptions,
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    WindingType,
    initialize_array,
)

from world.grid import Grid, Line

Floats = NDArray[np.float64]

ZERO_SEQUENCE_RATIO = 4.0
CLOCK_DYN5 = 5
_LOAD_IDS, _LINE_IDS, _TRANSFORMER_ID, _SOURCE_ID = 100, 200, 300, 400
_OUTPUT: dict[ComponentType, set[str] | list[str] | ComponentAttributeFilterOptions | None] = {
    ComponentType.node: ["u"],
    ComponentType.transformer: ["p_to", "q_to", "i_to", "s_from", "s_to"],
}


@dataclass(frozen=True)
class Solution:
    """What the feeder looks like at one instant.

    voltage_v                       (buses, 3)  phase to neutral at each connection point, order of ``Feeder.buses``
    busbar_voltage_v                (3,)        at the transformer's low side
    transformer_power_w             (3,)        low side, per phase, + = into the street
    transformer_reactive_power_var  (3,)        likewise
    transformer_current_a           (3,)        magnitude, low side
    transformer_loading_percent     ()          apparent power of the more loaded side over the rating
    """

    voltage_v: Floats
    busbar_voltage_v: Floats
    transformer_power_w: Floats
    transformer_reactive_power_var: Floats
    transformer_current_a: Floats
    transformer_loading_percent: float


class Feeder:
    """A built model of one grid with one three-phase injection at each connection point.

    ``rated_va``: what 100 % of the transformer's load is, where its operator counts on less than its plate says.
    """

    def __init__(self, grid: Grid, rated_va: float = 0.0) -> None:
        self.buses = grid.connection_points
        self._rated_va = rated_va or grid.transformer.rated_va
        nodes = [grid.medium_voltage_bus, grid.busbar, *self.buses]
        self._model = PowerGridModel(
            {
                ComponentType.node: _nodes(grid, nodes),
                ComponentType.line: _lines(grid.lines),
                ComponentType.transformer: _transformer(grid),
                ComponentType.source: _source(grid),
                ComponentType.asym_load: _loads(self.buses),
            }
        )
        self._update = initialize_array(DatasetType.update, ComponentType.asym_load, len(self.buses))
        self._update["id"] = [_LOAD_IDS + bus for bus in self.buses]
        # power-grid-model answers in the order of the ids it was given
        self._busbar_row = 1
        self._first_row = 2
        self._dead = Solution(
            voltage_v=np.zeros((len(self.buses), 3)),
            busbar_voltage_v=np.zeros(3),
            transformer_power_w=np.zeros(3),
            transformer_reactive_power_var=np.zeros(3),
            transformer_current_a=np.zeros(3),
            transformer_loading_percent=0.0,
        )

    def solve(self, power_w: Floats, reactive_power_var: Floats) -> Solution:
        """Solve one instant.

        power_w             (buses, 3)  + = taken from the grid, per phase
        reactive_power_var  (buses, 3)  + = inductive
        raises              power_grid_model.errors.PowerGridError  no solution: the injections are beyond the grid
        """
        self._update["p_specified"] = power_w
        self._update["q_specified"] = reactive_power_var
        self._model.update(update_data={ComponentType.asym_load: self._update})
        out: Any = self._model.calculate_power_flow(symmetric=False, output_component_types=_OUTPUT)
        voltage, transformer = out[ComponentType.node]["u"], out[ComponentType.transformer]
        apparent_va = max(float(transformer["s_from"].sum()), float(transformer["s_to"].sum()))
        return Solution(
            voltage_v=voltage[self._first_row :],
            busbar_voltage_v=voltage[self._busbar_row],
            # power-grid-model counts power at a branch end into the branch
            transformer_power_w=-transformer["p_to"][0],
            transformer_reactive_power_var=-transformer["q_to"][0],
            transformer_current_a=transformer["i_to"][0],
            transformer_loading_percent=100 * apparent_va / self._rated_va,
        )

    def dark(self) -> Solution:
        """The street without voltage."""
        return self._dead


def _nodes(grid: Grid, buses: list[int]) -> Any:
    nodes = initialize_array(DatasetType.input, ComponentType.node, len(buses))
    nodes["id"] = buses
    nodes["u_rated"] = grid.transformer.low_v
    nodes["u_rated"][0] = grid.transformer.high_v
    return nodes


def _lines(lines: tuple[Line, ...]) -> Any:
    array = initialize_array(DatasetType.input, ComponentType.line, len(lines))
    array["id"] = np.arange(len(lines)) + _LINE_IDS
    array["from_node"] = [line.from_bus for line in lines]
    array["to_node"] = [line.to_bus for line in lines]
    array["from_status"] = array["to_status"] = 1
    km = np.array([line.length_m for line in lines]) / 1e3
    array["r1"] = km * [line.r_ohm_per_km for line in lines]
    array["x1"] = km * [line.x_ohm_per_km for line in lines]
    array["c1"] = km * [line.c_nf_per_km * 1e-9 for line in lines]
    array["tan1"] = array["tan0"] = 0.0
    array["r0"] = array["r1"] * ZERO_SEQUENCE_RATIO
    array["x0"] = array["x1"] * ZERO_SEQUENCE_RATIO
    array["c0"] = array["c1"]
    array["i_n"] = [line.rated_a for line in lines]
    return array


def _transformer(grid: Grid) -> Any:
    data = grid.transformer
    array = initialize_array(DatasetType.input, ComponentType.transformer, 1)
    array["id"] = _TRANSFORMER_ID
    array["from_node"], array["to_node"] = grid.medium_voltage_bus, grid.busbar
    array["from_status"] = array["to_status"] = 1
    array["u1"], array["u2"], array["sn"] = data.high_v, data.low_v, data.rated_va
    array["uk"] = data.short_circuit_percent / 100
    array["pk"] = data.short_circuit_resistive_percent / 100 * data.rated_va
    array["i0"], array["p0"] = data.no_load_current_percent / 100, data.no_load_loss_w
    array["winding_from"], array["winding_to"], array["clock"] = WindingType.delta, WindingType.wye_n, CLOCK_DYN5
    array["tap_side"], array["tap_pos"], array["tap_nom"] = BranchSide.from_side, data.tap_position, 0
    array["tap_min"], array["tap_max"] = data.tap_min, data.tap_max
    array["tap_size"] = data.tap_step_percent / 100 * data.high_v
    return array


def _source(grid: Grid) -> Any:
    array = initialize_array(DatasetType.input, ComponentType.source, 1)
    array["id"], array["node"], array["status"] = _SOURCE_ID, grid.medium_voltage_bus, 1
    array["u_ref"] = grid.source.voltage_pu
    return array


def _loads(buses: tuple[int, ...]) -> Any:
    array = initialize_array(DatasetType.input, ComponentType.asym_load, len(buses))
    array["id"] = [_LOAD_IDS + bus for bus in buses]
    array["node"] = list(buses)
    array["status"] = 1
    array["type"] = LoadGenType.const_power
    array["p_specified"] = array["q_specified"] = 0.0
    return array
