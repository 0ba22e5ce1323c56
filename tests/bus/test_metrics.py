"""Figures are those of one list: what a process tells, what the page says and what dashboards ask for."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bus import metrics, tracing
from bus.clock import ClockFile, SharedClock
from bus.metrics import METRICS
from contracts.kit import Lapsed
from contracts.power_limit import Heartbeat, LimitAccepted, LimitRefused, SetLimit, limit_write
from deploy.telemetry import page
from tests.bus.agents import CEM, DSO, EVSE, alive, until
from tests.bus.samples import sample

pytestmark = pytest.mark.anyio
OBSERVE = Path(__file__).parents[2] / "deploy" / "observe"
SERIES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {"service_name", "service_instance_id", "le"}
Series = dict[tuple[tuple[str, str], ...], float]


@pytest.fixture
def kept() -> Iterator[None]:
    metrics.start("cem", str(CEM), scraped=True)
    yield
    metrics.stop()


def scraped() -> dict[str, Series]:
    """Of each series name: by its own labels, its value."""
    found: dict[str, Series] = {}
    for family in text_string_to_metric_families(metrics.scrape().decode()):
        for one in family.samples:
            labels = {name: text for name, text in one.labels.items() if name not in LABELS - {"le"}}
            found.setdefault(one.name, {})[tuple(sorted(labels.items()))] = one.value
    return found


def of(found: dict[str, Series], metric: metrics.Metric, **labels: str) -> float:
    return found[metric.prometheus].get(tuple(sorted(labels.items())), 0.0)


async def test_what_is_said_heard_refused_and_agreed_is_counted(streams, kept) -> None:
    async def accept(talk, opening) -> None:
        await talk.say(LimitAccepted(direction=opening.direction, limit_w=None))

    def answers(bus) -> None:
        metrics.watch(bus)
        bus.answer(limit_write, accept)
        bus.on(Heartbeat, lambda _word, _heard: None)

    async with (
        alive(DSO, streams.url) as dso,
        alive(EVSE, streams.url) as evse,
        alive(CEM, streams.url, answers) as cem,
    ):
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), LimitAccepted)
        for _ in range(3):
            dso.tell(CEM, sample(Heartbeat))
        evse.tell(CEM, sample(LimitAccepted))
        dso.connection.publish("to.h07.cem.main.grid.dso.north.invented_by_strangers.1.word", b"{}")
        await until(lambda: cem.counts["dead_letters"] == 2 and cem.words_heard[Heartbeat] == 3)
        await until(lambda: cem.open_talks == 0)
        found = scraped()
    assert of(found, metrics.HEARD, topic="power_limit") == 5  # one opening, three heartbeats, one that is refused
    assert of(found, metrics.SAID, topic="power_limit") == 1
    assert of(found, metrics.SAID, topic="system") == 2
    for side in ("energy_guard", "controllable_system"):
        labels = {"table": "limit_write", "side": side, "outcome": "limit_accepted"}
        assert found[f"{metrics.TALKS.prometheus}_count"][tuple(sorted(labels.items()))] == 1
    assert sum(found[metrics.REFUSED.prometheus].values()) == 2
    assert of(found, metrics.DEAD, topic="unknown", code="unknown_word") == 1
    assert "strangers" not in metrics.scrape().decode()
    assert of(found, metrics.CONNECTED) == 1
    assert of(found, metrics.EVENTS, event="received") == 5


async def test_silence_and_what_is_broken_off_are_outcomes(streams, kept, tmp_path) -> None:
    fast = ClockFile(tmp_path / "clock", start=1_463_738_400.0, speed=600.0, slots=0)
    async with alive(DSO, streams.url, clock=SharedClock(fast.path)) as dso:
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
            assert isinstance(await talk.hear(LimitAccepted, LimitRefused, Lapsed), Lapsed)
        async with dso.talk(limit_write, CEM) as talk:
            await talk.say(sample(SetLimit))
    outcomes = [dict(labels)["outcome"] for labels in scraped()[f"{metrics.TALKS.prometheus}_count"]]
    assert sorted(outcomes) == ["broken_off", "silence"]


async def test_an_agent_that_comes_back_to_its_server_counts_it(broker, kept) -> None:
    await broker.provision(CEM)
    async with alive(CEM, broker.url, metrics.watch) as cem:
        broker.kill()
        await until(lambda: not cem.connection.connected)
        assert of(scraped(), metrics.CONNECTED) == 0
        broker.start()
        await until(lambda: cem.connection.connected and of(scraped(), metrics.RECONNECTS) == 1)


def test_a_process_that_nobody_asks_keeps_nothing() -> None:
    assert not metrics.on()
    metrics.count(metrics.MODBUS_ERRORS, device="x", error="NoAnswer")
    metrics.record(metrics.LAG, 1.0)
    metrics.observe(metrics.AGE, lambda: [(1.0, {})])
    assert metrics.scrape() == b""


def test_every_figure_is_told_under_the_name_that_the_list_gives_it(kept) -> None:
    for one in METRICS:
        attributes = dict.fromkeys(one.attributes, "x")
        if one.kind == "histogram":
            metrics.record(one, 1.0, **attributes)
        elif one in (metrics.MODBUS_ERRORS, metrics.MODBUS_WRITES):
            metrics.count(one, **attributes)
        else:
            metrics.observe(one, lambda attributes=attributes: [(1.0, attributes)])
    text = metrics.scrape().decode()
    found = scraped()
    for one in METRICS:
        for end in SERIES[one.kind]:
            (labels, *_) = found[one.prometheus + end]
            assert {name for name, _ in labels} - {"le"} == set(one.attributes), one.name
    known = {one.prometheus + end for one in METRICS for end in SERIES[one.kind]}
    assert {name for name in found if name.startswith("gridparley")} <= known
    assert 'service_instance_id="h07.cem.main",service_name="cem"' in text


def test_the_page_lists_the_figures_as_they_are() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.made(text) == text, "write it anew: python -m deploy.telemetry.page"


def test_the_page_names_the_settings_of_traces_and_logs() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    for name in (tracing.RATIO, tracing.TELEMETRY_RATIO, "GRIDPARLEY_LOG", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        assert f"`{name}`" in text


def asked_for() -> dict[str, list[str]]:
    """Every expression of the dashboard and of the alarms, by where it stands."""
    dashboard = json.loads((OBSERVE / "grafana" / "dashboards" / "gridparley.json").read_text())
    found = {
        f"panel {panel['title']}": [target["expr"] for target in panel.get("targets", ())]
        for panel in dashboard["panels"]
    }
    found["variables"] = [one["query"]["query"] for one in dashboard["templating"]["list"]]
    alarms = yaml.safe_load((OBSERVE / "alerts.yml").read_text())
    for group in alarms["groups"]:
        for rule in group["rules"]:
            found[f"alarm {rule['alert']}"] = [rule["expr"]]
    return found


def test_dashboard_and_alarms_ask_only_for_figures_and_labels_that_there_are() -> None:
    series = {one.prometheus + end: set(one.attributes) | LABELS for one in METRICS for end in SERIES[one.kind]}
    used = set()
    for where, expressions in asked_for().items():
        for expression in expressions:
            names = re.findall(r"gridparley_\w+", expression)
            assert names, where
            for name in names:
                assert name in series, f"{where} asks for {name}"
            used |= set(names)
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
            for some in re.findall(r"by \(([^)]*)\)", expression):
                labels |= {label.strip() for label in some.split(",")}
            may = set.intersection(*(series[name] for name in names))
            assert labels <= may, f"{where}: {labels - may}"
    unused = {one.prometheus for one in METRICS if not any(name.startswith(one.prometheus) for name in used)}
    assert unused == set()


def test_where_figures_come_from_is_named_in_the_configuration() -> None:
    asked = yaml.safe_load((OBSERVE / "prometheus.yml").read_text())
    assert [(OBSERVE / name).exists() for name in asked["rule_files"]] == [True]
    (source,) = yaml.safe_load((OBSERVE / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    dashboard = json.loads((OBSERVE / "grafana" / "dashboards" / "gridparley.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"] if "datasource" in panel} == {source["uid"]}
