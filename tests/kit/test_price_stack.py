"""The stack of prices: who replaces what, what is missing, what is dear."""

import pytest

from agents.kit.price_stack import Piece, Stack, dear_periods, merged, quarters_of, shown, slotted
from bus.envelope import instant
from contracts.profiles import PriceSlot
from contracts.reasons import Reason
from contracts.tariff import AnnounceTariff, Component

T0 = 1_463_695_200.0  # 2016-05-20 00:00 in Berlin
HOUR = 3600.0
WHY = Reason(code="test", text="test")


def word(
    prices: dict[float, float], component: Component = "energy", each_h: float = 1.0, **more: object
) -> AnnounceTariff:
    """Hour -> price."""
    binding = more.pop("binding", "binding")
    slots = tuple(
        PriceSlot(start=instant(T0 + h * HOUR), duration_s=each_h * HOUR, price_eur_per_kwh=p, binding=binding)  # type: ignore[arg-type]
        for h, p in prices.items()
    )
    return AnnounceTariff(tariff="t", component=component, slots=slots, reason=WHY, **more)  # type: ignore[arg-type]


def stack(*words: tuple[str, AnnounceTariff], fallback: float | None = 0.3) -> Stack:
    made = Stack(zone="Europe/Berlin", fallback=fallback)
    for issuer, said in words:
        made.take(issuer, said, "", T0)
    return made


def hours(made: Stack, first: int, n: int) -> list[float | None]:
    start = T0 + first * HOUR
    pieces = slotted(list(made.pieces(start, start + n * HOUR)), start, n, HOUR)
    return [None if p.price is None else round(p.price, 4) for p in pieces]


def test_later_slots_replace_the_issuers_own_where_they_overlap_and_nobody_elses() -> None:
    made = stack(
        ("r", word({0: 0.2, 1: 0.2, 2: 0.2})),
        ("d", word({0: 0.05, 1: 0.06, 2: 0.07}, "grid_fee")),
        ("r", word({1: 0.5})),
    )
    assert hours(made, 0, 3) == [0.25, 0.56, 0.27]


def test_half_a_slot_is_replaced_too() -> None:
    made = stack(("r", word({0: 0.2}, each_h=2.0)), ("r", word({0.5: 0.4})))
    assert hours(made, 0, 2) == [pytest.approx(0.3), pytest.approx(0.3)]


def test_a_forecast_does_not_displace_what_was_promised_but_fills_around_it() -> None:
    made = stack(("r", word({0: 0.2})), ("r", word({0: 0.9, 1: 0.4}, binding="forecast")))
    assert hours(made, 0, 2) == [0.2, 0.4]
    made.take("r", word({1: 0.35}), "", T0)
    assert hours(made, 0, 2) == [0.2, 0.35]


def test_a_changed_promise_is_told_apart_from_a_new_one() -> None:
    made = stack(("r", word({0: 0.2, 1: 0.2})))
    assert not made.take("r", word({1: 0.2, 2: 0.3}), "", T0)
    assert made.take("r", word({1: 0.25}), "", T0)


def test_tomorrow_without_prices_is_as_today_and_never_binding() -> None:
    made = stack(("r", word({float(h): 0.1 + h / 100 for h in range(24)})))
    assert hours(made, 24, 3) == [0.1, 0.11, 0.12]
    start = T0 + 24 * HOUR
    assert not any(p.binding or p.known for p in made.pieces(start, start + HOUR))


def test_a_tariff_that_has_ended_says_nothing_of_later_days() -> None:
    made = stack(("r", word({0: 0.2, 1: 0.2}, valid_until=instant(T0 + HOUR))))
    assert hours(made, 0, 2) == [0.2, 0.3]
    assert hours(made, 24, 1) == [0.3]


def test_without_a_price_and_without_a_fallback_there_is_none() -> None:
    assert hours(stack(fallback=None), 0, 2) == [None, None]


def test_a_fee_alone_comes_on_top_of_the_fallback() -> None:
    assert hours(stack(("d", word({0: 0.08}, "grid_fee"))), 0, 1) == [0.38]


def test_a_threshold_shrinks_with_its_slot_and_prices_only_the_excess() -> None:
    slot = PriceSlot(
        start=instant(T0), duration_s=HOUR, price_eur_per_kwh=0.2, threshold_wh=4000.0, beyond_eur_per_kwh=0.5
    )
    made = stack(("d", word({0: 0.1}, "grid_fee")))
    made.take("r", AnnounceTariff(tariff="t", component="energy", slots=(slot,), reason=WHY), "", T0)
    first = slotted(list(made.pieces(T0, T0 + HOUR)), T0, 4)[0]
    assert (first.threshold_wh, first.price, first.beyond) == (1000.0, pytest.approx(0.3), pytest.approx(0.6))


def test_a_day_that_the_clock_lengthens_is_remembered_by_local_time() -> None:
    made = Stack(zone="Europe/Berlin", fallback=0.3)
    day = 1_477_692_000.0  # 2016-10-29 00:00 in Berlin; the clock goes back on the 30th
    slots = tuple(
        PriceSlot(start=instant(day + h * HOUR), duration_s=HOUR, price_eur_per_kwh=h / 100) for h in range(24)
    )
    made.take("r", AnnounceTariff(tariff="t", component="energy", slots=slots, reason=WHY), "", day)
    noon = day + 24 * HOUR + 13 * HOUR  # 12:00 winter time, 25 hours after noon of the day before
    assert next(made.pieces(noon, noon + 60)).price == pytest.approx(0.12)


def test_dear_is_the_top_quarter_and_well_above_the_mean() -> None:
    def day(prices: list[float]) -> list[Piece]:
        return quarters_of([Piece(T0 + n * HOUR, T0 + (n + 1) * HOUR, p, True, True) for n, p in enumerate(prices)])

    assert dear_periods(day([0.2] * 24), 0.75, 0.1) == []
    assert dear_periods(day([0.2] * 18 + [0.4] * 3 + [0.2] * 3), 0.75, 0.1) == [(T0 + 18 * HOUR, T0 + 21 * HOUR, 0.4)]
    assert dear_periods(day([0.20] * 12 + [0.21] * 12), 0.75, 0.1) == [], "a cent is no warning"
    two = dear_periods(day([0.2] * 7 + [0.5] * 2 + [0.2] * 9 + [0.6] * 2 + [0.2] * 4), 0.75, 0.1)
    assert [round((start - T0) / HOUR) for start, _, _ in two] == [7, 18]


def test_neighbours_that_say_the_same_are_one() -> None:
    made = stack(("r", word({0: 0.2, 1: 0.2, 2: 0.3})))
    pieces = slotted(list(made.pieces(T0, T0 + 3 * HOUR)), T0, 12)
    told = merged([slot for slot in map(shown, pieces) if slot is not None])
    assert [(slot.duration_s, slot.price_eur_per_kwh) for slot in told] == [(7200.0, 0.2), (3600.0, 0.3)]
