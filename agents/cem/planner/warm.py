"""A first plan for nobody, so that processes that are forked afterwards share what planning loads and fills.

Several megabytes that each energy manager would otherwise have for itself, and the seconds of its first plan. The
solver runs in the calling thread and leaves none behind, so forking stays safe.
"""

from agents.cem.planner.problem import Battery, Charge, Connection, Horizon, Prices, Problem, Pv, Thermal
from agents.cem.planner.solve import solve

SLOTS = 24


def warm() -> None:
    """Plan a small home once: relaxation, dive, tree and reasons all run."""
    n, start = SLOTS, 1_463_731_200.0
    dear = tuple(0.2 + 0.02 * (i % 7) for i in range(n))
    solve(
        Problem(
            horizon=Horizon(start_s=start, count=n),
            prices=Prices(buy_eur_per_kwh=dear, sell_eur_per_kwh=(0.08,) * n),
            connection=Connection(load_w=(400.0,) * n, upper_w=(11_000.0,) * n, fuse_w=8000.0),
            devices=(
                Pv(name="pv.1", forecast_w=tuple(-250.0 * min(i, n - i) for i in range(n))),
                Battery(
                    name="battery.1",
                    energy_wh=2000.0,
                    maximum_wh=9000.0,
                    charge_w=4000.0,
                    discharge_w=4000.0,
                ),
                Charge(
                    name="evse.1",
                    energy_wh=8000.0,
                    target_wh=14_000.0,
                    maximum_wh=40_000.0,
                    arrival_s=start,
                    departure_s=start + n * 900.0,
                    max_power_w=11_000.0,
                ),
                Thermal(
                    name="heatpump.1",
                    temperature_c=21.0,
                    capacity_wh_per_k=5000.0,
                    loss_w_per_k=200.0,
                    ambient_c=(5.0,) * n,
                    minimum_c=(20.0,) * n,
                    maximum_c=(22.5,) * n,
                    cop=(3.0,) * n,
                    min_power_w=1000.0,
                    max_power_w=3000.0,
                    min_on_s=1800.0,
                    min_off_s=1800.0,
                ),
            ),
        )
    )
