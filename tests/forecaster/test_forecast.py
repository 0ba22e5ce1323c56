"""What is expected: by the sky of a file or the climate, with a band that widens with its age, off the event loop."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from agents.forecaster import forecast as expected
from agents.forecaster.forecast import Asked
from agents.forecaster.settings import ForecasterSettings, Plant
from agents.forecaster.weather import Forecasts, WeatherFileError, read
from bus.address import Address
from bus.bus import Bus
from bus.envelope import instant
from contracts.forecast import AskForecast, ForecastIs, ForecastUnknown, forecast
from contracts.kit import Lapsed
from deploy.topology import load
from deploy.weather_file import with_weather, write_weather
from tests.support.grid import START, grid
from world.profiles import Profile

CEM, FORECASTER = "h07.cem.main", "grid.forecaster.main"
MIDNIGHT = datetime(2016, 5, 20, tzinfo=UTC)
SETTINGS = ForecasterSettings()


def day(now: datetime = MIDNIGHT, start: datetime = MIDNIGHT, n: int = 96) -> Asked:
    first = start.timestamp()
    return Asked(tuple(first + (k + 0.5) * 900.0 for k in range(n)), now.timestamp())


def sunny(folder: Path, ghi: float, issued: datetime | None = None) -> Forecasts:
    rows = [f"{MIDNIGHT + timedelta(hours=h):%Y-%m-%dT%H:%MZ},{ghi if 5 <= h % 24 < 19 else 0},15,3" for h in range(72)]
    header, prefix = ("issued,", f"{issued:%Y-%m-%dT%H:%MZ},") if issued else ("", "")
    file = folder / f"{ghi}.csv"
    file.write_text(header + "time,ghi,temp,wind\n" + "\n".join(prefix + row for row in rows) + "\n")
    return read(str(file))


def test_pv_is_generation_by_day_only_and_more_under_a_bright_sky(tmp_path: Path) -> None:
    dull = expected.pv(day(), sunny(tmp_path, 150.0), SETTINGS, Plant(), 10_000.0)
    bright = expected.pv(day(), sunny(tmp_path, 700.0), SETTINGS, Plant(), 10_000.0)
    assert bright[0] == (0.0, 0.0, 0.0)
    assert -10_000.0 <= bright[46][0] < -4_000.0
    assert bright[46][0] < 2 * dull[46][0] < 0
    for power, strong, weak in bright + dull:
        assert strong <= power <= weak <= 0.0


def test_a_plant_to_the_west_peaks_in_the_afternoon(tmp_path: Path) -> None:
    sky = sunny(tmp_path, 600.0)

    def centre(azimuth: float) -> float:
        powers = [-p for p, _, _ in expected.pv(day(), sky, SETTINGS, Plant(tilt_deg=45, azimuth_deg=azimuth), 1.0)]
        return float(np.average(range(96), weights=powers))

    assert centre(90) + 4 < centre(180) < centre(270) - 4


def test_without_weather_it_is_the_climate_of_the_month_and_says_how_little_it_knows() -> None:
    may = expected.pv(day(), Forecasts(), SETTINGS, Plant(), 1_000.0)
    january = expected.pv(day(start=MIDNIGHT.replace(month=1)), Forecasts(), SETTINGS, Plant(), 1_000.0)
    assert 2 * sum(p for p, _, _ in january) > sum(p for p, _, _ in may)
    power, strong, weak = may[46]
    assert weak - strong > abs(power) * 0.8


def test_a_forecast_ages(tmp_path: Path) -> None:
    sky = sunny(tmp_path, 500.0, issued=MIDNIGHT)
    asked = day(n=288)
    bands = expected.pv(asked, sky, SETTINGS, Plant(), 1_000.0)
    widths = [(weak - strong) / -power for power, strong, weak in (bands[46], bands[46 + 96])]
    assert widths[1] > widths[0] + 0.2
    assert sky.at(MIDNIGHT.timestamp(), MIDNIGHT.timestamp() - 1).lead_s is None, "nobody knows it before it is issued"


def test_wind_follows_its_curve(tmp_path: Path) -> None:
    calm = expected.wind(day(n=1), sunny(tmp_path, 1.0), SETTINGS, 1_000.0)[0]
    assert -200.0 < calm[0] < 0.0
    assert expected.wind(day(n=1), Forecasts(), SETTINGS, 1_000.0)[0][0] < 0.0


def test_a_household_takes_what_a_year_of_it_sums_up_to() -> None:
    bands = [
        expected.load(day(start=MIDNIGHT.replace(month=1, day=1) + timedelta(days=d)), SETTINGS, 3.5e6)
        for d in range(366)
    ]
    year_wh = sum(power * 0.25 for each in bands for power, _, _ in each)
    assert year_wh == pytest.approx(3.5e6, rel=0.03)
    assert all(low <= power <= high for power, low, high in bands[0])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("zeit,ghi\n2016-05-20T00:00Z,1\n", 1),
        ("time,ghi\n2016-05-20T00:00,1\n", 2),
        ("time,ghi\n2016-05-20T00:00Z,many\n", 2),
        ("time,ghi\n2016-05-20T00:00Z,1\n2016-05-20T01:00Z,9000\n", 3),
        ("time,ghi\n", 1),
    ],
)
def test_a_bad_weather_file_names_its_line(tmp_path: Path, text: str, line: int) -> None:
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(WeatherFileError) as problem:
        read(str(file))
    assert problem.value.line == line


def test_the_streets_weather_is_realistic_but_not_perfect(tmp_path: Path) -> None:
    """The first hours are close to what the world plays, a day ahead is further off; the same seed is the same file."""
    start = datetime(2016, 5, 20, 8, tzinfo=UTC)
    files = [
        write_weather(tmp_path / f"{n}.csv", start, start + timedelta(hours=1), seed=seed)
        for n, seed in enumerate((1, 1, 2))
    ]
    assert files[0].read_text() == files[1].read_text() != files[2].read_text()
    profile, leads = Profile("PV5"), (0.0, 24 * 3600.0)
    sky = read(str(write_weather(tmp_path / "long.csv", start, start + timedelta(days=6))))
    off: dict[float, list[float]] = {lead: [] for lead in leads}
    for days in range(1, 6):
        noon = start + timedelta(days=days, hours=2)
        asked = [profile.active_share(noon.timestamp() + (k + 0.5) * 900.0) for k in range(16)]
        for lead in leads:
            bands = expected.pv(day(now=noon - timedelta(seconds=lead), start=noon, n=16), sky, SETTINGS, Plant(), 1.0)
            off[lead] += [abs(-power - share) for (power, _, _), share in zip(bands, asked, strict=True)]
    assert 0.0 < float(np.mean(off[0.0])) < 0.08
    assert float(np.mean(off[0.0])) < float(np.mean(off[leads[1]])) < 0.25


async def ask(bus: Bus, **word: Any) -> ForecastIs | ForecastUnknown | Lapsed:
    fields = {"quantity": "pv", "start": START, "horizon_s": 86_400.0, "rating_w": 5_000.0, "site": "h07"}
    async with bus.talk(forecast, Address.parse(FORECASTER)) as talk:
        await talk.say(AskForecast(**{**fields, **word}))
        return await talk.hear(ForecastIs, ForecastUnknown, Lapsed)


@pytest.mark.anyio
async def test_it_answers_on_the_bus_and_says_when_it_cannot(tmp_path: Path) -> None:
    sunny(tmp_path, 500.0)
    async with grid(FORECASTER, CEM, speed=1.0) as run:
        await run.start(FORECASTER, {"weather": str(tmp_path / "500.0.csv")})
        cem = await run.bus(CEM)
        sun = await ask(cem)
        assert isinstance(sun, ForecastIs)
        assert (len(sun.values), sun.source) == (96, "weather file")
        assert min(v.power_w for v in sun.values) < -1_000.0
        warm = await ask(cem, quantity="outdoor", rating_w=None)
        assert isinstance(warm, ForecastIs)
        assert warm.temperatures[0].temperature_c == 15.0
        load = await ask(cem, quantity="load", rating_w=None, slot_s=3600.0)
        assert isinstance(load, ForecastIs)
        assert len(load.values) == 24
        for bad, code in (
            ({"rating_w": None}, "no_rating"),
            ({"horizon_s": 1e8}, "too_long"),
            ({"slot_s": 0.0}, "no_time"),
        ):
            answer = await ask(cem, **bad)
            assert isinstance(answer, ForecastUnknown)
            assert answer.reason.code == code
        await run.stop(FORECASTER)
        await run.start(FORECASTER, {"weather": str(tmp_path / "none.csv")})
        answer = await ask(cem, start=instant(run.clock.now()))
        assert isinstance(answer, ForecastUnknown)
        assert answer.reason.code == "no_weather"


def test_a_simulated_run_gets_the_weather_of_its_own_day(tmp_path: Path) -> None:
    street = load("street")
    made = with_weather(street, tmp_path)
    entry = next(one for one in made.grid.agents if one.role == "forecaster")
    assert Path(entry.settings["weather"]).read_text(encoding="utf-8").startswith("issued,time,ghi,temp,wind")
    others = [one for one in made.grid.agents if one.role != "forecaster"]
    assert others == [one for one in street.grid.agents if one.role != "forecaster"]


def test_a_weather_file_that_is_named_is_left_alone(tmp_path: Path) -> None:
    street = load("street")
    named = structs.replace(street, defaults={**street.defaults, "forecaster": {"weather": "mine.csv"}})
    assert with_weather(named, tmp_path) == named
    assert not list(tmp_path.iterdir())
