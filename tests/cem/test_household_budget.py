"""BK6-22-300, annex 1, 4.5; the example of one charge point and one 6 kW heat pump is field-notes, section 4."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cem.household_budget import Kind, Steerable, Unit, direct_floor_w, ems_floor_w, shares, units_of


def fleet(*pairs: tuple[Kind, float]) -> list[Steerable]:
    return [Steerable(f"{kind}{n}", kind, w) for n, (kind, w) in enumerate(pairs)]


def test_one_wallbox_and_one_6_kw_heat_pump_are_entitled_to_7560_w() -> None:
    assert ems_floor_w(fleet(("charging", 11_000), ("heatpump", 6000))) == pytest.approx(7560)


@pytest.mark.parametrize(
    ("n", "kw"),
    [
        (0, 0),
        (1, 4.2),
        (2, 7.56),
        (3, 10.5),
        (4, 13.02),
        (5, 15.12),
        (6, 16.8),
        (7, 18.06),
        (8, 18.9),
        (9, 19.32),
        (10, 21.21),
    ],
)
def test_the_floor_follows_the_simultaneity_table(n: int, kw: float) -> None:
    assert ems_floor_w(fleet(*[("charging", 11_000)] * n)) == pytest.approx(kw * 1000)


def test_several_heat_pumps_count_as_one_with_their_powers_added() -> None:
    two = fleet(("heatpump", 3000), ("heatpump", 3000), ("charging", 11_000))
    assert len(units_of(two)) == 2
    assert ems_floor_w(two) == pytest.approx(7560)


def test_a_large_heat_pump_keeps_40_percent() -> None:
    assert direct_floor_w(Unit("heatpump", tuple(fleet(("heatpump", 20_000))))) == pytest.approx(8000)
    assert ems_floor_w(fleet(("heatpump", 20_000), ("charging", 11_000))) == pytest.approx(8000 + 0.8 * 4200)


def test_the_larger_of_heat_pump_and_cooling_counts() -> None:
    both = fleet(("heatpump", 12_000), ("cooling", 15_000))
    assert ems_floor_w(both) == pytest.approx(0.4 * 15_000 + 0.8 * 4200)


@pytest.mark.parametrize("kind", ["charging", "storage"])
def test_charging_and_storage_stay_at_4200_w_whatever_their_size(kind: Kind) -> None:
    assert direct_floor_w(Unit(kind, tuple(fleet((kind, 22_000))))) == 4200


def test_devices_up_to_4200_w_are_not_controllable() -> None:
    assert units_of(fleet(("charging", 4200), ("heatpump", 4000))) == []


devices = st.lists(
    st.tuples(st.sampled_from(["charging", "heatpump", "cooling", "storage"]), st.floats(1000, 40_000)), max_size=12
)


@given(devices, st.floats(0, 200_000))
def test_shares_add_up_and_respect_floors(pairs: list[tuple[Kind, float]], limit_w: float) -> None:
    given_devices = fleet(*pairs)
    parts = shares(limit_w, given_devices)
    steerable = [m for u in units_of(given_devices) for m in u.members]
    assert {p.device for p in parts} == {m.name for m in steerable}
    total = min(limit_w, sum(m.nominal_w for m in steerable))
    if parts:
        assert sum(p.share_w for p in parts) == pytest.approx(total, abs=1e-3)
        assert sum(p.floor_w for p in parts) == pytest.approx(ems_floor_w(given_devices), abs=1e-3)
    for part in parts:
        assert part.reason.text
        if limit_w >= ems_floor_w(given_devices):
            assert part.share_w >= part.floor_w - 1e-3
