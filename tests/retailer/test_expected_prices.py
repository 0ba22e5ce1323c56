"""Where a file lacks prices of a day: what is expected keeps what is known, and each quarter hour of the day once."""

from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from agents.kit.local_day import bounds, quarters
from agents.retailer.compute_prices import ComputePrices
from agents.retailer.settings import RetailerSettings, Tariff

pytestmark = pytest.mark.anyio
ZONE = "Europe/Berlin"


def prices_of(folder: Path, rows: dict[float, float]) -> tuple[ComputePrices, Tariff]:
    file = folder / "prices.csv"
    lines = [f"{datetime.fromtimestamp(at, ZoneInfo(ZONE)).isoformat()},{price}" for at, price in rows.items()]
    file.write_text("\n".join(["start,price EUR/kWh", *lines]))
    tariff = Tariff(name="day-ahead", file=str(file))
    return ComputePrices(RetailerSettings(time_zone=ZONE, tariffs=(tariff,))), tariff


@pytest.mark.parametrize(
    ("before", "day", "count"),
    [(date(2026, 3, 28), date(2026, 3, 29), 92), (date(2026, 10, 24), date(2026, 10, 25), 100)],
)
async def test_a_day_on_which_the_clock_changes_has_the_prices_of_the_same_local_times(
    tmp_path: Path, before: date, day: date, count: int
) -> None:
    hours = quarters(before, ZONE)[::4]
    prices, tariff = prices_of(tmp_path, {at: n / 100 for n, at in enumerate(hours)})
    expected = await prices.guess(tariff, day)
    assert expected is not None
    first, end = bounds(day, ZONE)
    at = first
    for slot in expected:
        assert slot.start.timestamp() == at, "without gap or overlap"
        assert slot.price_eur_per_kwh == slot.start.astimezone(ZoneInfo(ZONE)).hour / 100
        assert slot.binding == "forecast"
        at += slot.duration_s
    assert at == end
    assert end - first == count * 900


async def test_what_a_file_knows_of_a_day_with_a_gap_is_kept(tmp_path: Path) -> None:
    yesterday, today = quarters(date(2026, 6, 1), ZONE), quarters(date(2026, 6, 2), ZONE)
    known = {at: 0.30 for at in today if not today[40] <= at < today[48]}
    prices, tariff = prices_of(tmp_path, dict.fromkeys(yesterday, 0.10) | known)
    assert await prices.of_day(tariff, date(2026, 6, 2)) is None
    expected = await prices.guess(tariff, date(2026, 6, 2))
    assert expected is not None
    found = [(slot.start.timestamp(), slot.duration_s, slot.price_eur_per_kwh) for slot in expected]
    assert found == [(today[0], 36_000.0, 0.30), (today[40], 7200.0, 0.10), (today[48], 43_200.0, 0.30)]


async def test_a_first_day_with_a_gap_is_announced_as_far_as_it_is_known(tmp_path: Path) -> None:
    today = quarters(date(2026, 6, 2), ZONE)
    prices, tariff = prices_of(tmp_path, dict.fromkeys(today[8:], -0.02))
    expected = await prices.guess(tariff, date(2026, 6, 2))
    assert expected is not None
    assert [(slot.start.timestamp(), slot.price_eur_per_kwh) for slot in expected] == [(today[8], -0.02)]


async def test_where_nothing_is_known_nothing_is_expected(tmp_path: Path) -> None:
    prices, tariff = prices_of(tmp_path, {quarters(date(2026, 1, 1), ZONE)[0]: 0.2})
    assert await prices.guess(tariff, date(2026, 6, 2)) is None
