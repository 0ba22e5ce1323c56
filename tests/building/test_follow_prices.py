"""What an orchestrator calls cheap, and how what is free is shared. No bus."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.building.follow_prices import cheap
from agents.building.recommend import room
from contracts.profiles import PriceSlot

NOW = datetime(2016, 5, 20, 10, tzinfo=UTC)


def slots(*prices: float) -> list[PriceSlot]:
    starts = (NOW + timedelta(hours=n) for n in range(len(prices)))
    return [
        PriceSlot(start=start, duration_s=3_600.0, price_eur_per_kwh=price)
        for start, price in zip(starts, prices, strict=True)
    ]


@pytest.mark.parametrize(
    ("prices", "hours"),
    [
        ((), []),
        ((0.3, 0.3, 0.3, 0.3), []),
        ((0.3, 0.29, 0.3, 0.3), []),
        ((0.4, 0.1, 0.4, 0.4), [1]),
        ((0.1, 0.1, 0.4, 0.4), [0]),
        ((0.1, -0.2, 0.0, 0.1), [1]),
    ],
)
def test_cheap_is_the_lowest_quarter_that_is_well_below_the_mean(prices: tuple[float, ...], hours: list[int]) -> None:
    found = [round((start - NOW.timestamp()) / 3_600.0) for start, _ in cheap(slots(*prices))]
    assert found == hours


def test_what_is_free_is_shared_and_never_more_than_is_subscribed() -> None:
    assert room({"h01": 1_000.0, "h02": 3_000.0}, 10_000.0, 500.0) == {"h01": 4_000.0, "h02": 6_000.0}
    assert room({"h01": 1_000.0}, 1_200.0, 500.0) == {}
    assert room({"h01": 1_000.0}, 0.0, 500.0) == {}, "nothing is known of a common connection"
    assert room({}, 10_000.0, 500.0) == {}
