"""Comfort goes before a plan that was wrong, and gives way again once it is kept."""

import pytest

from agents.cem.comfort import UNDER_K, for_comfort

BAND = (43.0, 55.0)


@pytest.mark.parametrize(("heats", "edge_c", "out"), [(True, BAND[0], -1.0), (False, BAND[1], 1.0)])
def test_a_device_is_free_beyond_the_band_until_it_is_well_inside_again(heats: bool, edge_c: float, out: float) -> None:
    def free(beyond_k: float, already: bool) -> bool:
        return for_comfort(edge_c + out * beyond_k, BAND, heats=heats, already=already)

    assert not free(0.9 * UNDER_K, already=False), "a plan may run along the edge"
    assert free(1.1 * UNDER_K, already=False)
    assert free(-0.9 * UNDER_K, already=True), "it does not switch to and fro"
    assert not free(-1.1 * UNDER_K, already=True)


def test_a_narrow_band_has_an_inside_too() -> None:
    assert not for_comfort(20.5, (20.0, 21.0), heats=True, already=True)
