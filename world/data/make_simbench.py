"""Make the extract of SimBench that the world runs on, and the feeder's test case.

The extract is ``grid.json`` and ``profiles.npz`` beside this file.

Run it with a Python that has ``simbench`` installed (1.6.3 made the committed files); the project does not need it::

    python -m venv /some/where && /some/where/bin/pip install simbench==1.6.3
    /some/where/bin/python world/data/make_simbench.py [CASE_FOLDER]

With CASE_FOLDER it also solves the grid with pandapower at the noon of the default run and writes the result there: the
feeder is tested against it.
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

GRID = "1-LV-rural1--2-sw"
HERE = Path(__file__).parent
NOON = "20.05.2016 13:00"
STORAGE_SELF_DISCHARGE = "self-discharge_percent_per_day"


def _watt(mw: float) -> float:
    return round(mw * 1e6, 1)


def grid_of(net: Any) -> dict[str, Any]:
    """Buses keep SimBench's numbers; bus 0 is the medium-voltage side, bus 4 the low-voltage busbar."""
    trafo = net.trafo.iloc[0]
    return {
        "name": GRID,
        "medium_voltage_bus": int(trafo.hv_bus),
        "busbar": int(trafo.lv_bus),
        "source": {"voltage_pu": float(net.ext_grid.vm_pu.iloc[0])},
        "transformer": {
            "type": str(trafo.std_type),
            "rated_va": _watt(trafo.sn_mva),
            "high_v": float(trafo.vn_hv_kv) * 1e3,
            "low_v": float(trafo.vn_lv_kv) * 1e3,
            "short_circuit_percent": float(trafo.vk_percent),
            "short_circuit_resistive_percent": float(trafo.vkr_percent),
            "no_load_loss_w": float(trafo.pfe_kw) * 1e3,
            "no_load_current_percent": float(trafo.i0_percent),
            "tap_position": int(trafo.tap_pos),
            "tap_step_percent": float(trafo.tap_step_percent),
            "tap_min": int(trafo.tap_min),
            "tap_max": int(trafo.tap_max),
        },
        "lines": [
            {
                "name": str(line["name"]),
                "type": str(line.std_type),
                "from_bus": int(line.from_bus),
                "to_bus": int(line.to_bus),
                "length_m": round(float(line.length_km) * 1e3, 3),
                "r_ohm_per_km": float(line.r_ohm_per_km),
                "x_ohm_per_km": float(line.x_ohm_per_km),
                "c_nf_per_km": float(line.c_nf_per_km),
                "rated_a": float(line.max_i_ka) * 1e3,
            }
            for _, line in net.line.iterrows()
        ],
        "loads": [
            {
                "name": str(row["name"]),
                "bus": int(row.bus),
                "profile": str(row.profile),
                "power_w": _watt(row.p_mw),
                "reactive_var": _watt(row.q_mvar),
            }
            for _, row in net.load.iterrows()
        ],
        "pv": [
            {"name": str(row["name"]), "bus": int(row.bus), "profile": str(row.profile), "power_w": _watt(row.p_mw)}
            for _, row in net.sgen.iterrows()
        ],
        "storage": [
            {
                "name": str(row["name"]),
                "bus": int(row.bus),
                "power_w": _watt(row.sn_mva),
                "capacity_wh": _watt(row.max_e_mwh),
                "efficiency_share": float(row.efficiency_percent),
                "self_discharge_percent_per_day": float(row[STORAGE_SELF_DISCHARGE]),
            }
            for _, row in net.storage.iterrows()
        ],
    }


def columns_of(net: Any) -> dict[str, Any]:
    """Only what this grid's loads and PV use; heat pumps' and cars' reactive columns are left out (equal or zero)."""
    loads, renewables = net.profiles["load"], net.profiles["renewables"]
    columns = {}
    for profile in sorted(set(net.load.profile)):
        columns[f"{profile}.p"] = loads[f"{profile}_pload"].to_numpy(float)
        reactive = loads[f"{profile}_qload"].to_numpy(float)
        if reactive.any() and not np.array_equal(reactive, columns[f"{profile}.p"]):
            columns[f"{profile}.q"] = reactive
    for profile in sorted(set(net.sgen.profile)):
        columns[f"{profile}.p"] = renewables[profile].to_numpy(float)
    return columns


def write_profiles(columns: dict[str, Any], path: Path) -> None:
    """Per column: 16-bit counts of full scale, stored as differences in time, which halves the file."""
    names = sorted(columns)
    values = np.stack([columns[name] for name in names])
    scale = np.abs(values).max(axis=1) / 32767
    counts = np.rint(values / scale[:, None]).astype(np.int16)
    deltas = np.diff(counts, axis=1, prepend=np.zeros((len(names), 1), np.int16)).astype(np.int16)
    np.savez_compressed(path, names=np.array(names), scale=scale, deltas=deltas)


def write_case(net: Any, folder: Path) -> None:
    """What pandapower says of the grid at NOON, storage at rest: injections in, voltages and loading out."""
    import pandapower as pp  # type: ignore[import-not-found,unused-ignore]
    import simbench as sb

    row = int(np.flatnonzero(net.profiles["load"].time == NOON)[0])
    values = sb.get_absolute_values(net, profiles_instead_of_study_cases=True)
    net.load["p_mw"] = values[("load", "p_mw")].loc[row]
    net.load["q_mvar"] = values[("load", "q_mvar")].loc[row]
    net.sgen["p_mw"] = values[("sgen", "p_mw")].loc[row]
    net.storage["in_service"] = False
    net.trafo["tap_changer_type"] = "Ratio"  # left empty by simbench 1.6.3; pandapower 3 then ignores tap_pos
    pp.runpp(net, trafo_model="pi", trafo_loading="power", calculate_voltage_angles=True)
    buses = sorted(set(net.load.bus) | set(net.sgen.bus))
    power = {b: -net.sgen.p_mw[net.sgen.bus == b].sum() + net.load.p_mw[net.load.bus == b].sum() for b in buses}
    reactive = {b: net.load.q_mvar[net.load.bus == b].sum() for b in buses}
    case = {
        "instant": "2016-05-20T13:00:00+02:00",
        "buses": buses,
        "power_w": [_watt(power[b]) for b in buses],
        "reactive_power_var": [_watt(reactive[b]) for b in buses],
        "voltage_pu": [round(float(net.res_bus.vm_pu[b]), 6) for b in buses],
        "busbar_voltage_pu": round(float(net.res_bus.vm_pu[net.trafo.lv_bus.iloc[0]]), 6),
        "transformer_low_side_power_w": _watt(-net.res_trafo.p_lv_mw.iloc[0]),
        "transformer_loading_percent": round(float(net.res_trafo.loading_percent.iloc[0]), 3),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "case.json").write_text(json.dumps(case, indent=1) + "\n")


def main() -> None:
    import simbench as sb

    warnings.filterwarnings("ignore")  # pandapower warns about pandas on every load
    net = sb.get_simbench_net(GRID)
    (HERE / "grid.json").write_text(json.dumps(grid_of(net), indent=1) + "\n")
    write_profiles(columns_of(net), HERE / "profiles.npz")
    if len(sys.argv) > 1:
        write_case(net, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
