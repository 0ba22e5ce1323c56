"""Below the contracted capacity: what each site may take in each slot, from what all of them expect. Pure.

IC-BE-THOR-PEAK; NG-19. The sum over the sites never exceeds what is safe, also in slots without a peak: what is moved
out of one must not pile up in another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contracts.profiles import Estimate

Powers = Mapping[str, Sequence[float]]
"""Site -> expected power per slot, + consumed."""


@dataclass(frozen=True)
class PeakPlan:
    """Bounds per site and slot; ``peaks`` are the slots whose baseline is above the contracted capacity."""

    baseline_w: tuple[float, ...]
    upper_w: dict[str, tuple[float, ...]]
    peaks: tuple[int, ...]
    surplus: tuple[int, ...]
    """Slots in which more is generated than used."""


def by_slot(values: Sequence[Estimate], start: float, n: int, slot_s: float) -> list[float]:
    """Expected power of ``n`` slots from ``start``; the last known one goes on."""
    out, last = [], 0.0
    for k in range(n):
        here = start + k * slot_s
        for value in values:
            begins = value.start.timestamp()
            if begins <= here < begins + value.duration_s:
                last = value.power_w
        out.append(last)
    return out


def plan_peaks(expected: Powers, contracted_w: float, safe_w: float) -> PeakPlan:
    """Where the baseline is too high each consumer gives up the same share; elsewhere the room is shared evenly."""
    n = max((len(powers) for powers in expected.values()), default=0)
    baseline = tuple(sum(powers[k] for powers in expected.values()) for k in range(n))
    upper: dict[str, list[float]] = {site: [] for site in expected}
    for k in range(n):
        uses = {site: max(0.0, powers[k]) for site, powers in expected.items()}
        gives = sum(min(0.0, powers[k]) for powers in expected.values())
        room = safe_w - gives - sum(uses.values())
        total = sum(uses.values())
        for site, use in uses.items():
            part = use / total if room < 0 and total > 0 else 1 / len(uses)
            upper[site].append(max(0.0, use + room * part))
    return PeakPlan(
        baseline_w=baseline,
        upper_w={site: tuple(values) for site, values in upper.items()},
        peaks=tuple(k for k, power in enumerate(baseline) if power > contracted_w),
        surplus=tuple(k for k, power in enumerate(baseline) if power < 0),
    )


def periods(slots: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of neighbouring slots as (first, one after the last)."""
    found: list[tuple[int, int]] = []
    for k in slots:
        if found and found[-1][1] == k:
            found[-1] = (found[-1][0], k + 1)
        else:
            found.append((k, k + 1))
    return found
