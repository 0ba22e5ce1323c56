"""From what one device offers, and what its user wants of it, to the planner's device. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from math import sqrt

from agents.cem.comfort import comfort_c
from agents.cem.heat_history import surroundings_c
from agents.cem.known import Known, Surroundings
from agents.cem.planner.problem import (
    Battery,
    Charge,
    EnergyTarget,
    Fixed,
    Generator,
    HeatTarget,
    Horizon,
    Job,
    Programme,
    Step,
    Thermal,
)
from agents.cem.planner.problem import Device as PlanDevice
from agents.cem.set_points import set_point_c
from agents.cem.settings import CemSettings
from agents.kit.local_day import next_local
from contracts.flexibility import ModesFlexibility, ProfileFlexibility, StorageFlexibility, ThermalFlexibility
from contracts.preferences import DevicePreferences
from contracts.profiles import PlannedPower

KEPT_SHARE = 0.9
"""Tomorrow is less sure than today."""


def pose_device(device: Known, span: Horizon, around: Surroundings, settings: CemSettings) -> PlanDevice | None:
    """None: it is part of the base load."""
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
    started = device.started_at
    if started is None and profile.state == "executing":
        started = earliest  # by hand, or what was agreed is over: what it offers is its rest from then on
    if device.start_at is not None:
        earliest, latest = device.start_at, device.start_at + longest
    pausable = any(s.interruptible for sequence in profile.alternatives for s in sequence.slots)
    return Job(
        name=device.name,
        programmes=programmes,
        earliest_s=max(earliest, span.start_s) if started is None else earliest,
        latest_end_s=latest,
        interruptible=pausable and profile.alternatives[0].pause_at_most_s > 0,
        max_pause_s=profile.alternatives[0].pause_at_most_s,
        later_eur_per_h=settings.later_eur_per_h,
        green_eur_per_kwh=_green(profile.incentive, device.preferences, settings),
        started_s=started,
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
