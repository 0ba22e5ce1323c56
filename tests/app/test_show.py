"""The display shows what was said at home, and only that."""

import pytest

from agents.app.push_message import Crossing
from agents.app.settings import Condition
from contracts.device import DeviceWarning, Inventory
from contracts.emergency import DisplayNotice
from tests.support.grid import Words, grid
from tests.support.home import BECAUSE, SCRIPTED_CEM


@pytest.mark.anyio
async def test_notices_warnings_and_devices_are_shown_until_they_are_over() -> None:
    async with grid("h07.cem.main", "h07.app.display", agents=SCRIPTED_CEM) as run:
        words = await run.words("h07")
        cem = await run.bus("h07.cem.main")
        await run.start("h07.app.display")

        async def shown(field: str, value: object) -> None:
            def there(heard: Words) -> bool:
                said = heard.of("shown")
                return bool(said) and said[-1][1]["body"].get(field) == value

            await words.until(there)

        cem.say(DisplayNotice(kind="emergency", text="grid emergency"), home=True)
        await shown("emergency", "grid emergency")
        cem.say(DisplayNotice(kind="clearance", text="it is over"), home=True)
        await shown("emergency", None)
        cem.say(DeviceWarning(device="h07.pv.1", cleared=False, reason=BECAUSE), home=True)
        await shown("warnings", {"h07.pv.1": BECAUSE.text})
        cem.say(DeviceWarning(device="h07.pv.1", cleared=True, reason=BECAUSE), home=True)
        await shown("warnings", {})
        cem.say(Inventory(devices={}), home=True)
        await shown("notices", ["h07.pv.1 is back", f"h07.pv.1: {BECAUSE.text}", "it is over", "grid emergency"])


def test_a_crossing_is_told_once_after_it_has_lasted() -> None:
    crossing = Crossing(Condition(quantity="export_w", value_w=1_000.0, for_s=10.0))
    told = [crossing.take(power, at) for at, power in enumerate([-1_500.0] * 15)]
    assert told.index(True) == 10
    assert sum(told) == 1
    assert not crossing.take(0.0, 20.0)
    assert [crossing.take(-2_000.0, at) for at in (21.0, 31.0)] == [False, True]


def test_below_is_below() -> None:
    crossing = Crossing(Condition(beyond="below", value_w=0.0))
    assert not crossing.take(0.0, 0.0)
    assert crossing.take(-1.0, 1.0)
