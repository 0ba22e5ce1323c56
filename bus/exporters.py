"""Where spans and figures go, as the standard environment of OpenTelemetry says. A collector that is away hurts nobody.

``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector, ``OTEL_EXPORTER_OTLP_PROTOCOL`` how it is spoken to; each also for
one signal alone (``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``). ``OTEL_TRACES_EXPORTER=none`` and
``OTEL_METRICS_EXPORTER=none`` keep one signal from it: Jaeger takes no metrics.
"""

import logging
import os
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = logging.getLogger("gridparley.telemetry")
EXPORT_WALL_S = 2.0
"""So long a collector that is away is waited for; an agent that is told to stop has 5 s in all."""
STOP_WALL_S = 1.5
Signal = Literal["traces", "metrics"]
PROTOCOLS = ("http/protobuf", "grpc")
OTLP: dict[Signal, tuple[str, str]] = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
}
"""Module and class of the library's exporter, alike for both protocols."""


class BadSetting(ValueError):
    """An environment variable says something that it may not."""

    def __init__(self, name: str, value: str, may: str) -> None:
        super().__init__(f"{name}={value!r} is not understood: it may be {may}")
        self.name, self.value = name, value


def collector(signal: Signal) -> str | None:
    """The collector that takes this signal, None where none is named or this signal is not for it."""
    if os.environ.get(f"OTEL_{signal.upper()}_EXPORTER", "") == "none":
        return None
    return os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT") or os.environ.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )


def protocol(signal: Signal) -> str:
    """``http/protobuf`` or ``grpc``. Raises BadSetting."""
    for name in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        value = os.environ.get(name)
        if value:
            if value not in PROTOCOLS:
                raise BadSetting(name, value, " or ".join(PROTOCOLS))
            return value
    return PROTOCOLS[0]


def span_exporter(instance: str, folder: Path | None) -> SpanExporter | None:
    """To the collector where one is named, else into ``folder`` if given. Raises BadSetting."""
    where = collector("traces")
    if where is None:
        return None if folder is None else FileExporter(folder / f"{instance}.jsonl")
    return PatientSpans(otlp_exporter("traces"), Outages(where, "spans"))


def otlp_exporter(signal: Signal) -> Any:
    """The library's exporter of a signal, by the protocol that is set. Raises BadSetting.

    The libraries are loaded here and not before: that of gRPC alone is 15 MB of a process's own memory.
    """
    carrier = "grpc" if protocol(signal) == "grpc" else "http"
    module, name = OTLP[signal]
    return getattr(import_module(f"opentelemetry.exporter.otlp.proto.{carrier}.{module}"), name)(timeout=EXPORT_WALL_S)


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


class _Overheard(logging.Handler):
    """What the libraries complain of: its first line is the cause of an outage. They would say it at each attempt."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not self.text and record.name.startswith("opentelemetry.exporter"):
            self.text = record.getMessage()[:300]

    def taken(self) -> str:
        text, self.text = self.text, ""
        return text or "no answer"


_overheard = _Overheard()


class Outages:
    """Says once that a collector is away and once that it is back. Used in the exporter's own thread."""

    def __init__(self, where: str, what: str) -> None:
        self._where, self._what = where, what
        self._lost = 0
        self.away = self.closing = False
        library = logging.getLogger("opentelemetry")
        library.propagate = False
        if _overheard not in library.handlers:
            library.addHandler(_overheard)

    @property
    def hopeless(self) -> bool:
        """Told to stop while the collector is away: what is left is given up, there is no time to ask again."""
        return self.away and self.closing

    def note(self, taken: bool, number: int) -> None:
        """The collector took this many, or did not."""
        if not taken:
            self._lost += number
            if not self.away:
                self.away = True
                log.warning("no %s at %s until it takes them: %s", self._what, self._where, _overheard.taken())
        elif self.away:
            log.info("%s takes %s again; lost meanwhile: %d", self._where, self._what, self._lost)
            self.away, self._lost = False, 0
            _overheard.taken()


class PatientSpans(SpanExporter):
    """An exporter whose collector may be away for as long as it likes."""

    def __init__(self, inner: SpanExporter, outages: Outages) -> None:
        self._inner, self.outages = inner, outages

    def export(self, spans: Any) -> SpanExportResult:
        if self.outages.hopeless:
            return SpanExportResult.FAILURE
        result = self._inner.export(spans)
        self.outages.note(result is SpanExportResult.SUCCESS, len(spans))
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


def bounded(work: Callable[[], object]) -> None:
    """Do it in a thread that is not waited for longer than a stopping process can."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(STOP_WALL_S)
