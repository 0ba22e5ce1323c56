"""A silent device is asked, warned of and cleared; every order is acknowledged or missed."""

import pytest

from tests.cem.home import Home, home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("ops.device-watch")]


def warnings(h: Home) -> list[tuple[str, bool, str]]:
    return [(w["device"], w["cleared"], w["reason"]["code"]) for w in h.said("device_warning")]


async def test_a_missing_device_is_asked_then_warned_of_and_cleared_when_it_is_back() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered()
        car.mute = car.deaf = True
        await h.until(lambda: warnings(h))
        said = [subject.rpartition(".")[2] for subject, _ in h.words.all]
        assert said.index("ask_status") < said.index("device_warning")
        assert warnings(h) == [("evse.1", False, "missing")]
        car.mute = car.deaf = False
        await h.until(lambda: len(warnings(h)) == 2)
        assert warnings(h)[-1] == ("evse.1", True, "back")


async def test_a_quiet_device_that_answers_normally_gives_no_warning() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered()
        car.mute = True
        await h.until(lambda: car.asked >= 3)
        assert warnings(h) == []


async def test_an_abnormal_status_is_a_warning() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered()
        car.mute, car.normal = True, False
        await h.until(lambda: warnings(h))
        assert warnings(h) == [("evse.1", False, "looked")]


async def test_a_third_party_is_told_when_that_is_wanted() -> None:
    async with home("evse.1", warn_third_party=True) as h:
        car = await h.device("evse.1", 11_040.0)
        await h.metered()
        car.mute = car.deaf = True
        await h.until(lambda: h.sent("device_warning"))


async def test_a_missing_acknowledgement_is_noticed_and_the_order_said_again() -> None:
    async with home("evse.1", failsafe_consumption_w=5000.0) as h:
        car = await h.device("evse.1", 11_040.0)
        car.deaf = True
        # A limit that ends by no clock, in a failsafe that is the same: how long it takes to be heard decides nothing.
        await h.limit(limit_w=5000.0)
        await h.until(lambda: len(h.said("set_power")) >= 2)
        assert (car.orders, h.said("power_applied")) == ([], [])
        car.deaf = False
        await h.metered(below_w=5000)
        assert len(car.orders) < len(h.said("set_power"))


async def test_a_device_that_was_silent_counts_with_its_worst_case() -> None:
    async with home("evse.1", "evse.2") as h:
        first, second = await h.device("evse.1", 11_040.0), await h.device("evse.2", 11_040.0)
        await h.lift()
        await h.metered(above_w=22_000)
        first.mute = True
        await h.until(lambda: warnings(h) or first.asked)
        await h.limit(limit_w=17_000.0)
        await h.until(lambda: second.orders and (second.orders[-1].upper_w or 1e9) <= 17_000 - 11_040)
