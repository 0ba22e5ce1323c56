"""From what is known of the home to the planner's problem. Pure: prices, forecasts, bounds, offers and wishes go in."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, sqrt

from agents.cem.comfort import comfort_c
from agents.cem.heat_history import surroundings_c
from agents.cem.planner.problem import (
    Battery,
    Charge,
    Connection,
    Effort,
    EnergyTarget,
    Fixed,
    Generator,
    HeatTarget,
    Horizon,
    Job,
    Pin,
    Prices,
    Problem,
    Programme,
    Pv,
    Series,
    Step,
    Thermal,
)
from agents.cem.planner.problem import Device as PlanDevice
from agents.cem.set_points import set_point_c
from agents.cem.settings import CemSettings
from agents.kit.local_day import next_local
from contracts.device import Announce, DeviceReading
from contracts.flexibility import (
    Flexibility,
    ModesFlexibility,
    ProfileFlexibility,
    StorageFlexibility,
    ThermalFlexibility,
)
from contracts.preferences import DevicePreferences
from contracts.profiles import SLOT_S, PlannedPower

Band = tuple[float, float, float]
"""Expected, lower, upper."""
DOUBT_EUR_PER_KWH = 0.01
"""Weighs against what is far off or only forecast: at the same price, sooner is better."""
FREE_W = 1e6
"""A bound that binds no home, in slots beside those that are bounded."""
ALL_OWN_W = 2_000.0
"""With so much surplus what a device takes counts as the home's own, with less in proportion."""
KEPT_SHARE = 0.9
"""Tomorrow is less sure than today."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """One device: what it said, what is wanted of it, what it does anyway. ``pinned`` comes from the user's hand."""

    name: str
    announce: Announce
    reading: DeviceReading | None
    flexibility: Flexibility | None
    preferences: DevicePreferences = field(default_factory=DevicePreferences)
    switched_at: float | None = None
    started_at: float | None = None
    """Of an agreed job that runs."""
    running: str = ""
    start_at: float | None = None
    """A user's own start."""
    pinned: tuple[Pin, ...] = ()
    own_plan: tuple[PlannedPower, ...] = ()
    demand_w: Series = ()
    """Heat that will be drawn, by slot; empty: as the device says."""
    cop: Series = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Surroundings:
    """Everything by slot of the horizon: prices, forecasts and bounds of the connection point."""

    buy: Sequence[float | None]
    sell: Sequence[float | None]
    green: Sequence[float | None] = ()
    binding: Sequence[bool] = ()
    beyond: Sequence[tuple[float, float] | None] = ()
    load: Sequence[Band] = ()
    pv: Sequence[Band] = ()
    outdoor_c: Sequence[float] = ()
    upper_w: Sequence[float] = ()
    upper_why: str = "grid_limit"
    lower_w: Sequence[float] = ()
    lower_why: str = "feed_in_limit"
    away: bool = False
    season: str | None = None


def horizon(now: float, settings: CemSettings) -> Horizon:
    """From now to the end of the quarter hour, then whole quarter hours."""
    first = SLOT_S - now % SLOT_S
    count = 1 + round(settings.plan_horizon_s / SLOT_S)
    return Horizon(start_s=now, count=count, slot_s=SLOT_S, first_s=first, zone=settings.time_zone)


def pose(span: Horizon, around: Surroundings, devices: Sequence[Known], settings: CemSettings) -> Problem:
    """The problem; devices that offer nothing and are not steered are part of the base load."""
    pvs = [d for d in devices if d.announce.device_class == "pv"]
    posed: list[PlanDevice] = []
    for device in devices:
        if device.announce.device_class != "pv":
            one = _device(device, span, around, settings)
            if one is not None:
                posed.append(one)
    if pvs and any(power < 0 for power, _, _ in around.pv):
        curtailable = all("limit_lower" in d.announce.functions or "limit_upper" in d.announce.functions for d in pvs)
        phases = tuple(sorted({p for d in pvs for p in d.announce.phases}))
        expected = tuple(min(0.0, p) for p, _, _ in around.pv)
        # Bands name the least generation last: what a hard bound may count on.
        sure = tuple(min(0.0, max(p, high)) for p, _, high in around.pv)
        name = pvs[0].name if len(pvs) == 1 else "pv"
        posed.append(Pv(name=name, forecast_w=expected, sure_w=sure, can_curtail=curtailable, phases=phases))
    return Problem(
        horizon=span,
        prices=_prices(around, settings),
        connection=_connection(around, span, settings),
        devices=tuple(posed),
        effort=Effort(time_limit_s=settings.plan_time_limit_s, gap=settings.plan_gap_share),
    )


def _prices(around: Surroundings, settings: CemSettings) -> Prices:
    buy = tuple(settings.fallback_price_eur_per_kwh if p is None else p for p in around.buy)
    sell = tuple(0.0 if p is None else p for p in around.sell)
    threshold = next((t[0] for t in around.beyond if t is not None), None)
    above: Series = ()
    if threshold is not None:
        above = tuple(b if t is None else t[1] for b, t in zip(buy, around.beyond, strict=True))
    green = _green_share(around)
    return Prices(
        buy_eur_per_kwh=buy,
        sell_eur_per_kwh=sell,
        threshold_wh=threshold,
        buy_above_eur_per_kwh=above,
        confidence=tuple((1.0 if b else 0.5) * (1 - n / (2 * len(buy))) for n, b in enumerate(around.binding)),
        doubt_eur_per_kwh=DOUBT_EUR_PER_KWH,
        green_share=green,
    )


def _green_share(around: Surroundings) -> Series:
    """0..1 of what a device takes: the grid's share, and what the home generates itself is all green."""
    grid = (0.0 if g is None else g / 100 for g in around.green)
    if len(around.pv) != len(around.green) or len(around.load) != len(around.green):
        return tuple(grid)
    surplus = (max(0.0, -(sun + load)) for (sun, _, _), (load, _, _) in zip(around.pv, around.load, strict=True))
    return tuple(g + (1.0 - g) * min(1.0, w / ALL_OWN_W) for g, w in zip(grid, surplus, strict=True))


def _connection(around: Surroundings, span: Horizon, settings: CemSettings) -> Connection:
    n = span.count
    contracted: Series = (settings.contract_consumption_w,) * n if settings.contract_consumption_w > 0 else ()
    bounded_up = any(w < inf for w in around.upper_w)
    bounded_down = any(w > -inf for w in around.lower_w)
    return Connection(
        load_w=tuple(expected for expected, _, _ in around.load),
        load_high_w=tuple(high for _, _, high in around.load),
        high_share=settings.plan_caution_share,
        upper_w=tuple(min(w, FREE_W) for w in around.upper_w) if bounded_up else (),
        upper_why=around.upper_why,
        lower_w=tuple(max(w, -FREE_W) for w in around.lower_w) if bounded_down else (),
        lower_why=around.lower_why,
        fuse_w=settings.fuse_a * settings.fuse_share * 230.0 if settings.fuse_a else None,
        contracted_w=contracted,
        contracted_band=settings.peak_band_share,
    )


def _device(device: Known, span: Horizon, around: Surroundings, settings: CemSettings) -> PlanDevice | None:
    if device.own_plan:
        return _fixed(device.name, device.own_plan, span, device.announce.phases)
    match device.flexibility:
        case ProfileFlexibility() as profile:
            return _job(device, profile, span, settings)
        case StorageFlexibility() as storage:
            if device.announce.device_class == "battery":
                return _battery(device, storage, around, settings)
            return _charge(device, storage, span, settings)
        case ThermalFlexibility() as heat:
            return _thermal(device, heat, span, around)
        case ModesFlexibility() as modes:
            return _generator(device, modes)
        case _:
            return _as_it_is(device, span)


def _as_it_is(device: Known, span: Horizon) -> Fixed | None:
    """Steered by nobody's plan: it goes on for an hour as it is now, as far as anybody knows."""
    if device.reading is None or device.announce.device_class in ("submeter", "battery"):
        return None
    power = device.reading.power_w
    going_on = tuple(power if edge - span.start_s < 3600 else 0.0 for edge in span.edges_s()[:-1])
    return Fixed(name=device.name, power_w=going_on, phases=device.announce.phases)


def _fixed(name: str, plan: Sequence[PlannedPower], span: Horizon, phases: tuple[int, ...]) -> Fixed:
    edges = span.edges_s()
    power = []
    for start, end in pairwise(edges):
        energy = sum(
            slot.power_w * max(0.0, min(end, slot.start.timestamp() + slot.duration_s) - max(start, _at(slot)))
            for slot in plan
        )
        power.append(energy / (end - start))
    return Fixed(name=name, power_w=tuple(power), phases=phases)


def _at(slot: PlannedPower) -> float:
    return slot.start.timestamp()


def _job(device: Known, profile: ProfileFlexibility, span: Horizon, settings: CemSettings) -> Job | None:
    programmes = tuple(
        Programme(
            name=sequence.name,
            steps=tuple(
                Step(duration_s=s.duration_s, power_w=s.power_w, maximum_w=s.peak_w or 0.0) for s in sequence.slots
            ),
        )
        for sequence in profile.alternatives
    )
    if not programmes:
        return None
    longest = max(p.duration_s for p in programmes)
    earliest, latest = profile.earliest_start.timestamp(), profile.done_by.timestamp()
    if profile.latest_start is not None:
        latest = min(latest, profile.latest_start.timestamp() + longest)
    if profile.delay_at_most_s is not None:
        latest = min(latest, earliest + profile.delay_at_most_s + longest)
    if device.start_at is not None:
        earliest, latest = device.start_at, device.start_at + longest
    pausable = any(s.interruptible for sequence in profile.alternatives for s in sequence.slots)
    return Job(
        name=device.name,
        programmes=programmes,
        earliest_s=max(earliest, span.start_s) if device.started_at is None else earliest,
        latest_end_s=latest,
        interruptible=pausable and profile.alternatives[0].pause_at_most_s > 0,
        max_pause_s=profile.alternatives[0].pause_at_most_s,
        later_eur_per_h=settings.later_eur_per_h,
        green_eur_per_kwh=_green(profile.incentive, device.preferences, settings),
        started_s=device.started_at,
        programme=device.running,
        phases=device.announce.phases,
        fixed=device.pinned,
    )


def _green(sent: str | None, stored: DevicePreferences, settings: CemSettings) -> float:
    """What grey energy counts: the incentive that the device sends, else the one that its user has stored. IEC-JWG2."""
    return settings.green_eur_per_kwh if (sent or stored.incentive) == "greenest" else 0.0


def _battery(device: Known, storage: StorageFlexibility, around: Surroundings, settings: CemSettings) -> Battery:
    wanted = device.preferences
    capacity = storage.capacity_wh
    one_way = sqrt(min(max(storage.efficiency_share, 0.5), 1.0))
    reserve = max(storage.lowest_percent, wanted.reserve_percent or 0.0)
    targets = tuple(
        EnergyTarget(by_s=t.at.timestamp(), energy_wh=capacity * t.lower_percent / 100) for t in storage.targets
    )
    return Battery(
        name=device.name,
        energy_wh=capacity * storage.level_percent / 100,
        maximum_wh=capacity * max(storage.highest_percent, storage.level_percent) / 100,
        minimum_wh=capacity * reserve / 100,
        charge_w=max(0.0, storage.fill_upper_w),
        discharge_w=max(0.0, -storage.empty_lower_w),
        charge_efficiency=one_way,
        discharge_efficiency=one_way,
        self_discharge_per_day=storage.loss_per_day_percent / 100,
        targets=targets,
        no_grid_charge=not (storage.from_grid if wanted.from_grid is None else wanted.from_grid),
        no_export=not storage.to_grid,
        wear_eur_per_kwh=settings.wear_eur_per_kwh,
        end_value_eur_per_kwh=_worth_later(around, one_way, settings),
        phases=device.announce.phases,
        fixed=device.pinned,
    )


def surplus_has_its_time(around: Surroundings) -> bool:
    """Whether storage has to leave room now: later on feeding in is bounded, or costs something."""
    return any(w > -inf for w in around.lower_w) or any(p is not None and p < 0 for p in around.sell)


def _worth_later(around: Surroundings, one_way: float, settings: CemSettings) -> float:
    """What a kWh that is still stored at the end is worth: what storing it anew costs when that is cheapest.

    No more than what it replaces on an average day, less a little: or it would be kept for ever.
    """
    buy = [settings.fallback_price_eur_per_kwh if p is None else p for p in around.buy]
    sell = [0.0 if p is None else p for p in around.sell]
    refill = sorted(
        s if sun + load < 0 else b
        for b, s, (sun, _, _), (load, _, _) in zip(buy, sell, around.pv, around.load, strict=True)
    )
    cheapest = refill[: max(1, len(refill) // 4)]
    used = one_way * KEPT_SHARE * sum(buy) / len(buy)
    again = (sum(cheapest) / len(cheapest) + settings.wear_eur_per_kwh) / one_way
    return max(0.0, min(again, used))


def _charge(device: Known, storage: StorageFlexibility, span: Horizon, settings: CemSettings) -> Charge | None:
    now, capacity, wanted = span.start_s, storage.capacity_wh, device.preferences
    energy = capacity * storage.level_percent / 100
    target = max((t.lower_percent for t in storage.targets), default=storage.highest_percent)
    lower = wanted.charge_lower_percent
    upper = min(storage.highest_percent, wanted.charge_upper_percent or 100.0)
    leaves = storage.leaves_at.timestamp() if storage.leaves_at is not None else None
    if wanted.ready_by is not None:
        leaves = next_local(wanted.ready_by, now, settings.time_zone)
    if leaves is None:
        leaves = now + settings.car_stays_s
    if leaves <= now or storage.fill_upper_w <= 0:
        return None
    arrives = now
    if wanted.not_before is not None and device.preferences.ready_by is not None:
        first = next_local(wanted.not_before, now, settings.time_zone)
        arrives = first if first < leaves else now
    target = min(target, upper)
    return Charge(
        name=device.name,
        energy_wh=energy,
        target_wh=max(energy, capacity * target / 100),
        minimum_wh=capacity * min(lower if lower is not None else target, target) / 100,
        maximum_wh=max(energy, capacity * upper / 100),
        arrival_s=arrives,
        departure_s=leaves,
        min_power_w=max(storage.fill_least_w, device.announce.minimum_run_w),
        max_power_w=storage.fill_upper_w,
        efficiency=min(max(storage.efficiency_share, 0.5), 1.0),
        on=device.reading is not None and device.reading.power_w > 50,
        since_s=device.switched_at,
        switch_eur=settings.switch_eur,
        green_eur_per_kwh=_green(storage.incentive, wanted, settings),
        phases=device.announce.phases,
        fixed=device.pinned,
    )


def _thermal(device: Known, heat: ThermalFlexibility, span: Horizon, around: Surroundings) -> Thermal:
    n, wanted = span.count, device.preferences
    points = [set_point_c(wanted.set_points, at, span.zone) for at in span.edges_s()[:-1]]
    bands = [comfort_c(heat, wanted, away=around.away, season=around.season, set_point_c=c) for c in points]
    target = wanted.target_c if wanted.target_c is not None else heat.target_c
    by = heat.target_at.timestamp() if heat.target_at is not None else None
    if wanted.ready_by is not None:
        by = next_local(wanted.ready_by, span.start_s, span.zone)
    targets = (HeatTarget(by_s=by, temperature_c=target),) if target is not None and by is not None else ()
    outdoor = around.outdoor_c if len(around.outdoor_c) == n else (heat.ambient_c,) * n
    said = heat.demand_w if heat.heats else -heat.demand_w
    reading = device.reading
    measured = reading.temperature_c if reading is not None else None  # an offer is as old as a kelvin
    return Thermal(
        name=device.name,
        temperature_c=heat.temperature_c if measured is None else measured,
        capacity_wh_per_k=heat.capacity_wh_per_k,
        loss_w_per_k=heat.loss_w_per_k,
        ambient_c=tuple(surroundings_c(device.announce.device_class, heat, warm) for warm in outdoor),
        minimum_c=tuple(lowest for lowest, _ in bands),
        maximum_c=tuple(highest for _, highest in bands),
        cop=device.cop or (max(heat.cop_share, 0.1),) * n,
        cools=not heat.heats,
        demand_w=device.demand_w or ((said,) * n if said else ()),
        min_power_w=heat.least_w,
        max_power_w=heat.upper_w,
        levels_w=tuple(w for w in heat.steps_w if w > 0),
        on=heat.on,
        since_s=device.switched_at,
        min_on_s=heat.minimum_on_s,
        min_off_s=heat.minimum_off_s,
        targets=targets,
        phases=device.announce.phases,
        fixed=device.pinned,
    )


def _generator(device: Known, modes: ModesFlexibility) -> Generator | None:
    making = [m for m in modes.modes if m.lower_w < 0]
    if not making:
        return None
    running = device.reading is not None and device.reading.power_w < -50
    return Generator(
        name=device.name,
        min_power_w=max(0.0, min(-m.upper_w for m in making)),
        max_power_w=max(-m.lower_w for m in making),
        eur_per_kwh=modes.cost_eur_per_kwh,
        ready=modes.ready,
        on=running,
        since_s=device.switched_at,
        min_on_s=max(m.minimum_s for m in making),
        min_off_s=device.announce.minimum_off_s,
        phases=device.announce.phases,
        fixed=device.pinned,
    )
