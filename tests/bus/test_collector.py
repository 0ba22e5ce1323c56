"""Spans go to the collector that the environment names, by gRPC or HTTP; one that is away hurts nobody."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import metrics, tracing
from bus.exporters import BadSetting, collector, protocol
from deploy.nats.ports import free_ports
from deploy.records.trace import spans
from deploy.telemetry.otlp_receiver import Receiver
from tests.bus.agents import until
from tests.deploy.test_otlp import receiving

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]
BOTH = pytest.mark.parametrize("way", ["grpc", "http/protobuf"])
ROOT = Path(__file__).parents[2]
SPEAKER = """
import logging, sys, time
import contracts.all
from pathlib import Path
from bus import metrics, tracing

logging.basicConfig(level=logging.INFO, format="%(message)s")
tracing.start("cem", "h07.cem.main", folder=Path(sys.argv[1]))
metrics.start("cem", "h07.cem.main", scraped=False)
with tracing.span("limit_write energy_guard"), tracing.span("write register", {"register": 40}):
    pass
for _ in range(5000):
    with tracing.span("many"):
        pass
metrics.record(metrics.LAG, 0.1)
began = time.monotonic()
metrics.stop()
tracing.stop()
print(time.monotonic() - began)
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    yield
    metrics.stop()
    tracing.stop()


@pytest.fixture
def log() -> Iterator[list[logging.LogRecord]]:
    """What a process would write: pytest's own handler also takes what a logger keeps to itself."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield records
    root.removeHandler(handler)
    root.setLevel(level)


def speak(folder: Path, port: int, way: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": way,
    }
    command = [sys.executable, "-c", SPEAKER, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def port_of(receiver: Receiver, way: str) -> int:
    return receiver.grpc_port if way == "grpc" else receiver.http_port


@BOTH
def test_spans_and_figures_reach_the_collector_that_the_environment_names(tmp_path: Path, way: str) -> None:
    with receiving(tmp_path / "got") as receiver:
        done = speak(tmp_path, port_of(receiver, way), way)
    assert done.returncode == 0, done.stderr
    by_name = {one.name: one for one in spans(tmp_path / "got")}
    below, upper = by_name["write register"], by_name["limit_write energy_guard"]
    assert below.parent_id == upper.context.span_id
    resource = below.resource.attributes
    assert (resource["service.name"], resource["service.instance.id"]) == ("cem", "h07.cem.main")
    assert (tmp_path / "got" / "metrics" / "h07.cem.main.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["got"]


@BOTH
@pytest.mark.parametrize("deaf", ["nobody listens", "somebody listens and never answers"])
def test_a_collector_that_is_away_keeps_no_process_from_ending(tmp_path: Path, way: str, deaf: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        if deaf == "nobody listens":
            door.close()
        tries = [speak(tmp_path, port, way)]
        # What an agent that is told to stop may take in all: both give up by themselves. A machine may stall once.
        while min(float(done.stdout or 0.0) for done in tries) >= 5.0 and len(tries) < 3:
            tries.append(speak(tmp_path, port, way))
    assert min(float(done.stdout) for done in tries) < 5.0
    for done in tries:
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 3


@BOTH
async def test_an_outage_is_one_warning_and_its_end_one_line(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch, log: list[logging.LogRecord]
) -> None:
    (port,) = free_ports(1)  # it must be to be had again while somebody tries to connect to it all the time
    with receiving(tmp_path / "first", port=port, way=way):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", way)
        tracing.start("cem", "h07.cem.main")
        with tracing.span("before"):
            pass
        await until(lambda: list(spans(tmp_path / "first")))

    def lines(start: str) -> list[str]:
        return [one.getMessage() for one in log if one.getMessage().startswith(start)]

    def tried(name: str) -> bool:
        with tracing.span(name):
            pass
        return True

    await until(lambda: tried("lost") and lines("no spans at"))
    for _ in range(3000):  # more than the queue holds: what does not fit is dropped, nobody waits, nothing is logged
        with tracing.span("lost"):
            pass
    with receiving(tmp_path / "second", port=port, way=way):
        await until(lambda: tried("after") and any(one.name == "after" for one in spans(tmp_path / "second")), 60.0)
        await until(lambda: lines(f"http://127.0.0.1:{port} takes spans again"))
    assert len(lines("no spans at")) == 1
    assert {one.name for one in log} == {"gridparley.telemetry"}
    assert "refused" in lines("no spans at")[0].lower()


def test_a_protocol_that_is_none_is_refused_with_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier pigeon")
    what = "OTEL_EXPORTER_OTLP_PROTOCOL='carrier pigeon' is not understood: it may be http/protobuf or grpc"
    with pytest.raises(BadSetting, match=what):
        tracing.start("cem", "h07.cem.main")
    with pytest.raises(BadSetting, match=what):
        metrics.start("cem", "h07.cem.main", scraped=False)


def test_one_signal_may_go_elsewhere_or_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (collector("traces"), protocol("traces")) == (None, "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://both:4318")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://figures:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc")
    assert (collector("traces"), protocol("traces")) == ("http://both:4318", "http/protobuf")
    assert (collector("metrics"), protocol("metrics")) == ("http://figures:4317", "grpc")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert collector("metrics") is None
    assert collector("traces") == "http://both:4318"


def test_grpc_is_loaded_only_where_it_is_asked_for() -> None:
    look = (
        "import sys, contracts.all, agents.kit.run\n"
        "from bus import metrics, tracing\n"
        "tracing.start('cem', 'x')\n"
        "metrics.start('cem', 'x', scraped=False)\n"
        "print([m for m in sys.modules if m.startswith(('grpc', 'prometheus_client', 'opentelemetry.sdk.metrics'))])"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
