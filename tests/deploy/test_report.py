"""The report says what happened: checked against stories whose figures are known, and a simulated street."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from contracts.grid_state import GridState
from contracts.power_limit import Constraints, SetLimit
from deploy.records import rows
from deploy.records.run_facts import NoRun, RunEnd, RunFacts, SiteFacts
from deploy.report import figures, report
from deploy.report.episodes import LimitEpisode, arrivals, episodes
from tests.deploy.records_of import DSO, FACTS, START, T0, Story, reading, why
from world.run import simulate
from world.street import day
from world.truth import Truth, TruthLog


def test_a_limit_is_in_force_from_the_sites_word_until_the_next() -> None:
    story = Story()
    story.state(10, "h11", "limited", -31_000.0)
    story.state(20, "h11", "limited", -31_000.0)
    story.state(30, "h11", "limited", -20_000.0)
    story.state(50, "h11", "unlimited_controlled", None)
    story.state(70, "h11", "limited", -5_000.0)
    found = episodes(story.events, {}, T0 + 100)
    assert [(one.start - T0, one.end - T0, one.limit_w) for one in found.limits] == [
        (10, 30, -31_000.0),
        (30, 50, -20_000.0),
        (70, 100, -5_000.0),
    ]
    assert {one.direction for one in found.limits} == {"production"}
    assert not any(one.failsafe for one in found.limits)


def test_a_failsafe_that_was_told_late_stands_where_it_happened() -> None:
    story = Story()
    story.state(10, "h05", "limited", -31_000.0)
    story.limit(520, "h05", -9_000.0, answered=521)
    story.state(521, "h05", "limited", -9_000.0)
    # Said in the dark at 225, heard when the link was back.
    story.state(225, "h05", "failsafe", -8_000.0, heard=502)
    story.events.sort(key=lambda event: event.heard)
    metered = [("h05", T0 + at) for at in [*range(0, 101, 10), *range(500, 601, 10)]]
    found = episodes(story.events, arrivals(story.events, metered), T0 + 600)
    (failsafe,) = found.failsafe
    assert (failsafe.site, failsafe.start - T0, failsafe.end - T0, failsafe.ended) == ("h05", 225, 521, True)
    assert failsafe.link_lost is not None
    assert failsafe.link_back is not None
    assert (failsafe.link_lost - T0, failsafe.link_back - T0) == (100, 500)
    assert failsafe.back_to_limit_s == 21
    in_force = [(one.start - T0, one.end - T0, one.failsafe) for one in found.limits if one.direction == "production"]
    assert in_force == [(10, 225, False), (225, 521, True), (521, 600, False)]


def test_failsafe_with_the_link_up_is_the_guards_silence() -> None:
    story = Story()
    story.state(225, "h05", "failsafe", -8_000.0)
    metered = [("h05", T0 + at) for at in range(0, 601, 10)]
    (failsafe,) = episodes(story.events, arrivals(story.events, metered), T0 + 600).failsafe
    assert (failsafe.link_lost, failsafe.link_back, failsafe.back_to_limit_s) == (None, None, None)
    assert (failsafe.end - T0, failsafe.ended) == (600, False)


def test_every_order_has_its_outcome() -> None:
    story = Story()
    story.limit(1, "h05", -1.0, answered=2)
    story.limit(3, "h07", -2.0, answered=4, refuse="below_floor")
    story.limit(5, "h11", None)
    orders = episodes(story.events, {}, T0 + 9).orders
    assert [(one.site, one.outcome, one.answer, one.active) for one in orders] == [
        ("h05", "accepted", "", True),
        ("h07", "refused", "below_floor", True),
        ("h11", "unanswered", "", False),
    ]


def test_time_to_effect_is_from_acceptance_to_the_first_reading_within() -> None:
    story = Story()
    story.limit(10, "h05", -1_000.0, answered=11)  # metered within at 30
    story.limit(10, "h07", -1_000.0, answered=11)  # was within before
    story.limit(10, "h11", -1_000.0, answered=11)  # lifted before it showed
    story.limit(15, "h11", None, answered=16)
    story.limit(90, "h05", -100.0, answered=91)  # never
    orders = episodes(story.events, {}, T0 + 100).orders
    powers = {"h05": (-9e3, -9e3, -9e3, -900.0), "h07": (-5.0,) * 4, "h11": (-9e3,) * 4}
    metered = {
        site: [
            rows.Reading(at=T0 + 10 * n, agent=f"{site}.meter.main", quality="measured", values={"power_w": power})
            for n, power in enumerate(values)
        ]
        for site, values in powers.items()
    }
    found = figures.effect(orders, metered)
    assert (found.limits, found.already_within, found.took_effect, found.superseded, found.never_seen) == (
        4,
        1,
        1,
        1,
        1,
    )
    assert found.median_s == found.max_s == 19.0


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=30))
def test_jains_index_is_between_one_nth_and_one(values: list[float]) -> None:
    index = figures.jain(values)
    if index is not None and max(values) > 1e-3:
        assert 1 / len(values) - 1e-3 <= index <= 1.0


def test_jains_index_of_known_shares() -> None:
    assert figures.jain([3.0, 3.0, 3.0]) == 1.0
    assert figures.jain([1.0, 0.0, 0.0, 0.0]) == 0.25
    assert figures.jain([0.0, 0.0]) is None


def test_fairness_counts_who_was_limited_how_long_and_leaves_failsafe_out() -> None:
    def one(site: str, start: float, end: float, limit_w: float, failsafe: bool = False) -> LimitEpisode:
        return LimitEpisode(
            site=site,
            direction="production",
            start=start,
            end=end,
            limit_w=limit_w,
            reason="",
            failsafe=failsafe,
        )

    limits = [
        one("h05", 0, 600, -5e3),
        one("h07", 0, 300, -5e3),
        one("h07", 300, 600, -1e3),
        one("h11", 0, 60, -1, True),
    ]
    found = figures.fairness(limits, "production", {"h05": 10e3, "h07": 10e3, "h11": 10e3, "h12": 0.0})
    assert {site: (one_.episodes, one_.minutes, one_.mean_share) for site, one_ in found.sites.items()} == {
        "h05": (1, 10.0, 0.5),
        "h07": (2, 10.0, 0.3),
        "h11": (0, 0.0, None),
    }
    assert found.jain_minutes == pytest.approx(2 / 3, abs=1e-3)


def test_energy_held_back_is_the_difference_to_the_free_run_per_device_kind() -> None:
    columns = ("instant", "h05.pv1.power_w", "h05.battery1.power_w", "h07.evse1.power_w", "h05.power_w")
    free = Truth(columns, tuple((60.0 * n, -10_000.0, 0.0, 11_000.0, 1.0) for n in range(61)))
    run = Truth(columns, tuple((60.0 * n, -4_000.0, 3_000.0, 5_000.0, 1.0) for n in range(61)))
    found = figures.held_back(run, free)
    assert found.generation_wh == {"h05": 6_000.0}
    assert found.consumption_wh == {"h07": 6_000.0}
    later = Truth(columns, tuple((60.0 * n, 0.0, 0.0, 0.0 if n < 30 else 22_000.0, 1.0) for n in range(61)))
    assert figures.held_back(later, free).consumption_wh == {"h07": 0.0}
    assert figures.held_back(free, free).total_generation_wh == 0.0


def test_minutes_above_the_rating_are_counted_by_the_time_each_row_holds() -> None:
    found = figures.loading([90.0, 101.0, 120.0, 99.0], [-1.0, -2.0, 3.0, 0.0], [60.0, 60.0, 30.0, 0.0])
    assert (found.max_percent, found.minutes_above_100, found.lowest_w, found.highest_w) == (120.0, 1.5, -2.0, 3.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder: twenty minutes of the real street's noon, uncontrolled, and a made-up story of its words."""
    made = tmp_path_factory.mktemp("run")
    world = msgspec.structs.replace(day(seed=3), start=day().start + timedelta(hours=3))
    end = world.start + timedelta(minutes=20)
    free = simulate(world, end)
    with TruthLog(made / "truth.csv", free.columns) as log:
        for row in free.rows:
            log.write(row)
    sites = tuple(SiteFacts(name=one.name) for one in world.sites)
    RunFacts(topology="street", start=world.start, seed=3, rated_va=160_000.0, sites=sites, world=world).write(made)
    RunEnd(ended=end, restarts={"h05.cem.main": 1}, dead_letters={"hub": 2, "h05": 1}).write(made)
    story, shift = Story(), (world.start - START).total_seconds()
    state = GridState(
        area="a", phase="red", at=START, valid_until=START, loading_percent=140.0, power_w=-2e5, reason=why()
    )
    story.say(shift + 5, state, DSO)
    able = Constraints(
        nominal_consumption_w=1e4,
        nominal_production_w=-5e4,
        contract_consumption_w=3e4,
        contract_production_w=-5e4,
        minimum_consumption_w=4200.0,
    )
    story.say(shift + 1, able, "h05.cem.main", DSO)
    story.limit(shift + 10, "h05", -20_000.0, answered=shift + 11)
    story.state(shift + 11, "h05", "limited", -20_000.0)
    story.limit(shift + 20, "h07", -20_000.0, answered=shift + 21, refuse="below_floor")
    writer = rows.Writer(made / "records")
    for event in story.events:
        writer.event(event)
    for n in range(120):
        writer.reading("h05.meter.main", reading(shift + 10 * n, -30_000.0 if n < 5 else -19_000.0))
    writer.close()
    return made


def test_the_report_of_a_street_has_tables_summary_and_chart(folder: Path) -> None:
    made = report.write_report(folder)
    assert made == folder / "report"
    summary = msgspec.json.decode((made / report.SUMMARY).read_bytes(), type=report.Summary)
    assert summary.transformer.source == "truth"
    # Nobody controlled this street: the run and the simulation of the same seed are one and the same.
    assert summary.transformer.without_control == summary.transformer.with_limits
    assert summary.transformer.with_limits.max_percent > 120
    assert summary.transformer.with_limits.minutes_above_100 == pytest.approx(20, abs=0.5)
    assert summary.held_back is not None
    assert summary.held_back.total_generation_wh == 0.0
    assert summary.voltages.with_limits is not None
    assert 200 < summary.voltages.with_limits.min_v < summary.voltages.with_limits.max_v < 260
    assert summary.orders == {"accepted": 1, "refused": 1}
    assert [(one.site, one.answer) for one in summary.refused] == [("h07", "below_floor")]
    assert summary.fairness["production"].sites["h05"].mean_share == pytest.approx(0.4)
    assert summary.time_to_effect.median_s == 39.0
    assert (summary.restarts, summary.messages.dead_letters) == ({"h05.cem.main": 1}, {"hub": 2, "h05": 1})
    assert summary.messages.by_word["gcp_reading"] == 120
    assert [one.phase for one in summary.grid_state] == ["red"]
    table = pq.read_table(made / "measurements.parquet")
    assert table.num_rows == 120
    assert table.column("power_w")[0].as_py() == -30_000.0
    assert pq.read_table(made / "events.parquet").num_rows == 7
    assert (made / "events.csv").read_text().count("\n") >= 7
    with Image.open(made / report.CHART) as chart:
        assert chart.size[0] >= 1200
        assert len(chart.convert("RGB").resize((200, 150)).getcolors(30_000) or ()) > 50


def test_a_killed_run_without_end_or_world_still_gets_its_report(tmp_path: Path) -> None:
    facts = FACTS
    facts.write(tmp_path)
    writer = rows.Writer(tmp_path / "records")
    writer.reading(facts.substation, reading(0, -120_000.0, reactive_power_var=90_000.0))
    writer.reading(facts.substation, reading(60, -170_000.0))
    writer.reading(facts.substation, reading(120, -100_000.0))
    writer.close()
    made = report.write_report(tmp_path)
    summary = msgspec.json.decode((made / report.SUMMARY).read_bytes(), type=report.Summary)
    assert (summary.transformer.source, summary.transformer.without_control) == ("measured", None)
    assert summary.transformer.with_limits.max_percent == pytest.approx(106.25)
    assert summary.transformer.with_limits.minutes_above_100 == 1.0
    assert summary.run.end == START + timedelta(seconds=120)


def test_a_run_that_recorded_nothing_gets_a_report(tmp_path: Path) -> None:
    FACTS.write(tmp_path)
    assert (report.write_report(tmp_path) / report.CHART).exists()


def test_a_folder_without_a_run_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NoRun, match=r"run.json is missing.*gridparley up"):
        report.write_report(tmp_path)


def test_restarts_without_a_supervisor_are_told_by_the_stems_of_ids() -> None:
    story = Story()
    word = SetLimit(direction="production", active=False, reason=why())
    kept = [
        msgspec.structs.replace(story.say(n, word, DSO), id=f"{stem}-{n}")
        for n, stem in enumerate(["a", "a", "b", "c"])
    ]
    assert report._restarts(None, kept) == {DSO: 2}


def test_only_the_sites_own_word_makes_an_episode() -> None:
    story = Story()
    story.limit(1, "h05", -1.0, answered=2)
    assert episodes(story.events, {}, T0 + 9).limits == ()
