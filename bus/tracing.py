"""Traces across parties: a talk is one trace, from the operator's decision to the register that was written.

The flag is decided once, when a trace begins. Unsampled work never touches OpenTelemetry.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

EXPORT_WALL_S = 2.0
"""So long a collector that is away is waited for; an agent that is told to stop has 5 s in all."""
_provider: TracerProvider | None = None
_ratio = 1.0
_instance = ""
Attributes = dict[str, str | int | float | bool]


class FileExporter(SpanExporter):
    """Spans as JSON lines, for runs without a collector."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Any) -> SpanExportResult:
        lines = "".join(span.to_json(indent=None) + "\n" for span in spans if isinstance(span, ReadableSpan))
        with self._path.open("a") as file:
            file.write(lines)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Every export is complete by itself."""


def start(role: str, instance: str, *, folder: Path | None = None, ratio: float = 1.0) -> None:
    """Begin to trace in this process; call after the fork, the exporter has a thread.

    Spans go to OTLP where ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set, else to ``folder`` as JSON lines, else nowhere.
    """
    global _provider, _ratio, _instance
    _ratio, _instance = ratio, instance
    exporter: SpanExporter
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(timeout=EXPORT_WALL_S)
    elif folder is not None:
        exporter = FileExporter(folder / f"{instance}.jsonl")
    else:
        return
    resource = Resource.create(
        {"service.name": role, "service.instance.id": instance, "service.namespace": "gridparley"}
    )
    _provider = TracerProvider(resource=resource)
    _provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))


def stop() -> None:
    """Send what is left."""
    global _provider
    if _provider is not None:
        _provider.shutdown()
        _provider = None


def _sampled(parent: str | None) -> bool:
    if parent is not None:
        return bool(int(parent[-2:], 16) & 1)
    return random.random() < _ratio


def instance() -> str:
    """Whose process this is: the address of its agent; empty before ``start``."""
    return _instance


def on() -> bool:
    """Whether this process traces at all: what goes into spans only need not be made otherwise."""
    return _provider is not None


def current() -> str | None:
    """The present span as a W3C traceparent; None outside of any."""
    if _provider is None:
        return None
    here = trace.get_current_span().get_span_context()
    return _format(here) if here.is_valid else None


def _format(here: SpanContext) -> str:
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{int(here.trace_flags):02x}"


def _parse(parent: str) -> SpanContext:
    _, trace_id, span_id, flags = parent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))


def note(name: str, **attributes: str | int | float | bool) -> None:
    """An event in the present span, if that is recorded."""
    if _provider is not None:
        trace.get_current_span().add_event(name, attributes)


@contextmanager
def span(name: str, attributes: Attributes | None = None, *, parent: str | None = None) -> Iterator["Mark"]:
    """A span around a block: below ``parent`` if given, else below the present one, else the root of a new trace."""
    if _provider is None:
        yield Mark(None)
        return
    above = trace.get_current_span().get_span_context()
    inside = parent or (_format(above) if above.is_valid else None)
    if not _sampled(inside):
        unsampled = (
            _parse(inside) if inside else SpanContext(random.getrandbits(128) | 1, random.getrandbits(64) | 1, False)
        )
        token = otel_context.attach(trace.set_span_in_context(NonRecordingSpan(unsampled)))
        try:
            yield Mark(None)
        finally:
            otel_context.detach(token)
        return
    context = trace.set_span_in_context(NonRecordingSpan(_parse(parent))) if parent else None
    tracer = _provider.get_tracer("gridparley")
    with tracer.start_as_current_span(name, context=context, kind=SpanKind.INTERNAL, attributes=attributes) as made:
        yield Mark(made)


class Mark:
    """What a block may add to its span; does nothing when unsampled."""

    __slots__ = ("_span",)

    def __init__(self, made: trace.Span | None) -> None:
        self._span = made

    def set(self, **attributes: str | int | float | bool) -> None:
        if self._span is not None:
            self._span.set_attributes({key.replace("__", "."): value for key, value in attributes.items()})

    def event(self, name: str, **attributes: str | int | float | bool) -> None:
        if self._span is not None:
            self._span.add_event(name, attributes)

    def failed(self, why: str) -> None:
        if self._span is not None:
            self._span.set_status(Status(StatusCode.ERROR, why))
