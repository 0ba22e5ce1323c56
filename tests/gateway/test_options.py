"""When an appliance may run: by stored prices, cheapest first; without them outside of the regular peaks."""

from datetime import timedelta

import pytest

from agents.gateway.options import options
from contracts.own_plans import AskOptions
from contracts.profiles import PowerSequence, PowerSlot, PriceSlot
from contracts.reasons import Reason
from tests.support.grid import START

pytestmark = pytest.mark.use_case("home.dr-adapter")
NOW = START.timestamp()
WASH = PowerSequence(
    name="eco", slots=(PowerSlot(duration_s=1800, power_w=2000), PowerSlot(duration_s=1800, power_w=200))
)
ASKED = AskOptions(job="eco", sequence=WASH, earliest_start=START, done_by=START + timedelta(hours=10))
PEAKS = (12, 13, 17, 18, 19)  # local; the run starts at 12:00 in Berlin


def prices(*hours: float) -> tuple[PriceSlot, ...]:
    return tuple(
        PriceSlot(start=START + timedelta(hours=n), duration_s=3600, price_eur_per_kwh=p) for n, p in enumerate(hours)
    )


def test_the_cheapest_time_comes_first_with_its_cost() -> None:
    found = options(ASKED, prices(0.4, 0.3, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), PEAKS, "Europe/Berlin", NOW, 3)
    assert not isinstance(found, Reason)
    choices, offline = found
    assert not offline
    assert choices[0].start == START + timedelta(hours=2)
    assert choices[0].cost_eur == pytest.approx(0.11)
    assert [c.cost_eur for c in choices] == sorted(c.cost_eur or 0 for c in choices)
    assert len(choices) == 3


def test_without_prices_the_offline_profile_avoids_regular_peaks() -> None:
    found = options(ASKED, (), PEAKS, "Europe/Berlin", NOW, 20)
    assert not isinstance(found, Reason)
    choices, offline = found
    assert offline
    assert choices[0].start == START + timedelta(hours=2)
    assert all(c.cost_eur is None for c in choices)
    for choice in choices:
        local = {(choice.start + timedelta(hours=2, minutes=15 * n)).hour for n in range(4)}
        assert not local & set(PEAKS)


def test_prices_that_end_too_early_do_not_price_a_run() -> None:
    found = options(ASKED, prices(0.3), PEAKS, "Europe/Berlin", NOW, 20)
    assert not isinstance(found, Reason)
    choices, offline = found
    assert not offline
    assert {c.start for c in choices} == {START}


def test_a_window_that_is_too_short_has_no_options() -> None:
    import msgspec

    late = msgspec.structs.replace(ASKED, done_by=START + timedelta(minutes=30))
    found = options(late, (), PEAKS, "Europe/Berlin", NOW, 5)
    assert isinstance(found, Reason)
    assert found.code == "window_too_short"
