"""Shares are fair, floors hold, and the closed loop keeps a feeder within its transformer without sawing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.dso.allocate_limits import Loop, Site, Tuning, allocate, jain, step

RATING_W = 160_000.0
TUNING = Tuning(rating_w=RATING_W)


def site(name: str, now_w: float | None, most_w: float, floor_w: float = 0.0, **more: object) -> Site:
    return replace(Site(name, now_w, floor_w, most_w), **more)


def shares(allocation: object) -> dict[str, float]:
    return {share.site: share.limit_w for share in allocation.shares}  # type: ignore[attr-defined]


def test_feed_in_is_the_same_share_of_nominal_production_for_each() -> None:
    made = allocate("production", [site("a", 10_000, 10_000), site("b", 30_000, 30_000)], 20_000)
    assert shares(made) == pytest.approx({"a": 5_000, "b": 15_000}, abs=1)
    assert made.fairness == pytest.approx(1.0)


def test_who_feeds_less_than_its_share_leaves_the_rest_to_the_others() -> None:
    made = allocate("production", [site("a", 2_000, 10_000), site("b", 10_000, 10_000)], 10_000)
    assert shares(made)["b"] == pytest.approx(8_000, abs=1)
    assert made.expected_w == pytest.approx(10_000, abs=1)


def test_consumption_is_the_same_watts_for_each_but_nobody_goes_below_its_floor() -> None:
    sites = [site("a", 11_000, 14_500, 4_200), site("b", 11_000, 14_500, 7_560), site("c", 1_000, 14_500, 4_200)]
    made = allocate("consumption", sites, 13_000)
    assert shares(made) == pytest.approx({"a": 4_440, "b": 7_560, "c": 4_440}, abs=2)
    assert {share.site: share.reason.binding for share in made.shares}["b"] == "floor"


def test_what_cannot_be_reached_says_by_how_much() -> None:
    made = allocate("consumption", [site("a", 11_000, 14_500, 4_200), site("b", 11_000, 14_500, 4_200)], 5_000)
    assert not made.feasible
    assert made.shortfall_w == pytest.approx(3_400)
    assert shares(made) == pytest.approx({"a": 4_200, "b": 4_200})


def test_a_site_that_does_not_follow_is_named_and_not_counted_on() -> None:
    made = allocate("production", [site("a", 10_000, 10_000, follows=False), site("b", 10_000, 10_000)], 4_000)
    assert made.left_out == ("a",)
    assert shares(made)["b"] == pytest.approx(4_000, abs=1)


sites_in_need = st.lists(
    st.builds(
        lambda floor, room, now, limited: Site(
            "s", now * (floor + room), floor, floor + room, limited * (floor + room) if limited else None
        ),
        st.floats(0, 8_000),
        st.floats(1, 30_000),
        st.floats(0, 1.2),
        st.none() | st.floats(0.1, 1),
    ),
    min_size=1,
    max_size=20,
)


@given(sites=sites_in_need, budget=st.floats(-50_000, 200_000), way=st.sampled_from(["consumption", "production"]))
def test_shares_stay_within_budget_floors_and_contracts(sites: list[Site], budget: float, way: str) -> None:
    made = allocate(way, sites, budget)  # type: ignore[arg-type]
    for share, one in zip(made.shares, sites, strict=True):
        assert one.floor_w <= share.limit_w <= one.most_w + 1e-6
    if made.feasible:
        assert made.expected_w <= budget + 2.0
    else:
        assert made.level == 0.0
        assert made.expected_w > budget


@given(values=st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_fairness_is_between_one_nth_and_one(values: list[float]) -> None:
    assert 1 / len(values) - 1e-9 <= jain(values) <= 1 + 1e-9


class Street:
    """13 sites whose PV or charging follows a course; a limited site obeys one decision later."""

    def __init__(self, nominal_w: list[float]) -> None:
        self.nominal_w = nominal_w
        self.obeyed: list[float | None] = [None] * len(nominal_w)
        self.loop, self.words, self.peak, self.acts = Loop(), 0, 0.0, []

    def turn(self, now: float, course: float, base_w: float, deaf: frozenset[int] = frozenset()) -> float:
        """``course`` is the wished power as a share of nominal, ``base_w`` flows the other way. Returns the loading."""
        wished = [course * nominal for nominal in self.nominal_w]
        doing = [
            w if limit is None or n in deaf else min(w, limit)
            for n, (w, limit) in enumerate(zip(wished, self.obeyed, strict=True))
        ]
        loading = max(0.0, sum(doing) - base_w) / RATING_W
        sites = [
            Site(f"h{n:02}", doing[n], 0.0, nominal, self.obeyed[n], n not in deaf)
            for n, nominal in enumerate(self.nominal_w)
        ]
        self.loop, act, made = step(self.loop, "production", now, loading, sites, TUNING)
        self.acts.append(act)
        if act == "lift":
            self.obeyed = [None] * len(self.nominal_w)
            self.words += 1
        elif made is not None and act != "hold":
            self.obeyed = [share.limit_w for share in made.shares]
            self.words += 1
        return loading


NOMINAL_W = [12_000.0, 25_000, 18_000, 30_000, 9_000, 22_000, 15_000, 28_000, 11_000, 20_000, 17_000, 24_000, 26_000]


def day(seconds: float) -> float:
    """A clear day as the share of nominal: up within three hours, flat, down within three."""
    return max(0.0, min(1.0, seconds / 10_800, (32_400 - seconds) / 10_800))


def test_a_ramping_street_stays_within_its_transformer_and_is_free_again_in_the_evening() -> None:
    street = Street(NOMINAL_W)
    loadings = [street.turn(10.0 * n, day(10.0 * n), 8_000) for n in range(3600)]
    assert max(loadings) <= 1.0
    assert "limit" in street.acts
    assert street.loop.level is None, "the evening needs no limits"
    assert street.acts.count("limit") == 1, "limits do not saw"
    noon = loadings[1200:2000]
    assert min(noon) > TUNING.loosen_below, "no more is curtailed than must be"


def test_clouds_end_in_neither_overload_nor_sawing() -> None:
    street = Street(NOMINAL_W)
    over = 0
    for n in range(2000):
        cloud = 0.75 if (n // 60) % 3 == 1 else 1.0
        over += street.turn(10.0 * n, cloud, 8_000) > 1.0
    assert over <= 3, "only before the first limit and within its grace"
    assert street.acts.count("limit") <= 2


def test_a_sudden_overload_is_gone_after_one_decision() -> None:
    street = Street(NOMINAL_W)
    loadings = [street.turn(10.0 * n, 1.0, 8_000) for n in range(20)]
    assert loadings[0] > 1.4
    assert all(loading <= 1.0 for loading in loadings[2:])


def test_deaf_sites_are_made_up_for_by_the_others() -> None:
    street = Street(NOMINAL_W)
    loadings = [street.turn(10.0 * n, 1.0, 8_000, frozenset({3, 7})) for n in range(60)]
    assert all(loading <= 1.0 for loading in loadings[2:])


def test_without_overload_nobody_hears_a_word() -> None:
    street = Street(NOMINAL_W)
    for n in range(500):
        street.turn(10.0 * n, 0.5, 8_000)
    assert street.words == 0


def test_a_site_that_is_heard_of_later_takes_its_part_at_once() -> None:
    one = site("a", 5_000, 5_000)
    loop, act, made = step(Loop(), "production", 0.0, 2.0, [one], replace(TUNING, rating_w=10_000.0))
    assert act == "limit"
    assert made is not None
    assert not made.feasible
    now = [replace(one, now_w=0.0, limit_w=0.0), site("b", 15_000, 15_000)]
    loop, act, made = step(loop, "production", 10.0, 1.5, now, replace(TUNING, rating_w=10_000.0))
    assert act == "reshare"
    assert made is not None
    assert shares(made)["a"] == pytest.approx(5_000 * made.level)
    assert made.fairness == pytest.approx(1.0)
    assert 0.4 < made.level < 0.6


def test_with_nobody_to_count_on_nothing_is_decided() -> None:
    unseen = [site("a", None, 5_000), site("b", 9_000, 9_000, follows=False)]
    assert step(Loop(), "production", 0.0, 1.5, unseen, TUNING) == (Loop(), "rest", None)


def limited(names: str, level: float) -> list[Site]:
    """Sites of 10 kW that do all that the level lets them."""
    return [site(name, 10_000 * level, 10_000, limit_w=10_000 * level) for name in names]


def test_who_comes_back_is_nobody_new_and_loosens_nothing_at_once() -> None:
    held = Loop(level=0.3, at=0.0, members=frozenset("abc"))
    away, here = limited("abc", 0.3)[:2], limited("abc", 0.3)
    held, _, _ = step(held, "production", 10.0, 0.9, away, TUNING)
    held, act, _ = step(held, "production", 20.0, 0.9, here, TUNING)
    assert act == "loosen"
    assert held.level == pytest.approx(0.3 + 20.0 * TUNING.loosen_per_s)


def test_a_limited_site_that_nobody_measures_is_taken_to_be_held_back() -> None:
    unseen = [replace(one, now_w=None) for one in limited("ab", 0.3)]
    assert allocate("production", unseen, 0.0).level == pytest.approx(0.3)
    assert allocate("production", unseen, 2_000.0).level == pytest.approx(0.4)
    calm = Loop(level=0.3, at=0.0, members=frozenset("ab"))
    for n in range(1, 50):
        calm, act, _ = step(calm, "production", 10.0 * n, 0.5, unseen, TUNING)
        assert act == "loosen", "what they wish is not known: nothing is calm"


def test_time_in_which_nothing_was_seen_counts_neither_for_loosening_nor_as_calm() -> None:
    seen = Loop(level=0.3, at=0.0, calm_since=0.0, members=frozenset("ab"))
    idle = [replace(one, now_w=100.0) for one in limited("ab", 0.3)]
    after, act, _ = step(seen.blind(), "production", 3_600.0, 0.5, idle, TUNING)
    assert (after.level, act, after.calm_since) == (0.3, "loosen", 3_600.0)
