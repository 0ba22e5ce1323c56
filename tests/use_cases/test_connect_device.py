"""A device joins, is managed by its kind, shown in the inventory, and may be exchanged for another maker's."""

import msgspec
import pytest

from contracts.device import TurnedAway, Welcome
from tests.cem.home import CEM, home

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("ops.connect-device")]


async def test_it_is_welcomed_with_the_actions_of_its_kind_and_shown() -> None:
    async with home("evse.1", "pv.1") as h:
        await h.device("evse.1", 0.0)
        await h.device("pv.1", 0.0)
        welcomes = h.said("welcome")
        assert welcomes[0]["actions"] == ["limit consumption", "switch off", "absorb surplus"]
        assert welcomes[1]["actions"] == ["limit feed-in"]
        inventory = await h.until(lambda: [i for i in h.said("inventory") if len(i["devices"]) == 2])
        assert inventory[-1]["devices"]["h07.evse.1"]["maker"] == "test"
        told = await h.until(lambda: [c for c in h.sent("constraints") if len(c["devices"]) == 2])
        assert told[-1]["devices"] == ["evse.1", "pv.1"]


async def test_another_makers_device_of_the_same_ability_takes_over_what_was_ordered() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 11_040.0)
        await h.lift()
        await h.limit(limit_w=6000.0)
        await h.metered(below_w=6000)
        car.announce = msgspec.structs.replace(car.announce, maker="other", model="new")
        car.order = None
        car.orders.clear()
        assert isinstance(await car.join(), Welcome)
        await h.until(lambda: any(4140 <= (o.upper_w or 0) <= 6000 for o in car.orders))
        await h.metered(below_w=6000)
        assert h.said("inventory")[-1]["devices"]["h07.evse.1"]["maker"] == "other"


async def test_the_inventory_survives_a_restart() -> None:
    async with home("evse.1") as h:
        await h.device("evse.1", 11_040.0)
        await h.run.stop(CEM)
        seen = len(h.said("inventory"))
        await h.run.start(CEM)
        shown = await h.until(lambda: h.said("inventory")[seen:])
        assert list(shown[0]["devices"]) == ["h07.evse.1"]


async def test_an_impossible_device_is_turned_away() -> None:
    async with home("evse.1") as h:
        car = await h.device("evse.1", 0.0)
        car.announce = msgspec.structs.replace(car.announce, nominal_lower_w=5.0)
        answer = await car.join()
        assert isinstance(answer, TurnedAway)
        assert answer.reason.code == "bad_range"
