"""What the home expects of itself: typical at first, then what it did before, and never nothing."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.cem.history import DAYS, Cell, History
from agents.kit.typical import household_w
from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from bus.talk import Talk
from contracts.forecast import AskForecast, ForecastIs, ForecastUnknown, forecast
from contracts.profiles import Estimate, TemperatureSlot
from contracts.reasons import Reason
from tests.support.grid import grid

ZONE, YEARLY = "Europe/Berlin", 3.5e6
MONDAY = datetime(2016, 5, 16, 7, 5, tzinfo=UTC)
FORECASTER, CEM = "grid.forecaster.main", "h07.cem.main"


def test_a_new_home_is_a_typical_one_with_a_wide_band() -> None:
    at = MONDAY.timestamp()
    expected, low, high = History().expected_load(at, ZONE, YEARLY)
    assert expected == household_w(at, ZONE, YEARLY)
    assert low < expected < high


def test_own_days_count_more_the_more_there_are_and_alone_in_the_end() -> None:
    history, seen = History(), []
    for week_day in range(4):
        history.add_load((MONDAY + timedelta(days=week_day)).timestamp(), 900.0, ZONE)
        seen.append(history.expected_load(MONDAY.timestamp(), ZONE, YEARLY)[0])
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(900.0)
    saturday = (MONDAY + timedelta(days=5)).timestamp()
    assert history.expected_load(saturday, ZONE, YEARLY)[0] == pytest.approx(900.0), "better than a typical home"
    history.add_load(saturday, 200.0, ZONE)
    assert history.expected_load(saturday, ZONE, YEARLY)[0] < 500.0, "but a Saturday is a Saturday"
    assert history.expected_load(MONDAY.timestamp(), ZONE, YEARLY)[0] == pytest.approx(900.0)


def test_the_newest_days_weigh_most_and_the_oldest_are_forgotten() -> None:
    cell = Cell(values=[])
    for value in [100.0] * DAYS + [500.0] * 3:
        cell.add(value)
    assert len(cell.values) == DAYS
    assert 250.0 < cell.mean() < 500.0
    assert cell.quantiles((0.1, 0.9)) == (100.0, 500.0)


def test_local_time_counts_so_a_habit_keeps_its_hour_when_the_clock_changes() -> None:
    history = History()
    for day in (21, 22, 23, 24):  # 8:00 winter time
        history.add_load(datetime(2016, 3, day, 7, 5, tzinfo=UTC).timestamp(), 2000.0, ZONE)
    summer = datetime(2016, 3, 29, 6, 5, tzinfo=UTC).timestamp()  # 8:00 summer time
    assert history.expected_load(summer, ZONE, YEARLY)[0] == pytest.approx(2000.0)


@pytest.mark.anyio
async def test_what_the_forecaster_did_not_answer_is_asked_again_soon() -> None:
    asked: list[AskForecast] = []

    async def tell(talk: Talk, ask: AskForecast) -> None:
        asked.append(ask)
        if len(asked) > 1:
            await talk.say(ForecastUnknown(reason=Reason(code="no_weather", text="There is none.")))

    async with grid(FORECASTER, CEM, speed=60.0) as run:
        words = await run.words()
        await run.bus(FORECASTER, lambda bus: bus.answer(forecast, tell))
        await run.start(CEM, {"forecast_every_s": 1e9})
        await words.until(lambda w: w.of("forecast_unknown"))


@pytest.mark.anyio
async def test_it_asks_the_forecaster_for_the_weather_of_its_site() -> None:
    asked: list[AskForecast] = []

    async def tell(talk: Talk, ask: AskForecast) -> None:
        asked.append(ask)
        slots = [ask.start + timedelta(seconds=n * ask.slot_s) for n in range(int(ask.horizon_s / ask.slot_s))]
        warm = tuple(TemperatureSlot(start=at, duration_s=ask.slot_s, temperature_c=21.5) for at in slots)
        sun = tuple(Estimate(start=at, duration_s=ask.slot_s, power_w=-5.0) for at in slots)
        is_warm = ask.quantity == "outdoor"
        values: dict[str, tuple[TemperatureSlot, ...] | tuple[Estimate, ...]] = (
            {"temperatures": warm} if is_warm else {"values": sun}
        )
        await talk.say(ForecastIs(quantity=ask.quantity, issued=instant(run.clock.now()), source="test", **values))  # type: ignore[arg-type]

    def answer(bus: Bus) -> None:
        bus.answer(forecast, tell)

    async with grid(FORECASTER, CEM, speed=60.0) as run:
        words = await run.words()
        await run.bus(FORECASTER, answer)
        await run.start(CEM, {"forecast_every_s": 60.0})
        await words.until(lambda w: len(w.of("forecast_is")) >= 2)
        assert {ask.quantity for ask in asked} == {"outdoor"}, "nobody asks for the sun without PV"
        assert asked[0].site == "h07"
        assert (asked[0].horizon_s, asked[0].slot_s) == (172_800.0, 900.0)
        assert Address.parse(CEM).site == asked[0].site
