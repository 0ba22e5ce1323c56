"""Who is no agent keeps figures too: the world how late its steps are, the keeper how its clock goes."""

import json
from pathlib import Path

import anyio
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from bus import metrics
from bus.clock import ClockFile, SharedClock
from deploy.condition import CannotRun, Condition
from deploy.containers.clock_keeper import ClockKeeper
from deploy.render.compose import Compose, Images
from deploy.render.deployment import HEALTH, prepare
from deploy.run.world_process import run_street
from deploy.stage import clock_names
from deploy.telemetry.figures import kept
from deploy.topology import Topology, load
from deploy.world_spec import world_spec
from tests.deploy.test_stage import MINI
from tests.support.grid import eventually

pytestmark = pytest.mark.anyio


@pytest.fixture
def mini(tmp_path: Path) -> Topology:
    (tmp_path / "mini.toml").write_text(MINI)
    return load(tmp_path / "mini.toml")


def told(metric: metrics.Metric, end: str = "") -> float | None:
    """What a process of one series says of a figure now; None: nothing."""
    for family in text_string_to_metric_families(metrics.scrape().decode()):
        for one in family.samples:
            if one.name == metric.prometheus + end:
                return one.value
    return None


async def test_the_world_tells_how_late_its_steps_are(mini: Topology, tmp_path: Path) -> None:
    clock_file = ClockFile(tmp_path / "clock", start=mini.run.start.timestamp(), speed=30.0, slots=0)
    condition = Condition()
    condition.scraped = True
    spec = world_spec(mini, dict.fromkeys(("grid", *mini.sites), 0))
    async with anyio.create_task_group() as tasks:
        clock = SharedClock(clock_file.path)
        truth = tmp_path / "truth.csv"
        tasks.start_soon(lambda: run_street(spec, clock, condition, lambda: None, truth=truth))
        await eventually(lambda: (told(metrics.LAG, "_count") or 0) >= 2)
        assert b'service_name="world"' in metrics.scrape()
        condition.stop.set()
    assert not metrics.on(), "who has ended keeps none"


async def test_the_keeper_tells_how_the_clock_goes(mini: Topology, tmp_path: Path) -> None:
    condition = Condition()
    condition.scraped = True
    path = tmp_path / "clock"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ClockKeeper(path, mini, condition, wait_s=600.0).keep)
        await eventually(lambda: told(metrics.CLOCK_SPEED) == 0.0)
        for slot in range(len(clock_names(mini))):
            SharedClock(path, slot).here()
        await eventually(lambda: (told(metrics.CLOCK_SPEED) or 0.0) > 0.0)
        assert told(metrics.CLOCK_BEHIND) is not None
        assert (told(metrics.CLOCK_HELD_BACK), told(metrics.CLOCK_SILENT)) == (0.0, 0.0)
        condition.stop.set()


def test_a_setting_that_no_exporter_knows_is_said_before_anything_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")
    with pytest.raises(CannotRun, match="smoke"), kept("world", "world", scraped=False):
        raise AssertionError


def test_prometheus_is_told_whom_to_ask_besides_agents_and_reaches_them(tmp_path: Path) -> None:
    made = prepare("pair", tmp_path / "d")
    targets = json.loads((made.folder / "observe" / "targets" / "agents.json").read_text())
    asked = {target.removesuffix(f":{HEALTH}") for one in targets for target in one["targets"]}
    others = {"world", "clock", *(f"line-{place}" for place in made.lines)}
    assert asked == {*map(str, made.agents), *others}
    text = Compose(made, Images(actor="a", world="w", nats="n"), made.folder).text()
    services = yaml.safe_load(text)["services"]
    near = set(services["prometheus"]["networks"])
    for name in asked:
        assert near & set(services[name]["networks"]), name
