"""A real run sends its traces to a real receiver, by gRPC and HTTP: a limit is one tree. Hostile senders are borne."""

import asyncio
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from itertools import pairwise
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from rich.console import Console

from deploy.containers import healthy
from deploy.nats.ports import free_ports
from deploy.records.trace import Span, spans, tree
from deploy.telemetry import otlp_receiver
from deploy.telemetry.otlp_receiver import BODY_BYTES, JSON, Receiver, Where
from tests.use_cases.test_trace import OVERLOAD

ROOT = Path(__file__).parents[2]
DSO, CEM, PV = "grid.dso.north", "h07.cem.main", "h07.pv.1"
pytestmark = pytest.mark.timeout(400)
WAIT_WALL_S = 300.0
LINE = [
    ("decide limits", DSO),
    ("state limit", DSO),
    ("limit_write energy_guard", DSO),
    ("say SetLimit", DSO),
    ("limit_write controllable_system", CEM),
    ("allocate power", CEM),
    ("steer device", CEM),
    ("power_control energy_manager", CEM),
    ("say SetPower", CEM),
    ("power_control device", PV),
    ("write", PV),
    ("read back", PV),
]
"""A limit from the operator's decision to the register that shows it, each below the one before."""
GIVE_REASONS = LINE[:2] + LINE[3:7] + LINE[8:10]


@contextmanager
def receiving(folder: Path, port: int = 0, way: str = "http/protobuf") -> Iterator[Receiver]:
    """A receiver of both kinds in a loop of its own; ``port`` is of the way that is named."""
    made: list[Receiver] = []
    there, loop = threading.Event(), asyncio.new_event_loop()
    over = asyncio.Event()

    async def live() -> None:
        doors = [Where("127.0.0.1", port if way == one else 0) for one in ("grpc", "http/protobuf")]
        async with Receiver(folder, by_grpc=doors[0], by_http=doors[1]) as receiver:
            made.append(receiver)
            there.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(live(),))
    thread.start()
    try:
        assert there.wait(60)
        yield made[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module", params=["grpc", "http/protobuf"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a receiver got of a whole run: servers, grid operator, home and its devices as processes."""
    here = tmp_path_factory.mktemp("otlp")
    (here / "overload.toml").write_text(OVERLOAD)
    with receiving(here / "got") as receiver:
        port = receiver.grpc_port if request.param == "grpc" else receiver.http_port
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "up", "overload.toml", "--headless", "--out", "out", "--for", "8m"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=WAIT_WALL_S,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
                "OTEL_EXPORTER_OTLP_PROTOCOL": request.param,
            },
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((here / "out" / "spans").glob("*")) == []
    return here / "got"


def above(span: Span, known: dict[str, Span]) -> Iterator[Span]:
    at: Span | None = span
    while at is not None:
        yield at
        at = known.get(str(at.parent_id))


def line_of_a_limit(folder: Path) -> list[Span]:
    """The spans from the decision down to the read-back of a register."""
    known = {one.context.span_id: one for one in spans(folder)}
    lines = [list(above(one, known))[::-1] for one in known.values() if one.name.startswith("read back ")]
    found = [line for line in lines if line[0].name == "decide limits"]
    assert found, f"no read-back descends from a decision; there are {sorted({one.name for one in known.values()})}"
    return max(found, key=len)


def short(span: Span) -> tuple[str, str]:
    name = span.name
    for start in ("read back", "write"):
        name = start if name.startswith(f"{start} ") else name
    return name, span.service


def test_a_limit_is_one_tree_from_the_decision_to_the_read_back(run: Path) -> None:
    line = line_of_a_limit(run)
    assert [short(span) for span in line] == LINE
    assert len({span.context.trace_id for span in line}) == 1
    for upper, lower in pairwise(line):
        assert upper.start_time <= lower.start_time


def test_a_tree_says_each_reason_once_where_it_was_given(run: Path) -> None:
    decided = line_of_a_limit(run)[0]
    trace = [one for one in spans(run) if one.context.trace_id == decided.context.trace_id]
    with StringIO() as file:
        Console(file=file, width=1000).print(tree(trace))
        shown = file.getvalue()
    assert shown.count(decided.attributes["gridparley.reason.text"]) == 1
    assert len(shown.splitlines()) == len(trace) + 1


def test_services_are_named_by_role_and_instances_by_address(run: Path) -> None:
    for span in line_of_a_limit(run):
        resource = span.resource.attributes
        assert resource["service.namespace"] == "gridparley"
        assert resource["service.name"] == span.service.split(".")[1]


def test_who_decides_and_who_is_told_gives_a_reason(run: Path) -> None:
    line = line_of_a_limit(run)
    for name, who in GIVE_REASONS:
        (span,) = [one for one in line if short(one) == (name, who)]
        assert span.attributes["gridparley.reason.code"], name
        assert len(span.attributes["gridparley.reason.text"].split()) > 2, name
    (told,) = [one for one in line if one.name == "allocate power"]
    assert told.attributes["gridparley.reason.binding"]
    assert -9000.0 < told.attributes["gridparley.bound.lower_w"] < 9000.0


def test_talks_name_table_state_use_case_and_the_words_that_were_said(run: Path) -> None:
    line = line_of_a_limit(run)
    both = [span for span in line if span.name.startswith("limit_write ")]
    for span in both:
        assert span.attributes["gridparley.table"] == "limit_write"
        assert span.attributes["gridparley.state"] == "end"
        assert "limits.lpc" in span.attributes["gridparley.use_cases"]
        assert span.attributes["messaging.system"] == "nats"
    said = next(span for span in line if span.name == "say SetLimit")
    assert {span.talk for span in (*both, said)} == {both[0].talk}
    assert said.attributes["messaging.destination.name"].startswith(f"to.{CEM}.{DSO}.")
    assert said.attributes["messaging.message.id"] == both[1].attributes["messaging.message.id"]
    opened = next(span for span in line if span.name == "power_control energy_manager")
    assert [event.name for event in opened.events] == ["heard PowerApplied"]


def test_the_register_that_was_written_shows_the_value(run: Path) -> None:
    write, read_back = line_of_a_limit(run)[-2:]
    assert write.attributes["gridparley.where"] == read_back.attributes["gridparley.where"]
    assert read_back.attributes["gridparley.value"] == pytest.approx(write.attributes["gridparley.value"], rel=0.02)


def test_the_same_collector_gets_the_figures(run: Path) -> None:
    figures = json.loads((run / "metrics" / f"{CEM}.json").read_text())["metrics"]
    outcomes = {
        (point["attributes"]["table"], point["attributes"]["outcome"]): point["count"]
        for point in figures["gridparley.talk.duration"]
    }
    assert outcomes["limit_write", "limit_accepted"] >= 1
    states = {
        (point["attributes"]["direction"], point["attributes"]["state"]): point["value"]
        for point in figures["gridparley.limit.state"]
    }
    assert sum(value for (direction, _), value in states.items() if direction == "production") == 1
    devices = json.loads((run / "metrics" / f"{PV}.json").read_text())["metrics"]
    writes = {point["attributes"]["outcome"]: point["value"] for point in devices["gridparley.modbus.writes"]}
    assert writes["read_back"] >= 1


# -------------------------------------------------------------------- hostile senders


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[tuple[Receiver, Path]]:
    with receiving(tmp_path) as made:
        yield made, tmp_path


def request(*names: str, instance: str = "h07.cem.main", id_bytes: int = 16) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.add(key="service.instance.id").value.string_value = instance
    for name in names:
        span = group.scope_spans.add().spans.add(name=name, trace_id=b"t" * id_bytes, span_id=b"s" * 8)
        span.start_time_unix_nano, span.end_time_unix_nano = 1_463_738_400_123_456_789, 1_463_738_400_223_456_789
        span.attributes.add(key="gridparley.table").value.string_value = "limit_write"
        span.events.add(name="heard LimitAccepted", time_unix_nano=1_463_738_400_223_456_789)
    return made


def post(port: int, body: bytes, path: str = "/v1/traces", **heads: str) -> tuple[int, bytes]:
    heads = {"Content-Type": "application/x-protobuf", **{name.replace("_", "-"): text for name, text in heads.items()}}
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, heads)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, problem.read()


def raw(port: int, sent: bytes) -> bytes:
    """What comes back until the other side closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
        line.sendall(sent)
        while more := line.recv(65536):
            got += more
    return got


def by_grpc(port: int, body: ExportTraceServiceRequest) -> object:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return TraceServiceStub(channel).Export(body, timeout=60)


def test_each_way_in_leads_to_the_same_line(receiver: tuple[Receiver, Path]) -> None:
    door, folder = receiver
    body = request("one")
    as_json = {
        "resourceSpans": [
            {
                "resource": {
                    "attributes": [{"key": "service.instance.id", "value": {"stringValue": "h07.cem.main"}}],
                    "fieldOfTheFuture": 1,
                },
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "name": "one",
                                "traceId": (b"t" * 16).hex(),
                                "spanId": (b"s" * 8).hex(),
                                "startTimeUnixNano": "1463738400123456789",
                                "endTimeUnixNano": "1463738400223456789",
                                "attributes": [{"key": "gridparley.table", "value": {"stringValue": "limit_write"}}],
                                "events": [{"name": "heard LimitAccepted", "timeUnixNano": "1463738400223456789"}],
                            }
                        ]
                    }
                ],
            }
        ]
    }
    by_grpc(door.grpc_port, body)
    packed = body.SerializeToString()
    assert post(door.http_port, packed)[0] == 200
    assert post(door.http_port, gzip.compress(packed), Content_Encoding="gzip")[0] == 200
    assert post(door.http_port, json.dumps(as_json).encode(), Content_Type="application/json") == (200, b"{}")
    lines = (folder / "spans" / "h07.cem.main.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert len(set(lines)) == 1
    (span, *_) = spans(folder)
    assert (span.name, span.service, span.attributes) == ("one", "h07.cem.main", {"gridparley.table": "limit_write"})
    assert span.context.trace_id == "0x" + (b"t" * 16).hex()
    assert (span.end_time - span.start_time).total_seconds() == pytest.approx(0.1, abs=1e-5)
    assert [event.name for event in span.events] == ["heard LimitAccepted"]


@pytest.mark.parametrize(
    ("instance", "name"),
    [
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..", "unknown"),
        ("", "unknown"),
        ("/absolute", "_absolute"),
        ("a\x00b\n", "a_b_"),
        (".hidden", "hidden"),
        ("x" * 5000, "x" * 100),
    ],
)
def test_no_instance_chooses_its_file(receiver: tuple[Receiver, Path], instance: str, name: str) -> None:
    door, folder = receiver
    by_grpc(door.grpc_port, request("one", instance=instance))
    assert [path.relative_to(folder) for path in folder.rglob("*.jsonl")] == [Path("spans") / f"{name}.jsonl"]


def test_who_invents_instances_fills_one_file(receiver: tuple[Receiver, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.telemetry.otlp_spans.INSTANCES", 3)
    door, folder = receiver
    for n in range(8):
        by_grpc(door.grpc_port, request("one", instance=f"invented-{n}"))
    names = {path.name for path in (folder / "spans").iterdir()}
    assert names == {"invented-0.jsonl", "invented-1.jsonl", "invented-2.jsonl", "others.jsonl"}


def test_a_file_does_not_grow_for_ever(receiver: tuple[Receiver, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.telemetry.otlp_spans.FILE_BYTES", 2000)
    door, folder = receiver
    for n in range(40):
        by_grpc(door.grpc_port, request(f"span {n}"))
    sizes = [path.stat().st_size for path in (folder / "spans").iterdir()]
    assert len(sizes) <= 2
    assert max(sizes) < 3000
    assert "span 39" in {one.name for one in spans(folder)}


def test_spans_without_ids_are_refused_and_the_others_kept(receiver: tuple[Receiver, Path]) -> None:
    door, folder = receiver
    body = request("good")
    body.resource_spans.append(request("bad", id_bytes=3).resource_spans[0])
    answer = by_grpc(door.grpc_port, body)
    assert answer.partial_success.rejected_spans == 1  # type: ignore[attr-defined]
    assert [one.name for one in spans(folder)] == ["good"]


def test_what_is_no_request_is_told_so_and_the_receiver_goes_on(receiver: tuple[Receiver, Path]) -> None:
    door, folder = receiver
    bomb = gzip.compress(bytes(20 * BODY_BYTES))
    deep = b"[" * 100_000
    far = request("far")
    far.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano = 2**64 - 1
    for body, heads, status in (
        (b"\xff\xff\xff\xff", {}, 400),
        (os.urandom(5000), {}, 400),
        (b"{", {"Content_Type": "application/json"}, 400),
        (deep, {"Content_Type": "application/json"}, 400),
        (b'{"resourceSpans": 7}', {"Content_Type": "application/json"}, 400),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "xyz"}]}]}]}', {"Content_Type": JSON}, 400),
        (b"", {"Content_Type": "text/html"}, 415),
        (b"not packed", {"Content_Encoding": "gzip"}, 400),
        (bomb, {"Content_Encoding": "gzip"}, 413),
        (b"", {"Content_Encoding": "br"}, 415),
        (bytes(BODY_BYTES + 1), {}, 413),
        (far.SerializeToString(), {}, 200),
    ):
        assert post(door.http_port, body, **heads)[0] == status, (body[:40], heads)
    assert post(door.http_port, b"", "/v1/logs")[0] == 404
    assert raw(door.http_port, b"POST /v1/traces HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 411 ")
    huge = b"POST /v1/traces HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n"
    assert raw(door.http_port, huge).startswith(b"HTTP/1.1 413 ")
    assert raw(door.http_port, b"\x16\x03\x01" * 20_000) == b""
    assert raw(door.http_port, b"\r\n\r\n").startswith(b"HTTP/1.1 411 ")
    assert raw(door.http_port, b"GET /healthz HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nwell\n")
    with grpc.insecure_channel(f"127.0.0.1:{door.grpc_port}") as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
        for body, code in (
            (b"\xff\xff\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
            (bytes(BODY_BYTES + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                export(body, timeout=60)
            assert refused.value.code() == code
    by_grpc(door.grpc_port, request("after all that"))
    assert post(door.http_port, request("and this").SerializeToString())[0] == 200
    assert {one.name for one in spans(folder)} == {"far", "after all that", "and this"}


def test_a_full_disk_is_the_receivers_trouble_not_the_senders_fault(
    receiver: tuple[Receiver, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    door, folder = receiver
    (folder / "spans" / "h07.cem.main.jsonl").mkdir()  # as little to be written to as a full disk
    assert post(door.http_port, request("one").SerializeToString())[0] == 503
    with pytest.raises(grpc.RpcError) as refused:
        by_grpc(door.grpc_port, request("one"))
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE  # it is sent again


def test_a_health_check_is_answered_and_let_go(receiver: tuple[Receiver, Path]) -> None:
    assert healthy.cause(receiver[0].http_port) == ""  # HTTP 1.0: it reads until the other end has closed


def test_connections_are_bounded(receiver: tuple[Receiver, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp_receiver, "CONNECTIONS", 2)
    door, _ = receiver
    held = [socket.create_connection(("127.0.0.1", door.http_port), timeout=60) for _ in range(2)]
    for line in held:
        line.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 200 ")
    assert raw(door.http_port, b"") == b""
    for line in held:
        line.close()


def test_the_command_receives_until_it_is_told_to_stop(tmp_path: Path) -> None:
    ports = free_ports(2)
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "deploy.cli", "traces", "--out", str(tmp_path)),
            *("--grpc", f"127.0.0.1:{ports[0]}", "--http", f"127.0.0.1:{ports[1]}"),
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stderr is not None
        assert "receiving traces at" in process.stderr.readline()
        by_grpc(ports[0], request("by gRPC"))
        post(ports[1], request("by HTTP").SerializeToString())
        with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/healthz", timeout=60) as answer:
            assert answer.read() == b"well\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert {one.name for one in spans(tmp_path)} == {"by gRPC", "by HTTP"}
