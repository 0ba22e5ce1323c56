"""An island lives as long as it is carried, gives way when there is too much, and waits before it is synchronised."""

import pytest

from world.island import OVERLOAD_S, RECONNECT_S, Island, carry, watch_grid

pytestmark = pytest.mark.use_case("limits.own-production")
ALONE = Island(alone=True)


def step(island: Island, net_w: float, battery_w: float) -> Island:
    return carry(island, net_w=net_w, battery_w=battery_w, rating_w=5_000.0, dt_s=1.0)


def test_only_a_battery_that_is_made_for_it_forms_an_island() -> None:
    assert watch_grid(Island(), grid=False, backup=True, dt_s=1.0).carries
    assert not watch_grid(Island(), grid=False, backup=False, dt_s=1.0).carries


def test_what_is_covered_goes_on() -> None:
    island = ALONE
    for _ in range(1000):
        island = step(island, 0.0, -4_900.0)
    assert island.carries


def test_an_overload_is_borne_for_a_short_time_then_it_is_dark_until_the_grid_is_back() -> None:
    island = ALONE
    for _ in range(round(OVERLOAD_S)):
        island = step(island, 2_000.0, -5_000.0)
        assert island.carries
    island = step(island, 2_000.0, -5_000.0)
    assert not island.carries
    assert not watch_grid(island, grid=False, backup=True, dt_s=1.0).carries


@pytest.mark.parametrize(("net_w", "battery_w"), [(6_000.0, -5_000.0), (500.0, 0.0)])
def test_twice_its_rating_or_an_empty_battery_ends_it_at_once(net_w: float, battery_w: float) -> None:
    assert not step(ALONE, net_w, battery_w).carries


def test_generators_give_way_to_what_nobody_takes_and_come_back() -> None:
    island = ALONE
    for _ in range(5):
        island = step(island, -3_000.0, 0.0)
    assert island.generation_share == pytest.approx(0.5)
    for _ in range(5):
        island = step(island, 0.0, -100.0)
    assert island.generation_share == pytest.approx(1.0)


def test_the_grid_is_watched_before_the_home_is_connected_and_anew_when_it_fails_again() -> None:
    island = ALONE
    for _ in range(round(RECONNECT_S) - 1):
        island = watch_grid(island, grid=True, backup=True, dt_s=1.0)
        assert island.alone
    again = watch_grid(island, grid=False, backup=True, dt_s=1.0)
    assert again.grid_back_s == 0.0
    assert not watch_grid(island, grid=True, backup=True, dt_s=1.0).alone
