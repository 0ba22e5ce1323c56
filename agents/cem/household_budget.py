"""The household's guaranteed power under grid-oriented control, and each device's part of a limit. Pure.

Source: BNetzA BK6-22-300, annex 1, 2.4.2 and 4.5. Storage counts with its import only; household load is untouched and
own generation comes on top, so these figures bound what the controllable devices take from the grid.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from contracts.power_limit import DeviceShare
from contracts.reasons import Reason

Kind = Literal["charging", "heatpump", "cooling", "storage"]
THRESHOLD_W = 4200.0
"""Devices above this are controllable, and this is the floor of one (2.4, 4.5.1)."""
LARGE_W = 11_000.0
"""Heat pumps and cooling above this keep a share of their power instead (4.5.1)."""
LARGE_SHARE = 0.4
SIMULTANEITY = {2: 0.80, 3: 0.75, 4: 0.70, 5: 0.65, 6: 0.60, 7: 0.55, 8: 0.50}
SIMULTANEITY_BEYOND = 0.45  # nine and more (4.5.2)


@dataclass(frozen=True, slots=True)
class Steerable:
    """A device of a controllable kind; ``nominal_w`` is what it can take from the grid."""

    name: str
    kind: Kind
    nominal_w: float


@dataclass(frozen=True, slots=True)
class Unit:
    """What the rule counts as one: a charge point, a storage, or all heat pumps (all coolers) together."""

    kind: Kind
    members: tuple[Steerable, ...]

    @property
    def nominal_w(self) -> float:
        return sum(m.nominal_w for m in self.members)


def simultaneity(n: int) -> float:
    """GZF of n controllable units; 1 for one."""
    if n < 2:
        return 1.0
    return SIMULTANEITY.get(n, SIMULTANEITY_BEYOND)


def units_of(devices: Iterable[Steerable]) -> list[Unit]:
    """Units above the threshold; heat pumps and coolers are added up first (2.4.2)."""
    devices = list(devices)
    units = [Unit(d.kind, (d,)) for d in devices if d.kind in ("charging", "storage")]
    for kind in ("heatpump", "cooling"):
        members = tuple(d for d in devices if d.kind == kind)
        if members:
            units.append(Unit(kind, members))
    return [u for u in units if u.nominal_w > THRESHOLD_W]


def direct_floor_w(unit: Unit) -> float:
    """Least power of one directly controlled unit (4.5.1). Charging and storage keep 4.2 kW whatever their size."""
    if unit.kind in ("heatpump", "cooling") and unit.nominal_w > LARGE_W:
        return LARGE_SHARE * unit.nominal_w
    return THRESHOLD_W


def ems_floor_w(devices: Iterable[Steerable]) -> float:
    """Pmin of all units behind one energy manager (4.5.2); 0 without any."""
    units = units_of(devices)
    if not units:
        return 0.0
    first = max((direct_floor_w(u) for u in units if u.kind in ("heatpump", "cooling")), default=THRESHOLD_W)
    return first + (len(units) - 1) * simultaneity(len(units)) * THRESHOLD_W


def shares(limit_w: float, devices: Iterable[Steerable]) -> tuple[DeviceShare, ...]:
    """Each device's part of a limit on the controllable devices' import.

    The floor of each comes first (all cut alike when the limit is below their sum), then the rest by what each could
    still use. Sums to ``limit_w`` or to the sum of nominal powers if that is less.
    """
    units = units_of(devices)
    if not units:
        return ()
    floors = _floors(units)
    scale = min(1.0, limit_w / sum(floors)) if limit_w > 0 else 0.0
    parts = [floor * scale for floor in floors]
    room = [max(0.0, u.nominal_w - part) for u, part in zip(units, parts, strict=True)]
    rest = max(0.0, limit_w - sum(parts))
    filled = min(1.0, rest / sum(room)) if sum(room) > 0 else 0.0
    parts = [part + spare * filled for part, spare in zip(parts, room, strict=True)]
    return tuple(
        DeviceShare(device=m.name, floor_w=floor * of, share_w=part * of, reason=_why(unit, units, limit_w, scale, of))
        for unit, floor, part in zip(units, floors, parts, strict=True)
        for m in unit.members
        for of in (m.nominal_w / unit.nominal_w,)
    )


def _floors(units: Sequence[Unit]) -> list[float]:
    """Pmin split over the units: a large heat pump keeps its 40 %, the others an equal part."""
    total = ems_floor_w([m for u in units for m in u.members])
    large = [u for u in units if direct_floor_w(u) > THRESHOLD_W]
    if not large:
        return [total / len(units)] * len(units)
    keeper = max(large, key=direct_floor_w)
    rest = (total - direct_floor_w(keeper)) / max(1, len(units) - 1)
    return [direct_floor_w(keeper) if u is keeper else rest for u in units]


def _why(unit: Unit, units: Sequence[Unit], limit_w: float, scale: float, of: float) -> Reason:
    n = len(units)
    rule = "4.5.2" if n > 1 else "4.5.1"
    text = f"Its floor among {n} controllable units by BK6-22-300 {rule}, then its part of what the limit leaves."
    if scale < 1.0:
        text = f"The limit is below the guaranteed power of {n} units: all floors are cut to {scale:.0%}."
    inputs = {"limit_w": limit_w, "nominal_w": unit.nominal_w * of, "units": float(n), "gzf_share": simultaneity(n)}
    return Reason(code="household_budget", text=text, binding=f"BK6-22-300 {rule}", inputs=inputs)
