"""Spans and figures of OTLP as lines that ``gridparley trace`` reads, in files that their senders cannot choose."""

import re
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

INSTANCES = 4096
"""Instances that get files of their own; what others send goes into one together."""
OTHERS = "others"
FILE_BYTES = 64_000_000
"""A file that has grown so long becomes the instance's older one, whose place it takes."""
_KINDS = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS = ("UNSET", "OK", "ERROR")


def file_name(instance: str) -> str:
    """A name that leads out of no folder: letters, digits, dots, dashes; at most 100 characters."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", instance[:100]).strip(".") or "unknown"


def plain(value: AnyValue) -> Any:
    """A value of OTLP as JSON has it."""
    match value.WhichOneof("value"):
        case "array_value":
            return [plain(one) for one in value.array_value.values]
        case "kvlist_value":
            return attributes(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case None:
            return None
        case kind:
            return getattr(value, kind)


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: plain(pair.value) for pair in pairs}


def instant(nanoseconds: int) -> str:
    """Unix nanoseconds as ISO 8601, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).isoformat()


def line(span: Span, resource: Mapping[str, Any]) -> bytes | None:
    """One span as a line; None where its ids are none."""
    if len(span.trace_id) != 16 or len(span.span_id) != 8 or len(span.parent_span_id) not in (0, 8):
        return None
    kind = _KINDS[span.kind] if 0 <= span.kind < len(_KINDS) else _KINDS[0]
    code = _STATUS[span.status.code] if 0 <= span.status.code < len(_STATUS) else _STATUS[0]
    made = {
        "name": span.name,
        "context": {"trace_id": f"0x{span.trace_id.hex()}", "span_id": f"0x{span.span_id.hex()}"},
        "kind": f"SpanKind.{kind}",
        "parent_id": f"0x{span.parent_span_id.hex()}" if span.parent_span_id else None,
        "start_time": instant(span.start_time_unix_nano),
        "end_time": instant(span.end_time_unix_nano),
        "status": {"status_code": code, "description": span.status.message},
        "attributes": attributes(span.attributes),
        "events": [
            {"name": one.name, "timestamp": instant(one.time_unix_nano), "attributes": attributes(one.attributes)}
            for one in span.events
        ],
        "resource": {"attributes": resource},
    }
    return msgspec.json.encode(made) + b"\n"


class Sink:
    """Writes what arrives below ``folder``: ``spans/<instance>.jsonl``, ``metrics/<instance>.json``. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._spans, self._figures = folder / "spans", folder / "metrics"
        for made in (self._spans, self._figures):
            made.mkdir(parents=True, exist_ok=True)
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def spans(self, request: ExportTraceServiceRequest) -> int:
        """Returns how many were not taken, as they have no ids. Raises OSError: they could not be written."""
        lines: dict[str, list[bytes]] = {}
        refused = 0
        for group in request.resource_spans:
            resource = attributes(group.resource.attributes)
            mine = lines.setdefault(self._name(resource), [])
            for scope in group.scope_spans:
                for span in scope.spans:
                    made = line(span, resource)
                    if made is None:
                        refused += 1
                    else:
                        mine.append(made)
        with self._lock:
            for name, some in lines.items():
                if some:
                    self._append(name, b"".join(some))
        return refused

    def figures(self, request: ExportMetricsServiceRequest) -> None:
        """The last figures of each instance are kept. Raises OSError: they could not be written."""
        for group in request.resource_metrics:
            resource = attributes(group.resource.attributes)
            found: dict[str, list[dict[str, Any]]] = {}
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    data = getattr(metric, metric.WhichOneof("data") or "gauge")
                    found[metric.name] = [_point(point) for point in data.data_points]
            made = msgspec.json.encode({"resource": resource, "metrics": found})
            name = self._name(resource)
            with self._lock:
                part = self._figures / f"{name}.part"
                part.write_bytes(made)
                part.replace(self._figures / f"{name}.json")

    def _name(self, resource: Mapping[str, Any]) -> str:
        name = file_name(str(resource.get("service.instance.id", "")))
        with self._lock:
            if name not in self._known:
                if len(self._known) >= INSTANCES:
                    return OTHERS
                self._known.add(name)
        return name

    def _append(self, name: str, lines: bytes) -> None:
        path = self._spans / f"{name}.jsonl"
        with path.open("ab") as file:
            file.write(lines)
            full = file.tell() > FILE_BYTES
        if full:
            path.replace(self._spans / f"{name}.older.jsonl")


def _point(point: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"attributes": attributes(point.attributes)}
    if hasattr(point, "bucket_counts"):
        return made | {"count": point.count, "sum": point.sum, "buckets": list(point.bucket_counts)}
    return made | {"value": getattr(point, point.WhichOneof("value") or "as_double", 0.0)}
