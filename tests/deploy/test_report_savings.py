"""What a site's energy cost and used: from the world's log and the announced prices."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff
from deploy.records.rows import Event
from deploy.report.page import sites
from deploy.report.savings import Savings, savings, stacks
from world.spec import DeviceSpec, HouseholdSpec, MeterSpec, SiteSpec, SubstationSpec, WorldSpec
from world.truth import Truth

START = datetime(2016, 5, 20, 10, tzinfo=UTC)
BATTERY = DeviceSpec(name="battery1", kind="battery", product="x", unit=40, rating_w=5000.0, capacity_wh=10_000.0)
WORLD = WorldSpec(
    start=START,
    seed=1,
    sites=(
        SiteSpec(name="h01", bus=1, meter=MeterSpec(product="x"), household=HouseholdSpec(profile="", power_w=1.0)),
        SiteSpec(
            name="h02",
            bus=2,
            meter=MeterSpec(product="x"),
            household=HouseholdSpec(profile="", power_w=1.0),
            devices=(BATTERY,),
        ),
    ),
    substation=SubstationSpec(name="substation", meter=MeterSpec(product="x")),
)
COLUMNS = ("instant", "h01.power_w", "h02.power_w", "h02.pv1.power_w", "h02.evse1.power_w", "h02.battery1.soc_percent")


def truth(*hours: tuple[float, float, float, float, float]) -> Truth:
    """Rows of a minute; each hour has (h01, h02, pv, evse, soc)."""
    start = START.timestamp()
    rows = [(start + 60.0 * m, *hours[min(m // 60, len(hours) - 1)]) for m in range(60 * len(hours) + 1)]
    return Truth(COLUMNS, tuple(rows))


def announced(receiver: str, component: str, *prices: float) -> Event:
    slots = tuple(
        PriceSlot(start=START + timedelta(hours=n), duration_s=3600.0, price_eur_per_kwh=price)
        for n, price in enumerate(prices)
    )
    word = AnnounceTariff(
        tariff="t",
        component=component,  # type: ignore[arg-type]
        slots=slots,
        reason=Reason(code="day_ahead", text="t"),
    )
    return msgspec.convert(
        {
            "at": START.timestamp(),
            "heard": START.timestamp(),
            "word": "announce_tariff",
            "topic": "tariff",
            "edition": 1,
            "sender": "grid.retailer.main",
            "receiver": receiver,
            "id": f"{receiver}{component}",
            "body": msgspec.Raw(msgspec.json.encode(word)),
        },
        Event,
    )


FREE = truth((1000.0, 5000.0, 0.0, 4000.0, 50.0), (1000.0, -2000.0, -3000.0, 0.0, 50.0))
RUN = truth((1000.0, 1000.0, 0.0, 0.0, 50.0), (1000.0, 2000.0, -3000.0, 4000.0, 50.0))


def made(*events: Event, run: Truth = RUN) -> Savings:
    return savings(run, FREE, WORLD, stacks(events))


def test_a_shifted_charge_saves_the_difference_of_the_hours() -> None:
    site = made(announced("h02.cem.main", "energy", 0.40, 0.20), announced("h02.cem.main", "feed_in", 0.08, 0.08))
    one = site.sites["h02"]
    assert one.without_control.cost_eur == pytest.approx(5 * 0.40 - 2 * 0.08)
    assert one.with_control.cost_eur == pytest.approx(1 * 0.40 + 2 * 0.20)
    assert one.saved_eur == pytest.approx(1.84 - 0.80)
    assert (site.cost_eur, site.without_control_eur, site.saved_eur) == (0.8, 1.84, 1.04)


def test_own_generation_that_is_not_fed_in_is_used() -> None:
    one = made().sites["h02"]
    assert one.without_control.self_consumed_share == pytest.approx(1 / 3, abs=1e-3)
    assert one.with_control.self_consumed_share == 1.0
    assert made().sites["h01"].with_control.self_consumed_share is None


def test_a_site_without_an_announced_price_has_no_cost() -> None:
    found = made(announced("h02.cem.main", "energy", 0.40, 0.20))
    assert found.sites["h01"].saved_eur is None
    assert found.sites["h01"].with_control.cost_eur is None
    assert found.cost_eur == found.sites["h02"].with_control.cost_eur


def test_what_has_no_price_in_part_of_the_run_has_no_cost() -> None:
    assert made(announced("h02.cem.main", "energy", 0.40)).sites["h02"].with_control.cost_eur is None


def test_a_car_that_was_not_charged_has_saved_nothing() -> None:
    lazy = truth((1000.0, 1000.0, 0.0, 0.0, 50.0), (1000.0, -2000.0, -3000.0, 0.0, 50.0))
    prices = announced("h02.cem.main", "energy", 0.30, 0.30), announced("h02.cem.main", "feed_in", 0.0, 0.0)
    assert made(*prices, run=lazy).sites["h02"].saved_eur == pytest.approx(0.0, abs=1e-3)


def test_what_a_battery_has_gained_counts() -> None:
    full = truth((1000.0, 5000.0, 0.0, 4000.0, 50.0), (1000.0, 0.0, -3000.0, 0.0, 70.0))
    prices = announced("h02.cem.main", "energy", 0.30, 0.30), announced("h02.cem.main", "feed_in", 0.10, 0.10)
    assert made(*prices, run=full).sites["h02"].saved_eur == pytest.approx(2 * 0.30 - 2 * 0.10, abs=1e-3)


def test_prices_said_to_a_display_are_not_the_sites() -> None:
    assert stacks([announced("h02.app.display", "energy", 0.3, 0.3)]) == {}


def test_the_page_shows_each_site_with_and_without() -> None:
    lines = sites(
        made(announced("h02.cem.main", "energy", 0.40, 0.20), announced("h02.cem.main", "feed_in", 0.08, 0.08))
    )
    assert "| h01 | - | - | - | - | - | 2.0 kWh | 0.0 kWh |" in lines
    assert "| h02 | 0.80 EUR | 1.84 EUR | 1.04 EUR | 100 % | 33 % | 3.0 kWh | 0.0 kWh |" in lines
    assert lines[-1].startswith("All sites: 0.80 EUR, without control 1.84 EUR, saved 1.04 EUR")
