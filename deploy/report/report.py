"""A run's report: tables, figures and a chart, made from what the run left in its folder.

Measured values come from the bus. Where the bus cannot know (voltages of every site, the transformer itself) the
world's own log is used and named as truth. The run without control is simulated from the same seed and marked as such.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv as pa_csv

from deploy.records import rows
from deploy.records.run_facts import RECORDS, REPORT, TRUTH, RunEnd, RunFacts
from deploy.report import figures
from deploy.report.chart import Chart, draw
from deploy.report.episodes import Episodes, FailsafeEpisode, LimitEpisode, Order, PhaseSpan, arrivals, episodes
from deploy.report.figures import Effect, Fairness, HeldBack, Loading, Voltage
from deploy.report.page import page
from deploy.report.savings import Savings, savings, stacks
from world.run import simulate
from world.truth import Truth, read_truth

log = logging.getLogger("gridparley.report")
SUMMARY, CHART, PAGE = "summary.json", "chart.png", "report.md"


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Which run, in run time."""

    topology: str
    start: datetime
    end: datetime
    seed: int
    speed: float
    rated_va: float
    sites: int


class Transformer(msgspec.Struct, frozen=True, kw_only=True):
    """Load with and without control. ``source`` of ``with_limits``: the world's truth, or the substation's meter.

    ``without_control`` is simulated from the same seed; None when the run had no simulated world.
    """

    source: Literal["truth", "measured"]
    with_limits: Loading
    without_control: Loading | None


class Voltages(msgspec.Struct, frozen=True, kw_only=True):
    """Of all sites, from the world's truth; None where there was none."""

    with_limits: Voltage | None
    without_control: Voltage | None


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """Words that passed the hub, as recorded (readings included, heartbeats not), and what was not taken.

    ``dead_letters`` per server: ``grid`` has those of all sites that reached it, so they do not add up.
    """

    total: int
    by_word: dict[str, int]
    refusals: int
    unreadable: int
    dead_letters: dict[str, int]


class Lags(msgspec.Struct, frozen=True, kw_only=True):
    """How late the run was against its clock, run seconds: all processes, the world's steps, agents by their hello."""

    processes_s: dict[str, float]
    world_s: dict[str, float]
    worst_agent_s: float
    worst_agent: str
    held_back: int


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """``summary.json``. Instants in the lists are unix seconds of the run's clock."""

    run: Run
    transformer: Transformer
    voltages: Voltages
    held_back: HeldBack | None
    savings: Savings | None
    limits: tuple[LimitEpisode, ...]
    orders: dict[str, int]
    refused: tuple[Order, ...]
    failsafe: tuple[FailsafeEpisode, ...]
    grid_state: tuple[PhaseSpan, ...]
    fairness: dict[str, Fairness]
    time_to_effect: Effect
    lags: Lags
    messages: Messages
    restarts: dict[str, int]


def write_report(run_folder: Path) -> Path:
    """Make ``report/`` in a run's folder from its records; returns that folder. Raises NoRun."""
    facts, ending = RunFacts.read(run_folder), RunEnd.read(run_folder)
    events = list(rows.events(run_folder / RECORDS))
    readings = list(rows.readings(run_folder / RECORDS))
    truth = read_truth(run_folder / TRUTH) if (run_folder / TRUTH).exists() else None
    if truth is not None and not truth.rows:
        truth = None
    end = _end(facts, ending, events, readings, truth)
    free = None
    if facts.world is not None and truth is not None:
        free = simulate(facts.world, datetime.fromtimestamp(end, UTC))

    live = arrivals(events, ((one.agent.partition(".")[0], one.at) for one in readings))
    story = episodes(events, live, end)
    summary = _summary(facts, ending, events, readings, truth, free, story, end)

    folder = run_folder / REPORT
    folder.mkdir(parents=True, exist_ok=True)
    _tables(run_folder, folder, events, readings, truth, free)
    (folder / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary)))
    (folder / PAGE).write_text(page(summary), encoding="utf-8")
    nominal = figures.nominal_powers(events)
    draw(
        folder / CHART,
        Chart(facts=facts, end=end, truth=truth, free=free, readings=readings, story=story, nominal=nominal),
    )
    return folder


def _end(
    facts: RunFacts,
    ending: RunEnd | None,
    events: Sequence[rows.Event],
    readings: Sequence[rows.Reading],
    truth: Truth | None,
) -> float:
    """When the run ended; for a killed one, the last thing known of it."""
    if ending is not None:
        return ending.ended.timestamp()
    known = [facts.start.timestamp(), *(one.heard for one in events[-1:]), *(one.at for one in readings[-1:])]
    if truth is not None:
        known += [value for value in truth.column("instant")[-1:] if value is not None]
    return max(known)


def _summary(
    facts: RunFacts,
    ending: RunEnd | None,
    events: Sequence[rows.Event],
    readings: Sequence[rows.Reading],
    truth: Truth | None,
    free: Truth | None,
    story: Episodes,
    end: float,
) -> Summary:
    by_site: dict[str, list[rows.Reading]] = {}
    for one in readings:
        by_site.setdefault(one.agent.partition(".")[0], []).append(one)
    for own in by_site.values():
        own.sort(key=lambda one: one.at)
    nominal = figures.nominal_powers(events)
    return Summary(
        run=Run(
            topology=facts.topology,
            start=facts.start,
            end=datetime.fromtimestamp(end, facts.start.tzinfo),
            seed=facts.seed,
            speed=facts.speed,
            rated_va=facts.rated_va,
            sites=len(facts.sites),
        ),
        transformer=Transformer(
            source="measured" if truth is None else "truth",
            with_limits=_measured_loading(facts, readings) if truth is None else figures.true_loading(truth),
            without_control=None if free is None else figures.true_loading(free),
        ),
        voltages=Voltages(
            with_limits=None if truth is None else figures.voltage(truth),
            without_control=None if free is None else figures.voltage(free),
        ),
        held_back=None if truth is None or free is None else figures.held_back(truth, free),
        savings=None
        if truth is None or free is None or facts.world is None
        else savings(truth, free, facts.world, stacks(events)),
        limits=story.limits,
        orders=dict(sorted(Counter(one.outcome for one in story.orders).items())),
        refused=tuple(one for one in story.orders if one.outcome == "refused"),
        failsafe=story.failsafe,
        grid_state=story.phases,
        fairness={side: figures.fairness(story.limits, side, nominal[side]) for side in sorted(nominal)},
        time_to_effect=figures.effect(story.orders, by_site),
        lags=_lags(ending, events, truth),
        messages=_messages(ending, events, len(readings)),
        restarts=_restarts(ending, events),
    )


def _measured_loading(facts: RunFacts, readings: Sequence[rows.Reading]) -> Loading:
    percents, powers, dts = measured_load(facts, readings)[1:]
    return figures.loading(percents, powers, dts)


def measured_load(
    facts: RunFacts, readings: Sequence[rows.Reading]
) -> tuple[list[float], list[float], list[float], list[float]]:
    """Instants, loading in percent, power in W and how long each holds, by the substation's meter."""
    mine = sorted((one for one in readings if one.agent == facts.substation), key=lambda one: one.at)
    instants = [one.at for one in mine]
    powers = [one.values["power_w"] for one in mine]
    apparent = [(one.values["power_w"] ** 2 + one.values["reactive_power_var"] ** 2) ** 0.5 for one in mine]
    percents = [100 * va / facts.rated_va for va in apparent]
    return instants, percents, powers, figures.spans(instants) if instants else []


def _lags(ending: RunEnd | None, events: Sequence[rows.Event], truth: Truth | None) -> Lags:
    world = sorted(value for value in truth.column("lag_s") if value is not None) if truth is not None else []
    worst, agent = 0.0, ""
    for event in events:
        if event.word == "hello":
            lag = msgspec.json.decode(event.body, type=_Lag).clock_lag_s
            if lag > worst:
                worst, agent = lag, event.sender
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return Lags(
        processes_s=ending.lags_s if ending else {},
        world_s={name: round(figures.quantile(world, share), 3) for name, share in shares.items()} if world else {},
        worst_agent_s=round(worst, 3),
        worst_agent=agent,
        held_back=ending.held_back if ending else 0,
    )


class _Lag(msgspec.Struct):
    clock_lag_s: float = 0.0


def _messages(ending: RunEnd | None, events: Sequence[rows.Event], readings: int) -> Messages:
    words = Counter(event.word for event in events if event.word not in (rows.LINK_UP, rows.LINK_DOWN))
    heard_dead = words.get("dead_letter", 0)
    letters = dict(ending.dead_letters) if ending and ending.dead_letters else {"grid": heard_dead}
    # A reading is an event too where it could not be written as a row.
    words["gcp_reading"] += readings
    return Messages(
        total=sum(words.values()),
        by_word=dict(sorted(words.items())),
        refusals=sum(n for word, n in words.items() if word.endswith("refused") or word == "refusal"),
        unreadable=words.get("unreadable", 0),
        dead_letters=letters,
    )


def _restarts(ending: RunEnd | None, events: Sequence[rows.Event]) -> dict[str, int]:
    """By the supervisor's count; without one, by the stems of message ids: each life of a process has its own."""
    if ending is not None:
        return dict(sorted(ending.restarts.items()))
    lives: dict[str, set[str]] = {}
    for event in events:
        if event.id and "-" in event.id:
            lives.setdefault(event.sender, set()).add(event.id.rpartition("-")[0])
    return {agent: len(stems) - 1 for agent, stems in sorted(lives.items()) if len(stems) > 1}


def _tables(
    run_folder: Path,
    folder: Path,
    events: Sequence[rows.Event],
    readings: Sequence[rows.Reading],
    truth: Truth | None,
    free: Truth | None,
) -> None:
    """Each table as Parquet and CSV; measurements' CSV is the recorder's own."""
    instant = pa.timestamp("ms", tz="UTC")
    columns: dict[str, pa.Array] = {
        "at": pa.array([int(one.at * 1000) for one in readings], type=instant),
        "agent": pa.array([one.agent for one in readings], type=pa.string()),
        "quality": pa.array([one.quality for one in readings], type=pa.string()),
    }
    for name in rows.COLUMNS[3:]:
        columns[name] = pa.array([one.values[name] for one in readings], type=pa.float64())
    pq.write_table(pa.table(columns), folder / "measurements.parquet")
    source = run_folder / RECORDS / rows.MEASUREMENTS
    if source.exists():
        shutil.copyfile(source, folder / rows.MEASUREMENTS)

    table = pa.table(
        {
            "at": pa.array([int(one.at * 1000) for one in events], type=instant),
            "heard": pa.array([int(one.heard * 1000) for one in events], type=instant),
            **{
                name: pa.array([getattr(one, name) for one in events], type=pa.string())
                for name in ("word", "topic", "sender", "receiver", "group", "id", "talk", "trace", "error")
            },
            "body": pa.array([bytes(one.body).decode() for one in events], type=pa.string()),
        }
    )
    pq.write_table(table, folder / "events.parquet")
    pa_csv.write_csv(table, folder / "events.csv")
    for name, log_ in (("truth", truth), ("simulated_without_control", free)):
        if log_ is not None:
            arrays = {column: pa.array(log_.column(column), type=pa.float64()) for column in log_.columns}
            pq.write_table(pa.table(arrays), folder / f"{name}.parquet")
