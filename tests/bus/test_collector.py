"""Spans go to a collector where one is named, and one that is away keeps nobody."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

SPEAKER = """
import sys
from pathlib import Path
from bus import tracing

tracing.start("cem", "h07.cem.main", folder=Path(sys.argv[1]))
with tracing.span("limit_write energy_guard"), tracing.span("write register", {"register": 40}):
    pass
tracing.stop()
"""


class Collector(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taker)
        self.got: list[tuple[str, bytes]] = []


class Taker(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Not to the tests' output."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def speak(folder: Path, port: int, within_s: float = 20.0) -> "subprocess.CompletedProcess[str]":
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "none",
    }
    command = [sys.executable, "-c", SPEAKER, str(folder)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=within_s, check=False)


def test_spans_reach_the_collector_that_the_environment_names(collector: Collector, tmp_path: Path) -> None:
    done = speak(tmp_path, collector.server_address[1])
    assert done.returncode == 0, done.stderr
    assert {path for path, _ in collector.got} == {"/v1/traces"}
    request = ExportTraceServiceRequest.FromString(collector.got[0][1])
    (resource,) = request.resource_spans
    attributes = {one.key: one.value.string_value for one in resource.resource.attributes}
    assert (attributes["service.name"], attributes["service.instance.id"]) == ("cem", "h07.cem.main")
    below, above = resource.scope_spans[0].spans
    assert (below.name, above.name) == ("write register", "limit_write energy_guard")
    assert below.parent_span_id == above.span_id
    assert list(tmp_path.iterdir()) == []


def test_a_collector_that_is_away_keeps_no_process_from_ending(tmp_path: Path) -> None:
    with Collector() as nobody:
        port = nobody.server_address[1]
    done = speak(tmp_path, port, within_s=5.0)  # what an agent that is told to stop may take
    assert done.returncode == 0, done.stderr
