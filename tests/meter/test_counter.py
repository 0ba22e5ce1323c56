"""An energy register as told never falls and never jumps."""

from hypothesis import given
from hypothesis import strategies as st

from agents.meter.counter import Counter, step

MOST_W = 50_000.0


@given(st.lists(st.floats(-1e7, 1e7), min_size=1, max_size=40))
def test_whatever_the_device_shows_the_telling_only_counts_up_and_no_faster_than_possible(shown: list[float]) -> None:
    counter: Counter | None = None
    for n, raw in enumerate(shown):
        after, _ = step(counter, raw, 60.0 * n, MOST_W)
        if counter is not None:
            assert 0 <= after.said_wh - counter.said_wh <= MOST_W / 60 + 100
        assert after.said_wh >= 0
        counter = after


def test_a_reset_loses_what_was_counted_meanwhile_and_goes_on_from_there() -> None:
    before = Counter(said_wh=5_000.0, raw_wh=5_000.0, at=0.0)
    after, jumped = step(before, 3.0, 60.0, MOST_W)
    assert (after.said_wh, jumped) == (5_000.0, True)
    after, jumped = step(after, 103.0, 120.0, MOST_W)
    assert (after.said_wh, jumped) == (5_100.0, False)
