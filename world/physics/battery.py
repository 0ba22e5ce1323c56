"""A battery with its inverter, seen from its AC side."""

import msgspec

_HOUR_S = 3600.0
_DAY_S = 86400.0


class Battery(msgspec.Struct, frozen=True, kw_only=True):
    """What the battery is.

    efficiency_share  of a full cycle; half of the loss (its square root) falls on each direction
    reserve_percent   never discharged below
    """

    rating_w: float
    capacity_wh: float
    efficiency_share: float = 0.95
    self_discharge_percent_per_day: float = 0.13
    reserve_percent: float = 5.0


class BatteryState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``power_w`` + = charging; the two counters count at the AC side and only rise."""

    energy_wh: float
    power_w: float = 0.0
    import_wh: float = 0.0
    export_wh: float = 0.0


def soc_percent(battery: Battery, state: BatteryState) -> float:
    return 100 * state.energy_wh / battery.capacity_wh


def step(battery: Battery, state: BatteryState, dt_s: float, wanted_w: float) -> BatteryState:
    """Follow ``wanted_w`` as far as rating, room and reserve allow."""
    one_way = battery.efficiency_share**0.5
    hours = dt_s / _HOUR_S
    stored = state.energy_wh * (1 - battery.self_discharge_percent_per_day / 100 * dt_s / _DAY_S)
    floor = battery.capacity_wh * battery.reserve_percent / 100
    most = min(battery.rating_w, max(0.0, battery.capacity_wh - stored) / (one_way * hours))
    least = 0.0 - min(battery.rating_w, max(0.0, stored - floor) * one_way / hours)
    power = min(max(wanted_w, least), most) + 0.0  # no negative zero
    moved = power * hours
    return BatteryState(
        energy_wh=stored + (moved * one_way if power > 0 else moved / one_way),
        power_w=power,
        import_wh=state.import_wh + max(moved, 0.0),
        export_wh=state.export_wh + max(-moved, 0.0),
    )


def self_consumption_w(residual_w: float) -> float:
    """What the inverter does when nobody sets it: bring the site's own exchange to zero.

    residual_w  the site without the battery, + = taken. A site without surplus never charges it.
    """
    return 0.0 - residual_w
