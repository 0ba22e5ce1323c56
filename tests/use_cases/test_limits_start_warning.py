"""A start that would be too much: the device warns, the CEM passes it on, the user decides."""

from typing import Any

import anyio
import pytest

from agents.cem.agreed import Agreed
from bus.address import Address
from contracts.hand import ControlRefused, ControlTaken, TakeControl, take_control
from contracts.kit import Lapsed
from contracts.preferences import OwnProductionLimit, PreferencesRefused, PreferencesTaken, SetPreferences, preferences
from contracts.reasons import Reason
from tests.support.grid import eventually
from tests.support.negotiating import HOME, METER, Negotiating, negotiating
from world.spec import DeviceSpec

pytestmark = pytest.mark.anyio
MACHINE, LAMP, APP = "h07.whitegoods.1", "h07.switch.1", "h07.app.display"
SOCKET = DeviceSpec(
    name="whitegoods1", kind="whitegoods", product="netio_powercable_appliance", unit=40, rating_w=2_200, phases=1
)
RELAY = DeviceSpec(name="switch1", kind="switch", product="waveshare_relay_switch", unit=60, rating_w=2_000, phases=1)
LOAD = {"rating_w": 2_000.0}
HOW: dict[str, Any] = {"ended_after_s": 60.0, "programme": "easy_care_40"}


async def takes(app: Any, **word: Any) -> ControlTaken | ControlRefused | Lapsed:
    async with app.talk(take_control, Address.parse(HOME)) as talk:
        await talk.say(TakeControl(user="anna", **word))
        return await talk.hear(ControlTaken, ControlRefused, Lapsed)  # type: ignore[no-any-return]


async def prefers(app: Any, **word: Any) -> None:
    async with app.talk(preferences, Address.parse(HOME)) as talk:
        await talk.say(SetPreferences(user="anna", **word))
        answer = await talk.hear(PreferencesTaken, PreferencesRefused, Lapsed)
    assert isinstance(answer, PreferencesTaken), answer


async def starts_now(h: Negotiating) -> None:
    agreed = await h.cem.instruct(MACHINE, start_in_s=0.0)
    over = isinstance(agreed, Reason) and agreed.code == "over"  # agreed to, and ended before that was heard here
    assert isinstance(agreed, Agreed) or over, agreed


@pytest.mark.use_case("limits.start-warning")
async def test_a_warning_goes_round_where_room_is_missing_and_nobody_warns_where_there_is_enough() -> None:
    names, cem = (METER, APP), {"contract_consumption_w": 4_000.0}
    async with (
        negotiating(SOCKET, RELAY, whole=True, others=names, cem=cem, whitegoods1=HOW, switch1=LOAD) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        h.house_w = 3_000.0
        app = await h.run.bus(APP)
        assert isinstance(await takes(app, device="switch.1", action="off"), ControlTaken)
        await eventually(lambda: h.home.shows("switch1", "enabled") is False)
        await h.words.until(lambda w: [r for r in h.said("gcp_reading")[-1:] if 2_900 < r["power_w"] < 3_300])
        h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
        await h.cem.offer(MACHINE, lambda o: o is not None)
        await starts_now(h)
        # the house's figures come first, the device itself sees that it is too much
        told = (await h.words.until(lambda w: h.said("house_power")))[0]
        assert (told["subscribed_w"], told["limited_by"]) == (4_000.0, "contract")
        assert told["total_w"] == pytest.approx(3_000, abs=300)
        warning = (await h.words.until(lambda w: h.said("start_warning")))[0]
        assert warning["excess_w"] == pytest.approx(1_000, abs=300)
        assert warning["then"] == "wait"
        passed = await h.words.until(lambda w: h.said("device_warning", device="whitegoods.1"))
        assert passed[0]["reason"]["code"] == "above_contract"
        await h.words.until(lambda w: h.said("display_notice", device="whitegoods.1", kind="warning"))
        assert h.home.shows("whitegoods1", "enabled") is False
        # there is room again: it starts by itself, and nobody warns
        h.house_w = 400.0
        assert await h.cem.tells(MACHINE, "started") == "started"
        words = [s.rpartition(".")[2] for s, _ in h.words.all if s.endswith((".start_warning", ".start_clear"))]
        assert words[-1] == "start_clear"
        assert words.count("start_clear") == 1
        await eventually(lambda: h.said("device_warning", device="whitegoods.1", cleared=True))
        # a relay cannot think: the CEM estimates and warns for it
        h.house_w = 3_500.0
        await h.words.until(lambda w: h.said("gcp_reading")[-1]["power_w"] > 3_400)
        await takes(app, device="switch.1", action="on")
        by_cem = await eventually(lambda: h.said("device_warning", device="switch.1", cleared=False))
        assert by_cem[0]["reason"]["code"] == "above_contract"
        tasks.cancel_scope.cancel()


@pytest.mark.use_case("limits.start-warning")
@pytest.mark.parametrize("then", ["run", "cancel"])
async def test_the_limit_may_be_on_energy_and_what_follows_a_warning_is_set(then: str) -> None:
    cem = {"energy_limit_wh": 300.0, "after_start_warning": then, "contract_consumption_w": 9_000.0}
    async with (
        negotiating(SOCKET, whole=True, others=(METER,), cem=cem, whitegoods1=HOW) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 2)
        h.import_wh = 250.0
        h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
        await h.cem.offer(MACHINE, lambda o: o is not None)
        await starts_now(h)
        warning = (await h.words.until(lambda w: h.said("start_warning")))[0]
        assert warning["reason"]["code"] == "above_energy"
        assert warning["reason"]["inputs"]["left_wh"] == pytest.approx(50.0)
        if then == "run":
            assert await h.cem.tells(MACHINE, "started") == "started"
        else:
            assert await h.cem.tells(MACHINE, "aborted") == "above_energy"
            assert h.home.shows("whitegoods1", "enabled") is False
        tasks.cancel_scope.cancel()


@pytest.mark.use_case("limits.own-production")
async def test_inside_the_window_a_start_beyond_own_production_warns_and_the_user_decides() -> None:
    from datetime import time

    async with (
        negotiating(SOCKET, whole=True, others=(METER, APP), whitegoods1=HOW) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        h.house_w = 300.0
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 2)
        await prefers(app, own_production=OwnProductionLimit(start=time(11), end=time(15)))  # it is 12:00 there
        h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
        await h.cem.offer(MACHINE, lambda o: o is not None)
        await starts_now(h)
        warning = (await h.words.until(lambda w: h.said("start_warning")))[0]
        assert warning["reason"]["code"] == "above_own_production"
        told = h.said("house_power")[-1]
        assert (told["limited_by"], told["subscribed_w"], told["exempt"]) == ("own_production", 0.0, False)
        await h.words.until(lambda w: h.said("display_notice", device="whitegoods.1", kind="warning"))
        # the user postpones: nothing runs meanwhile
        assert isinstance(await h.cem.instruct(MACHINE, start_in_s=1800.0), Agreed)
        assert h.home.shows("whitegoods1", "enabled") is False
        # or overrules, for this one start
        assert isinstance(await takes(app, device="whitegoods.1", action="overrule"), ControlTaken)
        await starts_now(h)
        assert await h.cem.tells(MACHINE, "started") == "started"
        assert h.said("house_power")[-1]["exempt"] is True
        tasks.cancel_scope.cancel()


@pytest.mark.use_case("limits.own-production")
@pytest.mark.parametrize("case", ["exempt", "outside"])
async def test_exempt_devices_and_other_hours_are_untouched(case: str) -> None:
    from datetime import time

    window = OwnProductionLimit(start=time(11), end=time(15), exempt=("whitegoods.1",))
    if case == "outside":
        window = OwnProductionLimit(start=time(20), end=time(6))
    async with (
        negotiating(SOCKET, whole=True, others=(METER, APP), whitegoods1=HOW) as h,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(h.metered)
        app = await h.run.bus(APP)
        await h.words.until(lambda w: len(w.of("gcp_reading")) > 2)
        await prefers(app, own_production=window)
        h.home.happens("start_programme", "whitegoods1", programme="easy_care_40")
        await h.cem.offer(MACHINE, lambda o: o is not None)
        await starts_now(h)
        assert await h.cem.tells(MACHINE, "started") == "started"
        assert h.said("start_warning") == []
        assert h.said("house_power")[-1]["exempt"] is (case == "exempt")
        tasks.cancel_scope.cancel()
