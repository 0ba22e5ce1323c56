"""The optimum with perfect foresight, as a bound: one linear program over the whole time.

It is relaxed: the car may charge below 6 A, a machine may start in parts, the battery may charge and discharge at
once. So no plan can be cheaper, and what a plan reaches of its savings is understated.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import highspy
import numpy as np

from bench.year_cases import Account, State
from bench.year_home import (
    BATTERY,
    CAR_W,
    CELLAR_C,
    COLDEST_C,
    HOTTEST_C,
    HOURS,
    PUMP_W,
    SELL_EUR_PER_KWH,
    TANK_LOSS_W_PER_K,
    TANK_WH_PER_K,
    Household,
    Row,
)

INF = float("inf")


@dataclass
class Sparse:
    """Rows of a linear program, put together piece by piece."""

    lower: list[Row] = field(default_factory=list)
    upper: list[Row] = field(default_factory=list)
    entries: list[tuple[Row, Row, Row]] = field(default_factory=list)
    count: int = 0

    def rows(self, lower: Row, upper: Row) -> Row:
        """New rows; their numbers."""
        self.lower.append(lower)
        self.upper.append(upper)
        numbers = np.arange(self.count, self.count + len(lower), dtype=np.float64)
        self.count += len(lower)
        return numbers

    def put(self, rows: Row, columns: Row, values: Row | float) -> None:
        self.entries.append((rows, columns, np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape)))


def optimum(home: Household, first: int, last: int, wear_eur_per_kwh: float) -> Account:
    """The cheapest from row ``first`` until row ``last``, ending with no less in the stores than it began with.

    In kW and kWh inside. Raises RuntimeError when the solver proves nothing.
    """
    n, began, rows = last - first, State(), Sparse()
    part = slice(first, last)
    sun, load = -home.sun_w[part] / 1000, home.load_w[part] / 1000
    names = ("buy", "sell", "charge", "discharge", "stored", "pump", "tank")
    column = {name: np.arange(n, dtype=np.float64) + n * number for number, name in enumerate(names)}
    rating, one_way = BATTERY.rating_w / 1000, BATTERY.efficiency_share**0.5
    floor = BATTERY.capacity_wh * BATTERY.reserve_percent / 100 / 1000
    zero, full = np.zeros(n), np.ones(n)
    lower = [zero, zero, zero, zero, full * floor, zero, full * COLDEST_C]
    upper = [full * INF, sun, full * rating, full * rating, full * BATTERY.capacity_wh / 1000,
             full * PUMP_W / 1000, full * HOTTEST_C]  # fmt: skip
    lower[4][-1], lower[6][-1] = began.stored_wh / 1000, began.tank_c
    wear = full * wear_eur_per_kwh * HOURS
    cost = [home.buy[part] * HOURS, -full * SELL_EUR_PER_KWH * HOURS, wear, wear, zero, zero, zero]

    balance = rows.rows(load - sun, load - sun)
    own = rows.rows(-full * INF, load)  # what is discharged is used here
    for name, sign in (("buy", 1.0), ("sell", -1.0), ("charge", -1.0), ("discharge", 1.0), ("pump", -1.0)):
        rows.put(balance, column[name], sign)
    rows.put(own, column["discharge"], 1.0)
    rows.put(own, column["pump"], -1.0)

    keeps = 1 - BATTERY.self_discharge_percent_per_day / 100 / 96
    start = zero.copy()
    start[0] = keeps * began.stored_wh / 1000
    stored = rows.rows(start, start)
    rows.put(stored, column["stored"], 1.0)
    rows.put(stored[1:], column["stored"][:-1], -keeps)
    rows.put(stored, column["charge"], -one_way * HOURS)
    rows.put(stored, column["discharge"], HOURS / one_way)

    cools = 1 - TANK_LOSS_W_PER_K * HOURS / TANK_WH_PER_K
    drawn = (TANK_LOSS_W_PER_K * CELLAR_C - home.heat_w[part]) * HOURS / TANK_WH_PER_K
    drawn[0] += cools * began.tank_c
    tank = rows.rows(drawn, drawn)
    rows.put(tank, column["tank"], 1.0)
    rows.put(tank[1:], column["tank"][:-1], -cools)
    rows.put(tank, column["pump"], -home.cop[part] * 1000 * HOURS / TANK_WH_PER_K)

    count = n * len(names)
    car_wh = 0.0
    for stay in home.stays:
        if first <= stay.come and stay.leave <= last:
            places = np.arange(stay.come, stay.leave, dtype=np.float64) - first
            columns = count + np.arange(len(places), dtype=np.float64)
            count += len(places)
            lower.append(np.zeros(len(places)))
            upper.append(np.full(len(places), CAR_W / 1000))
            cost.append(np.zeros(len(places)))
            rows.put(balance[places.astype(int)], columns, -1.0)
            rows.put(own[places.astype(int)], columns, -1.0)
            need = np.array([stay.energy_wh / 1000])
            rows.put(np.repeat(rows.rows(need, need), len(places)), columns, HOURS)
            car_wh += stay.energy_wh
    for errand in home.errands:
        if first <= errand.armed and errand.until <= last:
            starts = np.arange(errand.starts.start, errand.starts.stop, dtype=np.float64) - first
            columns = count + np.arange(len(starts), dtype=np.float64)
            count += len(starts)
            lower.append(np.zeros(len(starts)))
            upper.append(np.ones(len(starts)))
            cost.append(np.zeros(len(starts)))
            one = np.array([1.0])
            rows.put(np.repeat(rows.rows(one, one), len(starts)), columns, 1.0)
            for later, power in enumerate(errand.powers_w):
                places = (starts + later).astype(int)
                rows.put(balance[places], columns, -power / 1000)
                rows.put(own[places], columns, -power / 1000)
    x = _solved(rows, lower, upper, cost)
    flows = {name: x[n * number : n * (number + 1)] for number, name in enumerate(names)}
    return _account(home, part, flows, car_wh)


def _solved(rows: Sparse, lower: list[Row], upper: list[Row], cost: list[Row]) -> Row:
    row, column, value = (np.concatenate([e[k] for e in rows.entries]) for k in range(3))
    order = np.lexsort((row, column))
    low, high, price = (np.concatenate(each) for each in (lower, upper, cost))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(low), rows.count
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = price, low, high
    lp.row_lower_, lp.row_upper_ = np.concatenate(rows.lower), np.concatenate(rows.upper)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.searchsorted(column[order], np.arange(len(low) + 1)).astype(np.int32)
    lp.a_matrix_.index_ = row[order].astype(np.int32)
    lp.a_matrix_.value_ = value[order]
    solver: Any = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("threads", 1)
    if len(low) > 50_000:
        solver.setOptionValue("solver", "ipm")
        solver.setOptionValue("run_crossover", "off")
    solver.passModel(lp)
    solver.run()
    status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"the optimum with foresight was not found: {solver.modelStatusToString(status)}")
    return np.array(solver.getSolution().col_value)


def _account(home: Household, part: slice, flows: dict[str, Row], car_wh: float) -> Account:
    bought, sold = flows["buy"], flows["sell"]
    wh = 1000 * HOURS
    sun = -float(home.sun_w[part].sum()) * HOURS
    used = float((bought - sold - flows["charge"] + flows["discharge"]).sum()) * wh + sun
    return Account(
        bill_eur=float((bought * home.buy[part]).sum() - sold.sum() * SELL_EUR_PER_KWH) * HOURS,
        wear_wh=float((flows["charge"] + flows["discharge"]).sum()) * wh,
        bought_wh=float(bought.sum()) * wh,
        sold_wh=float(sold.sum()) * wh,
        sun_wh=sun,
        used_wh=used,
        car_wh=car_wh,
        peak_w=float(bought.max()) * 1000,
        coldest_c=float(flows["tank"].min()),
    )


def whole(spans: Iterable[tuple[int, int]], home: Household, wear_eur_per_kwh: float) -> Account:
    """Several times, each for itself."""
    total = Account()
    for first, last in spans:
        total.add(optimum(home, first, last, wear_eur_per_kwh))
    return total
