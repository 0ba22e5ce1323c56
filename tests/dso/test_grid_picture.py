"""Loading per phase and in sum, ages, the traffic light's hysteresis, voltages with their place."""

from datetime import UTC, datetime, timedelta

import pytest

from agents.dso.grid_picture import Band, Light, Picture, Thresholds, beyond, judge, loading_of
from contracts.metering import GcpReading

AT = datetime(2016, 5, 20, 10, 0, tzinfo=UTC)
LIGHTS = Thresholds(yellow=0.85, red=0.97, margin=0.05, clear_after_s=60.0)


def reading(*phases_w: float, at: datetime = AT, reactive_var: float = 0.0) -> GcpReading:
    a, b, c = phases_w
    return GcpReading(
        at=at,
        power_w=a + b + c,
        power_by_phase_w=(a, b, c),
        current_by_phase_a=(a / 230, b / 230, c / 230),
        voltage_by_phase_v=(230.0, 230.0, 230.0),
        frequency_hz=50.0,
        reactive_power_var=reactive_var,
        import_wh=0.0,
        export_wh=0.0,
    )


def test_the_worst_phase_decides_against_a_third_of_the_rating() -> None:
    seen = loading_of(reading(10_000, 50_000, 20_000), 150_000)
    assert seen.consumption == pytest.approx(1.0)
    assert (seen.worst_phase, seen.production) == (2, 0.0)


def test_reactive_power_fills_the_transformer_too() -> None:
    assert loading_of(reading(20_000, 20_000, 20_000, reactive_var=80_000), 100_000).consumption == pytest.approx(1.0)


def test_each_direction_has_its_own_phases() -> None:
    seen = loading_of(reading(-40_000, 10_000, -30_000), 150_000)
    assert seen.production == pytest.approx(0.8)
    assert seen.consumption == pytest.approx(0.2)


def test_an_old_reading_decides_nothing_and_an_overtaken_one_is_dropped() -> None:
    picture = Picture(stale_s=35.0)
    now = AT.timestamp()
    assert picture.take("m", reading(1, 1, 1), now)
    assert not picture.take("m", reading(9, 9, 9, at=AT - timedelta(seconds=10)), now)
    assert picture.young("m", now + 35) is not None
    assert picture.young("m", now + 36) is None
    assert picture.young("unheard", now) is None


def test_a_reading_of_the_future_blinds_nobody_to_the_true_ones() -> None:
    picture, now = Picture(stale_s=35.0), AT.timestamp()
    assert not picture.take("m", reading(9, 9, 9, at=AT + timedelta(hours=1)), now), "nobody can have measured that"
    assert picture.take("m", reading(1, 1, 1, at=AT + timedelta(seconds=6)), now), "a clock may be a little ahead"
    assert picture.take("m", reading(2, 2, 2), now), "and is put right"
    assert picture.readings["m"].at == AT


def light(loadings: list[float], *, orders: bool = False, volts: bool = False) -> list[str | None]:
    """The phase after each judgement, 10 s apart."""
    state, out = Light(), []
    for n, share in enumerate(loadings):
        state = judge(state, 10.0 * n, share, LIGHTS, orders_in_force=orders, voltage_beyond=volts)
        out.append(state.phase)
    return out


def test_the_light_goes_up_at_once() -> None:
    assert light([0.5, 0.86, 0.98]) == ["green", "yellow", "red"]


def test_the_light_goes_down_only_well_below_and_after_a_while() -> None:
    assert set(light([0.98] + [0.93] * 20)) == {"red"}
    phases = light([0.98] + [0.6] * 8)
    assert phases[:7] == ["red"] * 7
    assert phases[7] == "green"


def test_a_short_dip_does_not_clear() -> None:
    assert set(light([0.98, 0.6, 0.6, 0.6, 0.95, 0.6, 0.6, 0.6])) == {"red"}


def test_orders_in_force_keep_it_red_and_a_voltage_makes_it_yellow() -> None:
    assert light([0.5], orders=True) == ["red"]
    assert light([0.5], volts=True) == ["yellow"]


@pytest.mark.parametrize(
    ("voltages", "was", "worst"),
    [
        ((230.0, 231.0, 229.0), False, None),
        ((230.0, 254.0, 229.0), False, 254.0),
        ((230.0, 200.0, 229.0), False, 200.0),
        ((230.0, 252.5, 229.0), False, None),
        ((230.0, 252.5, 229.0), True, 252.5),
        ((230.0, 251.0, 229.0), True, None),
        ((0.0, 230.0, 230.0), False, 0.0),
    ],
)
def test_a_voltage_beyond_its_band_is_named_and_clears_only_inside(
    voltages: tuple[float, float, float], was: bool, worst: float | None
) -> None:
    assert beyond(Band(207.0, 253.0, 1.0), voltages, was) == worst
