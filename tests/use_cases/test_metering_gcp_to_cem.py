"""metering.gcp-to-cem: the home hears the connection point every 5 s, oftener when it changes; the app pushes."""

from datetime import datetime
from itertools import pairwise

import pytest

from contracts.device_form import Value
from tests.support.grid import Words, grid
from tests.support.home import SCRIPTED_CEM, products

pytestmark = pytest.mark.anyio
METER: dict[str, Value] = {
    "power_w": 800.0,
    **{f"power_l{n}_w": 800.0 / 3 for n in (1, 2, 3)},
    **{f"voltage_l{n}_v": 230.0 for n in (1, 2, 3)},
    "frequency_hz": 50.0,
    "import_wh": 0.0,
    "export_wh": 0.0,
}
NAMES = ("h07.cem.main", "h07.meter.main", "h07.app.display")


def at_home(words: Words) -> list[tuple[float, float]]:
    return [
        (datetime.fromisoformat(e["body"]["at"]).timestamp(), e["body"]["power_w"])
        for s, e in words.of("gcp_reading")
        if s.startswith("home.")
    ]


@pytest.mark.use_case("metering.gcp-to-cem")
async def test_in_one_minute_the_home_hears_it_every_five_seconds() -> None:
    async with (
        products(meter=("eastron_sdm630", 1, METER)) as hardware,
        grid(*NAMES, agents=SCRIPTED_CEM, speed=15.0) as run,
    ):
        words = await run.words("h07")
        await run.start("h07.meter.main", hardware.line("meter"))
        await words.until(lambda w: len(at_home(w)) >= 13)
        instants = [at for at, _ in at_home(words)]
        for early, late in pairwise(instants):
            assert late - early == pytest.approx(5.0, abs=1.5)


@pytest.mark.use_case("metering.gcp-to-cem")
async def test_the_faster_power_changes_the_oftener_it_is_heard() -> None:
    async with (
        products(meter=("eastron_sdm630", 1, METER)) as hardware,
        grid(*NAMES, agents=SCRIPTED_CEM, speed=5.0) as run,
    ):
        words = await run.words("h07")
        await run.start("h07.meter.main", hardware.line("meter"))
        await words.until(lambda w: len(at_home(w)) >= 2)
        for power in (2_000.0, 4_000.0, 6_000.0):
            hardware["meter"].put({"power_w": power})
            await words.until(lambda w, power=power: at_home(w)[-1][1] == power)
        instants = [at for at, _ in at_home(words)][-3:]
        assert max(late - early for early, late in pairwise(instants)) < 4.0


@pytest.mark.use_case("metering.gcp-to-cem")
async def test_a_condition_of_the_user_gives_one_message_for_each_crossing() -> None:
    above = {"quantity": "import_w", "beyond": "above", "value_w": 3_000.0, "for_s": 20.0, "text": "the oven is on"}
    async with products(meter=("eastron_sdm630", 1, METER)) as hardware, grid(*NAMES, agents=SCRIPTED_CEM) as run:
        words = await run.words("h07")
        await run.start("h07.app.display", {"conditions": [above]})
        await run.start("h07.meter.main", hardware.line("meter"))
        await words.until(lambda w: w.of("shown") and w.of("shown")[-1][1]["body"]["power_w"] == 800.0)

        def told() -> list[str]:
            return [e["body"]["text"] for s, e in words.of("display_notice") if ".app." in s]

        for crossing in (1, 2):
            hardware["meter"].put({"power_w": 3_500.0})
            begun = len(at_home(words))
            await words.until(lambda _, crossing=crossing: len(told()) == crossing)
            await words.until(lambda w, begun=begun: len(at_home(w)) >= begun + 10)
            assert told() == ["the oven is on"] * crossing
            hardware["meter"].put({"power_w": 500.0})
            await words.until(lambda w: at_home(w)[-1][1] == 500.0)
        assert words.of("shown")[-1][1]["body"]["notices"][0] == "the oven is on"
