"""What is planned in the evening holds the next day too, whatever comes in between. IC-BE-THOR-PEAK, IC-BE-CORD-HP."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.kit.local_day import bounds, date_at
from tests.support.grid import START
from tests.use_cases.test_community_peaks import BAND, CONTRACTED_W, ESP, SHAVING, building, envelopes, together_w

pytestmark = [pytest.mark.anyio, pytest.mark.use_case("community.peak-shaving", "community.heatpump-peak")]
ZONE = "Asia/Tokyo"
"""It is 19:00 there at the run's start: the hour of planning has passed."""
TOMORROW_ENDS = bounds(date_at(START.timestamp(), ZONE) + timedelta(days=1), ZONE)[1]


def ends(word: dict[str, Any]) -> float:
    last = word["slots"][-1]
    return datetime.fromisoformat(last["start"]).timestamp() + float(last["duration_s"])


async def test_a_provider_that_begins_in_the_evening_plans_the_next_day_at_once() -> None:
    async with building() as (run, words):
        await run.start(ESP, {"shaving": SHAVING, "time_zone": ZONE})
        await words.until(lambda w: len(w.of("envelope_taken")) == 2)
        assert [ends(word) for word in envelopes(words)] == [TOMORROW_ENDS, TOMORROW_ENDS]


async def test_a_deviation_in_the_evening_leaves_the_next_day_below_the_capacity() -> None:
    async with building(after_w=2_500.0, wrong_by_w=2_600.0) as (run, words):
        await run.start(ESP, {"shaving": SHAVING, "time_zone": ZONE})

        def anew() -> list[dict[str, Any]]:
            found = [word for word in envelopes(words) if word["reason"]["binding"] == "large_deviation"]
            return found[:2] if len(found) >= 2 else []

        made = await words.until(lambda _w: anew())
        assert [ends(word) for word in made] == [TOMORROW_ENDS, TOMORROW_ENDS]
        tomorrow_noon = START + timedelta(hours=17, minutes=1)
        assert 0.0 < together_w(made, tomorrow_noon) <= CONTRACTED_W * (1 - BAND) + 1.0
